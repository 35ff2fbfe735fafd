"""Every edit's way into the database: try it, check what it renders to, then do it under the commit lock.

The edit runs twice. First in a transaction that is rolled back: this finds every mistake, and tells what would be
rendered. promtool then checks what is new, with no lock held. Then it runs again under the lock, on whatever the
database holds by then, and is committed if it renders to what was checked; else what is new is checked first.
A dry run is the first half.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from rule_service.domain.index import WorldIndex
from rule_service.domain.layout import RuleFile, assemble_file, group_names, parse_file_name
from rule_service.domain.model import KeyWorld, Scope
from rule_service.domain.render import RenderedRule, render_rule
from rule_service.domain.twins import warnings_of_twins
from rule_service.usecases.blame import refused_by_promtool, together, with_fields
from rule_service.usecases.change import (
    Capture,
    Change,
    FileChange,
    FileChangeKind,
    Placed,
    RaisedWarning,
    WriteOptions,
    Written,
)
from rule_service.usecases.permission import check_permission
from rule_service.usecases.ports import (
    Answered,
    Fragment,
    LoggedChange,
    Request,
    ResourceChange,
    Store,
    Transaction,
)
from rule_service.usecases.ports_check import RuleChecker
from rule_service.usecases.ports_watch import EditOutcome, EditWatch, Unwatched
from rule_service.usecases.preview import About, about, compare, look
from rule_service.usecases.waiting import RolloutWaiter
from rulecast import tracing
from rulecast.digest import file_sha256
from rulecast.errors import Conflict, InvalidInput, RulecastError, Unavailable
from rulecast.reasons import Reason

T = TypeVar("T")

ATTEMPTS = 10
"""How often an edit is checked anew because other replicas have changed what it renders to."""

RENDERED_INLINE = 20
"""Up to so many rules are rendered on the event loop; more take long enough to go to a thread."""


@dataclass(frozen=True, slots=True)
class Edited(Generic[T]):
    """What an edit did in its transaction.

    keys: the alerts whose rules may render differently now. resources: what changed.
    samples: further rules for promtool to see. fields: where in the request a rule stands, by rule id.
    answered: the revision in which the same request has done it before.
    """

    value: T
    resources: tuple[ResourceChange, ...] = ()
    keys: frozenset[str] = frozenset()
    samples: tuple[RenderedRule, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    answered: int = 0


_Checked = tuple[str, str]
"""What promtool sees of a rule: its query before scoping, and its text."""

Edit = Callable[[Transaction], Awaitable[Edited[T]]]

First = Callable[[Transaction, Answered], Awaitable[T]]
"""Reads what the first call of a request has made."""


@dataclass(frozen=True, slots=True)
class _Attempt(Generic[T]):
    edited: Edited[T]
    rendered: Mapping[str, Placed] = field(default_factory=dict)
    files: tuple[FileChange, ...] = ()
    twins: tuple[RaisedWarning, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether it leaves everything as it is."""
        return not (self.edited.resources or self.rendered or self.files)

    @property
    def warnings(self) -> tuple[RaisedWarning, ...]:
        rules = [each.rule for each in self.rendered.values()]
        return (*(RaisedWarning(rule.rule_id, each) for rule in rules for each in rule.warnings), *self.twins)

    def written(self, change: Change) -> Written[T]:
        return Written(self.edited.value, change, self.rendered)

    def unchecked(self, accepted: Collection[_Checked]) -> tuple[RenderedRule, ...]:
        """What is new and not among what promtool has accepted."""
        rules = (*(placed.rule for placed in self.rendered.values()), *self.edited.samples)
        return tuple(rule for rule in rules if _checked(rule) not in accepted)


