"""Alert templates."""

from collections.abc import Collection

from rule_service.domain.model import AlertTemplate
from rule_service.store import resources
from rule_service.store.encode import spec_json, template_of
from rule_service.store.pool import Row, Session
from rule_service.store.records import Stamp, missing, record_of
from rule_service.store.resources import Table, Where
from rule_service.usecases.filters import TemplateFilter
from rule_service.usecases.ports import Page, Record
from rulecast.reasons import Reason

_COLUMNS = "id, key, spec, version, description, revision, created_at, updated_at"
_WITH_TEXT = """
    strpos(lower(concat_ws(E'\\n', id, key, spec ->> 'alert_name', description, spec ->> 'query')), lower({})) > 0
"""

TABLE = Table("template", "templates", _COLUMNS, template_of, Reason.TEMPLATE_NOT_FOUND)


async def page(session: Session, after: str, limit: int, where: TemplateFilter) -> Page[Record[AlertTemplate]]:
    wanted = [Where("severity = {}", where.severity), Where(_WITH_TEXT, where.text)]
    return await resources.page(session, TABLE, after, limit, wanted, show_deleted=where.show_deleted)


async def existing(session: Session, ids: Collection[str]) -> set[str]:
    """Those of these ids that there are."""
    rows = await session.rows("SELECT id FROM templates WHERE id = ANY ($1::text[])", list(ids))
    return {row["id"] for row in rows}


async def insert(session: Session, stamp: Stamp, template: AlertTemplate) -> Record[AlertTemplate]:
    row = await session.row(
        f"""
        INSERT INTO templates (id, key, spec, version, description, revision, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        RETURNING {_COLUMNS}
        """,
        *_values(template),
        *stamp.of_insert,
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


def _values(template: AlertTemplate) -> tuple[object, ...]:
    return template.id, template.key, spec_json(template.spec), template.version, template.description


def _record(row: Row) -> Record[AlertTemplate]:
    return record_of(row, template_of(row))


def _written(row: Row | None, id: str) -> Record[AlertTemplate]:
    if row is None:
        raise missing("template", id, Reason.TEMPLATE_NOT_FOUND)
    return _record(row)
