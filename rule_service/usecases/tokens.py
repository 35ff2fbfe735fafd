"""Tokens: made, listed, revoked, and told apart by their hash. What is to be kept secret is stored nowhere."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Protocol

from rule_service.domain.names import check_id
from rule_service.domain.wording import shown
from rule_service.usecases.ports import Page, Reads
from rulecast.errors import InvalidInput, NotFound
from rulecast.reasons import Reason
from rulecast.tokens import hash_of, new_id, new_token

MAX_NAMESPACES: Final = 1000

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._@+-]{0,98}[A-Za-z0-9])?")


class Role(StrEnum):
    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"
    DEPLOYER = "deployer"


@dataclass(frozen=True, slots=True)
class TokenDraft:
    """A token as asked for. name: the author of what is done with it. namespaces: of an editor; empty means all."""

    name: str
    role: Role
    namespaces: tuple[str, ...] = ()
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token as stored."""

    id: str
    name: str
    role: Role
    namespaces: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A token and for how many seconds more it holds, by the database's clock; None: until it is revoked."""

    token: Token
    seconds_left: float | None


class TokenStore(Protocol):
    async def insert_token(self, id: str, sha256: bytes, draft: TokenDraft, by: str) -> Token: ...

    async def tokens(self, after: str, limit: int) -> Page[Token]:
        """By id, those that do not hold any more too."""
        ...

    async def revoke_token(self, id: str, by: str) -> Token | None:
        """Tells every replica. The token, also if it was revoked before; None where there is none."""
        ...

    async def token_standing(self, sha256: bytes) -> Standing | None: ...


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token, and its text, which is not to be found anywhere else."""

    token: Token
    secret: str


class Tokens:
    """clock: for the expiry that is asked for."""

    def __init__(
        self, store: TokenStore, reads: Reads, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._reads = reads
        self._clock = clock

    async def create(self, draft: TokenDraft, by: str) -> Minted:
        """Raises InvalidInput, and NotFound for a namespace that is not there."""
        _check(draft, self._clock())
        there = await self._reads.all_namespaces() if draft.namespaces else {}
        for at, namespace in enumerate(draft.namespaces):
            if namespace not in there:
                message = f"there is no namespace {shown(namespace)}: create it first"
                raise NotFound.of(f"token.namespaces[{at}]", Reason.NAMESPACE_NOT_FOUND, message, id=namespace)
        id = new_id()
        secret = new_token(id)
        return Minted(await self._store.insert_token(id, hash_of(secret), draft, by), secret)

    async def list(self, after: str, limit: int) -> Page[Token]:
        return await self._store.tokens(after, limit)

    async def revoke(self, id: str, by: str) -> Token:
        """Raises NotFound."""
        token = await self._store.revoke_token(id, by)
        if token is None:
            raise NotFound.of("id", Reason.TOKEN_NOT_FOUND, f"there is no token {shown(id)}", id=id)
        return token


def _check(draft: TokenDraft, now: datetime) -> None:
    if draft.role is Role.DEPLOYER:
        check_id(draft.name, "token.name")
    elif not _NAME.fullmatch(draft.name):
        message = "a name is 1 to 100 of the characters a-z A-Z 0-9 . _ @ + - and space, e.g. alice or ci@example.org"
        raise InvalidInput.of("token.name", Reason.FIELD_INVALID, message)
    if draft.namespaces and draft.role is not Role.EDITOR:
        message = f"only an editor has certain namespaces, not the role {draft.role}: leave them out"
        raise InvalidInput.of("token.namespaces", Reason.FIELD_INVALID, message)
    if len(draft.namespaces) > MAX_NAMESPACES:
        message = f"{len(draft.namespaces)} namespaces: name at most {MAX_NAMESPACES}"
        raise InvalidInput.of("token.namespaces", Reason.TOO_LARGE, message)
    if draft.expires_at is not None and draft.expires_at <= now:
        message = "it is in the past: the token would never hold"
        raise InvalidInput.of("token.expire_time", Reason.FIELD_INVALID, message)
