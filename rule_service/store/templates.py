"""Alert templates."""

from collections.abc import Collection

from rule_service.domain.model import AlertTemplate
from rule_service.store.encode import spec_json, template_of
from rule_service.store.pool import Row, Session
from rule_service.store.records import Stamp, missing, page_of, record_of
from rule_service.usecases.ports import Page, Record
from rulecast.reasons import Reason

_COLUMNS = "id, key, spec, version, description, revision, created_at, updated_at"


async def get(session: Session, id: str) -> Record[AlertTemplate] | None:
    row = await session.row(f"SELECT {_COLUMNS} FROM templates WHERE id = $1", id)
    return _record(row) if row else None


async def page(session: Session, after: str, limit: int, severity: str | None) -> Page[Record[AlertTemplate]]:
    """severity: that of the spec; None: any."""
    if severity is None:
        sql = f"SELECT {_COLUMNS} FROM templates WHERE id > $1 ORDER BY id LIMIT $2"
        return page_of(await session.rows(sql, after, limit + 1), limit, _record)
    sql = f"SELECT {_COLUMNS} FROM templates WHERE severity = $3 AND id > $1 ORDER BY id LIMIT $2"
    return page_of(await session.rows(sql, after, limit + 1, severity), limit, _record)


async def existing(session: Session, ids: Collection[str]) -> set[str]:
    """Those of these ids that there are."""
    rows = await session.rows("SELECT id FROM templates WHERE id = ANY ($1::text[])", list(ids))
    return {row["id"] for row in rows}


async def insert(session: Session, stamp: Stamp, template: AlertTemplate) -> Record[AlertTemplate]:
    row = await session.row(
        f"""
        INSERT INTO templates (id, key, spec, version, description, revision, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
        RETURNING {_COLUMNS}
        """,
        *_values(template),
        stamp.revision,
        stamp.at,
    )
    return _written(row, template.id)


async def update(session: Session, stamp: Stamp, template: AlertTemplate) -> Record[AlertTemplate]:
    row = await session.row(
        f"""
        UPDATE templates
        SET key = $2, spec = $3, version = $4, description = $5, revision = $6, updated_at = $7
        WHERE id = $1
        RETURNING {_COLUMNS}
        """,
        *_values(template),
        stamp.revision,
        stamp.at,
    )
    return _written(row, template.id)


async def delete(session: Session, id: str) -> None:
    if not await session.delete("DELETE FROM templates WHERE id = $1", id):
        raise missing("template", id, Reason.TEMPLATE_NOT_FOUND)


def _values(template: AlertTemplate) -> tuple[object, ...]:
    return template.id, template.key, spec_json(template.spec), template.version, template.description


def _record(row: Row) -> Record[AlertTemplate]:
    return record_of(row, template_of(row))


def _written(row: Row | None, id: str) -> Record[AlertTemplate]:
    if row is None:
        raise missing("template", id, Reason.TEMPLATE_NOT_FOUND)
    return _record(row)
