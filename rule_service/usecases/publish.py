"""Every edit's way into the database: try it, check what it renders to, then do it under the commit lock.

The edit runs twice. First in a transaction that is rolled back, without the lock: this tells what would be rendered,
and promtool checks what is new of it. Then it runs again under the lock, on what the database holds by then (from
`memory` where nobody has changed it), and is committed if it renders to what was checked; else what is new is checked
first. Where promtool is not asked, the second half is all there is. A dry run is an edit under the lock that is rolled
back in the end.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Generic, TypeVar

import structlog

from rule_service.domain.render import RenderedRule
from rule_service.usecases.assembly import Assembled, assemble
from rule_service.usecases.blame import refused_by_promtool
from rule_service.usecases.change import Capture, Change, RaisedWarning, WriteOptions, Written
from rule_service.usecases.memory import Memory
from rule_service.usecases.permission import check_permission
from rule_service.usecases.ports import Store, Transaction
from rule_service.usecases.ports_changes import Answered, LoggedChange, Request
from rule_service.usecases.ports_check import RuleChecker
from rule_service.usecases.ports_watch import EditOutcome, EditWatch, Unwatched
from rule_service.usecases.preview import About, about, compare, look
from rule_service.usecases.rendering import Differences, Edited, Renderer
from rule_service.usecases.underway import Underway
from rule_service.usecases.waiting import RolloutWaiter
from rulecast import tracing
from rulecast.errors import Conflict, InvalidInput, RulecastError, Unavailable
from rulecast.reasons import Reason

T = TypeVar("T")

ATTEMPTS = 10
"""How often an edit is checked anew because others have changed what it renders to."""

TRIED_AT_ONCE = 4
"""Edits that are tried at the same time: each needs a connection, and more would not be faster."""

FILES_REMEMBERED = 4
"""What is in more files than these is read again by the second run of an edit."""

FEW = 4
"""Edits that are committed in about the time that promtool takes."""

Edit = Callable[[Transaction], Awaitable[Edited[T]]]

First = Callable[[Transaction, Answered], Awaitable[T]]
"""Reads what the first call of a request has made."""


class Publisher:
    """Runs edits. One for the process.

    checker: None where promtool is not asked. watch: is told how each ended. underway: has those that are not bulk.
    """

    def __init__(
        self,
        store: Store,
        checker: RuleChecker | None,
        waiter: RolloutWaiter,
        watch: EditWatch | None = None,
        underway: Underway | None = None,
    ) -> None:
        self._parts = _Parts(store, checker)
        self._waiter = waiter
        self._underway = underway or Underway()
        self._watch = watch or Unwatched()
        self._patient = asyncio.Lock()

    async def publish(
        self, edit: Edit[T], options: WriteOptions, first: First[T] | None = None, *, bulk: bool = False
    ) -> Written[T]:
        """Runs an edit, or tries it. Raises what the edit raises, InvalidInput for what promtool refuses, and
        PermissionDenied for what its author may not change.

        first: for a create that can be repeated, reads what the first call with its request made.
        bulk: it may render very much, or find that there is nothing to do, so it is tried first in any case.
        Nothing is changed when it raises.
        """
        if first is not None and options.request is not None:
            edit = _once(edit, options.method, options.request, first)
        tried_first = bulk or self._parts.checker is not None
        run = _Run(self._parts, _permitted(edit, options.namespaces), options, tried_first=tried_first)
        uncounted = options.validate_only or bulk
        try:
            with nullcontext() if uncounted else self._underway.one():
                revision, attempt = await self._published(run)
        except Exception as error:
            self._watch.edited(options.method, _outcome_of(error))
            raise
        if options.validate_only:
            self._watch.edited(options.method, EditOutcome.DRY_RUN)
            return attempt.written(attempt.change(0))
        self._watch.edited(options.method, EditOutcome.COMMITTED if revision else EditOutcome.UNCHANGED)
        revision = revision or attempt.edited.answered
        change = attempt.change(revision)
        if revision:
            # in every line that is logged for this call from now on
            structlog.contextvars.bind_contextvars(revision=revision)
            rollout = await self._waiter.wait(revision, options.wait_timeout, options.wait_until)
            change = replace(change, rollout=rollout)
        return attempt.written(change)

    async def _published(self, run: "_Run[T]") -> tuple[int, "_Attempt[T]"]:
        """The revision, 0 where none was made, and what was done or would be."""
        if run.options.validate_only:
            return 0, await run.dry()
        unchanged = await run.prepare()
        if unchanged is not None:
            return 0, unchanged
        try:
            return await run.commit()
        except _Overtaken:
            # these take turns, or none would ever be the first
            async with self._patient:
                return await run.commit_at_last()


class _Parts:
    """What all edits share. trying: how many at a time. calm: no more edits are to be committed than a few."""

    def __init__(self, store: Store, checker: RuleChecker | None) -> None:
        self.store = store
        self.checker = checker
        self.trying = asyncio.Semaphore(TRIED_AT_ONCE)
        self.calm = asyncio.Event()
        self.calm.set()
        self._committing = asyncio.Lock()
        self._to_commit = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One edit of this process at a time waits for the commit lock, and keeps a connection for that."""
        self._count(1)
        try:
            async with self._committing:
                yield
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        self._to_commit += more
        if self._to_commit <= FEW:
            self.calm.set()
        else:
            self.calm.clear()


