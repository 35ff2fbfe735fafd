"""What the first run of an edit has read, so that the second need not read it again while it holds the commit lock.

The first run reads one state of the database, that of a revision. Under the lock, what was committed since is looked
at: if none of it can have made an answer another one, the answers are what would be read now, and are given from here.
Else, and from where the second run asks for something else than the first, the database is asked as ever.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from rule_service.domain.layout import file_name
from rule_service.domain.model import GroupScope, KeyWorld
from rule_service.usecases.ports import Transaction
from rule_service.usecases.ports_changes import Touched
from rule_service.usecases.ports_rendered import Parts

Concerns = Callable[[Touched], bool]
"""Whether an answer may be another one since this was changed: a rule, or a file."""


class Memory:
    """Of one edit."""

    def __init__(self) -> None:
        self._revision: int | None = None
        self._calls: list[_Call] = []

    async def record(self, transaction: Transaction) -> Transaction:
        """The transaction, which reads one state of the database throughout; what it is asked is remembered."""
        self.forget()
        self._revision = await transaction.revision()
        return cast(Transaction, _Recorder(transaction, self._calls))

    def forget(self) -> None:
        self._revision = None
        self._calls = []

    async def recall(self, transaction: Transaction, revision: int) -> Transaction:
        """The transaction, which holds the lock with this revision; it answers from memory what is still so."""
        if not await self._is_still_so(transaction, revision):
            return transaction
        return cast(Transaction, _Recaller(transaction, self._calls))

    async def _is_still_so(self, transaction: Transaction, revision: int) -> bool:
        if self._revision is None or revision == self._revision + 1:
            return self._revision is not None
        touched = await transaction.touched(self._revision, revision)
        return touched is not None and not any(self._is_concerned(each) for each in touched)

    def _is_concerned(self, touched: Touched) -> bool:
        match touched.kind:
            case "target":
                return False
            case "rule" | "file":
                return any(call.concerns(touched) for call in self._calls)
            case _:
                return True


@dataclass(frozen=True, slots=True)
class _Call:
    """What a transaction was asked, and its answer."""

    name: str
    args: tuple[Any, ...]
    answer: Any

    def concerns(self, touched: Touched) -> bool:
        footprint = _FOOTPRINTS.get(self.name)
        return footprint is not None and footprint(self.answer, *self.args)(touched)


class _Recorder:
    """A transaction of which every call is written down, in order."""

    def __init__(self, transaction: Transaction, calls: list[_Call]) -> None:
        self._transaction = transaction
        self._calls = calls

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._transaction, name)

        async def call(*args: Any) -> Any:
            answer = await method(*args)
            self._calls.append(_Call(name, args, answer))
            return answer

        return call


class _Recaller:
    """A transaction that answers from what was written down, as long as it is called in that order."""

    def __init__(self, transaction: Transaction, calls: Sequence[_Call]) -> None:
        self._transaction = transaction
        self._calls = iter(calls)
        self._in_order = True

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._transaction, name)

        async def call(*args: Any) -> Any:
            known = next(self._calls, None) if self._in_order else None
            # what was written before a read is seen by it: the order counts for calls of both kinds
            self._in_order = known is not None and (known.name, known.args) == (name, args)
            if known is not None and self._in_order and name in _FOOTPRINTS:
                return known.answer
            return await method(*args)

        return call


def _nothing(answer: object, *args: object) -> Concerns:
    """For what is read of namespaces, groups and templates: a change of one of these ends all memory."""
    return lambda _: False


def _of_rule(answer: object, id: str) -> Concerns:
    return lambda touched: touched.kind == "rule" and touched.id == id


def _of_keys(answer: object, keys: Collection[str]) -> Concerns:
    return lambda touched: touched.kind == "rule" and touched.key in keys


def _of_files(answer: object, names: Collection[str]) -> Concerns:
    return lambda touched: touched.kind == "file" and touched.id in names


def _of_parts(answer: Parts, keys: Collection[str], group_ids: Collection[str]) -> Concerns:
    """Not a rule that the parts leave out (`Parts`), nor its text, unless it is in the file of one of the groups."""
    files = {file_name(GroupScope(id)) for id in group_ids}

    def concerns(touched: Touched) -> bool:
        if touched.kind == "file":
            return touched.id in files
        return touched.key in keys and not _is_left_out(touched, answer.worlds[touched.key], group_ids)

    return concerns


def _is_left_out(touched: Touched, world: KeyWorld, group_ids: Iterable[str]) -> bool:
    """Whether it is a rule at another group of the same namespace, neither above nor below one of these.

    Around a group that has a rule, the world has all groups; around another one it is not known what is there.
    """
    if not isinstance(touched.scope, GroupScope) or touched.scope.group_id in world.groups:
        return False
    ruled = {rule.scope for rule in world.rules}
    return all(GroupScope(id) in ruled and world.groups[id].namespace_id == touched.namespace_id for id in group_ids)


_FOOTPRINTS: Final[Mapping[str, Callable[..., Concerns]]] = {
    "all_namespaces": _nothing,
    "namespace": _nothing,
    "group": _nothing,
    "group_with_ancestors": _nothing,
    "template": _nothing,
    "rule": _of_rule,
    "key_worlds": _of_keys,
    "rendered_of_keys": _of_keys,
    "parts_of_worlds": _of_parts,
    "ingredients": _of_files,
}
"""What can be answered from memory, and by its answer and its arguments what concerns it."""
