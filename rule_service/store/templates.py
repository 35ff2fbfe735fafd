"""Alert templates."""

from collections.abc import Collection, Sequence

from rule_service.domain.model import AlertTemplate
from rule_service.store import resources
from rule_service.store.encode import spec_json, template_of
from rule_service.store.pool import Row, Session
from rule_service.store.records import Stamp, as_texts, columns, missing, record_of
from rule_service.store.resources import Table, Where
from rule_service.usecases.filters import TemplateFilter
from rule_service.usecases.ports import Page, Record
from rulecast.reasons import Reason

_COLUMNS = "id, key, spec, version, description, owner, revision, created_at, updated_at"
_WITH_TEXT = """
    strpos(lower(concat_ws(E'\\n', id, key, spec ->> 'alert_name', description, spec ->> 'query')), lower({})) > 0
"""

TABLE = Table("template", "templates", _COLUMNS, template_of, Reason.TEMPLATE_NOT_FOUND)


async def page(session: Session, after: str, limit: int, where: TemplateFilter) -> Page[Record[AlertTemplate]]:
    wanted = [
        Where("severity = {}", where.severity),
        Where("owner = {}", where.owner),
        Where(_WITH_TEXT, where.text),
    ]
    return await resources.page(session, TABLE, after, limit, wanted, show_deleted=where.show_deleted)


async def existing(session: Session, ids: Collection[str]) -> set[str]:
    """Those of these ids that there are."""
    rows = await session.rows("SELECT id FROM templates WHERE id = ANY ($1::text[])", list(ids))
    return {row["id"] for row in rows}


async def insert(session: Session, stamp: Stamp, template: AlertTemplate) -> Record[AlertTemplate]:
    row = await session.row(
        f"""
        INSERT INTO templates (id, key, spec, version, description, owner, revision, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
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
        SET key = $2, spec = $3, version = $4, description = $5, owner = $6, revision = $7, updated_at = $8
        WHERE id = $1
        RETURNING {_COLUMNS}
        """,
        *_values(template),
        stamp.revision,
        stamp.at,
    )
    return _written(row, template.id)


async def put(session: Session, stamp: Stamp, templates: Sequence[AlertTemplate]) -> None:
    """Inserts or changes them, in one statement."""
    await session.run(
        """
        INSERT INTO templates (id, key, spec, version, description, owner, revision, created_at, updated_at)
        SELECT id, key, spec::jsonb, version, description, owner, $7, $8, $8
        FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::text[])
            AS new (id, key, spec, version, description, owner)
        ON CONFLICT (id) DO UPDATE SET
            key = excluded.key, spec = excluded.spec, version = excluded.version, description = excluded.description,
            owner = excluded.owner, revision = excluded.revision, updated_at = excluded.updated_at
        """,
        *columns(as_texts(_values(each)) for each in templates),
        stamp.revision,
        stamp.at,
    )


def _values(template: AlertTemplate) -> tuple[object, ...]:
    spec = spec_json(template.spec)
    return template.id, template.key, spec, template.version, template.description, template.owner


def _record(row: Row) -> Record[AlertTemplate]:
    return record_of(row, template_of(row))


def _written(row: Row | None, id: str) -> Record[AlertTemplate]:
    if row is None:
        raise missing("template", id, Reason.TEMPLATE_NOT_FOUND)
    return _record(row)
