"""Groups and their trees, walked by the database from id to id, at any depth."""

from collections.abc import Collection, Sequence

from rule_service.domain.model import Group
from rule_service.store import resources
from rule_service.store.encode import group_of
from rule_service.store.pool import Row, Session
from rule_service.store.records import PARKED, Stamp, columns, missing, record_of
from rule_service.store.resources import Table, Where
from rule_service.usecases.filters import GroupFilter
from rule_service.usecases.ports import Page, Record
from rule_service.usecases.ports_batch import Content
from rulecast.reasons import Reason

_COLUMNS = "id, namespace_id, label_value, parent_id, description, owner, revision, created_at, updated_at"
_WITH_TEXT = "strpos(lower(concat_ws(E'\\n', id, label_value, description)), lower({})) > 0"

TABLE = Table(
    "group",
    "groups",
    _COLUMNS,
    group_of,
    Reason.GROUP_NOT_FOUND,
    refers_to="array_remove(ARRAY['namespace ' || namespace_id, 'group ' || parent_id], NULL)",
)


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


async def page(session: Session, after: str, limit: int, where: GroupFilter) -> Page[Record[Group]]:
    wanted = [
        Where("namespace_id = {}", where.namespace_id),
        Where("parent_id = {}", where.parent_id),
        Where("owner = {}", where.owner),
        Where(_WITH_TEXT, where.text),
    ]
    return await resources.page(session, TABLE, after, limit, wanted, show_deleted=where.show_deleted)


async def with_ancestors(session: Session, ids: Collection[str]) -> dict[str, Group]:
    rows = await session.rows(
        f"WITH RECURSIVE {up('$1::text[]')} SELECT {_COLUMNS} FROM groups WHERE id = ANY (ARRAY (SELECT id FROM up))",
        list(ids),
    )
    return {row["id"]: group_of(row) for row in rows}


_OF_LABEL_VALUES = "FROM groups JOIN unnest($1::text[]) AS wanted (value) ON namespace_id || ' ' || label_value = value"


async def by_label_value(session: Session, values: Collection[tuple[str, str]]) -> dict[str, Group]:
    """The groups with these (namespace id, label value), by id."""
    rows = await session.rows(f"SELECT {_COLUMNS} {_OF_LABEL_VALUES}", _wanted(values))
    return {row["id"]: group_of(row) for row in rows}


async def lineage_of_label_values(session: Session, values: Collection[tuple[str, str]]) -> dict[str, Group]:
    """The same with their ancestors."""
    rows = await session.rows(
        f"""
        WITH RECURSIVE {up(f"ARRAY (SELECT id {_OF_LABEL_VALUES})")}
        SELECT {_COLUMNS} FROM groups WHERE id = ANY (ARRAY (SELECT id FROM up))
        """,
        _wanted(values),
    )
    return {row["id"]: group_of(row) for row in rows}


def _wanted(values: Collection[tuple[str, str]]) -> list[str]:
    return [f"{namespace_id} {value}" for namespace_id, value in values]


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
        INSERT INTO groups (
            id, namespace_id, label_value, parent_id, description, owner, revision, created_at, updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        RETURNING {_COLUMNS}
        """,
        *_values(group),
        *stamp.of_insert,
    )
    return _written(row, group.id)


async def update(session: Session, stamp: Stamp, group: Group) -> Record[Group]:
    row = await session.row(
        f"""
        UPDATE groups
        SET namespace_id = $2, label_value = $3, parent_id = $4, description = $5, owner = $6, revision = $7,
            updated_at = $8
        WHERE id = $1
        RETURNING {_COLUMNS}
        """,
        *_values(group),
        stamp.revision,
        stamp.at,
    )
    return _written(row, group.id)


async def put(session: Session, stamp: Stamp, groups: Sequence[Group]) -> None:
    """Inserts or changes them. Their parents may be among them, in any order."""
    await session.run(
        """
        INSERT INTO groups (
            id, namespace_id, label_value, parent_id, description, owner, revision, created_at, updated_at
        )
        SELECT new.*, $7, $8, $8
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS new
        ON CONFLICT (id) DO UPDATE SET
            namespace_id = excluded.namespace_id, label_value = excluded.label_value, parent_id = excluded.parent_id,
            description = excluded.description, owner = excluded.owner, revision = excluded.revision,
            updated_at = excluded.updated_at
        """,
        *columns(_values(each) for each in groups),
        stamp.revision,
        stamp.at,
    )


async def park(session: Session, ids: Collection[str]) -> None:
    """Takes their values and parents from them, until they are put back or deleted: none is in another's way."""
    await session.run(
        "UPDATE groups SET label_value = $2 || id, parent_id = NULL WHERE id = ANY ($1::text[])", list(ids), PARKED
    )


def _values(group: Group) -> tuple[object, ...]:
    return group.id, group.namespace_id, group.label_value, group.parent_id, group.description, group.owner


def _record(row: Row) -> Record[Group]:
    return record_of(row, group_of(row))


def _written(row: Row | None, id: str) -> Record[Group]:
    if row is None:
        raise missing("group", id, Reason.GROUP_NOT_FOUND)
    return _record(row)


async def contents(session: Session, namespace_ids: Collection[str], group_ids: Collection[str]) -> tuple[Content, ...]:
    """What is in these namespaces and groups, by an index each."""
    rows = await session.rows(
        """
        SELECT 'namespace' AS place, namespace_id AS place_id, 'group' AS kind, id FROM groups
        WHERE namespace_id = ANY ($1::text[])
        UNION ALL
        SELECT 'namespace', live_namespace_id, 'rule', id FROM rules WHERE live_namespace_id = ANY ($1::text[])
        UNION ALL
        SELECT 'group', parent_id, 'group', id FROM groups WHERE parent_id = ANY ($2::text[])
        UNION ALL
        SELECT 'group', live_group_id, 'rule', id FROM rules WHERE live_group_id = ANY ($2::text[])
        UNION ALL
        SELECT 'group', group_id, 'target', target_id FROM target_groups WHERE group_id = ANY ($2::text[])
        ORDER BY 1, 2, 3, 4
        """,
        list(namespace_ids),
        list(group_ids),
    )
    return tuple(Content(*row) for row in rows)
