"""What was last heard of targets."""

from collections.abc import Collection, Mapping
from datetime import timedelta

from rule_service.domain.status import TargetStatus
from rule_service.store.pool import Database, Session
from rule_service.usecases.filters import StatusFilter
from rule_service.usecases.ports_heartbeats import Heard


class PostgresHeartbeats:
    """Implements `Heartbeats`: each call takes a connection of the pool by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, statuses: Mapping[str, TargetStatus | None]) -> set[str]:
        async with self._database.session() as session:
            return await record(session, statuses)

    async def heard(self, ids: Collection[str], stale_after: timedelta) -> dict[str, Heard]:
        async with self._database.session() as session:
            return await heard(session, ids, stale_after)


async def record(session: Session, statuses: Mapping[str, TargetStatus | None]) -> set[str]:
    rows = await session.rows(
        """
        INSERT INTO target_heartbeats (target_id, status, seen_at)
        SELECT id, coalesce(beat.status, known.status, 'UP'), now()
        FROM unnest($1::text[], $2::text[]) AS beat (id, status)
        JOIN targets USING (id) LEFT JOIN target_heartbeats AS known ON target_id = id
        -- in one order: two batches never wait for each other in a circle
        ORDER BY id
        ON CONFLICT (target_id) DO UPDATE SET status = excluded.status, seen_at = excluded.seen_at
        RETURNING target_id
        """,
        list(statuses),
        [None if status is None else status.value for status in statuses.values()],
    )
    return {row["target_id"] for row in rows}


async def heard(session: Session, ids: Collection[str], stale_after: timedelta) -> dict[str, Heard]:
    rows = await session.rows(
        """
        SELECT target_id, seen_at, CASE WHEN seen_at < now() - $2::interval THEN 'STALE' ELSE status END AS status
        FROM target_heartbeats WHERE target_id = ANY ($1::text[])
        """,
        list(ids),
        stale_after,
    )
    return {row["target_id"]: Heard(TargetStatus(row["status"]), row["seen_at"]) for row in rows}


async def forget(session: Session, target_id: str) -> None:
    await session.run("DELETE FROM target_heartbeats WHERE target_id = $1", target_id)


def condition(where: StatusFilter, args: list[object]) -> str:
    """The SQL condition on a row of `targets`; adds its arguments."""
    args += [where.stale_after, [status.value for status in sorted(where.statuses)]]
    since, statuses = f"now() - ${len(args) - 1}::interval", f"${len(args)}::text[]"
    heard = [f"status = ANY ({statuses}) AND seen_at >= {since}"]
    if TargetStatus.STALE in where.statuses:
        heard.append(f"seen_at < {since}")
    found = f"EXISTS (SELECT FROM target_heartbeats WHERE target_id = targets.id AND ({' OR '.join(heard)}))"
    if TargetStatus.UNKNOWN in where.statuses:
        found = f"({found} OR NOT EXISTS (SELECT FROM target_heartbeats WHERE target_id = targets.id))"
    return found
