"""What a deployer says on its stream: recorded under its epoch, and noted for what is to be sent next."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence, Sized
from typing import Final

import structlog

from rule_service.stream import messages
from rule_service.stream.parts import StreamParts
from rule_service.stream.standing import Standing
from rule_service.usecases.ports_fates import FateState, FileFate
from rulecast import tracing
from rulecast.errors import InvalidInput, Unavailable
from rulecast.reasons import Reason
from rulecast.tracing import NOTHING
from rulecast.v1 import common_pb2
from rulecast.v1 import distribution_pb2 as pb

MAX_FILES: Final = 1_000_000
"""Of one deployer. More is a fault of it, that is not to fill this replica's memory."""
_State = common_pb2.Rollout.State

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def _count(fates: Sequence[FileFate]) -> dict[str, int]:
    """How many files of each state; those that are not named are active."""
    return dict(Counter(str(fate.state) for fate in fates))


def _check_count(files: Sized, field: str) -> None:
    if len(files) > MAX_FILES:
        raise InvalidInput.of(field, Reason.TOO_LARGE, f"a deployer can not have more than {MAX_FILES} rule files")


class Reports:
    """Of one stream. Raises Conflict(STALE_EPOCH) once another process has taken over.

    A database that is away is waited for, so that no outcome is lost; the deployer's other messages wait behind it.
    """

    def __init__(self, parts: StreamParts, deployer_id: str, epoch: int, standing: Standing) -> None:
        self._hub = parts.hub
        self._leases = parts.leases
        self._policy = parts.policy
        self._metrics = parts.metrics
        self._id = deployer_id
        self._epoch = epoch
        self._standing = standing
        self._inventory: dict[str, bytes] = {}
        self._effective_state: pb.EffectiveState | None = None

    async def take(self, message: pb.SyncRequest) -> None:
        """Any message but Hello and Goodbye. Raises InvalidInput."""
        match message.WhichOneof("kind"):
            case "status":
                await self._status(message.status)
            case "heartbeat":
                await self._heartbeat(message.heartbeat)
            case "inventory":
                self._take_inventory(message.inventory)
            case "effective":
                await self._effective(message.effective)
            case "command_result":
                self._command_result(message.command_result)
            case "hello":
                raise InvalidInput.of("hello", Reason.FIELD_INVALID, "`hello` was said already: open a stream anew")
            case _:
                return  # a kind of a newer protocol

    async def _status(self, status: pb.ApplyStatus) -> None:
        standing = self._standing
        if status.nonce and (standing.in_flight is None or standing.in_flight.nonce != status.nonce):
            _log.warning("answer to no update", nonce=status.nonce)
            return
        fates = messages.fates(status)
        disk = messages.sha256(status.manifest_hash, "status.manifest_hash")
        revision = standing.revision_of(status.nonce, status.revision)
        # before they are recorded: who waits for that may look at once, or have it offered again
        for fate in fates:
            self._metrics.outcome(fate.state)
        standing.judged(fates, self._hub.entries)
        delivery = standing.in_flight.delivery if status.nonce and standing.in_flight is not None else NOTHING
        with tracing.span("record outcome", delivery.traceparent, revision=revision):
            await self._recorded(lambda: self._leases.record_outcomes(self._id, self._epoch, revision, disk, fates))
        answered = standing.told_status(status.nonce, revision, disk)
        if answered is not None:
            if answered.sent_at is not None:
                now = asyncio.get_running_loop().time()
                self._metrics.answered(now - answered.sent_at)
                standing.pace.answered(answered.to_revision, now - answered.sent_at, now)
            delivery.note(state=_State.Name(status.state))
            delivery.end()
            states = _count(fates)
            level = logging.INFO if states.keys() - {FateState.ACTIVE} else self._hub.routine
            _log.log(level, "update answered", nonce=answered.nonce, revision=revision, states=states)

    async def _heartbeat(self, heartbeat: pb.Heartbeat) -> None:
        disk = messages.sha256(heartbeat.manifest_hash, "heartbeat.manifest_hash")
        self._standing.told_work(heartbeat.applying, busy=heartbeat.busy, now=asyncio.get_running_loop().time())
        try:
            await self._leases.renew(self._id, self._epoch, self._policy.lease, disk)
            self._standing.unrenewed_since = None
        except Unavailable as error:
            # the next one will do, for as long as the lease runs
            if self._standing.unrenewed_since is None:
                self._standing.unrenewed_since = asyncio.get_running_loop().time()
            _log.warning("lease not renewed", error=str(error))
        if self._standing.strayed(disk):
            _log.warning("the deployer's files have changed, comparing")
            self._standing.compare = True

    def _take_inventory(self, fragment: pb.Inventory) -> None:
        self._inventory |= messages.inventory(fragment)
        _check_count(self._inventory, "inventory.files")
        if not fragment.more:
            inventory, self._inventory = self._inventory, {}
            self._standing.told_inventory(inventory)

    async def _effective(self, fragment: pb.EffectiveState) -> None:
        whole = self._effective_state
        if whole is None:
            whole = fragment
        else:
            whole.files.extend(fragment.files)
        _check_count(whole.files, "effective.files")
        self._effective_state = whole if fragment.more else None
        if fragment.more:
            return
        facts = messages.effective(whole)
        await self._recorded(lambda: self._leases.record_effective(self._id, self._epoch, facts))

    def _command_result(self, result: pb.CommandResult) -> None:
        if result.ok:
            _log.info("command done", id=result.id)
            return
        _log.warning("command failed", id=result.id, reason=result.reason, error=result.message)

    async def _recorded(self, record: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await record()
                return
            except Unavailable as error:
                _log.warning("report not recorded yet", error=str(error), next_in=self._policy.retry)
            await asyncio.sleep(self._policy.retry)
