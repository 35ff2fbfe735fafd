"""What following needs from outside. Implemented by `deployer_service.adapters.upstream`; tests have their own.

A stream that ended with an error raises what the other side meant, a RulecastError. FailedPrecondition is a refusal:
trying again soon makes no sense, somebody has to do something first.
"""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from rulecast.v1 import distribution_pb2 as pb


class Stream(Protocol):
    """One stream. Only one `send` and one `receive` at a time."""

    async def send(self, message: pb.SyncRequest) -> None: ...

    async def receive(self) -> pb.SyncResponse | None:
        """The next message; None when the other side ended in order."""

    async def finish(self) -> None:
        """Says that nothing more will be sent."""


class Upstream(Protocol):
    """The way to a rule service."""

    def connect(self, address: str) -> AbstractAsyncContextManager[Stream]:
        """A stream of its own connection; both are closed on the way out, whatever happens."""
