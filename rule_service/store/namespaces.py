"""Namespaces: few, so that all of them are read wherever labels matter."""

from rule_service.domain.model import Namespace
from rule_service.store.encode import namespace_of
from rule_service.store.pool import Row, Session
from rule_service.store.records import Stamp, missing, page_of, record_of
from rule_service.usecases.ports import Page, Record
from rulecast.reasons import Reason

_COLUMNS = "id, label, policy_priority, description, revision, created_at, updated_at"


async def get(session: Session, id: str) -> Record[Namespace] | None:
    row = await session.row(f"SELECT {_COLUMNS} FROM namespaces WHERE id = $1", id)
    return _record(row) if row else None


async def page(session: Session, after: str, limit: int) -> Page[Record[Namespace]]:
    rows = await session.rows(f"SELECT {_COLUMNS} FROM namespaces WHERE id > $1 ORDER BY id LIMIT $2", after, limit + 1)
    return page_of(rows, limit, _record)


async def every(session: Session) -> dict[str, Namespace]:
    rows = await session.rows(f"SELECT {_COLUMNS} FROM namespaces ORDER BY id")
    return {row["id"]: namespace_of(row) for row in rows}


async def insert(session: Session, stamp: Stamp, namespace: Namespace) -> Record[Namespace]:
    row = await session.row(
        f"""
        INSERT INTO namespaces (id, label, policy_priority, description, revision, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $6)
        RETURNING {_COLUMNS}
        """,
        namespace.id,
        namespace.label,
        namespace.policy_priority,
        namespace.description,
        stamp.revision,
        stamp.at,
    )
    return _written(row, namespace.id)


async def update(session: Session, stamp: Stamp, namespace: Namespace) -> Record[Namespace]:
    row = await session.row(
        f"""
        UPDATE namespaces
        SET label = $2, policy_priority = $3, description = $4, revision = $5, updated_at = $6
        WHERE id = $1
        RETURNING {_COLUMNS}
        """,
        namespace.id,
        namespace.label,
        namespace.policy_priority,
        namespace.description,
        stamp.revision,
        stamp.at,
    )
    return _written(row, namespace.id)


async def delete(session: Session, id: str) -> None:
    if not await session.delete("DELETE FROM namespaces WHERE id = $1", id):
        raise missing("namespace", id, Reason.NAMESPACE_NOT_FOUND)


def _record(row: Row) -> Record[Namespace]:
    return record_of(row, namespace_of(row))


def _written(row: Row | None, id: str) -> Record[Namespace]:
    if row is None:
        raise missing("namespace", id, Reason.NAMESPACE_NOT_FOUND)
    return _record(row)
