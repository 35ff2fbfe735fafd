"""What is remembered of tokens, and for how long."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rule_service.api.authentication import GUESSES, REMEMBERED_FOR, TokenAuthenticator
from rule_service.usecases.ports import Page
from rule_service.usecases.tokens import Role, Standing, Token, TokenDraft
from rulecast.errors import LimitExceeded, Unauthenticated, Unavailable
from rulecast.reasons import Reason
from rulecast.rpc.access import Access
from rulecast.tokens import hash_of, new_token

THEN = datetime(2030, 1, 1, tzinfo=UTC)
TOKEN = Token("t1", "eddie", Role.EDITOR, ("env",), THEN, "root")


class Store:
    """Implements `TokenStore` with what a test puts into it."""

    def __init__(self) -> None:
        self.standings: dict[bytes, Standing] = {}
        self.asked = 0
        self.away = False

    def add(self, token: Token = TOKEN, seconds_left: float | None = None) -> str:
        secret = new_token(token.id)
        self.standings[hash_of(secret)] = Standing(token, seconds_left)
        return secret

    async def token_standing(self, sha256: bytes) -> Standing | None:
        self.asked += 1
        if self.away:
            raise Unavailable.of("", Reason.DATABASE_UNAVAILABLE, "away")
        return self.standings.get(sha256)

    async def insert_token(self, id: str, sha256: bytes, draft: TokenDraft, by: str) -> Token:
        raise NotImplementedError

    async def tokens(self, after: str, limit: int) -> Page[Token]:
        raise NotImplementedError

    async def revoke_token(self, id: str, by: str) -> Token | None:
        raise NotImplementedError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(store: Store, clock: Clock) -> TokenAuthenticator:
    return TokenAuthenticator(store, clock)


async def reason(known: TokenAuthenticator, secret: str) -> Reason | None:
    """Why it is refused; None when it is not."""
    try:
        await known.authenticate(secret, "host")
    except (Unauthenticated, LimitExceeded) as error:
        return error.reason
    return None


@pytest.mark.parametrize(
    ("role", "namespaces", "grants"),
    [
        (Role.VIEWER, (), {Access.VIEWER}),
        (Role.EDITOR, ("env",), {Access.VIEWER, Access.EDITOR}),
        (Role.EDITOR, (), {Access.VIEWER, Access.EDITOR, Access.EDITOR_OF_ALL}),
        (Role.ADMIN, (), {Access.VIEWER, Access.EDITOR, Access.EDITOR_OF_ALL, Access.ADMIN}),
        (Role.DEPLOYER, (), {Access.DEPLOYER}),
    ],
)
async def test_a_role_says_what_its_caller_may(
    store: Store, known: TokenAuthenticator, role: Role, namespaces: tuple[str, ...], grants: set[Access]
) -> None:
    caller = await known.authenticate(store.add(replace(TOKEN, role=role, namespaces=namespaces)), "host")
    assert (caller.id, caller.name, set(caller.grants)) == ("t1", "eddie", grants)
    assert caller.namespaces == (frozenset(namespaces) or None)
    assert caller.deployer == ("eddie" if role is Role.DEPLOYER else None)


async def test_the_database_is_asked_once_in_a_while(store: Store, known: TokenAuthenticator, clock: Clock) -> None:
    secret = store.add()
    for _ in range(3):
        await known.authenticate(secret, "host")
    assert store.asked == 1
    clock.now += REMEMBERED_FOR
    store.away = True
    with pytest.raises(Unavailable):
        await known.authenticate(secret, "host")


async def test_what_is_revoked_is_asked_for_anew_when_told(store: Store, known: TokenAuthenticator) -> None:
    secret, other = store.add(), store.add(replace(TOKEN, id="t2"))
    assert [await reason(known, each) for each in (secret, other)] == [None, None]
    store.standings[hash_of(secret)] = Standing(replace(TOKEN, revoked_at=THEN), None)
    assert await reason(known, secret) is None
    known.forget("t1")
    assert await reason(known, secret) is Reason.TOKEN_REVOKED
    assert await reason(known, other) is None
    assert store.asked == 3


async def test_a_token_made_after_it_was_tried_holds_when_told(store: Store, known: TokenAuthenticator) -> None:
    secret = new_token("t1")
    assert await reason(known, secret) is Reason.TOKEN_UNKNOWN
    store.standings[hash_of(secret)] = Standing(TOKEN, None)
    known.forget("t1")
    assert await reason(known, secret) is None


async def test_it_expires_while_it_is_remembered(store: Store, known: TokenAuthenticator, clock: Clock) -> None:
    secret = store.add(replace(TOKEN, expires_at=THEN), seconds_left=5.0)
    assert await reason(known, secret) is None
    clock.now += 5.0
    assert await reason(known, secret) is Reason.TOKEN_EXPIRED
    assert store.asked == 1


async def test_what_can_be_no_token_costs_nothing(store: Store, known: TokenAuthenticator) -> None:
    for text in ("password", "rc_" + "x" * 1000, "\udcff"):
        assert await reason(known, text) is Reason.TOKEN_UNKNOWN
    assert store.asked == 0


async def test_who_guesses_is_slowed_down_and_others_are_not(
    store: Store, known: TokenAuthenticator, clock: Clock
) -> None:
    remembered, new = store.add(), store.add(replace(TOKEN, id="t2"))
    assert await reason(known, remembered) is None
    for _ in range(GUESSES.burst):
        assert await reason(known, new_token("x")) is Reason.TOKEN_UNKNOWN
    assert await reason(known, new_token("x")) is Reason.RATE_LIMITED
    assert await reason(known, remembered) is None
    await known.authenticate(new, "another host")
    clock.now += 1.0
    assert await reason(known, new_token("x")) is Reason.TOKEN_UNKNOWN
