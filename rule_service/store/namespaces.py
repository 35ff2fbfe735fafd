"""Namespaces: few, so that all of them are read wherever labels matter."""

from collections.abc import Collection, Sequence

from rule_service.domain.model import Namespace
from rule_service.store import resources
from rule_service.store.encode import namespace_of
from rule_service.store.pool import Row, Session
from rule_service.store.records import PARKED, Stamp, columns, missing, record_of
from rule_service.store.resources import Table, Where
from rule_service.usecases.filters import NamespaceFilter
from rule_service.usecases.ports import Page, Record
from rulecast.reasons import Reason

_COLUMNS = "id, label, policy_priority, description, owner, revision, created_at, updated_at"
_WITH_TEXT = "strpos(lower(concat_ws(E'\\n', id, label, description)), lower({})) > 0"

TABLE = Table("namespace", "namespaces", _COLUMNS, namespace_of, Reason.NAMESPACE_NOT_FOUND)


async def page(session: Session, after: str, limit: int, where: NamespaceFilter) -> Page[Record[Namespace]]:
    wanted = [Where("owner = {}", where.owner), Where(_WITH_TEXT, where.text)]
    return await resources.page(session, TABLE, after, limit, wanted, show_deleted=where.show_deleted)


async def every(session: Session) -> dict[str, Namespace]:
    rows = await session.rows(f"SELECT {_COLUMNS} FROM namespaces ORDER BY id")
    return {row["id"]: namespace_of(row) for row in rows}


async def insert(session: Session, stamp: Stamp, namespace: Namespace) -> Record[Namespace]:
    row = await session.row(
        f"""
        INSERT INTO namespaces (id, label, policy_priority, description, owner, revision, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        RETURNING {_COLUMNS}
        """,
        *_values(namespace),
        *stamp.of_insert,
    )
    return _written(row, namespace.id)


async def update(session: Session, stamp: Stamp, namespace: Namespace) -> Record[Namespace]:
    row = await session.row(
        f"""
        UPDATE namespaces
        SET label = $2, policy_priority = $3, description = $4, owner = $5, revision = $6, updated_at = $7
        WHERE id = $1
        RETURNING {_COLUMNS}
        """,
        *_values(namespace),
        stamp.revision,
        stamp.at,
    )
    return _written(row, namespace.id)


async def put(session: Session, stamp: Stamp, namespaces: Sequence[Namespace]) -> None:
    """Inserts or changes them, in one statement."""
    await session.run(
        """
        INSERT INTO namespaces (id, label, policy_priority, description, owner, revision, created_at, updated_at)
        SELECT new.*, $6, $7, $7 FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::text[]) AS new
        ON CONFLICT (id) DO UPDATE SET
            label = excluded.label, policy_priority = excluded.policy_priority, description = excluded.description,
            owner = excluded.owner, revision = excluded.revision, updated_at = excluded.updated_at
        """,
        *columns(_values(each) for each in namespaces),
        stamp.revision,
        stamp.at,
    )


async def park(session: Session, ids: Collection[str]) -> None:
    """Takes their labels from them, until they are put back or deleted: no other is in the way of its new label."""
    await session.run("UPDATE namespaces SET label = $2 || id WHERE id = ANY ($1::text[])", list(ids), PARKED)


def _values(namespace: Namespace) -> tuple[object, ...]:
    return namespace.id, namespace.label, namespace.policy_priority, namespace.description, namespace.owner


def _record(row: Row) -> Record[Namespace]:
    return record_of(row, namespace_of(row))


def _written(row: Row | None, id: str) -> Record[Namespace]:
    if row is None:
        raise missing("namespace", id, Reason.NAMESPACE_NOT_FOUND)
    return _record(row)
