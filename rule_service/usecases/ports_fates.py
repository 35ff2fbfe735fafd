"""What became of files at the deployers."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rule_service.domain.model import Scope


class FateState(StrEnum):
    """How far a version of a file, or a revision, has come at a deployer. Same names as `Rollout.State`."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    REJECTED = "REJECTED"
    ROLLED_BACK = "ROLLED_BACK"
    DEFERRED = "DEFERRED"
    UNREACHABLE = "UNREACHABLE"


@dataclass(frozen=True, slots=True)
class FileFate:
    """The fate of one version of one file at one deployer. `sha256` is empty for a deletion."""

    file_name: str
    sha256: bytes
    state: FateState
    reason: str = ""
    message: str = ""
    group: str = ""
    rule: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeployerFacts:
    """What is known of a deployer. `connected`: its lease runs, by the database's clock.

    revision: the highest it has acknowledged. fates: the files that are not ACTIVE.
    serves: the namespaces and groups whose files it takes; empty means all.
    warnings: what it noticed about its surroundings, as (code, message).
    """

    id: str
    connected: bool
    epoch: int
    revision: int
    manifest_hash: bytes
    fates: tuple[FileFate, ...]
    software_version: str
    prometheus_version: str
    prometheus_url: str
    prometheus_up: bool
    drifted_files: tuple[str, ...]
    serves: tuple[Scope, ...]
    seen_at: datetime
    warnings: tuple[tuple[str, str], ...] = ()
    last_reload_at: datetime | None = None
    last_reload_ok: bool = False
