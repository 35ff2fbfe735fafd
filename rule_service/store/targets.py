"""Targets and which groups they are in. The groups of a target come back in the order of their ids."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from rule_service.domain.model import Target
from rule_service.store import heartbeats, resources
from rule_service.store.encode import exporters_json, target_of
from rule_service.store.groups import down
from rule_service.store.pool import Row, Session
from rule_service.store.records import Stamp, as_texts, columns, missing, page_of
from rule_service.store.resources import Table
from rule_service.usecases.filters import ScrapeFilter, TargetFilter
from rule_service.usecases.ports import Page, PlacedTarget, Record
from rulecast.errors import NotFound
from rulecast.reasons import Reason

_COLUMNS = """
    targets.id, hostname, address, labels, exporters, owner, revision, created_at, updated_at,
    ARRAY (SELECT group_id FROM target_groups WHERE target_id = targets.id ORDER BY group_id) AS group_ids
"""
_DELETED_COLUMNS = """
    targets.id, hostname, address, labels, exporters, owner, revision, created_at, updated_at,
    ARRAY (SELECT jsonb_array_elements_text(value -> 'group_ids')) AS group_ids
"""
_WITH_TEXT = "strpos(lower(concat_ws(E'\\n', targets.id, hostname, address)), lower({})) > 0"
_MEMBERSHIP = """
    (SELECT jsonb_object_agg(label, label_value) FROM target_groups
    JOIN groups ON groups.id = group_id JOIN namespaces ON namespaces.id = groups.namespace_id
    WHERE target_id = targets.id)
"""
_IN_NAMESPACE = """
    EXISTS (SELECT FROM target_groups AS other WHERE other.target_id = targets.id AND other.namespace_id = {})
"""
_IN_GROUP = "JOIN target_groups ON target_groups.target_id = targets.id"

TABLE = Table(
    "target",
    "targets",
    _COLUMNS,
    target_of,
    Reason.TARGET_NOT_FOUND,
    refers_to="""
        ARRAY (SELECT 'group ' || group_id FROM target_groups WHERE target_id = id)
        || ARRAY (SELECT 'namespace ' || namespace_id FROM target_groups WHERE target_id = id)
    """,
    row="*, ARRAY (SELECT group_id FROM target_groups WHERE target_id = targets.id ORDER BY group_id) AS group_ids",
    deleted_columns=_DELETED_COLUMNS,
)


async def page(session: Session, after: str, limit: int, where: TargetFilter) -> Page[Record[Target]]:
    """One page, by id."""
    args: list[object] = [after, limit + 1]
    live, deleted = ["targets.id > $1"], ["resource_id > $1"]
    joined, id = "", "targets.id"

    def add(value: object, condition: str, of_deleted: str) -> None:
        args.append(value)
        live.append(condition.format(f"${len(args)}"))
        deleted.append(of_deleted.format(f"${len(args)}"))

    if where.group_id is not None or where.namespace_id is not None:
        # over the index of the group or the namespace, in the order of the page
        joined, id = _IN_GROUP, "target_groups.target_id"
        live[0] = f"{id} > $1"
    if where.group_id is not None:
        add(where.group_id, "target_groups.group_id = {}", "refers_to @> ARRAY['group ' || {}]")
    if where.namespace_id is not None:
        condition = _IN_NAMESPACE if where.group_id is not None else "target_groups.namespace_id = {}"
        add(where.namespace_id, condition, "refers_to @> ARRAY['namespace ' || {}]")
    if where.hostname is not None:
        add(where.hostname, "hostname = {}", "hostname = {}")
    if where.owner is not None:
        add(where.owner, "owner = {}", "owner = {}")
    if where.status is not None:
        status = heartbeats.condition(where.status, args)
        live.append(status)
        deleted.append(status)
    if where.text is not None:
        add(where.text, _WITH_TEXT, _WITH_TEXT)
    sql = f"{TABLE.live} {joined} WHERE {' AND '.join(live)} ORDER BY {id} LIMIT $2"
    if where.show_deleted:
        more = f"{TABLE.deleted} AND {' AND '.join(deleted)} ORDER BY resource_id LIMIT $2"
        sql = f"({sql}) UNION ALL ({more}) ORDER BY id LIMIT $2"
    return page_of(await session.rows(sql, *args), limit, TABLE.record)


async def placed(session: Session, where: ScrapeFilter) -> tuple[PlacedTarget, ...]:
    """Every target that has an exporter and passes, by id."""
    args: list[object] = []
    trees, conditions = "", ["exporters <> '[]'"]
    if where.group_id is not None:
        args.append([where.group_id])
        trees = f"WITH RECURSIVE {down(f'${len(args)}::text[]')}"
        members = "SELECT target_id FROM target_groups WHERE group_id = ANY (ARRAY (SELECT id FROM down))"
        conditions.append(f"targets.id = ANY (ARRAY ({members}))")
    if where.namespace_id is not None:
        args.append(where.namespace_id)
        conditions.append(_IN_NAMESPACE.format(f"${len(args)}"))
    if where.exporter is not None:
        args.append([{"name": where.exporter}])
        conditions.append(f"exporters @> ${len(args)}::jsonb")
    if where.status is not None:
        conditions.append(heartbeats.condition(where.status, args))
    rows = await session.rows(
        f"""
        {trees}
        SELECT {_COLUMNS}, coalesce({_MEMBERSHIP}, '{{}}') AS membership
        FROM targets WHERE {" AND ".join(conditions)} ORDER BY targets.id
        """,
        *args,
    )
    # beside the event loop: they may be tens of thousands
    return await asyncio.to_thread(_placed, rows)


def _placed(rows: Sequence[Row]) -> tuple[PlacedTarget, ...]:
    return tuple(PlacedTarget(target_of(row), row["membership"]) for row in rows)


async def series(session: Session) -> dict[str, Mapping[str, str]]:
    """Of every target the labels of its series that decide about rules. Its own labels may be those of namespaces."""
    rows = await session.rows(
        f"""
        SELECT id, coalesce(own.labels, '{{}}') || coalesce({_MEMBERSHIP}, '{{}}') AS labels
        FROM targets, LATERAL (
            SELECT jsonb_object_agg(key, value) AS labels FROM jsonb_each(targets.labels)
            WHERE key IN (SELECT label FROM namespaces)
        ) AS own
        """
    )
    return {row["id"]: row["labels"] for row in rows}


async def in_group(session: Session, group_id: str, limit: int) -> tuple[Target, ...]:
    rows = await session.rows(
        f"""
        SELECT {_COLUMNS} FROM targets {_IN_GROUP}
        WHERE target_groups.group_id = $1 ORDER BY target_groups.target_id LIMIT $2
        """,
        group_id,
        limit,
    )
    return tuple(target_of(row) for row in rows)


async def insert(session: Session, stamp: Stamp, target: Target) -> Record[Target]:
    await session.run(
        """
        INSERT INTO targets (id, hostname, address, labels, exporters, owner, revision, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        *_values(target),
        *stamp.of_insert,
    )
    await _join_groups(session, target)
    return await _written(session, target.id)


