"""Connections to PostgreSQL: the pool, sessions that speak the caller's errors, and waiting for a database."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from rule_service.store.encode import dump, load
from rule_service.store.keepalive import SERVER_SETTINGS, WatchedConnection
from rule_service.store.refusals import Refused, refusal, unavailable
from rulecast.errors import RulecastError, Unavailable
from rulecast.process.backoff import full_jitter
from rulecast.reasons import Reason

CONNECT_TIMEOUT = 5.0  # seconds, of one attempt
ACQUIRE_TIMEOUT = 10.0  # seconds to wait for a connection of the pool to be free
COMMAND_TIMEOUT = 30.0  # seconds, of one statement; waiting for the commit lock counts
CLOSE_TIMEOUT = 5.0  # seconds for running statements to end
ABANDONED_TIMEOUT = "20s"
"""After so long without a statement the server ends a transaction: a frozen replica must not keep the commit lock.

Less than COMMAND_TIMEOUT, so that whoever waits for the lock gets it.
"""

IMPATIENT = "SET LOCAL lock_timeout = '50ms'"
"""For a lock that somebody holds, where giving way costs little. Less than the server's `deadlock_timeout`."""

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Row: TypeAlias = asyncpg.Record


class _PoolConnection(WatchedConnection):
    def get_reset_query(self) -> str:
        """Nothing: no setting outlives a transaction here, and it would be a round trip each time one goes back."""
        return ""


class Session:
    """A connection whose refusals are RulecastErrors. For one task at a time.

    patient: see `Database.transaction`.
    """

    def __init__(self, connection: Connection, *, patient: bool = True) -> None:
        self._connection = connection
        self._patient = patient

    async def rows(self, sql: str, *args: object) -> list[Row]:
        try:
            return await self._connection.fetch(sql, *args)
        except Refused as error:
            raise self._in_our_words(error) from error

    async def row(self, sql: str, *args: object) -> Row | None:
        """The first row, or None."""
        try:
            return await self._connection.fetchrow(sql, *args)
        except Refused as error:
            raise self._in_our_words(error) from error

    async def value(self, sql: str, *args: object) -> Any:
        """The first column of the first row, or None."""
        try:
            return await self._connection.fetchval(sql, *args)
        except Refused as error:
            raise self._in_our_words(error) from error

    async def run(self, sql: str, *args: object) -> int:
        """How many rows the statement touched."""
        return await self._run(sql, args, deleting=False)

    async def delete(self, sql: str, *args: object) -> int:
        """As `run`, for rows that others may point at: FailedPrecondition while they do."""
        return await self._run(sql, args, deleting=True)

    async def _run(self, sql: str, args: tuple[object, ...], *, deleting: bool) -> int:
        try:
            status = await self._connection.execute(sql, *args)
        except Refused as error:
            raise self._in_our_words(error, deleting=deleting) from error
        return _touched(status)

    def _in_our_words(self, error: BaseException, *, deleting: bool = False) -> BaseException:
        closed = _closed(self._connection)
        return refusal(error, deleting=deleting, closed=closed, racing=not self._patient) or error


