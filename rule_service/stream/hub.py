"""The manifest that all streams of a replica share, kept up to date, and the streams that follow it.

It follows the change log: woken, it reads what came after its position. Every few minutes, and whenever the database
was away, it compares the whole manifest. Where the database does not go on from its position (a backup was restored,
a failover has lost commits) all streams are drained, so that the deployers compare everything they have.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from rule_service.domain.layout import parse_file_name
from rule_service.domain.model import Group, GroupScope
from rule_service.metrics import StreamMetrics
from rule_service.stream.ports import Groups
from rule_service.stream.snapshot import Entry, Snapshot
from rule_service.stream.view import Serves, View
from rule_service.usecases.ports import Wakeups
from rule_service.usecases.ports_delivery import ChangeLog, FileChanges, Manifest
from rulecast.errors import LimitExceeded, RulecastError, Unavailable
from rulecast.reasons import Reason
from rulecast.v1 import distribution_pb2 as pb

POLL: Final = 10.0
"""Seconds after which it looks though nothing woke it. Whoever wakes it polls more often."""
COMPARE_EVERY: Final = 300.0
"""Seconds between two comparisons of the whole manifest."""
MAX_STREAMS: Final = 10_000
TOLD_ONE_BY_ONE: Final = 100
"""Streams: with more of them a change is not worth a log line for each, where all goes well."""
HASHED_INLINE: Final = 2_000
"""The hash over so many files takes a few milliseconds; over more it is made beside the event loop."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Follower(Protocol):
    """A stream, as the hub knows it."""

    def command(self, kind: pb.Command.Kind.ValueType, *, mass_deletion_allowed: bool = False) -> None:
        """Something to do besides updates. mass_deletion_allowed: by what a resync leads to."""
        ...

    @property
    def unacknowledged_for(self) -> float:
        """Seconds for which its Update has not been answered; 0 where there is none."""
        ...

    def wake(self) -> None:
        """The manifest has changed."""
        ...

    def drain(self, message: str) -> None:
        """The stream is to end, and its deployer to connect again."""
        ...


@dataclass(frozen=True, slots=True)
class _State:
    """groups: those of the ids that were `asked` for, with their ancestors. grouping: counts how often one has moved.

    trusted: whether a deletion can be taken for one that was meant, since all of the history is in the change log.
    """

    snapshot: Snapshot
    asked: frozenset[str]
    groups: Mapping[str, Group]
    grouping: int
    trusted: bool


