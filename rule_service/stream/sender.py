"""What is written to a stream, and when: updates, commands, signs of life, and the word to go elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import assert_never

import structlog

from rule_service.stream import messages
from rule_service.stream.alarm import Alarm
from rule_service.stream.difference import Difference
from rule_service.stream.fragments import envelope
from rule_service.stream.parts import StreamParts
from rule_service.stream.ports import Duplex
from rule_service.stream.standing import Compare, Standing
from rule_service.stream.updates import Held, Moved
from rule_service.stream.view import View
from rule_service.usecases.ports_delivery import Claim, HelloFacts
from rulecast import tracing
from rulecast.errors import DeadlineExceeded, Unavailable
from rulecast.reasons import Reason
from rulecast.tracing import NOTHING, Span
from rulecast.v1 import distribution_pb2 as pb

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Sender:
    """The one task that writes. `run` goes through all that may be due whenever it is woken."""

    def __init__(self, parts: StreamParts, hello: HelloFacts, claim: Claim, standing: Standing, stream: Duplex) -> None:
        self._parts = parts
        self._policy = parts.policy
        self._hello = hello
        self._claim = claim
        self._standing = standing
        self._stream = stream
        self._log = _log.bind()  # the name of a logger is looked for at each line otherwise
        self._woken = asyncio.Event()
        self._alarm = Alarm(self.wake)
        self._finished = False
        self._drain_message: str | None = None
        self._commands: dict[pb.Command.Kind.ValueType, None] = {}
        self._commanded = 0
        self._now = asyncio.get_running_loop().time
        now = self._now()
        self._written_at = now
        self._writing_since: float | None = None
        self._ages_at = now + self._policy.max_age * parts.source.uniform(0.8, 1.2)
        self._settle_at: float | None = None
        self._held_until: float | None = None
        self._retry_at = now

    @property
    def unacknowledged_for(self) -> float:
        """Seconds since an Update was sent that is not answered; 0 where there is none."""
        update = self._standing.in_flight
        return self._now() - update.sent_at if update is not None and update.sent_at is not None else 0.0

    @property
    def writing_since(self) -> float | None:
        """Since when the deployer has not read what is being written; None where nothing is."""
        return self._writing_since

    def wake(self) -> None:
        """Something has changed: the manifest, or what is asked of the stream."""
        self._woken.set()

    def heard(self) -> None:
        """The deployer has said something. Most answers leave nothing to do, which is not worth waking up for."""
        if self._is_old() or not self._standing.rests(self._parts.hub.revision):
            self.wake()

    def finish(self) -> None:
        """The deployer has nothing more to say."""
        self._finished = True
        self.wake()

    def drain(self, message: str) -> None:
        """Asks the deployer to connect elsewhere, and ends."""
        self._drain_message = message
        self.wake()

    def command(self, kind: pb.Command.Kind.ValueType, *, mass_deletion_allowed: bool = False) -> None:
        if kind == pb.Command.RESYNC:
            self._standing.resync(mass_deletion_allowed=mass_deletion_allowed)
        else:
            self._commands[kind] = None
        self.wake()

    async def run(self) -> bool:
        """Until the deployer has finished or is drained; whether it is drained.

        Raises DeadlineExceeded(ACK_TIMEOUT), Conflict(STALE_EPOCH), and what writing raises.
        """
        try:
            while not self._finished:
                self._woken.clear()
                if (message := self._reason_to_drain()) is not None:
                    await self.send(messages.drain(message, self._policy.reconnect_within))
                    return True
                await self._do_what_is_due()
                self._alarm.by(self._next_due())
                await self._woken.wait()
            return False
        finally:
            self._alarm.off()

    async def send(self, body: bytes, nonce: int = 0, traceparent: str = "") -> None:
        """body: a serialised SyncResponse without nonce and epoch. Waits for a deployer that does not read: the
        session looks at `writing_since`."""
        self._writing_since = self._now()
        await self._stream.write(envelope(body, self._claim.epoch, nonce, traceparent))
        self._writing_since = None
        self._written_at = self._now()

    async def _do_what_is_due(self) -> None:
        self._check_answered()
        await self._send_commands()
        await self._unless_away(self._offer)
        await self._unless_away(self._settle)
        if self._now() >= self._written_at + self._policy.heartbeat:
            await self._send_progress()

    def _reason_to_drain(self) -> str | None:
        unrenewed = self._standing.unrenewed_since
        if self._drain_message is None and unrenewed is not None and self._now() >= unrenewed + self._policy.lease:
            return "this replica can not reach the database: another one may"
        if self._drain_message is None and self._is_old():
            return "the stream has been open for long: connecting again spreads deployers over the replicas"
        return self._drain_message

    def _is_draining(self) -> bool:
        return self._drain_message is not None

    def _is_old(self) -> bool:
        # not in the middle of an update: its answer would be lost
        return self._now() >= self._ages_at and self._standing.in_flight is None

    def _check_answered(self) -> None:
        since = self._standing.waits_since
        if since is not None and self._now() >= since + self._policy.ack_timeout:
            what = "an Update" if self._standing.in_flight is not None else "the question for its Inventory"
            raise DeadlineExceeded.of(
                "",
                Reason.ACK_TIMEOUT,
                f"the deployer has not answered {what} within {self._policy.ack_timeout:g} s; "
                "where Prometheus keeps it waiting, DEFERRED is an answer",
            )

    async def _send_commands(self) -> None:
        while self._commands and not self._is_draining():
            kind = next(iter(self._commands))
            del self._commands[kind]
            await self._send_command(kind)

    async def _send_command(self, kind: pb.Command.Kind.ValueType) -> None:
        self._commanded += 1
        _log.info("command sent", kind=pb.Command.Kind.Name(kind), id=self._commanded)
        await self.send(messages.command(self._commanded, kind))

    async def _unless_away(self, work: Callable[[], Awaitable[None]]) -> None:
        """Puts the work off while the database is away: the stream stays up."""
        if self._now() < self._retry_at:
            return
        try:
            await work()
        except Unavailable as error:
            if error.reason is not Reason.DATABASE_UNAVAILABLE:
                raise
            _log.warning("nothing can be sent yet", error=str(error), next_in=self._policy.retry)
            self._retry_at = self._now() + self._policy.retry

    async def _offer(self) -> None:
        held: Held = {}
        while True:
            view = await self._parts.hub.view(self._hello.serves)
            self._standing.pace.saw(view.revision, self._now())
            more_coming = bool(self._parts.underway)
            self._held_until = self._standing.pace.held_until(self._now(), more_coming=more_coming)
            if self._held_until is not None:
                if more_coming:
                    self._parts.underway.when_none(self.wake)
                return
            offer = self._standing.offer(view, trusted=self._trusts_deletions())
            match offer:
                case None:
                    return
                case Compare():
                    self._standing.ask(self._now())
                    await self._send_command(pb.Command.RESYNC)
                    return
                case Difference():
                    if await self._send_update(offer, view, held):
                        return
                    await self._catch_up(view)
                case _:
                    assert_never(offer)

    def _trusts_deletions(self) -> bool:
        """Whether the deployer has followed this very history, so that what is missing now was deleted in it."""
        return self._claim.revision > 0 and self._parts.hub.trusts(self._hello.history_id)

    async def _send_update(self, difference: Difference, view: View, held: Held) -> bool:
        """False where the database has newer files already."""
        inventory = self._standing.inventory
        try:
            async with await self._parts.updates.ready(difference, held) as bodies:
                if self._standing.inventory is not inventory or self._standing.compare:
                    return True  # the deployer has said something else meanwhile, which has woken us
                update = self._standing.send(difference, view)
                update.delivery = self._delivery(difference)
                for body in bodies:
                    await self.send(body, update.nonce, update.delivery.traceparent)
                    if self._is_draining():
                        return True
        except Moved:
            return False
        self._standing.all_sent(update.nonce, self._now())
        self._parts.metrics.sent(sum(map(len, bodies)))
        self._log.log(
            self._parts.hub.routine,
            "update sent",
            nonce=update.nonce,
            revision=difference.to_revision,
            puts=len(difference.puts),
            deletes=len(difference.deletes),
            fragments=len(bodies),
        )
        return True

    def _delivery(self, difference: Difference) -> Span:
        """In the trace of the newest revision that was made in one; those of the others are linked."""
        parents = self._parts.traces.between(difference.from_revision, difference.to_revision)
        if not parents:
            return NOTHING
        return tracing.begin(
            "deliver", parents[0], parents[1:], deployer=self._hello.id, revision=difference.to_revision
        )

    async def _catch_up(self, view: View) -> None:
        """Raises Unavailable where that leads nowhere."""
        await self._parts.hub.follow()
        if (await self._parts.hub.view(self._hello.serves)).snapshot.position == view.snapshot.position:
            raise Unavailable.of(
                "", Reason.DATABASE_UNAVAILABLE, "a rule file in the database is not what its SHA-256 says"
            )

    async def _settle(self) -> None:
        """Records revisions that changed nothing here; a while after the first, since more of them may follow."""
        if not self._standing.to_settle:
            self._settle_at = None
            return
        if self._settle_at is None:
            self._settle_at = self._now() + self._policy.settle
        if self._now() < self._settle_at:
            return
        self._settle_at = None
        revision = self._standing.sent
        await self._parts.leases.record_outcomes(self._hello.id, self._claim.epoch, revision, self._standing.disk, ())
        self._standing.taken_up = max(self._standing.taken_up, revision)
        await self._send_progress()

    async def _send_progress(self) -> None:
        standing = self._standing
        if standing.confirm:
            await self.send(b"")  # a sign of life: nothing was sent yet that could be named
        else:
            await self.send(messages.progress(standing.sent, standing.commit_id, standing.manifest_hash))

    def _next_due(self) -> float:
        """When there is something to do though nothing has changed."""
        due = [self._written_at + self._policy.heartbeat]
        if (since := self._standing.waits_since) is not None:
            due.append(since + self._policy.ack_timeout)
        if self._standing.in_flight is None:
            due.append(self._ages_at)
        now = self._now()
        due += [at for at in (self._settle_at, self._retry_at, self._held_until) if at is not None and at > now]
        return min(due)