class Database:
    """The pool. Made by `connect`, closed by whoever made it."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A session without a transaction: each statement is by itself. Raises Unavailable."""
        async with self._acquired() as connection:
            yield Session(connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Session]:
        """A session that can only read, and sees one state of the database throughout. Raises Unavailable."""
        async with self._acquired() as connection, _transaction(connection, "REPEATABLE READ READ ONLY"):
            yield Session(connection)

    @asynccontextmanager
    async def transaction(self, *, rollback: bool = False, patient: bool = True) -> AsyncIterator[Session]:
        """A transaction: committed at the end of the block, or rolled back if asked for or on an error.

        patient: READ COMMITTED; waits for rows that others hold. One that does not sees one state of the database
        throughout, and may meet what others are about to write; whatever it then can not write is a Conflict.
        Raises Unavailable. Its message says so when it is not known whether the commit arrived.
        """
        # not a stricter level for all: waiting for the commit lock would then end in a serialisation failure
        mode = "READ COMMITTED" if patient else f"REPEATABLE READ; {IMPATIENT}"
        async with self._acquired() as connection, _transaction(connection, mode, rollback=rollback):
            yield Session(connection, patient=patient)

    async def close(self) -> None:
        """Ends all connections, those that are busy after 5 seconds too."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Connection]:
        try:
            connection = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT)
        except TimeoutError as error:
            raise unavailable(TimeoutError(f"no connection was free within {ACQUIRE_TIMEOUT:g} s")) from error
        except Refused as error:
            raise unavailable(error) from error
        try:
            yield connection
        finally:
            await self._release(connection)

    async def _release(self, connection: "PoolConnectionProxy[asyncpg.Record]") -> None:
        try:
            await self._pool.release(connection)
        except Refused as error:
            # the pool has dropped it; the caller's own result or error stands
            log.warning("connection lost on its way back to the pool", error=str(error) or type(error).__name__)


@asynccontextmanager
async def _transaction(
    connection: Connection,
    mode: str,
    *,
    rollback: bool = False,
) -> AsyncIterator[None]:
    """mode: an isolation level, and perhaps settings of the transaction."""
    # our own statements: a transaction object of asyncpg that is cancelled while it starts can not be rolled back
    try:
        await connection.execute(f"BEGIN ISOLATION LEVEL {mode}")
    except Refused as error:
        raise refusal(error, closed=_closed(connection)) or error from error
    except BaseException:
        await _roll_back(connection)
        raise
    try:
        yield
    except BaseException:
        await _roll_back(connection)
        raise
    if rollback:
        await _roll_back(connection)
        return
    if _closed(connection):
        raise unavailable(ConnectionError("the connection was lost before the commit, so nothing was saved"))
    try:
        await connection.execute("COMMIT")
    except Refused as error:
        raise _commit_failed(error, closed=_closed(connection)) from error
    except BaseException:
        await _roll_back(connection)
        raise


def _closed(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        # the pool takes a connection back by itself when it is lost
        return True


async def _roll_back(connection: Connection) -> None:
    """Does nothing where no transaction was begun."""
    try:
        await connection.execute("ROLLBACK")
    except Refused as error:
        # a connection that is gone takes its transaction with it
        log.warning("rollback did not arrive", error=str(error) or type(error).__name__)


def _commit_failed(error: BaseException, *, closed: bool) -> BaseException:
    told: RulecastError | None = refusal(error, closed=closed)
    if not isinstance(told, Unavailable):
        return told or error
    return Unavailable.of(
        "",
        Reason.DATABASE_UNAVAILABLE,
        f"the connection was lost at the commit ({error}); whether it was saved is not known: read, then try again",
    )


async def connect(dsn: str, *, min_size: int = 2, max_size: int = 10) -> Database:
    """A pool of at most `max_size` connections to the primary. Raises Unavailable with what went wrong."""
    try:
        pool = await asyncpg.create_pool(
            dsn,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT,
            command_timeout=COMMAND_TIMEOUT,
            statement_cache_size=256,
            max_inactive_connection_lifetime=300,
            target_session_attrs=asyncpg.connect_utils.SessionAttribute.read_write,
            server_settings={
                **SERVER_SETTINGS,
                "application_name": "rulecast",
                "idle_in_transaction_session_timeout": ABANDONED_TIMEOUT,
                "jit": "off",  # compiling costs more than these short statements take
            },
            init=_prepare,
            connection_class=_PoolConnection,
        )
    except asyncpg.ClientConfigurationError:
        raise
    except Refused as error:
        raise unavailable(error) from error
    return Database(pool)


async def wait_for_database(dsn: str, *, first: float = 0.25, cap: float = 5.0) -> None:
    """Returns once the database takes connections; until then tries again, with a log line for each failure.

    first, cap: seconds, of the growing pause between two attempts.
    """
    place = _place(dsn)
    for attempt, pause in enumerate(full_jitter(random.Random(), first=first, cap=cap), start=1):
        try:
            connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT)
        except asyncpg.ClientConfigurationError:
            raise
        except Refused as error:
            reason = str(error) or type(error).__name__
            log.warning(
                "database does not answer", database=place, error=reason, attempt=attempt, next_in=round(pause, 2)
            )
            await asyncio.sleep(pause)
        else:
            await connection.close(timeout=CLOSE_TIMEOUT)
            if attempt > 1:
                log.info("database answers", database=place, attempt=attempt)
            return


async def _prepare(connection: Connection) -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=dump, decoder=load)


def _touched(status: str) -> int:
    """The number in a command's tag, e.g. `INSERT 0 3`."""
    _, _, count = status.rpartition(" ")
    return int(count) if count.isdigit() else 0


def _place(dsn: str) -> str:
    """Host, port and database of a URL, for a log line: no user, no password."""
    parts = urlsplit(dsn)
    host = parts.hostname or parse_qs(parts.query).get("host", ["local socket"])[0]
    return f"{host}:{parts.port or 5432}{parts.path}"
