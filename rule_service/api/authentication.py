"""Tells callers by their tokens, with a short memory, so that not every call asks the database."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rule_service.usecases.tokens import Role, Standing, Token, TokenStore
from rulecast.errors import LimitExceeded, Unauthenticated
from rulecast.reasons import Reason
from rulecast.rpc.access import Access, Caller, unknown_token
from rulecast.rpc.rate import Buckets, Rate
from rulecast.tokens import hash_of, looks_like_one

REMEMBERED_FOR: Final = 10.0
"""Seconds. Revoking is told to every replica at once; this is for when that message was lost."""
REMEMBERED: Final = 10_000
"""Tokens."""
GUESSES: Final = Rate(5.0, 50)
"""Unknown tokens from one host: each one costs a query."""

_GRANTS: Final = {
    Role.VIEWER: frozenset({Access.VIEWER}),
    Role.EDITOR: frozenset({Access.VIEWER, Access.EDITOR}),
    Role.ADMIN: frozenset({Access.VIEWER, Access.EDITOR, Access.EDITOR_OF_ALL, Access.ADMIN}),
    Role.DEPLOYER: frozenset({Access.DEPLOYER}),
}


@dataclass(frozen=True, slots=True)
class _Remembered:
    """What the database said of a hash. asked_at: seconds."""

    standing: Standing | None
    asked_at: float


class TokenAuthenticator:
    """Implements `Authenticator`. clock: seconds, monotonic."""

    def __init__(self, store: TokenStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._forgotten = 0
        self._guesses = Buckets(GUESSES, clock=clock)

    def forget(self, id: str) -> None:
        """The token of this id was made or revoked: the database is asked anew."""
        self._forgotten += 1
        for sha256, known in tuple(self._remembered.items()):
            if known.standing is None or known.standing.token.id == id:
                del self._remembered[sha256]

    async def authenticate(self, token: str, host: str) -> Caller:
        """Raises Unauthenticated, LimitExceeded for a host that sent too many unknown tokens, and Unavailable."""
        if not looks_like_one(token):
            raise unknown_token()
        known = await self._known(hash_of(token), host)
        if known.standing is None:
            raise unknown_token()
        _check(known.standing, self._clock() - known.asked_at)
        return _caller(known.standing.token)

    async def _known(self, sha256: bytes, host: str) -> _Remembered:
        known = self._remembered.get(sha256)
        if known is not None and self._clock() - known.asked_at < REMEMBERED_FOR:
            return known
        if wait := self._guesses.wait(host):
            raise LimitExceeded.of(
                "",
                Reason.RATE_LIMITED,
                f"too many unknown tokens from {host}: the next one is looked at in {wait:.2f} s",
                retry_after=f"{wait:.3f}",
            )
        before, at = self._forgotten, self._clock()
        known = _Remembered(await self._store.token_standing(sha256), at)
        if known.standing is None:
            self._guesses.take(host)
        if before == self._forgotten:  # else what was read may be from before the change
            self._remember(sha256, known)
        return known

    def _remember(self, sha256: bytes, known: _Remembered) -> None:
        self._remembered[sha256] = known
        self._remembered.move_to_end(sha256)
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)


def _check(standing: Standing, since: float) -> None:
    """since: seconds since the database was asked."""
    token = standing.token
    if token.revoked_at is not None:
        raise Unauthenticated.of("", Reason.TOKEN_REVOKED, f"the token {token.id} of '{token.name}' was revoked")
    if standing.seconds_left is not None and standing.seconds_left <= since:
        message = f"the token {token.id} of '{token.name}' has expired on {token.expires_at:%Y-%m-%d %H:%M} UTC"
        raise Unauthenticated.of("", Reason.TOKEN_EXPIRED, message)


def _caller(token: Token) -> Caller:
    grants = _GRANTS[token.role]
    if token.role is Role.EDITOR and not token.namespaces:
        grants |= {Access.EDITOR_OF_ALL}
    return Caller(
        id=token.id,
        name=token.name,
        grants=grants,
        namespaces=frozenset(token.namespaces) or None,
        deployer=token.name if token.role is Role.DEPLOYER else None,
    )
