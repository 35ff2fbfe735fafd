"""What the stream needs from outside besides `usecases.ports_delivery`."""

from collections.abc import Collection
from typing import Protocol

from rule_service.domain.model import Group
from rule_service.usecases.ports_fates import DeployerFacts
from rulecast.v1 import distribution_pb2 as pb


class Groups(Protocol):
    """Which group is below which."""

    async def group_with_ancestors(self, ids: Collection[str]) -> dict[str, Group]: ...


class KnownDeployers(Protocol):
    """What the database knows of the deployers."""

    async def deployers(self) -> tuple[DeployerFacts, ...]: ...


class Notices(Protocol):
    """A word to every replica; it may get lost. What is heard comes back through whoever listens."""

    async def send(self, payload: str) -> None:
        """payload: at most 7999 bytes. Raises Unavailable."""
        ...


class Duplex(Protocol):
    """One stream, from the service's side. One reader and one writer at a time."""

    async def read(self) -> pb.SyncRequest | None:
        """The next message; None at the end."""
        ...

    async def write(self, response: bytes) -> None:
        """Sends a serialised SyncResponse."""
        ...
