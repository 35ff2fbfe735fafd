"""The manifest and what has changed since a position."""

from collections.abc import Collection

from rule_service.domain.layout import parse_file_name
from rule_service.store.encode import scope_of
from rule_service.store.pool import Database, Row
from rule_service.usecases.ports_delivery import FileChanges, FileVersion, Manifest, Position


class PostgresChangeLog:
    """Implements `ChangeLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def manifest(self) -> Manifest:
        async with self._database.snapshot() as session:
            counter = await session.row("SELECT history_id::text, revision, commit_id::text FROM revision_counter")
            rows = await session.rows("SELECT name, sha256, revision, scope_level, scope_id FROM rendered_files")
        assert counter is not None, "the migrations make the row"
        return Manifest(
            _position(counter),
            {
                row["name"]: FileVersion(row["sha256"], row["revision"], scope_of(row["scope_level"], row["scope_id"]))
                for row in rows
            },
        )

    async def changes_after(self, position: Position) -> FileChanges | None:
        # one statement, and so one state of the database
        async with self._database.session() as session:
            rows = await session.rows(
                """
                SELECT history_id::text, counter.revision, commit_id::text,
                    (SELECT commit_id::text FROM history WHERE revision = $1) AS passed,
                    file_name, sha256, changed.revision AS changed_in
                FROM revision_counter AS counter LEFT JOIN (
                    SELECT DISTINCT ON (file_name) file_name, sha256, revision FROM change_log
                    WHERE revision > $1 ORDER BY file_name, revision DESC
                ) AS changed ON true
                """,
                position.revision,
            )
        assert rows, "the migrations make the row"
        newest = _position(rows[0])
        if newest == position:
            return FileChanges(newest, {})
        # pruning deletes the log only together with the history up to the same revision, so that row vouches for both
        if (
            position.history_id != newest.history_id
            or position.revision >= newest.revision
            or position.commit_id != rows[0]["passed"]
        ):
            return None
        changed = (row for row in rows if row["file_name"] is not None)
        return FileChanges(newest, {row["file_name"]: _version(row) for row in changed})

    async def contents(self, names: Collection[str]) -> dict[str, bytes]:
        async with self._database.session() as session:
            rows = await session.rows(
                "SELECT name, content FROM rendered_files WHERE name = ANY ($1::text[])", list(names)
            )
        return {row["name"]: row["content"] for row in rows}


def _position(row: Row) -> Position:
    return Position(row["history_id"], row["revision"], row["commit_id"])


def _version(row: Row) -> FileVersion | None:
    if row["sha256"] is None:
        return None
    scope = parse_file_name(row["file_name"])
    if scope is None:
        raise ValueError(f"not the name of a rule file: {row['file_name']}")
    return FileVersion(row["sha256"], row["changed_in"], scope)
