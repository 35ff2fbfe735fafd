"""One stream, from Hello to its end.

    -> Hello           <- Welcome: UP_TO_DATE, or DIFF: -> Inventory
    <- Update          one at a time; what comes while it is on its way is in the next one
    -> ApplyStatus     recorded, then the next
    <- Progress, Command, Drain      -> Heartbeat, EffectiveState, CommandResult, Goodbye

One task reads and records, another writes, a third sees to it that neither waits for ever; `Standing` is what they
know of the deployer. The first Update is sent even if it holds no file: only its answer proves that the deployer has
taken up the revision.
"""

import asyncio
import contextlib
from enum import Enum, auto

import structlog

from rule_service.stream import messages
from rule_service.stream.parts import StreamParts
from rule_service.stream.policy import StreamPolicy
from rule_service.stream.ports import Duplex
from rule_service.stream.reports import Reports
from rule_service.stream.sender import Sender
from rule_service.stream.standing import Standing
from rule_service.usecases.ports_delivery import Claim, HelloFacts
from rulecast.errors import DeadlineExceeded, FailedPrecondition, PermissionDenied, RulecastError, Unavailable
from rulecast.reasons import Reason
from rulecast.rpc.errors import RETRY_AFTER
from rulecast.v1 import distribution_pb2 as pb

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class End(Enum):
    """How a stream ended, which decides about the lease."""

    LOST = auto()
    GOODBYE = auto()
    DRAINED = auto()


async def serve(parts: StreamParts, stream: Duplex, stopping: asyncio.Event, only: str | None = None) -> None:
    """Serves one deployer for as long as its stream lasts. `stopping`: the replica ends.

    only: the one deployer that may open this stream; None: any.
    Raises InvalidInput, PermissionDenied, FailedPrecondition, Conflict, LimitExceeded, Unavailable, DeadlineExceeded.
    """
    hello = await _greeted(stream, parts.policy)
    if only is not None and hello.id != only:
        message = f"this token is for deployer '{only}' alone: give each deployer a token of its own"
        raise PermissionDenied.of("hello.deployer_id", Reason.DEPLOYER_NOT_ALLOWED, message)
    with structlog.contextvars.bound_contextvars(deployer=hello.id):
        async with parts.hub.serving(hello.serves):
            claim = await _claimed(parts, hello)
            session = Session(parts, hello, claim, stream)
            try:
                with parts.hub.joined(hello.id, session):
                    await session.run(stopping)
            except RulecastError as error:
                parts.metrics.ended(error.reason)
                raise
            else:
                parts.metrics.ended(session.end.name)
            finally:
                await session.end_lease()


async def _greeted(stream: Duplex, policy: StreamPolicy) -> HelloFacts:
    try:
        async with asyncio.timeout(policy.lease):
            return messages.hello(await stream.read())
    except TimeoutError:
        raise _silent(policy) from None


async def _claimed(parts: StreamParts, hello: HelloFacts) -> Claim:
    try:
        return await parts.leases.claim(hello, parts.server_id, parts.policy.lease)
    except FailedPrecondition as error:
        if "lease_seconds" in error.metadata:
            error.metadata.setdefault(RETRY_AFTER, error.metadata["lease_seconds"])
        raise