class _Attempt(Generic[T]):
    """What an edit did in a transaction, and what comes of it; assembled: not for one whose files do not matter yet."""

    def __init__(self, edited: Edited[T], differences: Differences, assembled: Assembled) -> None:
        self.edited = edited
        self.differences = differences
        self.assembled = assembled

    @property
    def empty(self) -> bool:
        """Whether it leaves everything as it is."""
        return not (self.edited.resources or self.differences or self.assembled.changes)

    def change(self, revision: int) -> Change:
        rules = self.differences.new
        warnings = (RaisedWarning(rule.rule_id, warning) for rule in rules for warning in rule.warnings)
        return Change(revision, self.assembled.changes, (*warnings, *self.assembled.twins))

    def written(self, change: Change) -> Written[T]:
        return Written(self.edited.value, change, self.assembled.placed)

    async def store(self, transaction: Transaction, options: WriteOptions) -> None:
        """Writes down what was rendered, and the history."""
        assembled, differences = self.assembled, self.differences
        await transaction.put_rendered(differences.new)
        await transaction.delete_rendered([rule.rule_id for rule in differences.gone])
        await transaction.put_files(assembled.files)
        await transaction.delete_files(assembled.deleted)
        await transaction.log(
            options.author,
            options.method,
            self.edited.resources,
            [LoggedChange(each.name, each.sha256) for each in assembled.changes],
            reason=options.reason,
            request=options.request,
        )


