"""Alert rules. A deleted one keeps its row; whatever decides about alerts reads live rules only."""

from collections.abc import Collection, Sequence

from rule_service.domain.model import AlertRule, Scope
from rule_service.store.encode import config_json, rule_of, scope_columns, spec_json
from rule_service.store.groups import down, up
from rule_service.store.pool import Row, Session
from rule_service.store.records import Stamp, as_texts, columns, missing, page_of
from rule_service.usecases.filters import RuleFilter
from rule_service.usecases.ports import Page, Record
from rule_service.usecases.ports_rendered import RenderedTexts, StoredRule
from rulecast.reasons import Reason

# `spec` as text: what is read of it is remembered
COLUMNS = """
    id, key, scope_level, scope_id, spec::text AS spec, config, template_id, template_version, merge_strategy, priority,
    enabled, description, owner, revision, created_at, updated_at, deleted_at
"""
_OF_NAMESPACE = """
    ((scope_level = 'namespace' AND scope_id = {0})
    OR (scope_level = 'group' AND scope_id = ANY (ARRAY (SELECT id FROM groups WHERE namespace_id = {0}))))
"""
_WITH_TEXT = """
    strpos(lower(concat_ws(E'\\n', id, key, spec ->> 'alert_name', description, spec ->> 'query')), lower({})) > 0
"""
# the version alone does not tell: a template that was deleted and made anew counts from 1 again
_OUTDATED = """
    EXISTS (
        SELECT FROM templates WHERE templates.id = rules.template_id
        AND (templates.version <> rules.template_version OR templates.spec <> rules.spec)
    )
"""
BATCH = 5_000
"""Rules written by one statement: more would come near its timeout, and are no faster."""

# of `_values` and the stamp
_SET = """
    key = $2, scope_level = $3, scope_id = $4, spec = $5, config = $6, template_id = $7, template_version = $8,
    merge_strategy = $9, priority = $10, enabled = $11, description = $12, owner = $13, revision = $14,
    updated_at = $15
"""


async def get(session: Session, id: str) -> Record[AlertRule] | None:
    """A rule, deleted or not."""
    row = await session.row(f"SELECT {COLUMNS} FROM rules WHERE id = $1", id)
    return _record(row) if row else None


async def by_id(session: Session, ids: Collection[str]) -> dict[str, Record[AlertRule]]:
    """Those of these rules that there are, deleted or not."""
    rows = await session.rows(f"SELECT {COLUMNS} FROM rules WHERE id = ANY ($1::text[])", list(ids))
    return {row["id"]: _record(row) for row in rows}


async def page(session: Session, after: str, limit: int, where: RuleFilter) -> Page[Record[AlertRule]]:
    # only the conditions that are asked for are written, so that each list has an index
    args: list[object] = [after, limit + 1]
    conditions = ["id > $1"]
    wanted: dict[str, object] = {
        "key = {}": where.key,
        "template_id = {}": where.template_id,
        "enabled = {}": where.enabled,
        "spec ->> 'severity' = {}": where.severity,
        "owner = {}": where.owner,
        _OF_NAMESPACE: where.namespace_id,
        _WITH_TEXT: where.text,
    }
    if where.scope is not None:
        wanted["scope_level = {}"], wanted["scope_id = {}"] = scope_columns(where.scope)
    for condition, value in wanted.items():
        if value is not None:
            args.append(value)
            conditions.append(condition.format(f"${len(args)}"))
    if where.outdated:
        conditions.append(_OUTDATED)
    if not where.show_deleted:
        conditions.append("deleted_at IS NULL")
    sql = f"SELECT {COLUMNS} FROM rules WHERE {' AND '.join(conditions)} ORDER BY id LIMIT $2"
    return page_of(await session.rows(sql, *args), limit, _record)