class Publisher:
    """Runs edits. One for the process. watch: is told how each ended."""

    def __init__(
        self, store: Store, checker: RuleChecker, waiter: RolloutWaiter, watch: EditWatch | None = None
    ) -> None:
        self._store = store
        self._checker = checker
        self._waiter = waiter
        self._watch = watch or Unwatched()
        self._turn = asyncio.Lock()

    async def publish(self, edit: Edit[T], options: WriteOptions, first: First[T] | None = None) -> Written[T]:
        """Runs an edit, or tries it. Raises what the edit raises, InvalidInput for what promtool refuses, and
        PermissionDenied for what its author may not change.

        first: for a create that can be repeated, reads what the first call with its request made.
        Nothing is changed when it raises.
        """
        if first is not None and options.request is not None:
            edit = _once(edit, options.method, options.request, first)
        edit = _permitted(edit, options.namespaces)
        try:
            revision, attempt = await self._publish(edit, options)
        except Exception as error:
            self._watch.edited(options.method, _outcome_of(error))
            raise
        if options.validate_only:
            self._watch.edited(options.method, EditOutcome.DRY_RUN)
            return attempt.written(Change(0, attempt.files, attempt.warnings))
        self._watch.edited(options.method, EditOutcome.COMMITTED if revision else EditOutcome.UNCHANGED)
        revision = revision or attempt.edited.answered
        rollout = None
        if revision:
            # in every line that is logged for this call from now on
            structlog.contextvars.bind_contextvars(revision=revision)
            rollout = await self._waiter.wait(revision, options.wait_timeout, options.wait_until)
        return attempt.written(Change(revision, attempt.files, attempt.warnings, rollout))

    async def _publish(self, edit: Edit[T], options: WriteOptions) -> tuple[int, _Attempt[T]]:
        """The revision, 0 where none was made, and what was done or would be."""
        accepted: set[_Checked] = set()
        attempt = await (self._try(edit) if options.capture is None else self._preview(edit, options.capture))
        await self._check(attempt, accepted)
        revision = 0
        if not options.validate_only:
            if not attempt.empty:
                revision, attempt = await self._commit(edit, accepted, options)
            if attempt.unchecked(accepted):
                revision, attempt = await self._commit_in_turn(edit, attempt, accepted, options)
        return revision, attempt

    async def _try(self, edit: Edit[T]) -> _Attempt[T]:
        async with self._store.transaction(rollback=True) as transaction:
            return await _run(edit, transaction)

    async def _preview(self, edit: Edit[T], capture: Capture) -> _Attempt[T]:
        """As `_try`. What has to be looked at is known once it was tried; so it is tried again between two looks."""
        async with self._store.transaction(rollback=True) as transaction:
            attempt = await _run(edit, transaction)
            at = await _about(transaction, attempt)
        for _ in range(ATTEMPTS):
            async with self._store.transaction(rollback=True) as transaction:
                before = await look(transaction, at)
                attempt = await _run(edit, transaction)
                after = await look(transaction, at)
                now = await _about(transaction, attempt)
            if now == at:
                facts = (attempt.files, attempt.edited.resources, attempt.warnings)
                capture.preview = await asyncio.to_thread(compare, before, after, *facts)
                return attempt
            at = now
        raise _contention()

    async def _commit(
        self, edit: Edit[T], accepted: Collection[_Checked], options: WriteOptions
    ) -> tuple[int, _Attempt[T]]:
        """The revision, and what was committed. 0: nothing differs, or what was rendered is not all checked yet."""
        with tracing.span("commit") as committing:
            revision, attempt = await self._under_lock(edit, accepted, options)
            committing.note(revision=revision)
            return revision, attempt

    async def _under_lock(
        self, edit: Edit[T], accepted: Collection[_Checked], options: WriteOptions
    ) -> tuple[int, _Attempt[T]]:
        try:
            async with self._store.transaction() as transaction:
                # before anything is read: this row is the commit lock
                revision = await transaction.take_revision()
                attempt = await _run(edit, transaction)
                if attempt.unchecked(accepted) or attempt.empty:
                    raise _NotCommitted
                await transaction.log(
                    options.author,
                    options.method,
                    attempt.edited.resources,
                    [LoggedChange(each.name, each.sha256) for each in attempt.files],
                    reason=options.reason,
                    request=options.request,
                )
        except _NotCommitted:
            return 0, attempt
        return revision, attempt

    async def _commit_in_turn(
        self, edit: Edit[T], attempt: _Attempt[T], accepted: set[_Checked], options: WriteOptions
    ) -> tuple[int, _Attempt[T]]:
        """As `_commit`, for an edit that others have overtaken: these take turns, or none would ever be the first."""
        async with self._turn:
            for _ in range(ATTEMPTS):
                await self._check(attempt, accepted)
                revision, attempt = await self._commit(edit, accepted, options)
                if not attempt.unchecked(accepted):
                    return revision, attempt
        raise _contention()

    async def _check(self, attempt: _Attempt[T], accepted: set[_Checked]) -> None:
        rules = attempt.unchecked(accepted)
        if not rules:
            return
        with tracing.span("validate", rules=len(rules)):
            failures = await self._checker.check(rules)
        if failures:
            raise InvalidInput(tuple(refused_by_promtool(failure, attempt.edited.fields) for failure in failures))
        accepted.update(_checked(rule) for rule in rules)


def _once(edit: Edit[T], method: str, request: Request, first: First[T]) -> Edit[T]:
    """The edit, or what it did when the same request came before. Under the lock: of two at once, one is the first."""

    async def guarded(transaction: Transaction) -> Edited[T]:
        answered = await transaction.answered(request.id)
        if answered is None:
            return await edit(transaction)
        if (answered.method, answered.digest) != (method, request.digest):
            raise InvalidInput.of(
                "request_id",
                Reason.REQUEST_ID_REUSED,
                f"revision {answered.revision} was made by another request of this id: take a new id for each request",
            )
        return Edited(await first(transaction, answered), answered=answered.revision)

    return guarded


