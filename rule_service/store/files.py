"""Rendered files: the bytes that deployers get, and what is known of them."""

from collections.abc import Collection, Sequence

from rule_service.domain.layout import RuleFile
from rule_service.domain.model import Scope
from rule_service.store.encode import scope_columns, scope_of
from rule_service.store.pool import Row, Session
from rule_service.store.records import Stamp, page_of
from rule_service.usecases.ports import Page
from rule_service.usecases.ports_rendered import FileFacts, StoredFile
from rulecast.digest import file_sha256

# the length of a value that is stored elsewhere is known without reading it
_FACTS = "name, scope_level, scope_id, sha256, revision, rule_count, octet_length(content) AS size, modified_at"


async def get(session: Session, name: str) -> StoredFile | None:
    row = await session.row(f"SELECT {_FACTS}, content FROM rendered_files WHERE name = $1", name)
    return StoredFile(_facts(row), row["content"]) if row else None


async def page(session: Session, after: str, limit: int) -> Page[FileFacts]:
    rows = await session.rows(
        f"SELECT {_FACTS} FROM rendered_files WHERE name > $1 ORDER BY name LIMIT $2", after, limit + 1
    )
    return page_of(rows, limit, _facts, id="name")


async def put(session: Session, stamp: Stamp, files: Sequence[tuple[Scope, RuleFile]]) -> None:
    """Inserts or replaces. A file whose bytes are stored already keeps its revision and time."""
    if not files:
        return
    levels, ids = zip(*(scope_columns(scope) for scope, _ in files), strict=True)
    await session.run(
        """
        INSERT INTO rendered_files
            (name, scope_level, scope_id, content, sha256, rule_count, revision, modified_at)
        SELECT new.*, $7, $8
        FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::integer[]) AS new
        ON CONFLICT (name) DO UPDATE SET
            content = excluded.content, sha256 = excluded.sha256, rule_count = excluded.rule_count,
            revision = excluded.revision, modified_at = excluded.modified_at
        WHERE rendered_files.sha256 <> excluded.sha256
        """,
        [file.name for _, file in files],
        list(levels),
        list(ids),
        [file.content for _, file in files],
        [file_sha256(file.content) for _, file in files],
        [file.rule_count for _, file in files],
        stamp.revision,
        stamp.at,
    )


async def delete(session: Session, names: Collection[str]) -> None:
    if names:
        await session.run("DELETE FROM rendered_files WHERE name = ANY ($1::text[])", list(names))


def _facts(row: Row) -> FileFacts:
    return FileFacts(
        name=row["name"],
        scope=scope_of(row["scope_level"], row["scope_id"]),
        sha256=row["sha256"],
        revision=row["revision"],
        rule_count=row["rule_count"],
        size=row["size"],
        modified_at=row["modified_at"],
    )
