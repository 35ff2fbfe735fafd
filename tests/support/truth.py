"""What the database says that should be everywhere, and whether it agrees with itself. Read past all of our code."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import asyncpg


@dataclass(frozen=True)
class Truth:
    """files: the rule files by name. rules: of each rule that is to run, the digest of what it renders to."""

    revision: int
    files: dict[str, bytes]
    rules: dict[str, str]


async def read_truth(url: str) -> Truth:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            revision = await connection.fetchval("SELECT revision FROM revision_counter")
            files = await connection.fetch("SELECT name, content FROM rendered_files")
            rules = await connection.fetch("SELECT rule_id, digest FROM rendered_rules")
    finally:
        await connection.close()
    return Truth(
        revision, {row["name"]: row["content"] for row in files}, {row["rule_id"]: row["digest"] for row in rules}
    )


async def threshold_of(url: str, rule: str) -> float | None:
    """The threshold that a rule sets itself; None where there is no such rule, or it was deleted."""
    connection = await asyncpg.connect(url)
    try:
        value = await connection.fetchval(
            "SELECT (config #>> '{parameters,threshold}')::float FROM rules WHERE id = $1 AND deleted_at IS NULL", rule
        )
    finally:
        await connection.close()
    return None if value is None else float(value)


async def every_version(url: str) -> dict[str, set[str]]:
    """SHA-256 in hexadecimal of every version that each file ever had."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT file_name, sha256 FROM change_log WHERE sha256 IS NOT NULL")
    finally:
        await connection.close()
    versions: dict[str, set[str]] = {}
    for row in rows:
        versions.setdefault(row["file_name"], set()).add(row["sha256"].hex())
    return versions


async def written_at(url: str, revision: int, rule: str) -> dict[str, Any] | None:
    """What the history says that the rule became at a revision: its JSON, or None if it was deleted.

    Raises KeyError where the revision did not touch the rule.
    """
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(
            "SELECT after FROM history_resources WHERE revision = $1 AND kind = 'rule' AND resource_id = $2",
            revision,
            rule,
        )
    finally:
        await connection.close()
    if row is None:
        raise KeyError(f"revision {revision} has not touched rule {rule}")
    return None if row["after"] is None else dict(json.loads(row["after"]))


async def contradictions(url: str) -> list[str]:
    """In what the revision, the history, the change log, the rules and the rendered files do not agree."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = []
            for what, sql in _CONTRADICTIONS.items():
                found += [f"{what}: {dict(row)}" for row in await connection.fetch(sql)]
            for row in await connection.fetch("SELECT name, content, sha256 FROM rendered_files"):
                if hashlib.sha256(row["content"]).digest() != row["sha256"]:
                    found.append(f"a file is not what its SHA-256 says: {row['name']}")
            return found
    finally:
        await connection.close()


_CONTRADICTIONS = {
    "the newest revision is not the last of the history": """
        SELECT counter.revision, counter.commit_id, last.revision AS last
        FROM revision_counter AS counter, (SELECT * FROM history ORDER BY revision DESC LIMIT 1) AS last
        WHERE (counter.revision, counter.commit_id) IS DISTINCT FROM (last.revision, last.commit_id)
    """,
    "revisions are missing": """
        SELECT count(*), min(revision), max(revision) FROM history
        HAVING count(*) <> max(revision) - min(revision) + 1
    """,
    "a revision has no history": """
        SELECT revision FROM (SELECT revision FROM change_log UNION SELECT revision FROM history_resources) AS logged
        WHERE revision NOT IN (SELECT revision FROM history)
    """,
    "a file is not what the change log said last": """
        SELECT coalesce(file.name, last.file_name) AS file, file.revision, last.revision AS logged
        FROM rendered_files AS file FULL JOIN (
            SELECT DISTINCT ON (file_name) * FROM change_log ORDER BY file_name, revision DESC
        ) AS last ON last.file_name = file.name
        WHERE (file.sha256, CASE WHEN file.sha256 IS NOT NULL THEN file.revision END)
            IS DISTINCT FROM (last.sha256, CASE WHEN last.sha256 IS NOT NULL THEN last.revision END)
    """,
    "a rule is not what the history said last": """
        SELECT rule.id, rule.revision, last.revision AS logged
        FROM rules AS rule LEFT JOIN (
            SELECT DISTINCT ON (resource_id) * FROM history_resources WHERE kind = 'rule'
            ORDER BY resource_id, revision DESC
        ) AS last ON last.resource_id = rule.id
        WHERE rule.revision IS DISTINCT FROM last.revision OR (rule.deleted_at IS NULL) <> (last.after IS NOT NULL)
            OR (rule.deleted_at IS NULL AND (rule.config <> last.after -> 'config' OR rule.spec <> last.after -> 'spec'
                OR rule.enabled <> (last.after ->> 'enabled')::boolean))
    """,
    "a rule that is to run is not rendered, or one that is not to run is": """
        SELECT coalesce(rule.id, rendered.rule_id) AS rule
        FROM (SELECT id FROM rules WHERE deleted_at IS NULL AND enabled) AS rule
        FULL JOIN rendered_rules AS rendered ON rendered.rule_id = rule.id
        WHERE rule.id IS NULL OR rendered.rule_id IS NULL
    """,
    "a file has not the rules that are rendered into it": """
        SELECT coalesce(file.name, rendered.file_name) AS file, file.rule_count, rendered.rules
        FROM rendered_files AS file
        FULL JOIN (SELECT file_name, count(*) AS rules FROM rendered_rules GROUP BY 1) AS rendered
            ON rendered.file_name = file.name
        WHERE file.rule_count IS DISTINCT FROM rendered.rules
            OR EXISTS (
                SELECT FROM rendered_rules AS rule
                WHERE rule.file_name = file.name
                    AND position(convert_to(rule.rule_id || '@' || rule.digest, 'UTF8') IN file.content) = 0
            )
    """,
}
