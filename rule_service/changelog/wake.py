"""Wakes who waits for a change: at once by NOTIFY, and every two seconds whatever was heard.

NOTIFY is a hint. A notification that is lost, or a connection that is dead without a sign, costs two seconds and no
change: everybody who is woken reads the truth from the database.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import asyncpg
import structlog

from rule_service.store.history import CHANGES
from rule_service.store.keepalive import SERVER_SETTINGS, WatchedConnection
from rule_service.store.outcomes import OUTCOMES
from rule_service.store.pool import CONNECT_TIMEOUT
from rule_service.store.refusals import Refused
from rulecast.process.backoff import full_jitter

POLL = 2.0  # seconds, +- 20 %: replicas that started together do not poll together
PROBE_TIMEOUT = 3.0  # seconds; a connection that is half open gives no other sign

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Armed:
    """Implements `Wakeup`."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def wait(self, timeout: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()


class Signal:
    """Implements `Wakeups`: each `set` wakes everybody who was armed before it."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def armed(self) -> Armed:
        return Armed(self._next)

    def set(self) -> None:
        past, self._next = self._next, asyncio.Event()
        past.set()


class Listener:
    """Listens for as long as `run` runs, on a connection of its own: one of the pool would lose its LISTEN.

    revisions: set when a revision may have been made. anything: set when a revision may have been made, or what is
    known of a deployer may have changed.
    on_wake: is told `notify` or `poll`, whichever set `revisions`.
    """

    def __init__(
        self,
        dsn: str,
        *,
        poll: float = POLL,
        probe_timeout: float = PROBE_TIMEOUT,
        jitter: random.Random | None = None,
        on_wake: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.revisions = Signal()
        self.anything = Signal()
        self._dsn = dsn
        self._poll = poll
        self._probe_timeout = probe_timeout
        self._jitter = jitter or random.Random()
        self._hear: dict[str, Callable[[str], None]] = {}
        self._on_wake = on_wake
        self._listening = False

    def hear(self, channel: str, heard: Callable[[str], None]) -> None:
        """Passes the payloads of another channel on. To be called before `run`; what is lost is not made up for."""
        self._hear[channel] = heard

    @property
    def listening(self) -> bool:
        """Whether notifications arrive now, as far as can be told."""
        return self._listening

    async def run(self) -> None:
        """Runs until it is cancelled. A database that is away is waited for."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick(), name="changelog poll")
            tasks.create_task(self._keep_listening(), name="changelog listen")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._jitter.uniform(0.8, 1.2) * self._poll)
            self._on_wake("poll")
            self._wake_all()

    async def _keep_listening(self) -> None:
        delays = full_jitter(self._jitter, first=0.1, cap=5.0)
        while True:
            try:
                await self._listen()
            except Refused as error:
                if self._listening:
                    # it was a working connection: begin anew with short pauses
                    delays = full_jitter(self._jitter, first=0.1, cap=5.0)
                self._listening = False
                pause = next(delays)
                reason = str(error) or type(error).__name__
                log.warning("not listening for changes; polling", error=reason, next_in=round(pause, 2))
                await asyncio.sleep(pause)

    async def _listen(self) -> None:
        """Listens until the connection is lost, and raises what tells so."""
        connection = await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_TIMEOUT,
            command_timeout=self._probe_timeout,
            target_session_attrs=asyncpg.connect_utils.SessionAttribute.read_write,
            connection_class=WatchedConnection,
            server_settings={**SERVER_SETTINGS, "application_name": "rulecast listen"},
        )
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(CHANGES, self._on_change)
            await connection.add_listener(OUTCOMES, self._on_outcome)
            for channel, heard in self._hear.items():
                await connection.add_listener(channel, partial(_pass_on, heard))
            self._listening = True
            log.info("listening for changes")
            # what happened before it listened was not heard
            self._wake_all()
            await self._probe_until(lost, connection)
        finally:
            # not closed in good order: a half-open connection would not answer
            connection.terminate()

    async def _probe_until(self, lost: asyncio.Event, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll):
                    await lost.wait()
            if lost.is_set():
                raise ConnectionError("the connection was closed")
            await connection.execute("SELECT")

    def _on_change(self, *_: Any) -> None:
        self._on_wake("notify")
        self._wake_all()

    def _on_outcome(self, *_: Any) -> None:
        self.anything.set()

    def _wake_all(self) -> None:
        self.revisions.set()
        self.anything.set()


def _pass_on(heard: Callable[[str], None], _connection: object, _pid: int, _channel: str, payload: object) -> None:
    heard(str(payload))
