"""What every write takes and what it answers besides the resource."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from rule_service.domain.render import RenderedRule
from rule_service.domain.warning import RuleWarning
from rule_service.usecases.ports import Request
from rule_service.usecases.rollout import Rollout, Until

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a write is to be done.

    method: the RPC, for the history. validate_only: all but the commit.
    wait_timeout: seconds to wait until the rollout has come as far as `wait_until`; None: answer as soon as it is
    committed.
    reason: why, for the history. request: of a create that may be repeated.
    namespaces: whose contents the author may change; None means everything.
    """

    author: str
    method: str
    validate_only: bool = False
    wait_timeout: float | None = None
    wait_until: Until = Until.KNOWN
    reason: str = ""
    request: Request | None = None
    namespaces: frozenset[str] | None = None


class FileChangeKind(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file with other bytes than before. `sha256` is None for a deletion."""

    name: str
    kind: FileChangeKind
    rule_count: int
    sha256: bytes | None


@dataclass(frozen=True, slots=True)
class RaisedWarning:
    rule_id: str
    warning: RuleWarning


@dataclass(frozen=True, slots=True)
class Change:
    """What a write changed, or would have. revision: 0 for a dry run, and where nothing was different."""

    revision: int = 0
    files: tuple[FileChange, ...] = ()
    warnings: tuple[RaisedWarning, ...] = ()
    rollout: Rollout | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """A rendered rule and the Prometheus group it is in."""

    rule: RenderedRule
    group: str


@dataclass(frozen=True, slots=True)
class Written(Generic[T]):
    """The answer of a write. rendered: the rules that are rendered differently now, by id."""

    value: T
    change: Change
    rendered: Mapping[str, Placed] = field(default_factory=dict)
