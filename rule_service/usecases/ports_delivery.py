"""What delivery needs from outside: the manifest and its changes, the deployers' leases and reports, and commands.

Implemented by `rule_service.changelog`, `rule_service.store.deployers` and `rule_service.stream`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from rule_service.domain.model import Scope
from rule_service.usecases.ports_fates import FileFate
from rule_service.usecases.ports_rendered import FileFacts


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the history of one database.

    history_id: another one means that a backup was restored. commit_id: made anew with every revision, so that a
    number that is used twice, because a failover lost the first use of it, is told apart.
    """

    history_id: str
    revision: int
    commit_id: str


@dataclass(frozen=True, slots=True)
class FileVersion:
    """One version of one file. sha256: 32 raw bytes. revision: the one that made it."""

    sha256: bytes
    revision: int
    scope: Scope


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files as they are at a position, by name."""

    position: Position
    files: Mapping[str, FileVersion]


@dataclass(frozen=True, slots=True)
class FileChanges:
    """What became of the files that changed up to a position, by name; None: the file is gone."""

    position: Position
    files: Mapping[str, FileVersion | None]


class ChangeLog(Protocol):
    """The truth about files. Each method reads one state of the database; all raise Unavailable."""

    async def manifest(self) -> Manifest: ...

    async def changes_after(self, position: Position) -> FileChanges | None:
        """What changed since; no files where nothing did.

        None: the database does not go on from this position. It was restored, a failover has lost commits, or the log
        does not reach back so far. Then only a whole `manifest` tells.
        """
        ...

    async def contents(self, names: Collection[str]) -> dict[str, bytes]:
        """The bytes of these files as they are now: perhaps newer than a manifest that was read before."""
        ...


@dataclass(frozen=True, slots=True)
class HelloFacts:
    """Who connects and what it has, from its Hello.

    process_id: of the process; another one under the same id is another deployer, or this one started anew.
    epoch: the highest it was ever given. history_id, revision: the last it acknowledged, and of which history.
    commit_id: of that revision, see `Position`; empty where it does not say.
    """

    id: str
    process_id: bytes
    software_version: str = ""
    prometheus_version: str = ""
    prometheus_url: str = ""
    serves: tuple[Scope, ...] = ()
    epoch: int = 0
    history_id: str = ""
    revision: int = 0
    manifest_hash: bytes = b""
    commit_id: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease. `epoch` is the fencing token: higher than any before it.

    revision: the last that the deployer has taken up as far as is known here; 0 for none of this history.
    """

    epoch: int
    revision: int = 0


@dataclass(frozen=True, slots=True)
class DeployedFile:
    """A file on a deployer's disk. revision: the one that made it, 0 where that is not known. size: in bytes."""

    sha256: bytes
    revision: int = 0
    rule_count: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class EffectiveFacts:
    """What is on a deployer's disk, by name, and what its Prometheus runs. warnings: (code, message)."""

    manifest_hash: bytes
    files: Mapping[str, DeployedFile] = field(default_factory=lambda: MappingProxyType({}))
    prometheus_up: bool = False
    prometheus_version: str = ""
    last_reload_at: datetime | None = None
    last_reload_ok: bool | None = None
    drifted_files: tuple[str, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()


class DeployerLeases(Protocol):
    """One live process for each deployer, by a lease on the database's clock; and what it reports under its epoch.

    The reports raise Conflict(STALE_EPOCH) when another process has taken over: the stream is then to be ended.
    """

    async def claim(self, hello: HelloFacts, replica: str, lease_seconds: float) -> Claim:
        """Takes the deployer's lease for this process, and for the replica that it is connected to.

        Taken over: a lease that has run out, was released, or is this very process's. Raises
        FailedPrecondition(DUPLICATE_DEPLOYER) while another process holds it, with `lease_seconds`: how long still.
        A deployer that has seen a higher revision of this history than there is, or another commit of its revision,
        begins another history: a backup was restored.
        """
        ...

    async def renew(self, id: str, epoch: int, lease_seconds: float, manifest_hash: bytes) -> None:
        """A sign of life."""
        ...

    async def release(self, id: str, epoch: int) -> None:
        """Ends the lease at once. Nothing happens if the epoch is over already."""
        ...

    async def record_outcomes(
        self, id: str, epoch: int, revision: int, manifest_hash: bytes, fates: Sequence[FileFate]
    ) -> None:
        """The deployer has taken up `revision`: each file has its fate in `fates`, or had none other than ACTIVE.

        May be repeated.
        """
        ...

    async def record_effective(self, id: str, epoch: int, facts: EffectiveFacts) -> None: ...

    async def refused(self, id: str) -> set[tuple[str, bytes]]:
        """The versions (file name, SHA-256) that the deployer has REJECTED or ROLLED_BACK."""
        ...


class Deployers(Protocol):
    """The deployers' rows."""

    async def delete_deployer(self, id: str) -> None:
        """Forgets a deployer. Raises NotFound, and FailedPrecondition while it is connected."""
        ...

    async def effective_files(self, id: str) -> tuple[FileFacts, ...] | None:
        """The files on the deployer's disk as it last said, by name. None: it has not said yet. Raises NotFound."""
        ...


class Commands(Protocol):
    """Commands to the deployers that are connected, to whichever replica."""

    async def reload(self, deployer_id: str | None) -> tuple[str, ...]:
        """Has one deployer, or every one that is connected, reload its Prometheus; answers who was told."""
        ...

    async def resync(self, deployer_id: str | None, *, mass_deletion_allowed: bool = False) -> tuple[str, ...]:
        """Has one deployer, or every one that is connected, compare its disk with the manifest.

        mass_deletion_allowed: it may then delete more than half of its files.
        """
        ...
