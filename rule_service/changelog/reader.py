"""The manifest and what has changed since a position."""

from collections.abc import Collection

from rule_service.domain.layout import parse_file_name
from rule_service.store.encode import scope_of
from rule_service.store.pool import Database, Row, Session
from rule_service.usecases.ports_delivery import FileChanges, FileVersion, Manifest, Position


class PostgresChangeLog:
    """Implements `ChangeLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def manifest(self) -> Manifest:
        async with self._database.snapshot() as session:
            position = await _position(session)
            rows = await session.rows("SELECT name, sha256, revision, scope_level, scope_id FROM rendered_files")
        return Manifest(
            position,
            {
                row["name"]: FileVersion(row["sha256"], row["revision"], scope_of(row["scope_level"], row["scope_id"]))
                for row in rows
            },
        )

    async def changes_after(self, position: Position) -> FileChanges | None:
        async with self._database.snapshot() as session:
            newest = await _position(session)
            if newest == position:
                return FileChanges(newest, {})
            if not await _goes_on(session, position, newest):
                return None
            rows = await session.rows(
                """
                SELECT DISTINCT ON (file_name) file_name, sha256, revision FROM change_log
                WHERE revision > $1 ORDER BY file_name, revision DESC
                """,
                position.revision,
            )
        return FileChanges(newest, {row["file_name"]: _version(row) for row in rows})

    async def contents(self, names: Collection[str]) -> dict[str, bytes]:
        async with self._database.session() as session:
            rows = await session.rows(
                "SELECT name, content FROM rendered_files WHERE name = ANY ($1::text[])", list(names)
            )
        return {row["name"]: row["content"] for row in rows}


async def _position(session: Session) -> Position:
    row = await session.row("SELECT history_id::text, revision, commit_id::text FROM revision_counter")
    assert row is not None, "the migrations make the row"
    return Position(row["history_id"], row["revision"], row["commit_id"])


async def _goes_on(session: Session, position: Position, newest: Position) -> bool:
    """Whether the history passed through the position, and the log is complete after it."""
    if position.history_id != newest.history_id or position.revision >= newest.revision:
        return False
    # pruning deletes the log only together with the history up to the same revision, so this row vouches for both
    commit_id = await session.value("SELECT commit_id::text FROM history WHERE revision = $1", position.revision)
    return bool(commit_id == position.commit_id)


def _version(row: Row) -> FileVersion | None:
    if row["sha256"] is None:
        return None
    scope = parse_file_name(row["file_name"])
    if scope is None:
        raise ValueError(f"not the name of a rule file: {row['file_name']}")
    return FileVersion(row["sha256"], row["revision"], scope)
