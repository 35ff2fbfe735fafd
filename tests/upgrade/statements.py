"""Statements of a release, recorded as it runs, and run again on another schema.

A recording is what the release before says to the database: `python -m tests.upgrade.record` writes one, when a
release is made. On the newest schema every statement still has to work, and to touch and find as many rows as then.
"""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import UUID

import asyncpg

from rule_service.store.pool import Database, Session
from rulecast.errors import RulecastError

RECORDINGS = Path(__file__).parent / "recordings"


@dataclass(frozen=True, slots=True)
class Statement:
    """rows: how many it found or touched. changing: whether it was run for what it changes."""

    sql: str
    args: Sequence[Any]
    rows: int
    changing: bool


@dataclass
class Transaction:
    """Statements that belong together. kind: of the session, `session`, `snapshot` or `transaction`."""

    kind: str
    rollback: bool = False
    statements: list[Statement] = field(default_factory=list)


@contextmanager
def recording() -> Iterator[list[Transaction]]:
    """Everything that is said to any database meanwhile, in the order in which it was done."""
    found: list[Transaction] = []
    # of each task: several may be at work
    open_now: ContextVar[Transaction | None] = ContextVar("open_now", default=None)

    def note(statement: Statement) -> None:
        # how a transaction begins is no statement of it
        if (transaction := open_now.get()) is not None:
            transaction.statements.append(statement)

    fetch, run = Session.rows, Session._run

    async def rows(self: Session, sql: str, *args: object) -> Any:
        answer = await fetch(self, sql, *args)
        note(Statement(sql, args, len(answer), False))
        return answer

    async def row(self: Session, sql: str, *args: object) -> Any:
        answer = await rows(self, sql, *args)
        return answer[0] if answer else None

    async def value(self: Session, sql: str, *args: object) -> Any:
        answer = await row(self, sql, *args)
        return None if answer is None else answer[0]

    async def touched(self: Session, sql: str, args: tuple[object, ...], *, deleting: bool) -> int:
        count = await run(self, sql, args, deleting=deleting)
        note(Statement(sql, args, count, True))
        return count

    def opening(kind: str) -> Any:
        method = getattr(Database, kind)

        @asynccontextmanager
        async def opened(self: Database, **options: bool) -> AsyncIterator[Session]:
            transaction = Transaction(kind, options.get("rollback", False))
            async with method(self, **options) as session:
                token = open_now.set(transaction)
                try:
                    yield session
                except BaseException:
                    transaction.rollback = True
                    raise
                finally:
                    open_now.reset(token)
                    found.append(transaction)

        return opened

    with ExitStack() as stack:
        for name, said in (("rows", rows), ("row", row), ("value", value), ("_run", touched)):
            stack.enter_context(mock.patch.object(Session, name, said))
        for kind in ("session", "snapshot", "transaction"):
            stack.enter_context(mock.patch.object(Database, kind, opening(kind)))
        yield found


async def replay(database: Database, transactions: Sequence[Transaction]) -> list[str]:
    """Runs them in order. What has found or touched another number of rows, and the first that has failed, in words."""
    wrong: list[str] = []
    for transaction in transactions:
        options = {"rollback": transaction.rollback} if transaction.kind == "transaction" else {}
        try:
            async with getattr(database, transaction.kind)(**options) as session:
                for statement in transaction.statements:
                    count = await _rows(session, statement)
                    if count != statement.rows:
                        wrong.append(f"{count} rows, {statement.rows} when it was recorded: {statement.sql}")
        except (asyncpg.PostgresError, RulecastError) as error:
            return [*wrong, f"{error!r}: {statement.sql}"]
    return wrong


async def _rows(session: Session, statement: Statement) -> int:
    if statement.changing:
        return await session.run(statement.sql, *statement.args)
    return len(await session.rows(statement.sql, *statement.args))


def dump(transactions: Sequence[Transaction]) -> str:
    """Each text once, and one line for each transaction."""
    texts = list(dict.fromkeys(one.sql for each in transactions for one in each.statements))
    number = {sql: at for at, sql in enumerate(texts)}
    lines = [
        [
            each.kind,
            each.rollback,
            [[number[one.sql], _plain(one.args), one.rows, one.changing] for one in each.statements],
        ]
        for each in transactions
    ]
    said = ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    return f'{{"sql": {json.dumps(texts, indent=1, ensure_ascii=False)},\n"transactions": [\n{said}\n]}}\n'


def load(text: str) -> list[Transaction]:
    document = json.loads(text)
    return [
        Transaction(kind, rollback, [Statement(document["sql"][at], _value(args), *how) for at, args, *how in said])
        for kind, rollback, said in document["transactions"]
    ]


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return {"$bytes": value.hex()}
        case datetime():
            return {"$time": value.isoformat()}
        case timedelta():
            return {"$seconds": value.total_seconds()}
        case str():
            return str(value)
        case list() | tuple() | set() | frozenset():
            return [_plain(each) for each in value]
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case _ if hasattr(value, "hex") and hasattr(value, "int"):
            return {"$uuid": str(value)}
        case _:
            return value


def _value(value: Any) -> Any:
    match value:
        case {"$bytes": text}:
            return bytes.fromhex(text)
        case {"$time": text}:
            return datetime.fromisoformat(text)
        case {"$seconds": seconds}:
            return timedelta(seconds=seconds)
        case {"$uuid": text}:
            return UUID(text)
        case list():
            return [_value(each) for each in value]
        case dict():
            return {name: _value(each) for name, each in value.items()}
        case _:
            return value
