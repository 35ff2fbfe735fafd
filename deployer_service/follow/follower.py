"""Keeps a stream to some rule service, for as long as the process lives."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

import structlog

from deployer_service.follow.messages import Identity, name_of
from deployer_service.follow.ports import Upstream
from deployer_service.follow.redial import Drained, End, Lost, Redial, Stopped
from deployer_service.follow.session import Memory, Session
from deployer_service.pipeline.run import Pipeline
from deployer_service.state import BatchResult
from rulecast.errors import FailedPrecondition
from rulecast.reasons import Reason
from rulecast.v1 import distribution_pb2 as pb

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Connection:
    """Whether there is a stream, and to whom. address: the one in use, or to be tried next."""

    connected: bool
    address: str


class Follower:
    """addresses: of rule services, `host:port`, at least one.

    on_update: hears of every batch and of the seconds from its last fragment, for the metrics.
    """

    def __init__(
        self,
        upstream: Upstream,
        addresses: Sequence[str],
        pipeline: Pipeline,
        identity: Identity,
        source: random.Random,
        on_update: Callable[[BatchResult, float], None],
    ) -> None:
        self._upstream = upstream
        self._pipeline = pipeline
        self._identity = identity
        self._source = source
        self._on_update = on_update
        self._redial = Redial(addresses, source)
        self._memory = Memory()
        self._session: Session | None = None

    @property
    def connection(self) -> Connection:
        return Connection(self._session is not None, self._redial.address)

    async def run(self, stop: asyncio.Event) -> None:
        """Connects again and again until `stop` is set, and takes leave in order."""
        self._memory.epoch = self._pipeline.state().record.epoch
        while not stop.is_set():
            end = await self._follow(stop)
            match end:
                case Stopped():
                    return
                case Drained() | Lost():
                    await self._pause(end, stop)
                case _:
                    assert_never(end)

    async def resync(self) -> None:
        """Has the rule service compare all that is on disk. Raises FailedPrecondition without a stream."""
        if self._session is None:
            raise FailedPrecondition.of(
                "",
                Reason.NOT_CONNECTED,
                f"there is no stream to a rule service now (next try: {self._redial.address}); "
                "once there is one, everything is compared anyway",
            )
        await self._session.resync()

    async def _follow(self, stop: asyncio.Event) -> End:
        address = self._redial.address
        _log.debug("connecting", address=address)
        try:
            async with self._upstream.connect(address) as stream:
                session = Session(stream, self._pipeline, self._memory, self._identity, self._source, self._on_update)

                def welcomed(welcome: pb.Welcome) -> None:
                    self._session = session
                    _log.info(
                        "connected",
                        address=address,
                        server=welcome.server_id,
                        epoch=self._memory.epoch,
                        revision=welcome.revision,
                        mode=name_of(pb.Welcome.Mode, welcome.mode),
                    )

                return await session.run(stop, welcomed)
        finally:
            self._session = None

    async def _pause(self, end: Drained | Lost, stop: asyncio.Event) -> None:
        delay = self._redial.after(end)
        if isinstance(end, Lost):
            _log.warning(
                "no stream to the rule service",
                reason=end.error.reason,
                error=str(end.error),
                next_address=self._redial.address,
                in_seconds=round(delay, 3),
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await stop.wait()
