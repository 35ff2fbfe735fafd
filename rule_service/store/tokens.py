"""Tokens, by the hash of what their owners send."""

from rule_service.store.pool import Database, Row
from rule_service.store.records import page_of
from rule_service.usecases.ports import Page
from rule_service.usecases.tokens import Role, Standing, Token, TokenDraft

TOKENS = "rulecast_tokens"
"""The channel that is notified when a token was made or revoked. Its payload is the token's id."""

_COLUMNS = "id, name, role, namespaces, created_at, created_by, expires_at, revoked_at, revoked_by"


class PostgresTokens:
    """Implements `TokenStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert_token(self, id: str, sha256: bytes, draft: TokenDraft, by: str) -> Token:
        async with self._database.transaction() as session:
            row = await session.row(
                f"""
                INSERT INTO tokens (id, sha256, name, role, namespaces, created_by, expires_at)
                VALUES ($1, $2, $3, $4, $5, $6, $7)
                RETURNING {_COLUMNS}
                """,
                id,
                sha256,
                draft.name,
                draft.role.value,
                list(draft.namespaces),
                by,
                draft.expires_at,
            )
            assert row is not None, "an insert returns its row"
            await session.run("SELECT pg_notify($1, $2)", TOKENS, id)
        return _token(row)

    async def tokens(self, after: str, limit: int) -> Page[Token]:
        async with self._database.session() as session:
            rows = await session.rows(
                f"SELECT {_COLUMNS} FROM tokens WHERE id > $1 ORDER BY id LIMIT $2", after, limit + 1
            )
        return page_of(rows, limit, _token)

    async def revoke_token(self, id: str, by: str) -> Token | None:
        async with self._database.transaction() as session:
            row = await session.row(
                f"""
                UPDATE tokens SET
                    revoked_at = coalesce(revoked_at, clock_timestamp()), revoked_by = coalesce(revoked_by, $2)
                WHERE id = $1
                RETURNING {_COLUMNS}
                """,
                id,
                by,
            )
            await session.run("SELECT pg_notify($1, $2)", TOKENS, id if row is not None else "")
        return _token(row) if row is not None else None

    async def token_standing(self, sha256: bytes) -> Standing | None:
        async with self._database.session() as session:
            row = await session.row(
                f"""
                SELECT {_COLUMNS}, extract(epoch FROM expires_at - clock_timestamp()) AS seconds_left
                FROM tokens WHERE sha256 = $1
                """,
                sha256,
            )
        if row is None:
            return None
        left = row["seconds_left"]
        return Standing(_token(row), None if left is None else float(left))


def _token(row: Row) -> Token:
    return Token(
        id=row["id"],
        name=row["name"],
        role=Role(row["role"]),
        namespaces=tuple(row["namespaces"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        revoked_by=row["revoked_by"],
    )
