"""Reading the history: revisions, what they changed, and what differs between two of them."""

from collections.abc import Collection

from rule_service.store.encode import resource_of, scope_of
from rule_service.store.pool import Database, Row, Session
from rule_service.store.records import page_of
from rule_service.usecases.ports import Page
from rule_service.usecases.ports_changes import ResourceChange, ResourceFilter, Touched
from rule_service.usecases.ports_history import ResourceRef, RevisionFacts, RevisionFilter

NEWEST = 2**63 - 1
NO_LIMIT = 2**31 - 1

_FACTS = """
    revision, at, author, method, reason, request_id,
    (SELECT count(*) FROM history_resources WHERE revision = history.revision) AS resource_count,
    (SELECT count(*) FROM change_log WHERE revision = history.revision) AS file_count
"""


class PostgresHistory:
    """Implements `HistoryReads`: each read takes a connection of the pool by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revisions(self, before: int | None, limit: int, where: RevisionFilter) -> Page[RevisionFacts]:
        async with self._database.session() as session:
            return await page(session, NEWEST if before is None else before, limit, where)

    async def facts(self, revision: int) -> RevisionFacts | None:
        async with self._database.session() as session:
            return await get(session, revision)

    async def changed(self, revision: int, after: int, limit: int) -> Page[ResourceChange]:
        async with self._database.session() as session:
            return await changed(session, revision, after, limit)

    async def first_changed(self, revisions: Collection[int], limit: int) -> dict[int, tuple[ResourceRef, ...]]:
        async with self._database.session() as session:
            return await first_changed(session, revisions, limit)

    async def between(
        self, older: int, newer: int, after: tuple[str, str], limit: int, which: ResourceFilter
    ) -> Page[ResourceChange]:
        async with self._database.session() as session:
            return await between(session, older, newer, after, limit, which)


async def get(session: Session, revision: int) -> RevisionFacts | None:
    row = await session.row(f"SELECT {_FACTS} FROM history WHERE revision = $1", revision)
    return _facts(row) if row else None


async def exists(session: Session, revision: int) -> bool:
    return await session.value("SELECT true FROM history WHERE revision = $1", revision) is not None


async def page(session: Session, before: int, limit: int, where: RevisionFilter) -> Page[RevisionFacts]:
    """Revisions before this one, the newest first."""
    args: list[object] = [before, limit + 1]
    conditions = ["revision < $1"]
    if where.author is not None:
        args.append(where.author)
        conditions.append(f"author = ${len(args)}")
    if where.kind is not None:
        args.append(where.kind)
        changed = f"SELECT revision FROM history_resources WHERE kind = ${len(args)}"
        if where.id is not None:
            args.append(where.id)
            changed += f" AND resource_id = ${len(args)}"
        conditions.append(f"revision IN ({changed})")
    sql = f"SELECT {_FACTS} FROM history WHERE {' AND '.join(conditions)} ORDER BY revision DESC LIMIT $2"
    rows = await session.rows(sql, *args)
    return page_of(rows, limit, _facts, id="revision")


async def changed(session: Session, revision: int, after: int, limit: int) -> Page[ResourceChange]:
    """What a revision changed, in its own order. after: how many come before the page."""
    rows = await session.rows(
        """
        SELECT position, kind, resource_id, before, after FROM history_resources
        WHERE revision = $1 AND position > $2 ORDER BY position LIMIT $3
        """,
        revision,
        after,
        limit + 1,
    )
    return page_of(rows, limit, _change, id="position")


async def first_changed(session: Session, revisions: Collection[int], limit: int) -> dict[int, tuple[ResourceRef, ...]]:
    """The first that each of these revisions changed, at most `limit` of each."""
    rows = await session.rows(
        """
        SELECT revision, kind, resource_id, before IS NOT NULL AS was, after IS NOT NULL AS remained
        FROM history_resources WHERE revision = ANY ($1::bigint[]) AND position <= $2 ORDER BY revision, position
        """,
        list(revisions),
        limit,
    )
    found: dict[int, list[ResourceRef]] = {revision: [] for revision in revisions}
    for row in rows:
        found[row["revision"]].append(ResourceRef(row["kind"], row["resource_id"], row["was"], row["remained"]))
    return {revision: tuple(refs) for revision, refs in found.items()}


async def between(
    session: Session, older: int, newer: int, after: tuple[str, str], limit: int, which: ResourceFilter
) -> Page[ResourceChange]:
    """The resources that are not the same at two revisions, by kind and id. after: the last of the page before."""
    args: list[object] = [older, newer, *after, limit + 1]
    touched = _candidates(which, args)
    rows = await session.rows(
        f"""
        SELECT kind, resource_id, first.before, last.after, kind || ' ' || resource_id AS place
        FROM ({touched}) AS touched,
        LATERAL (
            SELECT before FROM history_resources AS change
            WHERE (change.kind, change.resource_id) = (touched.kind, touched.resource_id)
                AND revision > $1 AND revision <= $2
            ORDER BY revision, position LIMIT 1
        ) AS first,
        LATERAL (
            SELECT after FROM history_resources AS change
            WHERE (change.kind, change.resource_id) = (touched.kind, touched.resource_id)
                AND revision > $1 AND revision <= $2
            ORDER BY revision DESC, position DESC LIMIT 1
        ) AS last
        WHERE (kind, resource_id) > ($3, $4) AND first.before IS DISTINCT FROM last.after
        ORDER BY kind, resource_id LIMIT $5
        """,
        *args,
    )
    return page_of(rows, limit, _change, id="place")


def _candidates(which: ResourceFilter, args: list[object]) -> str:
    """The query for the resources that may have changed after revision $1 and up to $2; adds its arguments."""
    if which.kind is not None and which.id is not None:
        args += [which.kind, which.id]
        # itself, rather than looked for: the planner would read the table for the first row with it
        return f'SELECT ${len(args) - 1}::text COLLATE "C" AS kind, ${len(args)}::text COLLATE "C" AS resource_id'
    conditions = ["revision > $1", "revision <= $2"]
    if which.kind is not None:
        args.append(which.kind)
        conditions.append(f"kind = ${len(args)}")
    if which.group_id is not None:
        args.append(which.group_id)
        there = " OR ".join(
            f"({side} ->> 'scope_level' = 'group' AND {side} ->> 'scope_id' = ${len(args)})"
            for side in ("before", "after")
        )
        conditions.append(f"kind = 'rule' AND ({there})")
    return f"SELECT DISTINCT kind, resource_id FROM history_resources WHERE {' AND '.join(conditions)}"


async def changes_after(session: Session, revision: int, which: ResourceFilter) -> tuple[ResourceChange, ...]:
    """The resources that are not what they were at this revision, by kind and id."""
    return (await between(session, revision, NEWEST, ("", ""), NO_LIMIT, which)).items


async def touched(session: Session, after: int, before: int) -> tuple[Touched, ...] | None:
    """What the revisions between these two have changed; None where the history does not have all of them."""
    rows = await session.rows(
        """
        SELECT revision, kind, resource_id AS id, side ->> 'key' AS key, side ->> 'scope_level' AS scope_level,
            side ->> 'scope_id' AS scope_id,
            (SELECT namespace_id FROM groups WHERE side ->> 'scope_level' = 'group' AND id = side ->> 'scope_id')
        FROM history_resources, LATERAL (VALUES (before), (after)) AS sides (side)
        WHERE revision > $1 AND revision < $2 AND side IS NOT NULL
        UNION ALL
        SELECT revision, 'file', file_name, NULL, NULL, NULL, NULL FROM change_log WHERE revision > $1 AND revision < $2
        UNION ALL
        SELECT revision, '', '', NULL, NULL, NULL, NULL FROM history WHERE revision > $1 AND revision < $2
        """,
        after,
        before,
    )
    revisions = {row["revision"] for row in rows if not row["kind"]}
    if len(revisions) < before - after - 1:
        return None
    told = {row["revision"] for row in rows if row["kind"] not in ("", "file")}
    # of a revision that tells of resources, that it is there is nothing more
    return tuple(_touched_by(row) for row in rows if row["kind"] or row["revision"] not in told)


def _touched_by(row: Row) -> Touched:
    level, scope_id = row["scope_level"], row["scope_id"]
    scope = scope_of(level, scope_id) if level is not None else None
    return Touched(row["kind"], row["id"], row["key"] or "", scope, row["namespace_id"])


def _facts(row: Row) -> RevisionFacts:
    return RevisionFacts(
        revision=row["revision"],
        at=row["at"],
        author=row["author"],
        method=row["method"],
        resource_count=row["resource_count"],
        file_count=row["file_count"],
        reason=row["reason"],
        request_id=row["request_id"] or "",
    )


def _change(row: Row) -> ResourceChange:
    kind, before, after = row["kind"], row["before"], row["after"]
    return ResourceChange(
        kind,
        row["resource_id"],
        None if before is None else resource_of(kind, before),
        None if after is None else resource_of(kind, after),
    )
