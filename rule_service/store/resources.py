"""What namespaces, groups, targets and templates have in common: read, listed, deleted softly, brought back, purged.

A deleted one leaves its table for `deleted_resources`. Whatever reads the table sees live ones only, and the labels,
values and ids that are free again are free by the table's own constraints. Rules keep their rows (`rules.py`).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from rule_service.store.encode import Columns
from rule_service.store.pool import Row, Session
from rule_service.store.records import Stamp, missing, page_of, record_of
from rule_service.usecases.ports import Page, Record
from rulecast.reasons import Reason

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """Where one kind of resource is.

    columns: of a row, as `of` reads them. deleted_columns: the same, where they are others in `deleted_resources`,
    whose `value` is laid out as a row of this table. row: a live row with all that is to be kept of it.
    refers_to: an SQL array of what a row can not come back without.
    """

    kind: str
    name: str
    columns: str
    of: Callable[[Columns], T]
    absent: Reason
    refers_to: str = "ARRAY[]::text[]"
    row: str = ""
    deleted_columns: str = ""

    @property
    def live(self) -> str:
        """The SELECT of live ones, up to its conditions."""
        return f"SELECT {self.columns}, NULL::timestamptz AS deleted_at FROM {self.name}"

    @property
    def deleted(self) -> str:
        """The same of deleted ones."""
        return self.deleted_in("deleted_resources") + f" WHERE kind = '{self.kind}'"

    def deleted_in(self, source: str) -> str:
        columns = self.deleted_columns or self.columns
        row = f"jsonb_populate_record(NULL::{self.name}, value) AS {self.name}"
        return f"SELECT {columns}, deleted_at FROM {source}, LATERAL {row}"

    def record(self, row: Row) -> Record[T]:
        return replace(record_of(row, self.of(row)), deleted_at=row["deleted_at"])


class Where(NamedTuple):
    """A condition of a list, with `{}` for its value; without a value there is none."""

    condition: str
    value: object


async def get(session: Session, table: Table[T], id: str) -> Record[T] | None:
    """A live one."""
    row = await session.row(f"{table.live} WHERE id = $1", id)
    return table.record(row) if row else None


async def by_id(session: Session, table: Table[T], ids: Collection[str]) -> dict[str, Record[T]]:
    """Those of these that there are, deleted or not."""
    rows = await session.rows(
        f"""
        {table.live} WHERE id = ANY ($1::text[])
        UNION ALL
        {table.deleted} AND resource_id = ANY ($1::text[])
        """,
        list(ids),
    )
    return {row["id"]: table.record(row) for row in rows}


async def page(
    session: Session, table: Table[T], after: str, limit: int, wanted: Collection[Where], *, show_deleted: bool
) -> Page[Record[T]]:
    """One page, by id."""
    args: list[object] = [after, limit + 1]
    conditions = []
    # only the conditions that are asked for are written, so that each list has an index
    for where in wanted:
        if where.value is not None:
            args.append(where.value)
            conditions.append(where.condition.format(f"${len(args)}"))
    sql = f"{table.live} WHERE {' AND '.join(['id > $1', *conditions])} ORDER BY id LIMIT $2"
    if show_deleted:
        also = "".join(f" AND {condition}" for condition in conditions)
        more = f"{table.deleted} AND resource_id > $1{also} ORDER BY resource_id LIMIT $2"
        sql = f"({sql}) UNION ALL ({more}) ORDER BY id LIMIT $2"
    return page_of(await session.rows(sql, *args), limit, table.record)


async def delete(session: Session, stamp: Stamp, table: Table[T], id: str) -> Record[T]:
    """Moves a live one to the deleted ones. Raises NotFound, and FailedPrecondition while others need it."""
    gone = await delete_all(session, stamp, table, [id])
    if not gone:
        raise missing(table.kind, id, table.absent)
    return gone[0]


async def delete_all(session: Session, stamp: Stamp, table: Table[T], ids: Collection[str]) -> list[Record[T]]:
    """Moves those that are live to the deleted ones. Raises FailedPrecondition while others need them."""
    rows = await session.rows(
        f"""
        WITH gone AS (SELECT {table.row or "*"} FROM {table.name} WHERE id = ANY ($1::text[])),
        kept AS (
            INSERT INTO deleted_resources (kind, resource_id, value, refers_to, deleted_at)
            SELECT '{table.kind}', id,
                to_jsonb(gone) || jsonb_build_object('revision', $2::bigint, 'updated_at', $3::timestamptz),
                {table.refers_to}, $3
            FROM gone RETURNING value, deleted_at
        )
        {table.deleted_in("kept")}
        """,
        list(ids),
        stamp.revision,
        stamp.at,
    )
    await session.delete(f"DELETE FROM {table.name} WHERE id = ANY ($1::text[])", list(ids))
    return [table.record(row) for row in rows]


async def take_back(session: Session, stamp: Stamp, table: Table[T], id: str) -> Stamp:
    """Takes one from the deleted ones, if it is there. The stamp to insert it with: it is as old as it was."""
    ages = await take_back_all(session, table, [id])
    return replace(stamp, created_at=ages[id]) if ages else stamp


async def take_back_all(session: Session, table: Table[T], ids: Collection[str]) -> dict[str, datetime]:
    """Takes those that are there from the deleted ones. When each was made, by id."""
    rows = await session.rows(
        """
        DELETE FROM deleted_resources WHERE kind = $1 AND resource_id = ANY ($2::text[])
        RETURNING resource_id, (value ->> 'created_at')::timestamptz AS created_at
        """,
        table.kind,
        list(ids),
    )
    return {row["resource_id"]: row["created_at"] for row in rows}


async def keep_age(session: Session, table: Table[T], ages: Mapping[str, datetime]) -> None:
    """Has those that were taken back be as old as they were."""
    if ages:
        await session.run(
            f"""
            UPDATE {table.name} SET created_at = age.created_at
            FROM unnest($1::text[], $2::timestamptz[]) AS age (id, created_at) WHERE {table.name}.id = age.id
            """,
            list(ages),
            list(ages.values()),
        )


async def purge(session: Session, table: Table[T], id: str) -> None:
    """Removes a deleted one for good."""
    gone = await session.run(
        "DELETE FROM deleted_resources WHERE kind = $1 AND resource_id = $2",
        table.kind,
        id,
    )
    if not gone:
        raise missing(f"deleted {table.kind}", id, table.absent)


async def deleted_that_refer_to(session: Session, kind: str, id: str, limit: int) -> tuple[str, ...]:
    """What was deleted and can not come back without this namespace or group, as `group prod`, by kind and id."""
    rows = await session.rows(
        """
        SELECT kind, id FROM (
            SELECT kind, resource_id AS id FROM deleted_resources WHERE refers_to @> ARRAY[$1::text || ' ' || $2::text]
            UNION ALL
            SELECT 'rule', id FROM rules WHERE scope_level = $1 AND scope_id = $2 AND deleted_at IS NOT NULL
        ) AS referring
        ORDER BY kind, id LIMIT $3
        """,
        kind,
        id,
        limit,
    )
    return tuple(f"{row['kind']} {row['id']}" for row in rows)
