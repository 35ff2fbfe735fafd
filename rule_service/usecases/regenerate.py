"""Renders alerts anew, however many: in batches, each an edit of its own that changes no resource.

A batch holds the commit lock for a moment at most, and not at all where everything is as it should be. One that no
longer renders is halved until the rule is found whose fault it is; all others are put right.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rule_service.domain.layout import file_name
from rule_service.domain.model import GroupScope
from rule_service.domain.reach import AboveGroups, AtGroups, files_of_groups
from rule_service.usecases.change import Change, WriteOptions
from rule_service.usecases.ports import Transaction
from rule_service.usecases.ports_rendered import Placement
from rule_service.usecases.publish import Publisher
from rule_service.usecases.rendering import Edited
from rulecast.errors import InvalidInput, LimitExceeded

RULES_AT_ONCE = 200
"""Of one batch, about. Other calls wait for what is done with them on the event loop, and edits for the commit lock."""

BATCHES_AT_ONCE = 2
"""While promtool looks at one, the next is rendered."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """errors: what does not render any more; the files of these rules stay as they were."""

    change: Change
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Batch:
    """The rules of these keys at these groups; without groups, those above all groups."""

    keys: frozenset[str]
    group_ids: tuple[str, ...] = ()
    files: frozenset[str] = frozenset()

    async def edit(self, transaction: Transaction) -> Edited[None]:
        reach = AtGroups(frozenset(self.group_ids)) if self.group_ids else AboveGroups()
        return Edited(None, keys=self.keys, reach=reach, files=self.files)

    def halves(self) -> "Iterator[_Batch]":
        """Nothing where there is one key at one scope."""
        if len(self.group_ids) > 1:
            middle = len(self.group_ids) // 2
            for ids in (self.group_ids[:middle], self.group_ids[middle:]):
                yield _Batch(self.keys, ids, frozenset(files_of_groups(ids)))
        elif len(self.keys) > 1:
            keys = sorted(self.keys)
            middle = len(keys) // 2
            for some in (keys[:middle], keys[middle:]):
                yield _Batch(frozenset(some), self.group_ids, self.files)


@dataclass(slots=True)
class _Done:
    changes: list[Change] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def together(self) -> Rendered:
        changes = sorted(self.changes, key=lambda change: change.revision)
        # of a file that several have changed, the last word
        files = {file.name: file for change in changes for file in change.files}
        warnings = tuple(warning for change in changes for warning in change.warnings)
        newest = max((change.revision for change in changes), default=0)
        return Rendered(
            Change(newest, tuple(files[name] for name in sorted(files)), warnings), tuple(sorted(self.errors))
        )


async def render_anew(publisher: Publisher, placements: Sequence[Placement], options: WriteOptions) -> Rendered:
    """Renders the rules of these keys at these scopes, and stores what differs of them and of their files."""
    done = _Done()
    batches = _batches(placements)
    async with asyncio.TaskGroup() as tasks:
        for number in range(BATCHES_AT_ONCE):
            tasks.create_task(_work_off(publisher, batches, options, done), name=f"render anew {number}")
    return done.together()


async def _work_off(publisher: Publisher, batches: Iterator[_Batch], options: WriteOptions, done: _Done) -> None:
    for first in batches:
        pending = [first]
        while pending:
            batch = pending.pop()
            try:
                done.changes.append((await publisher.publish(batch.edit, options, bulk=True)).change)
            except (InvalidInput, LimitExceeded) as refused:
                halves = list(batch.halves())
                pending += reversed(halves)
                if not halves:
                    done.errors.append(f"{next(iter(batch.keys))}: {refused}")


def _batches(placements: Sequence[Placement]) -> Iterator[_Batch]:
    """First what is above the groups, key by key, then group by group; groups of two namespaces are not mixed."""
    spread = Counter(key for placement in placements for key in placement.keys)
    above = [placement for placement in placements if not isinstance(placement.scope, GroupScope)]
    for keys in _portions([(key, spread[key]) for key in sorted({key for each in above for key in each.keys})]):
        yield _Batch(frozenset(keys))
    yield _Batch(frozenset(), files=frozenset(file_name(placement.scope) for placement in above))
    for namespace_id in sorted({placement.namespace_id for placement in placements}):
        groups = {
            placement.scope.group_id: placement.keys
            for placement in placements
            if isinstance(placement.scope, GroupScope) and placement.namespace_id == namespace_id
        }
        for ids in _portions([(id, len(keys)) for id, keys in groups.items()]):
            keys_there = frozenset(key for id in ids for key in groups[id])
            yield _Batch(keys_there, ids, frozenset(files_of_groups(ids)))


def _portions(sized: Sequence[tuple[str, int]]) -> Iterator[tuple[str, ...]]:
    """In their order, so many at a time that they have about RULES_AT_ONCE rules."""
    portion: list[str] = []
    rules = 0
    for name, size in sized:
        if portion and rules + size > RULES_AT_ONCE:
            yield tuple(portion)
            portion, rules = [], 0
        portion.append(name)
        rules += size
    if portion:
        yield tuple(portion)