def _outcome_of(error: Exception) -> EditOutcome:
    blameless = isinstance(error, RulecastError) and not isinstance(error, Unavailable)
    return EditOutcome.REFUSED if blameless else EditOutcome.FAILED


def _permitted(edit: Edit[T], namespaces: frozenset[str] | None) -> Edit[T]:
    """The edit, refused where it changes what its author may not. Each time it runs: what it changes may differ."""

    async def guarded(transaction: Transaction) -> Edited[T]:
        edited = await edit(transaction)
        await check_permission(namespaces, transaction, edited.resources)
        return edited

    return guarded


async def _about(transaction: Transaction, attempt: _Attempt[T]) -> About:
    keys = await about(transaction, attempt.edited.keys, attempt.edited.resources)
    return About(keys, tuple(each.name for each in attempt.files))


def _contention() -> Conflict:
    return Conflict.of("", Reason.CONTENTION, "others kept changing the same alert meanwhile: try again")


def _checked(rule: RenderedRule) -> _Checked:
    return rule.source_query, rule.text


class _NotCommitted(Exception):
    """Leaves the transaction without committing it."""


async def _run(edit: Edit[T], transaction: Transaction) -> _Attempt[T]:
    edited = await edit(transaction)
    if not edited.keys:
        return _Attempt(edited)
    before = await transaction.rendered_of_keys(edited.keys)
    after = await _render(await transaction.key_worlds(edited.keys), edited.fields)
    new = tuple(rule for id, rule in after.items() if before.get(id) != rule)
    gone = tuple(id for id in before if id not in after)
    await transaction.put_rendered(new)
    await transaction.delete_rendered(gone)
    # a rule that has moved is in two files
    left = {before[rule.rule_id].file_name for rule in new if rule.rule_id in before}
    touched = {rule.file_name for rule in new} | {before[id].file_name for id in gone} | left
    fragments = await transaction.fragments(touched)
    groups = _groups(fragments)
    placed = {rule.rule_id: Placed(rule, groups[rule.rule_id]) for rule in new}
    return _Attempt(edited, placed, await _assemble(transaction, fragments), _twins(fragments, placed))


def _twins(fragments: Mapping[str, Sequence[Fragment]], new: Collection[str]) -> tuple[RaisedWarning, ...]:
    found = (each for rules in fragments.values() for each in warnings_of_twins(rules, new))
    return tuple(RaisedWarning(id, warning) for id, warning in found)


def _groups(fragments: Mapping[str, Sequence[Fragment]]) -> dict[str, str]:
    """The Prometheus group of each rule of these files, by rule id."""
    groups: dict[str, str] = {}
    for name, rules in fragments.items():
        by_key = group_names(_scope_of(name), rules)
        groups.update((rule.rule_id, by_key[rule.key]) for rule in rules)
    return groups


async def _render(worlds: Mapping[str, KeyWorld], fields: Mapping[str, str]) -> dict[str, RenderedRule]:
    if sum(len(world.rules) for world in worlds.values()) <= RENDERED_INLINE:
        return _rendered(worlds, fields)
    return await asyncio.to_thread(_rendered, worlds, fields)


def _rendered(worlds: Mapping[str, KeyWorld], fields: Mapping[str, str]) -> dict[str, RenderedRule]:
    """By rule id. Raises what is wrong with any of them, all at once."""
    rendered, errors = {}, []
    for world in worlds.values():
        index = WorldIndex(world)
        for rule in world.rules:
            if rule.enabled:
                try:
                    rendered[rule.id] = render_rule(rule, index)
                except RulecastError as error:
                    errors.append(with_fields(error, rule.id, fields))
    if errors:
        raise together(errors)
    return rendered


async def _assemble(transaction: Transaction, fragments: Mapping[str, Sequence[Fragment]]) -> tuple[FileChange, ...]:
    """Puts together files from their rules' stored texts, and stores those with other bytes than before."""
    facts = await transaction.file_facts(fragments)
    changed: list[tuple[Scope, RuleFile]] = []
    changes: list[FileChange] = []
    for name in sorted(fragments):
        if not fragments[name]:
            if name in facts:
                changes.append(FileChange(name, FileChangeKind.DELETED, 0, None))
            continue
        scope = _scope_of(name)
        file = assemble_file(scope, fragments[name])
        digest = file_sha256(file.content)
        if name not in facts or facts[name].sha256 != digest:
            kind = FileChangeKind.MODIFIED if name in facts else FileChangeKind.ADDED
            changed.append((scope, file))
            changes.append(FileChange(name, kind, file.rule_count, digest))
    await transaction.put_files(changed)
    await transaction.delete_files([each.name for each in changes if each.kind is FileChangeKind.DELETED])
    return tuple(changes)


def _scope_of(file_name: str) -> Scope:
    scope = parse_file_name(file_name)
    if scope is None:
        raise ValueError(f"not the name of a rule file: {file_name}")
    return scope