async def live_at(session: Session, scope: Scope, limit: int) -> tuple[AlertRule, ...]:
    rows = await session.rows(
        f"""
        SELECT {COLUMNS} FROM rules
        WHERE scope_level = $1 AND scope_id = $2 AND deleted_at IS NULL ORDER BY id LIMIT $3
        """,
        *scope_columns(scope),
        limit,
    )
    return tuple(rule_of(row) for row in rows)


async def for_series(
    session: Session, group_ids: Collection[str], namespace_ids: Collection[str], key: str | None
) -> tuple[StoredRule, ...]:
    """The live rules at the global scope, at these namespaces and these groups, each with what it is rendered to."""
    of_key = "" if key is None else "AND key = $3"
    rows = await session.rows(
        f"""
        WITH held AS MATERIALIZED (
            SELECT {COLUMNS} FROM rules
            WHERE scope_level = 'global' AND scope_id = '' AND deleted_at IS NULL {of_key}
            UNION ALL
            SELECT {COLUMNS} FROM rules WHERE live_namespace_id = ANY ($1::text[]) {of_key}
            UNION ALL
            SELECT {COLUMNS} FROM rules WHERE live_group_id = ANY ($2::text[]) {of_key}
        )
        SELECT held.*, expr, rendered_rules.labels, annotations
        FROM held LEFT JOIN rendered_rules ON rule_id = held.id ORDER BY held.id
        """,
        list(namespace_ids),
        list(group_ids),
        *(() if key is None else (key,)),
    )
    return tuple(StoredRule(rule_of(row), _texts(row)) for row in rows)


async def keys_around_groups(session: Session, group_ids: Collection[str]) -> set[str]:
    rows = await session.rows(
        f"""
        WITH RECURSIVE {up("$1::text[]")}, {down("$1::text[]")}
        SELECT DISTINCT key FROM rules
        WHERE live_group_id = ANY (ARRAY (SELECT id FROM up UNION SELECT id FROM down))
        """,
        list(group_ids),
    )
    return {row["key"] for row in rows}


async def keys_of_namespace(session: Session, namespace_id: str) -> set[str]:
    rows = await session.rows(
        """
        SELECT key FROM rules WHERE live_namespace_id = $1
        UNION
        SELECT key FROM rules WHERE live_group_id = ANY (ARRAY (SELECT id FROM groups WHERE namespace_id = $1))
        """,
        namespace_id,
    )
    return {row["key"] for row in rows}


async def insert(session: Session, stamp: Stamp, rule: AlertRule) -> Record[AlertRule]:
    row = await session.row(
        f"""
        INSERT INTO rules (
            id, key, scope_level, scope_id, spec, config, template_id, template_version, merge_strategy, priority,
            enabled, description, owner, revision, created_at, updated_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)
        RETURNING {COLUMNS}
        """,
        *_values(rule),
        stamp.revision,
        stamp.at,
    )
    return _written(row, rule.id)


async def update(session: Session, stamp: Stamp, rule: AlertRule) -> Record[AlertRule]:
    """Changes a live rule."""
    row = await session.row(
        f"""
        UPDATE rules SET {_SET} WHERE id = $1 AND deleted_at IS NULL
        RETURNING {COLUMNS}
        """,
        *_values(rule),
        stamp.revision,
        stamp.at,
    )
    return _written(row, rule.id)


async def delete(session: Session, stamp: Stamp, id: str) -> Record[AlertRule]:
    """Marks a live rule as deleted."""
    row = await session.row(
        f"""
        UPDATE rules SET deleted_at = $3, updated_at = $3, revision = $2 WHERE id = $1 AND deleted_at IS NULL
        RETURNING {COLUMNS}
        """,
        id,
        stamp.revision,
        stamp.at,
    )
    return _written(row, id)


async def purge(session: Session, id: str) -> None:
    """Removes a deleted rule."""
    if not await session.delete("DELETE FROM rules WHERE id = $1 AND deleted_at IS NOT NULL", id):
        raise missing("deleted rule", id, Reason.RULE_NOT_FOUND)


