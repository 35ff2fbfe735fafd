"""The one place where it is decided whether a call may be made: who calls, what the method needs, how often."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from google.protobuf.message import Message

from rulecast.errors import LimitExceeded, PermissionDenied, RulecastError, Unauthenticated, Unavailable
from rulecast.process.addresses import is_loopback
from rulecast.reasons import Reason
from rulecast.rpc import audit
from rulecast.rpc.access import STANDARD, WRITES, Access, Authenticator, Caller, Metadata, bearer, calling, host_of
from rulecast.rpc.errors import code_of
from rulecast.rpc.rate import Buckets, Rate

RECHECK: Final = 2.0
"""Seconds between two looks whether the token of an open stream still holds."""

SHOWN_AT_MOST: Final = 5
"""Namespaces that a message names."""

_NO_LIMIT: Final = Rate(0, 0)

_log = structlog.get_logger()


@dataclass
class Call:
    """One call. caller, request, response: once they are known; of streams no message is.

    method: for what is no RPC, the path.
    """

    method: str
    metadata: Metadata
    peer: str
    caller: Caller | None = None
    request: Message | None = None
    response: Message | None = None

    @property
    def host(self) -> str:
        return host_of(self.peer, self.metadata)


class Gate:
    """access: what each method needs, by full name. Those of health and reflection are known.

    authenticator: None lets everybody in; calls are limited and written into the audit log all the same.
    reads, writes: of one caller. limited: is told the kind of each call that is one too many, `read` or `write`.
    """

    def __init__(
        self,
        access: Mapping[str, Access],
        *,
        authenticator: Authenticator | None = None,
        reads: Rate = _NO_LIMIT,
        writes: Rate = _NO_LIMIT,
        limited: Callable[[str], None] = lambda _: None,
        recheck: float = RECHECK,
    ) -> None:
        self._access = {**STANDARD, **access}
        self._authenticator = authenticator
        self._buckets = {"read": Buckets(reads), "write": Buckets(writes)}
        self._limited = limited
        self._recheck = recheck

    @asynccontextmanager
    async def admitted(self, call: Call, needed: Access | None = None) -> AsyncIterator[None]:
        """Around a call. Raises Unauthenticated, PermissionDenied, LimitExceeded, Unavailable before it is made.

        needed: for what is no RPC.
        """
        needed = needed or self._access.get(call.method)
        try:
            await self._admit(call, needed)
            with calling(call.caller):
                yield
        except BaseException as error:
            self._note(call, needed, error)
            raise
        self._note(call, needed, None)

    async def hold(self, call: Call, stream: Awaitable[None]) -> None:
        """Awaits a stream, and ends it when the token with which it was opened does not hold any more."""
        if self._authenticator is None or self._access.get(call.method) is Access.OPEN:
            await stream
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._watch(call, self._authenticator), name=f"token of {call.method}")
                await stream
                watch.cancel()
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def _admit(self, call: Call, needed: Access | None) -> None:
        if needed is Access.OPEN:
            return
        if self._authenticator is None:
            if not is_loopback(call.host):  # all of this machine's programs are not one caller
                self._limit(call.host, needed)
            return
        caller = call.caller = await self._authenticator.authenticate(bearer(call.metadata), call.host)
        if needed is None:
            message = f"{call.method} does not say who may call it, so nobody may: this is a fault of the service"
            raise PermissionDenied.of("", Reason.METHOD_NOT_DECLARED, message)
        if needed not in caller.grants:
            raise _not_granted(caller, needed)
        self._limit(caller.id, needed)

    def _limit(self, key: str, needed: Access | None) -> None:
        kind = "read" if needed in (Access.VIEWER, Access.DEPLOYER) else "write"
        wait = self._buckets[kind].take(key)
        if wait:
            self._limited(kind)
            raise LimitExceeded.of(
                "",
                Reason.RATE_LIMITED,
                f"too many {kind}s from this caller: the next one is allowed in {wait:.2f} s",
                retry_after=f"{wait:.3f}",
            )

    async def _watch(self, call: Call, authenticator: Authenticator) -> None:
        while True:
            await asyncio.sleep(self._recheck)
            try:
                await authenticator.authenticate(bearer(call.metadata), call.host)
            except (Unavailable, LimitExceeded) as error:
                _log.debug("token of a stream not looked at", error=str(error))

    def _note(self, call: Call, needed: Access | None, error: BaseException | None) -> None:
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        reason = error.reason if isinstance(error, RulecastError) else None
        refused = isinstance(error, Unauthenticated | PermissionDenied)
        if not refused and reason is not Reason.RATE_LIMITED and needed not in WRITES:
            return
        audit.write(
            who=call.caller.name if call.caller is not None else call.host,
            method=call.method,
            outcome=_outcome(error),
            peer=call.host if call.peer.startswith("unix:") else call.peer,
            token=call.caller.id if call.caller is not None else None,
            reason=reason,
            resource=audit.named(call.request) | audit.named(call.response),
            revision=getattr(getattr(call.response, "change", None), "revision", 0),
            validate_only=getattr(call.request, "validate_only", False),
        )


def _not_granted(caller: Caller, needed: Access) -> PermissionDenied:
    if needed is Access.EDITOR_OF_ALL and Access.EDITOR in caller.grants and caller.namespaces is not None:
        message = (
            f"this concerns every namespace, and the token of '{caller.name}' may edit some of them alone "
            f"({', '.join(sorted(caller.namespaces)[:SHOWN_AT_MOST])}): ask somebody who may edit everything"
        )
        return PermissionDenied.of("", Reason.NAMESPACE_NOT_ALLOWED, message, needed=needed)
    message = f"this needs the role {needed}, which the token of '{caller.name}' has not"
    return PermissionDenied.of("", Reason.ROLE_MISSING, message, needed=needed)


def _outcome(error: BaseException | None) -> str:
    match error:
        case None:
            return "OK"
        case Exception():
            return code_of(error).name
        case _:
            return "CANCELLED"
