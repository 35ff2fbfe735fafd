"""Tokens in a real database: made, listed, revoked, told to every replica, and refused when they make no sense."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from rule_service.changelog.prune import Pruner
from rule_service.store.pool import Database
from rule_service.store.tokens import TOKENS, PostgresTokens
from rule_service.store.unit_of_work import PostgresStore
from rule_service.usecases.tokens import Role, Token, TokenDraft, Tokens
from rulecast.errors import InvalidInput, NotFound
from rulecast.reasons import Reason
from rulecast.tokens import hash_of
from tests.support.store import open_database
from tests.support.waiting import wait_for

HOUR = timedelta(hours=1)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Tokens, PostgresTokens, Database]]:
    async with open_database(url) as pool:
        store = PostgresTokens(pool)
        yield Tokens(store, PostgresStore(pool)), store, pool


async def test_a_token_is_found_by_what_its_owner_has_and_by_nothing_in_the_database(database: str) -> None:
    ends = datetime.now(UTC) + HOUR
    async with opened(database) as (tokens, store, pool):
        minted = await tokens.create(TokenDraft("eddie", Role.EDITOR, ("default",), ends), "root")
        standing = await store.token_standing(hash_of(minted.secret))
        assert standing is not None
        assert standing.token == minted.token
        assert (standing.token.name, standing.token.role) == ("eddie", Role.EDITOR)
        assert (standing.token.namespaces, standing.token.created_by) == (("default",), "root")
        assert standing.token.expires_at == ends
        assert standing.seconds_left == pytest.approx(3600, abs=600)
        assert await store.token_standing(hash_of(minted.secret + "x")) is None
        async with pool.session() as session:
            row = await session.row("SELECT tokens::text AS stored FROM tokens")
        assert row is not None
        assert minted.secret.rpartition("_")[2] not in row["stored"]
        assert minted.secret.startswith(f"rc_{minted.token.id}_")


async def test_those_that_ended_before_the_history_begins_are_forgotten(database: str) -> None:
    ends = datetime.now(UTC) + HOUR
    async with opened(database) as (tokens, store, pool):
        drafts = {
            "expired": TokenDraft("expired", Role.VIEWER, (), ends),
            "revoked": TokenDraft("revoked", Role.VIEWER),
            "revoked-first": TokenDraft("revoked-first", Role.VIEWER, (), ends + 1000 * HOUR),
            "expired-young": TokenDraft("expired-young", Role.VIEWER, (), ends),
            "holds": TokenDraft("holds", Role.VIEWER),
            "holds-for-now": TokenDraft("holds-for-now", Role.VIEWER, (), ends),
        }
        made = {name: await tokens.create(draft, "root") for name, draft in drafts.items()}
        for name in ("revoked", "revoked-first"):
            await tokens.revoke(made[name].token.id, "root")
        async with pool.session() as session:
            for column, name, age in (
                *(("expires_at", "expired", 3 * HOUR), ("expires_at", "expired-young", HOUR)),
                *(("revoked_at", "revoked", 3 * HOUR), ("revoked_at", "revoked-first", 3 * HOUR)),
            ):
                sql = f"UPDATE tokens SET {column} = now() - $2::interval WHERE name = $1"
                await session.run(sql, name, age)
        pruner = Pruner(pool, 2 * HOUR, HOUR, batch=2)
        assert (await pruner.forget_tokens(), await pruner.forget_tokens()) == (3, 0)
        left = {token.name for token in (await tokens.list("", 10)).items}
        assert left == {"expired-young", "holds", "holds-for-now"}
        assert await store.token_standing(hash_of(made["expired"].secret)) is None


async def test_they_are_listed_in_pages_and_the_revoked_stay(database: str) -> None:
    async with opened(database) as (tokens, store, _):
        minted = [await tokens.create(TokenDraft(f"user{number}", Role.VIEWER), "root") for number in range(5)]
        gone = await tokens.revoke(minted[0].token.id, "alice")
        again = await tokens.revoke(minted[0].token.id, "bob")
        assert gone == again
        assert (gone.revoked_by, gone.revoked_at is not None) == ("alice", True)
        standing = await store.token_standing(hash_of(minted[0].secret))
        assert standing is not None
        assert standing.token == gone

        found: list[Token] = []
        after = ""
        while True:
            page = await tokens.list(after, 2)
            found += page.items
            if page.next_after is None:
                break
            after = page.next_after
        assert [token.id for token in found] == sorted(each.token.id for each in minted)
        assert [token.id for token in found if token.revoked_at] == [gone.id]
        with pytest.raises(NotFound) as missing:
            await tokens.revoke("0123", "alice")
        assert missing.value.reason is Reason.TOKEN_NOT_FOUND


async def test_every_replica_is_told(database: str) -> None:
    heard: list[object] = []
    connection = await asyncpg.connect(database)
    try:
        await connection.add_listener(TOKENS, lambda *told: heard.append(told[-1]))
        async with opened(database) as (tokens, _, _):
            id = (await tokens.create(TokenDraft("eddie", Role.VIEWER), "root")).token.id
            await tokens.revoke(id, "root")

            async def both() -> bool:
                await asyncio.sleep(0)
                return heard == [id, id]

            await wait_for(both)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        (TokenDraft("", Role.VIEWER), "token.name"),
        (TokenDraft("a" * 101, Role.VIEWER), "token.name"),
        (TokenDraft("x\ny", Role.ADMIN), "token.name"),
        (TokenDraft("../../x", Role.EDITOR), "token.name"),
        (TokenDraft("No Id", Role.DEPLOYER), "token.name"),
        (TokenDraft("vera", Role.VIEWER, ("default",)), "token.namespaces"),
        (TokenDraft("root", Role.ADMIN, ("default",)), "token.namespaces"),
        (TokenDraft("eddie", Role.EDITOR, ("default",) * 1001), "token.namespaces"),
        (TokenDraft("vera", Role.VIEWER, (), datetime.now(UTC) - HOUR), "token.expire_time"),
        (TokenDraft("eddie", Role.EDITOR, ("default", "nothing")), "token.namespaces[1]"),
        (TokenDraft("eddie", Role.EDITOR, ("\0",)), "token.namespaces[0]"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_makes_nothing(database: str, draft: TokenDraft, field: str) -> None:
    async with opened(database) as (tokens, _, _):
        with pytest.raises((InvalidInput, NotFound)) as wrong:
            await tokens.create(draft, "root")
        assert wrong.value.violations[0].field == field
        assert (await tokens.list("", 10)).items == ()
