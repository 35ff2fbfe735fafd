"""Who calls, what a method needs, and how a client says who it is."""

import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from rulecast.errors import Unauthenticated
from rulecast.reasons import Reason

AUTHORIZATION: Final = "authorization"
"""Metadata key and HTTP header: `Bearer <token>`."""
FORWARDED_PEER: Final = "rulecast-peer"
"""Metadata key: whom our own HTTP calls for. Believed on its Unix socket alone."""

Metadata = Iterable[tuple[str, str | bytes]]


class Access(StrEnum):
    """What a method needs.

    OPEN: nothing. EDITOR: may edit something; what exactly, the edit itself checks. EDITOR_OF_ALL: may edit everything.
    """

    OPEN = "open"
    VIEWER = "viewer"
    EDITOR = "editor"
    EDITOR_OF_ALL = "editor of all namespaces"
    ADMIN = "admin"
    DEPLOYER = "deployer"


WRITES: Final = frozenset({Access.EDITOR, Access.EDITOR_OF_ALL, Access.ADMIN})
"""What is written into the audit log even if it was allowed, and limited as a write."""

STANDARD: Final[Mapping[str, Access]] = {
    "/grpc.health.v1.Health/Check": Access.OPEN,
    "/grpc.health.v1.Health/List": Access.OPEN,
    "/grpc.health.v1.Health/Watch": Access.OPEN,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Access.VIEWER,
}
"""The services that every server has."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has proven to be who they are.

    id: of the token. name: the author of what they write. namespaces: that they may edit; None means everything.
    deployer: the only deployer that they may be.
    """

    id: str
    name: str
    grants: frozenset[Access]
    namespaces: frozenset[str] | None = frozenset()
    deployer: str | None = None


class Authenticator(Protocol):
    """Knows the tokens."""

    async def authenticate(self, token: str, host: str) -> Caller:
        """host: where the call is from. Raises Unauthenticated, LimitExceeded, Unavailable."""
        ...


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


def caller_now() -> Caller | None:
    """Who makes the call that is being handled; None where nobody has to say who they are."""
    return _caller.get()


@contextmanager
def calling(caller: Caller | None) -> Iterator[None]:
    """For as long as the call is handled."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def bearer(metadata: Metadata) -> str:
    """The token of a call, or of an HTTP request's headers. Raises Unauthenticated where there is none."""
    given = next((value for key, value in metadata if key.lower() == AUTHORIZATION), "")
    scheme, _, token = (given if isinstance(given, str) else "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated.of(
            "", Reason.TOKEN_MISSING, "this needs a token: send the header `authorization: Bearer <token>`"
        )
    return token.strip()


def unknown_token() -> Unauthenticated:
    return Unauthenticated.of("", Reason.TOKEN_UNKNOWN, "there is no such token: look whether all of it was sent")


def host_of(peer: str, metadata: Metadata) -> str:
    """The address that a call is from, without the port. peer: as gRPC names it."""
    family, _, address = urllib.parse.unquote(peer).partition(":")
    if family == "unix":
        forwarded = next((value for key, value in metadata if key == FORWARDED_PEER), None)
        return forwarded if isinstance(forwarded, str) else family
    return address.rpartition(":")[0].strip("[]") or peer