class Hub:
    """One for each replica; `run` keeps it up to date."""

    def __init__(
        self,
        log: ChangeLog,
        groups: Groups,
        wakeups: Wakeups,
        metrics: StreamMetrics,
        *,
        poll: float = POLL,
        compare_every: float = COMPARE_EVERY,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        self._changes = log
        self._groups = groups
        self._wakeups = wakeups
        self._metrics = metrics
        self._poll = poll
        self._compare_every = compare_every
        self._max_streams = max_streams
        self._state: _State | None = None
        self._compare_at = 0.0
        self._away = False
        self._following = asyncio.Lock()
        self._viewing = asyncio.Lock()
        self._views: dict[Serves, View] = {}
        self._served: Counter[Serves] = Counter()
        self._streams: dict[str, Follower] = {}
        metrics.watch(lambda: len(self._streams), self._unacknowledged_for)

    @property
    def streams(self) -> Mapping[str, Follower]:
        """The streams to this replica, by deployer."""
        return self._streams

    @property
    def routine(self) -> int:
        """The level of a log line on what each stream does with each change."""
        return logging.INFO if len(self._streams) <= TOLD_ONE_BY_ONE else logging.DEBUG

    @property
    def revision(self) -> int:
        """Of the newest snapshot; 0 before there is one."""
        return self._state.snapshot.revision if self._state is not None else 0

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Of the newest snapshot."""
        return self._state.snapshot.entries if self._state is not None else {}

    def trusts(self, history_id: str) -> bool:
        """Whether files that a follower of this history has, and the manifest has not, were deleted on purpose.

        Not in another history, nor after the database was seen to go back, or files to change without a word in the
        change log.
        """
        state = self._state
        return state is not None and state.trusted and state.snapshot.position.history_id == history_id

    @property
    def up_to_date(self) -> bool:
        """Whether it has read the manifest, and the database has answered when it last looked."""
        return self._state is not None and not self._away

    async def run(self) -> None:
        """Follows the database until it is cancelled; a database that is away is waited for."""
        while True:
            # armed before reading, so that no change between the two is missed
            wakeup = self._wakeups.armed()
            try:
                await self.follow()
            except RulecastError as error:
                self._lost(error)
            await wakeup.wait(self._poll)

    async def follow(self) -> None:
        """Catches up with the database. Raises Unavailable."""
        async with self._following:
            state = self._state
            if state is None:
                await self._begin(await self._changes.manifest(), trusted=True)
            else:
                await self._go_on(state)
            if self._away:
                _log.info("database answers again")
                self._away = False

    async def view(self, served: Serves = ()) -> View:
        """What deployers should have that serve this; newest as far as known. `served` is in use: see `serving`.

        Raises Unavailable as long as nothing was ever read.
        """
        known = self._views.get(served)
        if known is not None:
            return known
        async with self._viewing:
            state = self._state
            if state is None:
                raise Unavailable.of(
                    "", Reason.DATABASE_UNAVAILABLE, "the rule files were not read from the database yet: try again"
                )
            view = self._views.get(served)
            if view is None:
                view = await _view(state, served)
                if self._state is state:
                    self._views[served] = view
            return view

    @asynccontextmanager
    async def serving(self, served: Serves) -> AsyncIterator[None]:
        """Meanwhile the groups that decide what is taken by who serves this are kept up to date. Raises Unavailable."""
        self._served[served] += 1
        try:
            if served and self._served[served] == 1:
                async with self._following:
                    if self._state is not None:
                        await self._regroup(self._state.snapshot)
            yield
        finally:
            self._served[served] -= 1
            if not self._served[served]:
                del self._served[served]
                self._views.pop(served, None)

    @contextmanager
    def joined(self, deployer_id: str, stream: Follower) -> Iterator[None]:
        """Meanwhile the stream is told of changes. An older stream of the same deployer is drained.

        Raises LimitExceeded when there are too many.
        """
        older = self._streams.pop(deployer_id, None)
        if older is not None:
            older.drain("the deployer has connected again")
        if len(self._streams) >= self._max_streams:
            raise LimitExceeded.of(
                "",
                Reason.TOO_MANY_STREAMS,
                f"this replica has {self._max_streams} streams and takes no more: connect to another one",
            )
        self._streams[deployer_id] = stream
        try:
            yield
        finally:
            if self._streams.get(deployer_id) is stream:
                del self._streams[deployer_id]

    async def _begin(self, manifest: Manifest, *, trusted: bool) -> None:
        await self._adopt(Snapshot.of(manifest), trusted=trusted)
        self._compare_at = asyncio.get_running_loop().time() + self._compare_every
        _log.info("manifest read", revision=manifest.position.revision, files=len(manifest.files))

    async def _go_on(self, state: _State) -> None:
        changes = await self._changes.changes_after(state.snapshot.position)
        if changes is None:
            await self._start_over(state, "the database does not go on from where it was")
            return
        if changes.position != state.snapshot.position:
            await self._advance(state, changes)
        if asyncio.get_running_loop().time() >= self._compare_at:
            await self._compare()

    async def _advance(self, state: _State, changes: FileChanges) -> None:
        snapshot = state.snapshot.with_changes(changes)
        await self._adopt(snapshot, trusted=state.trusted)
        _log.debug("manifest changed", revision=snapshot.revision, files=len(changes.files))

    async def _compare(self) -> None:
        manifest = await self._changes.manifest()
        state = self._state
        assert state is not None, "compared is what was read"
        if manifest.position != state.snapshot.position:
            return  # an edit came between: the next look compares
        self._compare_at = asyncio.get_running_loop().time() + self._compare_every
        if not state.snapshot.same_files(manifest):
            await self._start_over(state, "rule files were changed without a word in the change log")

    async def _start_over(self, state: _State, why: str) -> None:
        before = state.snapshot.position
        manifest = await self._changes.manifest()
        # in the same history something is missing that nobody has deleted; who follows another one has begun with it
        await self._begin(manifest, trusted=manifest.position.history_id != before.history_id)
        _log.error("comparing everything", why=why, before=before.revision, history=before.history_id)
        for stream in list(self._streams.values()):
            stream.drain(f"{why}: connect again and compare all files")

    async def _adopt(self, snapshot: Snapshot, *, trusted: bool) -> None:
        asked = self._group_ids(snapshot)
        # nothing is asked where every deployer takes everything
        groups = await self._groups.group_with_ancestors(asked) if asked else {}
        self._state = _State(snapshot, asked, groups, self._grouping(asked, groups), trusted)
        self._views.clear()
        self._metrics.at_revision(snapshot.revision)
        for stream in self._streams.values():
            stream.wake()

    async def _regroup(self, snapshot: Snapshot) -> None:
        assert self._state is not None, "there is a snapshot"
        await self._adopt(snapshot, trusted=self._state.trusted)

    def _group_ids(self, snapshot: Snapshot) -> frozenset[str]:
        """The groups that decide who takes what."""
        served = [scope for serves in self._served for scope in serves]
        if not served:
            return frozenset()
        scopes = [*served, *(parse_file_name(name) for name in snapshot.entries)]
        return frozenset(scope.group_id for scope in scopes if isinstance(scope, GroupScope))

    def _grouping(self, asked: frozenset[str], groups: Mapping[str, Group]) -> int:
        state = self._state
        if state is None:
            return 0
        known_in_both = (state.asked & asked) | (state.groups.keys() & groups.keys())
        return state.grouping + any(state.groups.get(id) != groups.get(id) for id in known_in_both)

    def _lost(self, error: RulecastError) -> None:
        if not self._away:
            _log.warning("changes can not be read", error=str(error), reason=error.reason)
        self._away = True
        self._compare_at = 0.0

    def _unacknowledged_for(self) -> float:
        return max((stream.unacknowledged_for for stream in self._streams.values()), default=0.0)


async def _view(state: _State, served: Serves) -> View:
    arguments = (state.snapshot, served, state.groups, state.grouping)
    if len(state.snapshot.entries) > HASHED_INLINE:
        return await asyncio.to_thread(View.of, *arguments)
    return View.of(*arguments)