async def update(session: Session, stamp: Stamp, target: Target) -> Record[Target]:
    await session.run(
        """
        UPDATE targets
        SET hostname = $2, address = $3, labels = $4, exporters = $5, owner = $6, revision = $7, updated_at = $8
        WHERE id = $1
        """,
        *_values(target),
        stamp.revision,
        stamp.at,
    )
    await session.run("DELETE FROM target_groups WHERE target_id = $1", target.id)
    await _join_groups(session, target)
    return await _written(session, target.id)


async def put(session: Session, stamp: Stamp, targets: Sequence[Target]) -> None:
    """Inserts or changes them, with their groups."""
    await session.run(
        """
        INSERT INTO targets (id, hostname, address, labels, exporters, owner, revision, created_at, updated_at)
        SELECT id, hostname, address, labels::jsonb, exporters::jsonb, owner, $7, $8, $8
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
            AS new (id, hostname, address, labels, exporters, owner)
        ON CONFLICT (id) DO UPDATE SET
            hostname = excluded.hostname, address = excluded.address, labels = excluded.labels,
            exporters = excluded.exporters, owner = excluded.owner, revision = excluded.revision,
            updated_at = excluded.updated_at
        """,
        *columns(as_texts(_values(each)) for each in targets),
        stamp.revision,
        stamp.at,
    )
    await park(session, [each.id for each in targets])
    joined = [(each.id, group_id) for each in targets for group_id in each.group_ids]
    await session.run(
        """
        INSERT INTO target_groups (target_id, namespace_id, group_id)
        SELECT target_id, namespace_id, group_id
        FROM unnest($1::text[], $2::text[]) AS joined (target_id, group_id) JOIN groups ON groups.id = group_id
        """,
        [target_id for target_id, _ in joined],
        [group_id for _, group_id in joined],
    )


async def park(session: Session, ids: Collection[str]) -> None:
    """Takes them out of their groups."""
    await session.run("DELETE FROM target_groups WHERE target_id = ANY ($1::text[])", list(ids))


async def leave_group(session: Session, stamp: Stamp, group_id: str) -> None:
    """Takes every target out of a group."""
    await session.run(
        """
        WITH gone AS (DELETE FROM target_groups WHERE group_id = $1 RETURNING target_id)
        UPDATE targets SET revision = $2, updated_at = $3 WHERE id IN (SELECT target_id FROM gone)
        """,
        group_id,
        stamp.revision,
        stamp.at,
    )


async def _join_groups(session: Session, target: Target) -> None:
    joined = await session.run(
        """
        INSERT INTO target_groups (target_id, namespace_id, group_id)
        SELECT $1, namespace_id, id FROM groups WHERE id = ANY ($2::text[])
        """,
        target.id,
        list(target.group_ids),
    )
    if joined < len(target.group_ids):
        raise NotFound.of(
            "target.group_ids",
            Reason.GROUP_NOT_FOUND,
            f"one of the groups is not there, or is named twice: {', '.join(target.group_ids)}",
        )


def _values(target: Target) -> tuple[object, ...]:
    exporters = exporters_json(target.exporters)
    return target.id, target.hostname, target.address, dict(target.labels), exporters, target.owner


async def _written(session: Session, id: str) -> Record[Target]:
    record = await resources.get(session, TABLE, id)
    if record is None:
        raise missing("target", id, Reason.TARGET_NOT_FOUND)
    return record