class _Run(Generic[T]):
    """One edit on its way."""

    def __init__(self, parts: _Parts, edit: Edit[T], options: WriteOptions, *, tried_first: bool) -> None:
        self._parts = parts
        self._edit = edit
        self.options = options
        self._tried_first = tried_first
        self._renderer = Renderer()
        self._memory = Memory()
        self._accepted: set[tuple[str, str]] = set()

    async def dry(self) -> _Attempt[T]:
        """All but the commit."""
        capture = self.options.capture
        attempt = await (self._dry() if capture is None else self._preview(capture))
        await self._check(self._unchecked(attempt), attempt.edited.fields)
        return attempt

    async def _dry(self) -> _Attempt[T]:
        async with self._parts.turn(), self._parts.store.transaction(rollback=True) as transaction:
            return await self._attempt(transaction)

    async def _preview(self, capture: Capture) -> _Attempt[T]:
        """As `_dry`. What has to be looked at is known once it was tried; so it is tried again between two looks."""
        async with self._parts.turn(), self._parts.store.transaction(rollback=True) as transaction:
            attempt = await self._attempt(transaction)
            at = await _about(transaction, attempt)
        for _ in range(ATTEMPTS):
            async with self._parts.turn(), self._parts.store.transaction(rollback=True) as transaction:
                before = await look(transaction, at)
                attempt = await self._attempt(transaction)
                await attempt.store(transaction, self.options)
                after = await look(transaction, at)
                now = await _about(transaction, attempt)
            if now == at:
                change = attempt.change(0)
                facts = (change.files, attempt.edited.resources, change.warnings)
                capture.preview = await asyncio.to_thread(compare, before, after, *facts)
                return attempt
            at = now
        raise _contention()

    async def prepare(self) -> _Attempt[T] | None:
        """Renders what the edit would, for promtool to check. The attempt, where it would leave everything as it is."""
        if not self._tried_first:
            return None
        attempt = await self._tried()
        await self._check(self._unchecked(attempt), attempt.edited.fields)
        return attempt if attempt.empty else None

    async def commit(self) -> tuple[int, _Attempt[T]]:
        """The revision, and what was committed. 0: nothing differs. Raises _Overtaken."""
        with tracing.span("commit") as committing:
            revision, attempt = await self._under_lock()
            committing.note(revision=revision)
            return revision, attempt

    async def _under_lock(self) -> tuple[int, _Attempt[T]]:
        try:
            async with self._parts.turn(), self._parts.store.transaction() as transaction:
                # before anything is read: this row is the commit lock
                revision = await transaction.take_revision()
                attempt = await self._attempt(await self._memory.recall(transaction, revision))
                if unchecked := self._unchecked(attempt):
                    raise _Overtaken(unchecked, attempt.edited.fields)
                if attempt.empty:
                    raise _NothingDiffers
                await attempt.store(transaction, self.options)
        except _NothingDiffers:
            return 0, attempt
        return revision, attempt

    async def commit_at_last(self) -> tuple[int, _Attempt[T]]:
        """As `commit`, for an edit that others have overtaken. Raises Conflict where they go on and on."""
        for _ in range(ATTEMPTS):
            try:
                return await self.commit()
            except _Overtaken as overtaken:
                await self._check(overtaken.unchecked, overtaken.fields)
        raise _contention()

    async def _tried(self) -> _Attempt[T]:
        async with self._parts.trying:
            try:
                async with self._parts.store.transaction(rollback=True, locked=False) as transaction:
                    return await self._remembered(transaction)
            except Unavailable:
                raise
            except RulecastError:
                self._memory.forget()  # others were in its way: the word that counts is spoken under the lock
        async with self._parts.turn(), self._parts.store.transaction(rollback=True) as transaction:
            return await self._attempt(transaction, most_files=0)

    async def _remembered(self, transaction: Transaction) -> _Attempt[T]:
        """The second run is spared what a small edit reads; what a large one reads is not kept in memory meanwhile."""
        attempt = await self._attempt(await self._memory.record(transaction), most_files=FILES_REMEMBERED)
        if len(attempt.differences.files) > FILES_REMEMBERED:
            self._memory.forget()
        return attempt

    async def _attempt(self, transaction: Transaction, *, most_files: int | None = None) -> _Attempt[T]:
        """most_files: of more than so many it is only seen what differs in them."""
        edited = await self._edit(transaction)
        differences = await self._renderer.differences(transaction, edited)
        if most_files is not None and len(differences.files) > most_files and not edited.files:
            return _Attempt(edited, differences, Assembled())
        return _Attempt(edited, differences, await assemble(transaction, differences, edited.files))

    async def _check(self, rules: Sequence[RenderedRule], fields: Mapping[str, str]) -> None:
        if self._parts.checker is None or not rules:
            return
        # as long as others are to be committed this one would have to wait for them: promtool looks at more at once
        await self._parts.calm.wait()
        with tracing.span("validate", rules=len(rules)):
            failures = await self._parts.checker.check(rules)
        if failures:
            raise InvalidInput(tuple(refused_by_promtool(failure, fields) for failure in failures))
        self._accepted.update((rule.source_query, rule.text) for rule in rules)

    def _unchecked(self, attempt: _Attempt[T]) -> list[RenderedRule]:
        """What is new and not among what promtool has accepted."""
        if self._parts.checker is None:
            return []
        rules = (*attempt.differences.new, *attempt.edited.samples)
        return [rule for rule in rules if (rule.source_query, rule.text) not in self._accepted]


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
    return About(keys, tuple(each.name for each in attempt.assembled.changes))


def _contention() -> Conflict:
    return Conflict.of("", Reason.CONTENTION, "others kept changing the same alert meanwhile: try again")


class _NothingDiffers(Exception):
    """Leaves the transaction without committing it."""


class _Overtaken(Exception):
    """What is rendered under the lock is not what was checked before."""

    def __init__(self, unchecked: Sequence[RenderedRule], fields: Mapping[str, str]) -> None:
        super().__init__()
        self.unchecked = unchecked
        self.fields = fields
