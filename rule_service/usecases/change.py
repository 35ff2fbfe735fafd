"""What every write takes and what it answers besides the resource."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from rule_service.domain.diff import LostState
from rule_service.domain.file_diff import FileDiff
from rule_service.domain.render import RenderedRule
from rule_service.domain.warning import RuleWarning
from rule_service.domain.winners import ChangedWinner
from rule_service.usecases.ports_changes import Request, ResourceChange
from rule_service.usecases.rollout import Rollout, Until

T = TypeVar("T")


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
class Listed(Generic[T]):
    """The first of many. count: of all."""

    first: tuple[T, ...]
    count: int


@dataclass(frozen=True, slots=True)
class PreviewedFile:
    change: FileChange
    diff: FileDiff
    deployer_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreviewedRule:
    """kind: whether it is new to Prometheus, another, or gone."""

    rule: RenderedRule
    kind: FileChangeKind
    deployer_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    resources: Listed[ResourceChange]
    files: Listed[PreviewedFile]
    rules: Listed[PreviewedRule]
    winners: Listed[ChangedWinner]
    lost_states: Listed[LostState]
    warnings: Listed[RaisedWarning]


@dataclass(slots=True)
class Capture:
    """Gets the preview of the write that it goes with."""

    preview: Preview | None = None


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a write is to be done.

    method: the RPC, for the history. validate_only: all but the commit.
    wait_timeout: seconds to wait until the rollout has come as far as `wait_until`; None: answer as soon as it is
    committed.
    reason: why, for the history. request: of a create that may be repeated. capture: for a preview, with validate_only.
    namespaces: whose contents the author may change; None means everything.
    """

    author: str
    method: str
    validate_only: bool = False
    wait_timeout: float | None = None
    wait_until: Until = Until.KNOWN
    reason: str = ""
    request: Request | None = None
    capture: Capture | None = None
    namespaces: frozenset[str] | None = None


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
