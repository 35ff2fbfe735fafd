"""Rendered rules: one row for each live rule that is enabled, with its text as it stands in its file."""

from collections.abc import Collection, Sequence

from rule_service.domain.render import RenderedRule
from rule_service.store.encode import Columns, dump, scope_columns, scope_of, warnings_json, warnings_of
from rule_service.store.pool import Session
from rule_service.store.records import Stamp
from rule_service.usecases.ports_rendered import Fragment, InFile, Ingredients

BATCH = 5_000
"""Rules written by one statement: more would come near its timeout, and are no faster."""

_COLUMNS = """
    rule_id, key, scope_level, scope_id, alert_name, source_query, expr, for_duration, keep_firing_for, interval,
    labels, annotations, digest, text, warnings
"""


async def in_files(session: Session, rule_ids: Collection[str]) -> dict[str, InFile]:
    rows = await session.rows(
        f"""
        WITH asked AS MATERIALIZED (
            SELECT {_COLUMNS}, file_name FROM rendered_rules WHERE rule_id = ANY ($1::text[])
        ),
        counted AS MATERIALIZED (
            SELECT place.*, beside FROM (SELECT DISTINCT file_name, interval FROM asked) AS place, LATERAL (
                SELECT count(*) AS beside FROM rendered_rules AS other
                WHERE other.file_name = place.file_name AND other.interval IS NOT DISTINCT FROM place.interval
            ) AS counting
        )
        SELECT asked.*, beside FROM asked
        JOIN counted ON counted.file_name = asked.file_name AND counted.interval IS NOT DISTINCT FROM asked.interval
        """,
        list(rule_ids),
    )
    return {row["rule_id"]: InFile(rendered_rule_of(row), row["beside"]) for row in rows}


async def of_keys(session: Session, keys: Collection[str]) -> dict[str, RenderedRule]:
    rows = await session.rows(f"SELECT {_COLUMNS} FROM rendered_rules WHERE key = ANY ($1::text[])", list(keys))
    return {row["rule_id"]: rendered_rule_of(row) for row in rows}


async def of_files(session: Session, names: Collection[str]) -> tuple[RenderedRule, ...]:
    rows = await session.rows(f"SELECT {_COLUMNS} FROM rendered_rules WHERE file_name = ANY ($1::text[])", list(names))
    return tuple(rendered_rule_of(row) for row in rows)


async def files_of_keys(session: Session, keys: Collection[str]) -> set[str]:
    rows = await session.rows("SELECT DISTINCT file_name FROM rendered_rules WHERE key = ANY ($1::text[])", list(keys))
    return {row["file_name"] for row in rows}


async def ingredients(session: Session, file_names: Collection[str]) -> dict[str, Ingredients]:
    """What these files are made of, and the hashes of the stored ones, by file name."""
    fragments: dict[str, list[Fragment]] = {name: [] for name in file_names}
    hashes: dict[str, bytes] = {}
    rows = await session.rows(
        """
        SELECT file_name, rule_id, key, interval, text, NULL AS sha256
        FROM rendered_rules WHERE file_name = ANY ($1::text[])
        UNION ALL
        SELECT name, NULL, NULL, NULL, NULL, sha256 FROM rendered_files WHERE name = ANY ($1::text[])
        """,
        list(file_names),
    )
    for name, rule_id, key, interval, text, sha256 in rows:
        if rule_id is None:
            hashes[name] = sha256
        else:
            fragments[name].append(Fragment(rule_id, key, interval, text))
    return {name: Ingredients(tuple(of_file), hashes.get(name)) for name, of_file in fragments.items()}


async def put(session: Session, stamp: Stamp, rules: Sequence[RenderedRule]) -> None:
    for start in range(0, len(rules), BATCH):
        await _put_batch(session, stamp, rules[start : start + BATCH])


async def _put_batch(session: Session, stamp: Stamp, rules: Sequence[RenderedRule]) -> None:
    columns = zip(*(_values(rule) for rule in rules), strict=True)
    await session.run(
        f"""
        INSERT INTO rendered_rules ({_COLUMNS}, file_name, revision)
        SELECT
            rule_id, key, scope_level, scope_id, alert_name, source_query, expr, for_duration, keep_firing_for,
            interval, labels::jsonb, annotations::jsonb, digest, text, warnings::jsonb, file_name, $17
        FROM unnest(
            $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[]
        ) AS new ({_COLUMNS}, file_name)
        ON CONFLICT (rule_id) DO UPDATE SET
            key = excluded.key, scope_level = excluded.scope_level, scope_id = excluded.scope_id,
            file_name = excluded.file_name, alert_name = excluded.alert_name, source_query = excluded.source_query,
            expr = excluded.expr, for_duration = excluded.for_duration, keep_firing_for = excluded.keep_firing_for,
            interval = excluded.interval, labels = excluded.labels, annotations = excluded.annotations,
            digest = excluded.digest, text = excluded.text, warnings = excluded.warnings, revision = excluded.revision
        """,
        *(list(column) for column in columns),
        stamp.revision,
    )


async def delete(session: Session, rule_ids: Collection[str]) -> None:
    if rule_ids:
        await session.run("DELETE FROM rendered_rules WHERE rule_id = ANY ($1::text[])", list(rule_ids))


def _values(rule: RenderedRule) -> tuple[str | None, ...]:
    return (
        rule.rule_id,
        rule.key,
        *scope_columns(rule.scope),
        rule.alert_name,
        rule.source_query,
        rule.expr,
        rule.for_duration,
        rule.keep_firing_for,
        rule.interval,
        dump(dict(rule.labels)),
        dump(dict(rule.annotations)),
        rule.digest,
        rule.text,
        dump(warnings_json(rule.warnings)),
        rule.file_name,
    )


def rendered_rule_of(row: Columns) -> RenderedRule:
    """A rendered rule from its row."""
    return RenderedRule(
        rule_id=row["rule_id"],
        key=row["key"],
        scope=scope_of(row["scope_level"], row["scope_id"]),
        alert_name=row["alert_name"],
        source_query=row["source_query"],
        expr=row["expr"],
        for_duration=row["for_duration"],
        keep_firing_for=row["keep_firing_for"],
        interval=row["interval"],
        labels=row["labels"],
        annotations=row["annotations"],
        digest=row["digest"],
        text=row["text"],
        warnings=warnings_of(row["warnings"]),
    )