class Session:
    """One stream whose deployer holds the lease."""

    def __init__(self, parts: StreamParts, hello: HelloFacts, claim: Claim, stream: Duplex) -> None:
        self._parts = parts
        self._hello = hello
        self._claim = claim
        self._stream = stream
        self._standing = Standing(claim.revision)
        self._reports = Reports(parts, hello.id, claim.epoch, self._standing)
        self._sender = Sender(parts, hello, claim, self._standing, stream)
        self._reading_since: float | None = None
        self._now = asyncio.get_running_loop().time
        self.end = End.LOST

    @property
    def unacknowledged_for(self) -> float:
        return self._sender.unacknowledged_for

    def wake(self) -> None:
        self._sender.wake()

    def drain(self, message: str) -> None:
        self._sender.drain(message)

    def command(self, kind: pb.Command.Kind.ValueType, *, mass_deletion_allowed: bool = False) -> None:
        """Passes a command on; the same one twice is one, as long as it was not sent."""
        self._sender.command(kind, mass_deletion_allowed=mass_deletion_allowed)

    async def run(self, stopping: asyncio.Event) -> None:
        """Until the deployer leaves, or was asked to connect elsewhere."""
        with structlog.contextvars.bound_contextvars(epoch=self._claim.epoch):
            try:
                async with asyncio.TaskGroup() as tasks:
                    name = f"stream of {self._hello.id}"
                    watch = tasks.create_task(self._watch(stopping), name=f"{name}: watch")
                    await self._welcome()
                    read = tasks.create_task(self._read(), name=f"{name}: read")
                    if await self._sender.run():
                        self.end = End.DRAINED
                    for task in (read, watch):
                        task.cancel()
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from failed
            finally:
                if self._standing.in_flight is not None:
                    self._standing.in_flight.delivery.failed("the stream ended before the answer")
                    self._standing.in_flight.delivery.end()
                _log.info("stream ended", end=self.end.name, revision=self._standing.taken_up)

    async def end_lease(self) -> None:
        """A goodbye ends it at once, a lost connection soon. A drained deployer keeps it until it is elsewhere."""
        id, epoch, policy = self._hello.id, self._claim.epoch, self._parts.policy
        try:
            async with asyncio.timeout(policy.farewell):
                match self.end:
                    case End.GOODBYE:
                        await self._parts.leases.release(id, epoch)
                    case End.LOST:
                        grace = min(policy.lost_grace, policy.lease)
                        await self._parts.leases.renew(id, epoch, grace, self._standing.disk)
                    case End.DRAINED:
                        return
        except (RulecastError, TimeoutError) as error:
            # it runs out by itself, or another process has it already
            _log.debug("lease left to run out", error=str(error))

    async def _welcome(self) -> None:
        hello, standing = self._hello, self._standing
        standing.refused = dict(await self._parts.leases.refused(hello.id))
        view = await self._parts.hub.view(hello.serves)
        up_to_date = hello.manifest_hash == view.manifest_hash
        standing.begin(view, up_to_date=up_to_date, now=self._now())
        mode = pb.Welcome.UP_TO_DATE if up_to_date else pb.Welcome.DIFF
        await self._sender.send(messages.welcome(view, mode, self._parts.policy, self._parts.server_id))
        _log.info(
            "stream begun",
            mode=pb.Welcome.Mode.Name(mode),
            revision=view.revision,
            taken_up=self._claim.revision,
            software_version=hello.software_version,
            prometheus_version=hello.prometheus_version,
        )

    async def _read(self) -> None:
        while (message := await self._next()) is not None:
            if message.WhichOneof("kind") == "goodbye":
                self.end = End.GOODBYE
                break
            await self._reports.take(message)
            self._sender.heard()
        self._sender.finish()

    async def _next(self) -> pb.SyncRequest | None:
        self._reading_since = self._now()
        message = await self._stream.read()
        self._reading_since = None
        return message

    async def _watch(self, stopping: asyncio.Event) -> None:
        """Ends a stream whose deployer says or reads nothing for the time of a lease, or whose replica is stopping.

        It looks when that can be so for the first time: a timeout set and taken back around each message would be a
        tenth of what the message costs.
        """
        while not stopping.is_set():
            until = self._patient_until()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await stopping.wait()
        self.drain("the rule service is stopping")
        await asyncio.sleep(self._parts.policy.farewell)
        # the sender waits for a deployer that does not read, or for the database
        raise Unavailable.of("", Reason.STREAM_LOST, "the rule service is stopping: connect to another one")

    def _patient_until(self) -> float:
        """The earliest that it can be too long. Raises DeadlineExceeded where it is."""
        now, policy = self._now(), self._parts.policy
        reading, writing = self._reading_since, self._sender.writing_since
        if reading is not None and now >= reading + policy.lease:
            raise _silent(policy)
        if writing is not None and now >= writing + policy.lease:
            raise _unread(policy)
        return min(since for since in (reading, writing, now) if since is not None) + policy.lease


def _silent(policy: StreamPolicy) -> DeadlineExceeded:
    return DeadlineExceeded.of(
        "",
        Reason.STREAM_LOST,
        f"nothing was heard from the deployer for {policy.lease:g} s: it has to say something every "
        f"{policy.heartbeat:g} s",
    )


def _unread(policy: StreamPolicy) -> DeadlineExceeded:
    return DeadlineExceeded.of("", Reason.STREAM_LOST, f"the deployer has not read its stream for {policy.lease:g} s")
