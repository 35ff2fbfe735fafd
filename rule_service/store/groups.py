"""Groups and their trees, walked by the database from id to id, at any depth."""

from collections.abc import Collection

from rule_service.domain.model import Group
from rule_service.store.encode import group_of
from rule_service.store.pool import Row, Session
from rule_service.store.records import Stamp, missing, page_of, record_of
from rule_service.usecases.ports import Page, Record
from rulecast.reasons import Reason

_COLUMNS = "id, namespace_id, label_value, parent_id, description, revision, created_at, updated_at"


def up(ids: str, name: str = "up") -> str:
    """A common table expression for WITH RECURSIVE: the groups of an SQL array of ids, and their ancestors."""
    # UNION, not UNION ALL: a cycle, should one ever get in, ends instead of running on. OFFSET 0 keeps the planner from
    # joining with all groups: it can not know how few the steps need.
    return f"""
        {name} (id, parent_id) AS (
            SELECT id, parent_id FROM groups WHERE id = ANY ({ids})
            UNION
            SELECT above.id, above.parent_id
            FROM {name}, LATERAL (SELECT id, parent_id FROM groups WHERE groups.id = {name}.parent_id OFFSET 0) AS above
        )
    """


def down(ids: str, name: str = "down") -> str:
    """The same downwards: the groups and their descendants."""
    return f"""
        {name} (id) AS (
            SELECT id FROM groups WHERE id = ANY ({ids})
            UNION
            SELECT below.id FROM {name}, LATERAL (SELECT id FROM groups WHERE parent_id = {name}.id OFFSET 0) AS below
        )
    """


async def get(session: Session, id: str) -> Record[Group] | None:
    row = await session.row(f"SELECT {_COLUMNS} FROM groups WHERE id = $1", id)
    return _record(row) if row else None


async def page(session: Session, after: str, limit: int, namespace_id: str | None) -> Page[Record[Group]]:
    if namespace_id is None:
        sql = f"SELECT {_COLUMNS} FROM groups WHERE id > $1 ORDER BY id LIMIT $2"
        return page_of(await session.rows(sql, after, limit + 1), limit, _record)
    sql = f"SELECT {_COLUMNS} FROM groups WHERE namespace_id = $3 AND id > $1 ORDER BY id LIMIT $2"
    return page_of(await session.rows(sql, after, limit + 1, namespace_id), limit, _record)


async def with_ancestors(session: Session, ids: Collection[str]) -> dict[str, Group]:
    rows = await session.rows(
        f"WITH RECURSIVE {up('$1::text[]')} SELECT {_COLUMNS} FROM groups WHERE id = ANY (ARRAY (SELECT id FROM up))",
        list(ids),
    )
    return {row["id"]: group_of(row) for row in rows}


async def by_label_value(session: Session, values: Collection[tuple[str, str]]) -> dict[str, Group]:
    """The groups with these (namespace id, label value), by id."""
    rows = await session.rows(
        f"""
        SELECT {_COLUMNS} FROM groups
        JOIN unnest($1::text[]) AS wanted (value) ON namespace_id || ' ' || label_value = wanted.value
        """,
        [f"{namespace_id} {value}" for namespace_id, value in values],
    )
    return {row["id"]: group_of(row) for row in rows}


async def children(session: Session, id: str) -> tuple[Group, ...]:
    rows = await session.rows(f"SELECT {_COLUMNS} FROM groups WHERE parent_id = $1 ORDER BY id", id)
    return tuple(group_of(row) for row in rows)


async def of_namespace(session: Session, namespace_id: str, limit: int) -> tuple[Group, ...]:
    rows = await session.rows(
        f"SELECT {_COLUMNS} FROM groups WHERE namespace_id = $1 ORDER BY id LIMIT $2", namespace_id, limit
    )
    return tuple(group_of(row) for row in rows)


async def insert(session: Session, stamp: Stamp, group: Group) -> Record[Group]:
    row = await session.row(
        f"""
        INSERT INTO groups (id, namespace_id, label_value, parent_id, description, revision, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
        RETURNING {_COLUMNS}
        """,
        *_values(group),
        stamp.revision,
        stamp.at,
    )
    return _written(row, group.id)


async def update(session: Session, stamp: Stamp, group: Group) -> Record[Group]:
    row = await session.row(
        f"""
        UPDATE groups
        SET namespace_id = $2, label_value = $3, parent_id = $4, description = $5, revision = $6, updated_at = $7
        WHERE id = $1
        RETURNING {_COLUMNS}
        """,
        *_values(group),
        stamp.revision,
        stamp.at,
    )
    return _written(row, group.id)


async def delete(session: Session, id: str) -> None:
    if not await session.delete("DELETE FROM groups WHERE id = $1", id):
        raise missing("group", id, Reason.GROUP_NOT_FOUND)


def _values(group: Group) -> tuple[object, ...]:
    return group.id, group.namespace_id, group.label_value, group.parent_id, group.description


def _record(row: Row) -> Record[Group]:
    return record_of(row, group_of(row))


def _written(row: Row | None, id: str) -> Record[Group]:
    if row is None:
        raise missing("group", id, Reason.GROUP_NOT_FOUND)
    return _record(row)