async def put(session: Session, stamp: Stamp, rules: Sequence[AlertRule]) -> None:
    """Makes them as they are to be, whether they are there, deleted, or gone."""
    for start in range(0, len(rules), BATCH):
        await _put_batch(session, stamp, rules[start : start + BATCH])


async def _put_batch(session: Session, stamp: Stamp, rules: Sequence[AlertRule]) -> None:
    await session.run(
        """
        INSERT INTO rules (
            id, key, scope_level, scope_id, spec, config, template_id, template_version, merge_strategy, priority,
            enabled, description, owner, revision, created_at, updated_at
        )
        SELECT id, key, scope_level, scope_id, spec::jsonb, config::jsonb, template_id, template_version,
            merge_strategy, priority, enabled, description, owner, $14, $15, $15
        FROM unnest(
            $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::integer[],
            $9::text[], $10::integer[], $11::boolean[], $12::text[], $13::text[]
        ) AS new (
            id, key, scope_level, scope_id, spec, config, template_id, template_version, merge_strategy, priority,
            enabled, description, owner
        )
        ON CONFLICT (id) DO UPDATE SET
            key = excluded.key, scope_level = excluded.scope_level, scope_id = excluded.scope_id,
            spec = excluded.spec, config = excluded.config, template_id = excluded.template_id,
            template_version = excluded.template_version, merge_strategy = excluded.merge_strategy,
            priority = excluded.priority, enabled = excluded.enabled, description = excluded.description,
            owner = excluded.owner, revision = excluded.revision, updated_at = excluded.updated_at, deleted_at = NULL
        """,
        *columns(as_texts(_values(each)) for each in rules),
        stamp.revision,
        stamp.at,
    )


async def delete_all(session: Session, stamp: Stamp, ids: Collection[str]) -> None:
    """Marks those of these rules that are live as deleted."""
    await session.run(
        """
        UPDATE rules SET deleted_at = $3, updated_at = $3, revision = $2
        WHERE id = ANY ($1::text[]) AND deleted_at IS NULL
        """,
        list(ids),
        stamp.revision,
        stamp.at,
    )


async def live_in_places(session: Session, places: Collection[tuple[str, Scope]]) -> tuple[AlertRule, ...]:
    """The live rules with one of these keys at its scope."""
    rows = await session.rows(
        f"""
        SELECT {COLUMNS} FROM unnest($1::text[], $2::text[], $3::text[]) AS place (in_key, in_level, in_scope)
        JOIN rules ON key = in_key AND scope_level = in_level AND scope_id = in_scope AND deleted_at IS NULL
        """,
        *columns((key, *scope_columns(scope)) for key, scope in places),
    )
    return tuple(rule_of(row) for row in rows)


def _values(rule: AlertRule) -> tuple[object, ...]:
    return (
        rule.id,
        rule.key,
        *scope_columns(rule.scope),
        spec_json(rule.spec),
        config_json(rule.config),
        rule.template_id,
        rule.template_version,
        rule.merge_strategy.value,
        rule.priority,
        rule.enabled,
        rule.description,
        rule.owner,
    )


def _texts(row: Row) -> RenderedTexts | None:
    return None if row["expr"] is None else RenderedTexts(row["expr"], row["labels"], row["annotations"])


def _record(row: Row) -> Record[AlertRule]:
    return Record(rule_of(row), row["revision"], row["created_at"], row["updated_at"], row["deleted_at"])


def _written(row: Row | None, id: str) -> Record[AlertRule]:
    if row is None:
        raise missing("rule", id, Reason.RULE_NOT_FOUND)
    return _record(row)


async def live_with_label(session: Session, label: str, limit: int) -> tuple[str, ...]:
    """The ids of live rules that set this label. Looks at every rule: asked only when a namespace gets a label."""
    rows = await session.rows(
        """
        SELECT id FROM rules
        WHERE deleted_at IS NULL AND (config -> 'labels' ? $1 OR spec -> 'defaults' -> 'labels' ? $1)
        ORDER BY id LIMIT $2
        """,
        label,
        limit,
    )
    return tuple(row["id"] for row in rows)
