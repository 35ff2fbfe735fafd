"""One stream, from Hello to its end.

    -> Hello             what is on disk
    <- Welcome           with DIFF: -> Inventory
    -> ApplyStatus       how things stand, since reports on an earlier stream may be lost
    <- Update ...        taken to the pipeline when the last fragment is here
    -> ApplyStatus       what became of it
    <- Command           -> CommandResult
    -> Heartbeat         whatever the pipeline does meanwhile

The pipeline is never interrupted by the stream: what has begun is brought to its end, what has not is dropped.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog

from deployer_service.follow import messages
from deployer_service.follow.commands import failure, result_of
from deployer_service.follow.messages import Identity
from deployer_service.follow.ports import Stream
from deployer_service.follow.redial import Drained, End, Lost, Stopped
from deployer_service.follow.transfer import Transfer, Update
from deployer_service.pipeline.run import Pipeline
from deployer_service.state import Batch, BatchResult, FileReport
from rulecast import tracing
from rulecast.capabilities import FRAGMENTS
from rulecast.errors import FailedPrecondition, RulecastError, Unavailable
from rulecast.reasons import Reason
from rulecast.v1 import distribution_pb2 as pb

WELCOME_TIMEOUT: Final = 30.0
FAREWELL_TIMEOUT: Final = 2.0
MISSED_HEARTBEATS: Final = 3
_DEFAULT_HEARTBEAT: Final = 10.0
_REPORT_EVERY: Final = 1.0
_BACKLOG: Final = 64

_log = structlog.get_logger()

Work = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Memory:
    """What one session leaves to the next. epoch: the highest ever seen.

    once_troubled: the files whose trouble was told in this process. told_all: whether the state of every file was told
    in this process; before, a trouble that an earlier process told may be over without anybody having heard of it.
    """

    epoch: int = 0
    once_troubled: set[str] = field(default_factory=set)
    told_all: bool = False

    def note(self, reports: Iterable[FileReport]) -> None:
        self.once_troubled.update(report.file_name for report in reports if messages.is_trouble(report.outcome))


class Session:
    """Runs once. `on_update` hears of every batch, for the metrics."""

    def __init__(
        self,
        stream: Stream,
        pipeline: Pipeline,
        memory: Memory,
        identity: Identity,
        source: random.Random,
        on_update: Callable[[BatchResult, float], None],
    ) -> None:
        self._stream = stream
        self._pipeline = pipeline
        self._memory = memory
        self._identity = identity
        self._source = source
        self._on_update = on_update
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[End] = self._loop.create_future()
        self._inbox: asyncio.Queue[Work] = asyncio.Queue(_BACKLOG)
        self._sending = asyncio.Lock()
        self._transfer = Transfer()
        self._welcomed = asyncio.Event()
        self._welcomed_at: float | None = None
        self._useful = False
        self._fragmented = False
        self._applying = 0
        self._busy = False
        self._heartbeat = _DEFAULT_HEARTBEAT
        self._drain_timer: asyncio.TimerHandle | None = None
        self._diverged = False
        self._seen_progress = pb.Progress()

    async def run(self, stop: asyncio.Event, on_welcome: Callable[[pb.Welcome], None]) -> End:
        """Returns how it ended; whatever the stream does, nothing is raised."""
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(self._read(on_welcome), name="session: read")
            worker = group.create_task(self._work(), name="session: work")
            others = [
                group.create_task(self._beat(), name="session: heartbeat"),
                group.create_task(self._tell_news(), name="session: news"),
                group.create_task(self._tell_effective_state(), name="session: effective state"),
                group.create_task(self._heed(stop), name="session: stop"),
            ]
            end = await self._end
            if self._drain_timer is not None:
                self._drain_timer.cancel()
            self._drop_inbox()
            await asyncio.wait({worker})
            if self._welcomed.is_set() and not isinstance(end, Lost):
                await self._take_leave(end, reader)
            for task in (reader, *others):
                task.cancel()
        return end

    async def resync(self) -> None:
        """Has the rule service compare all that is on disk."""
        await self._inbox.put(self._send_inventory)

    async def _greet(self) -> pb.Welcome:
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT):
                await self._stream.send(messages.hello(self._identity, self._pipeline.state()))
                response = await self._stream.receive()
        except TimeoutError:
            raise _lost("the rule service did not answer in time") from None
        if response is None:
            raise _lost("the rule service ended the stream before it answered")
        if not response.HasField("welcome"):
            raise _lost(f"the rule service answered with {response.WhichOneof('kind')} instead of a welcome")
        welcome = response.welcome
        if welcome.protocol_version != messages.PROTOCOL_VERSION:
            raise FailedPrecondition.of(
                "welcome.protocol_version",
                Reason.PROTOCOL_UNSUPPORTED,
                f"the rule service speaks version {welcome.protocol_version} of the protocol, this deployer version "
                f"{messages.PROTOCOL_VERSION}: upgrade the older one",
            )
        self._check_epoch(response)
        self._memory.epoch = response.epoch
        return welcome

    async def _accept(self, welcome: pb.Welcome) -> None:
        epoch = self._memory.epoch
        self._welcomed_at = self._loop.time()
        self._heartbeat = welcome.heartbeat_interval.ToTimedelta().total_seconds() or _DEFAULT_HEARTBEAT
        # before anything of this stream is applied, but not before the stream is served: the pipeline may be busy
        await self._inbox.put(lambda: self._remember(epoch, welcome.history_id))
        self._fragmented = FRAGMENTS in welcome.capabilities
        self._useful = welcome.mode == pb.Welcome.UP_TO_DATE
        if welcome.mode == pb.Welcome.DIFF:
            await self._inbox.put(self._send_inventory)
        await self._inbox.put(self._tell_standing)
        self._welcomed.set()

    async def _read(self, on_welcome: Callable[[pb.Welcome], None]) -> None:
        """Until the stream ends, or fails us."""
        try:
            welcome = await self._greet()
            await self._accept(welcome)
            on_welcome(welcome)
            while True:
                async with asyncio.timeout(MISSED_HEARTBEATS * self._heartbeat):
                    response = await self._stream.receive()
                if response is None:
                    self._lose(_lost("the rule service ended the stream"))
                    return
                self._check_epoch(response)
                await self._take(response)
        except TimeoutError:
            self._lose(_lost(f"nothing was heard for {MISSED_HEARTBEATS * self._heartbeat:g} s"))
        except RulecastError as error:
            self._lose(error)

    async def _take(self, response: pb.SyncResponse) -> None:
        if self._end.done():
            return
        match response.WhichOneof("kind"):
            case "update":
                update = self._transfer.add(response.nonce, response.update, self._loop.time())
                if update is not None:
                    self._applying = update.nonce
                    await self._inbox.put(lambda: self._apply(update, response.traceparent))
            case "progress" if response.progress != self._seen_progress:
                progress = self._seen_progress = response.progress
                await self._inbox.put(lambda: self._follow_progress(progress))
            case "command":
                command = response.command
                await self._inbox.put(lambda: self._obey(command))
            case "drain":
                within = response.drain.reconnect_within.ToTimedelta().total_seconds()
                self._drain(self._source.uniform(0.0, within), response.drain.message)
            case _:
                return  # a kind of a newer protocol, or a Progress that says nothing new

    async def _work(self) -> None:
        """One thing after the other, until the session ends."""
        while not self._end.done():
            work = await self._inbox.get()
            self._busy = True
            await work()
            self._busy = False

    async def _apply(self, update: Update, traceparent: str) -> None:
        revision = update.batch.to_revision
        with structlog.contextvars.bound_contextvars(revision=revision, nonce=update.nonce):
            with tracing.span("apply", traceparent, revision=revision, nonce=update.nonce):
                result = await self._pipeline.apply(update.batch)
            took = self._loop.time() - update.received_at
            self._on_update(result, took)
            self._memory.note(result.outcomes.values())
            _log.info("update applied", files=len(result.outcomes), seconds=round(took, 3))
            if await self._send(*messages.answer(update.nonce, result, took, self._memory.once_troubled)):
                self._useful = True
            if self._applying == update.nonce:
                self._applying = 0
            await self._compare(update.manifest_hash)

    async def _follow_progress(self, progress: pb.Progress) -> None:
        """All up to this revision was sent before it was named, and so is done by now."""
        record = self._pipeline.state().record
        if (progress.revision, progress.commit_id) != (record.revision, record.commit_id):
            await self._pipeline.apply(Batch({}, frozenset(), progress.revision, commit_id=progress.commit_id))
        await self._compare(progress.manifest_hash)

    async def _compare(self, expected: bytes) -> None:
        """Asks for a comparison where our files are not what the rule service takes them for, without a trouble that
        may be the cause, or where their contents are gone."""
        state = self._pipeline.state()
        if state.lost and expected == state.manifest_hash:
            await self._pipeline.forget_lost()
        explained = state.record.troubles and not state.lost
        if not expected or expected == state.manifest_hash or explained:
            self._diverged = False
        elif self._diverged:
            self._lose(_lost("our files are not what the rule service says they are, also after comparing them"))
        else:
            self._diverged = True
            _log.warning("files are not as expected, comparing", files=len(state.record.files))
            await self._send_inventory()

    async def _obey(self, command: pb.Command) -> None:
        _log.info("command", kind=messages.name_of(pb.Command.Kind, command.kind), id=command.id)
        try:
            match command.kind:
                case pb.Command.RELOAD:
                    reports = (await self._pipeline.reload()).reports
                    self._memory.note(reports)
                    await self._send(*messages.news(reports, self._pipeline.state()))
                    result = result_of(command.id, reports)
                case pb.Command.VALIDATE:
                    result = result_of(command.id, await self._pipeline.validate())
                case pb.Command.RESYNC:
                    await self._send_inventory()
                    result = result_of(command.id, ())
                case pb.Command.REPORT:
                    await self._send_effective(messages.effective_state(self._pipeline.state()))
                    result = result_of(command.id, ())
                case _:
                    result = failure(command.id, _unknown_command(command.kind))
        except RulecastError as error:
            result = failure(command.id, error)
        await self._send(pb.SyncRequest(command_result=result))

    async def _remember(self, epoch: int, history_id: str) -> None:
        record = self._pipeline.state().record
        if (record.epoch, record.history_id) != (epoch, history_id):
            await self._pipeline.remember(epoch=epoch, history_id=history_id)

    async def _send_inventory(self) -> None:
        await self._send(*messages.inventory(self._pipeline.state(), fragmented=self._fragmented))

    async def _send_effective(self, effective: pb.EffectiveState) -> None:
        await self._send(*messages.effective(effective, fragmented=self._fragmented))

    async def _tell_standing(self) -> None:
        state, memory = self._pipeline.state(), self._memory
        reports = messages.standing(state, memory.once_troubled if memory.told_all else None, datetime.now(UTC))
        memory.note(reports)
        if not reports or await self._send(*messages.news(reports, state)):
            memory.told_all = True

    async def _tell_news(self) -> None:
        await self._welcomed.wait()
        while True:
            reports = await self._pipeline.news()
            self._memory.note(reports)
            await self._send(*messages.news(reports, self._pipeline.state()))

    async def _tell_effective_state(self) -> None:
        await self._welcomed.wait()
        told = None
        while True:
            effective = messages.effective_state(self._pipeline.state())
            if effective != told:
                await self._send_effective(effective)
                told = effective
            await asyncio.sleep(_REPORT_EVERY)

    async def _beat(self) -> None:
        await self._welcomed.wait()
        while True:
            await asyncio.sleep(self._heartbeat)
            await self._send(messages.heartbeat(self._pipeline.state(), self._applying, busy=self._busy))

    async def _heed(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._finish(Stopped())

    async def _send(self, *fragments: pb.SyncRequest) -> bool:
        """Whether all was sent, with nothing between. A peer that does not read is lost, as one that does not write."""
        try:
            async with asyncio.timeout(MISSED_HEARTBEATS * self._heartbeat), self._sending:
                for fragment in fragments:
                    await self._stream.send(fragment)
                return True
        except RulecastError as error:
            self._lose(error)
        except TimeoutError:
            self._lose(_lost(f"nothing could be sent for {MISSED_HEARTBEATS * self._heartbeat:g} s"))
        return False

    async def _take_leave(self, end: End, reader: asyncio.Task[None]) -> None:
        if isinstance(end, Stopped):
            await self._send(pb.SyncRequest(goodbye=pb.Goodbye(message="the deployer was told to stop")))
        with contextlib.suppress(RulecastError):
            async with self._sending:
                await self._stream.finish()
        # cut at once, the last words might not arrive
        await asyncio.wait({reader}, timeout=FAREWELL_TIMEOUT)

    def _check_epoch(self, response: pb.SyncResponse) -> None:
        if response.epoch < self._memory.epoch:
            raise Unavailable.of(
                "epoch",
                Reason.STALE_EPOCH,
                f"the rule service speaks for epoch {response.epoch}, but {self._memory.epoch} was given since: "
                "it is an old replica, or its database was restored",
            )

    def _drop_inbox(self) -> None:
        while not self._inbox.empty():
            self._inbox.get_nowait()
        self._inbox.put_nowait(_nothing)  # wakes the worker

    def _drain(self, seconds: float, why: str) -> None:
        """Until then the stream is used, as long as the other side keeps it."""
        _log.info("asked to go elsewhere", why=why, in_seconds=round(seconds, 3))
        if self._drain_timer is None:
            self._drain_timer = self._loop.call_later(seconds, self._finish, Drained(0.0))

    def _lose(self, error: RulecastError) -> None:
        if self._drain_timer is not None:
            self._finish(Drained(max(0.0, self._drain_timer.when() - self._loop.time())))
            return
        now = self._loop.time()
        lived = now - (now if self._welcomed_at is None else self._welcomed_at)
        self._finish(Lost(error, lived, self._useful))

    def _finish(self, end: End) -> None:
        if not self._end.done():
            self._end.set_result(end)


async def _nothing() -> None:
    return


def _lost(message: str) -> Unavailable:
    return Unavailable.of("", Reason.STREAM_LOST, message)


def _unknown_command(kind: int) -> RulecastError:
    return FailedPrecondition.of(
        "command.kind", Reason.PROTOCOL_UNSUPPORTED, f"command {kind} is not known to this deployer: upgrade it"
    )
