"""What the deployer knows, as plain values: files, batches, and what became of them. Pure: no I/O, no clock."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rulecast.digest import file_sha256, manifest_hash
from rulecast.errors import RulecastError
from rulecast.reasons import Reason

FileSet = Mapping[str, bytes]
"""File name -> SHA-256 of its bytes."""


@dataclass(frozen=True, slots=True)
class FileVersion:
    """One version of one file.

    revision: the one that made it, 0 where that is not known. rules: how many it holds. size: in bytes.
    fingerprint: of the rules that Prometheus must report when it runs this version (`pipeline.contents`).
    """

    sha256: bytes
    revision: int = 0
    rules: int = 0
    fingerprint: bytes = b""
    size: int = 0


Files = Mapping[str, FileVersion]


def same(one: FileVersion | None, other: FileVersion | None) -> bool:
    """Whether both are the same bytes, or both no file."""
    return (one and one.sha256) == (other and other.sha256)


def differing(one: Files, other: Files) -> frozenset[str]:
    """The names of the files that are not the same in both."""
    return frozenset(name for name in one.keys() | other.keys() if not same(one.get(name), other.get(name)))


def file_set(files: Files) -> FileSet:
    """The hashes alone."""
    return {name: version.sha256 for name, version in files.items()}


@dataclass(frozen=True, slots=True)
class Put:
    """A file as it should be. sha256: what its sender says its hash is; a file with another one is refused."""

    content: bytes
    sha256: bytes
    revision: int = 0

    @classmethod
    def of(cls, content: bytes, revision: int = 0) -> "Put":
        return cls(content, file_sha256(content), revision)


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes that are applied together, with one reload.

    to_revision: what the deployer has taken up afterwards, whatever became of the single files. commit_id: of it.
    mass_deletion_allowed: deleting more than half of all files was asked for.
    """

    puts: Mapping[str, Put]
    deletes: frozenset[str]
    to_revision: int
    mass_deletion_allowed: bool = False
    commit_id: str = ""


@dataclass(frozen=True, slots=True)
class Why:
    """Why a file is not active. message: what is wrong and what would be right; group, rule: where, as far as known."""

    reason: Reason
    message: str
    group: str | None = None
    rule: str | None = None

    @classmethod
    def of(cls, error: RulecastError) -> "Why":
        return cls(error.reason, str(error))


@dataclass(frozen=True, slots=True)
class Active:
    """Prometheus was asked and runs it; a deleted file: runs none of it."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """It was like this before, and Prometheus was last seen to run it."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """It was never put in place: its content is at fault. The file stays as it was."""

    why: Why


@dataclass(frozen=True, slots=True)
class RolledBack:
    """It was in place, but Prometheus did not load it, with no fault to be seen elsewhere. The file is as it was."""

    why: Why


@dataclass(frozen=True, slots=True)
class Deferred:
    """The surroundings are at fault: Prometheus away, disk full, promtool missing. The deployer goes on trying."""

    why: Why


Outcome = Active | Unchanged | Rejected | RolledBack | Deferred
Trouble = Rejected | RolledBack | Deferred


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one version of one file. sha256: of that version, empty for a deletion. time: when found out."""

    file_name: str
    sha256: bytes
    outcome: Outcome
    time: datetime


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch: one report for each file it names. manifest: all files of ours on disk afterwards."""

    outcomes: Mapping[str, FileReport]
    revision: int
    manifest: FileSet

    @property
    def manifest_hash(self) -> bytes:
        return manifest_hash(self.manifest)


@dataclass(frozen=True, slots=True)
class Generation:
    """A numbered set of files that was put on disk; the newest few are kept as backups."""

    number: int
    files: Files


@dataclass(frozen=True, slots=True)
class Reported:
    """What Prometheus itself said of our files after a load that we made: a fingerprint of each in its normal form.

    It shows an edit by hand that keeps the annotations, was loaded, and is gone from the disk again.
    version: of that Prometheus; another one may write the same rules in another way.
    """

    version: str = ""
    prints: Mapping[str, bytes] = field(default_factory=dict)

    def otherwise(self, version: str, prints: Mapping[str, bytes]) -> frozenset[str]:
        """The files of which something else is said now."""
        if version != self.version:
            return frozenset()
        return frozenset(name for name, seen in prints.items() if self.prints.get(name, seen) != seen)

    def taking(self, version: str, prints: Mapping[str, bytes]) -> "Reported":
        """These too; what another version said is of no use any more."""
        kept = self.prints if version == self.version else {}
        return Reported(version, {**kept, **prints})

    def without(self, names: Collection[str]) -> "Reported":
        """Nothing about these files, which are others now."""
        return Reported(self.version, {name: seen for name, seen in self.prints.items() if name not in names})


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept over restarts, in the rule directory's `.rulecast/`.

    revision, commit_id, epoch, history_id: see `Hello` in distribution.proto.
    generation: rises each time that files are put on disk.
    files: what we put on disk. good: what Prometheus was last seen to run, and what is gone back to.
    troubles: the newest report of each file that is not active.
    verified_at: when `good` was last seen in Prometheus. reported: what it said of `files` then.
    """

    generation: int = 0
    revision: int = 0
    epoch: int = 0
    history_id: str = ""
    commit_id: str = ""
    files: Files = field(default_factory=dict)
    good: Files = field(default_factory=dict)
    troubles: Mapping[str, FileReport] = field(default_factory=dict)
    verified_at: datetime | None = None
    reported: Reported = field(default_factory=Reported)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about the surroundings that is legal but probably not meant. code: stable, machine-readable."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class PrometheusStatus:
    """Prometheus as it was last seen. version and times are those of the last answer, also while it is down.

    started_at, config_time: tell a restart, and a reload by others.
    """

    up: bool = False
    version: str = ""
    started_at: str = ""
    last_reload_time: datetime | None = None
    last_reload_ok: bool = False


@dataclass(frozen=True, slots=True)
class PipelineState:
    """What a person or the rule service may want to know at this moment; no I/O is done for it.

    drifted: what the last look found changed by others. drifts: how often a file was, since the start.
    lost: files of which the content is gone here too, so that the rule service has to send it again.
    unproven: files that Prometheus is not known to run as they are on disk. rollbacks: how often, since the start.
    """

    record: Record
    prometheus: PrometheusStatus
    drifted: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()
    lost: frozenset[str] = frozenset()
    drifts: int = 0
    unproven: frozenset[str] = frozenset()
    rollbacks: int = 0

    @property
    def manifest(self) -> FileSet:
        return file_set(self.record.files)

    @property
    def manifest_hash(self) -> bytes:
        return manifest_hash(self.manifest)


@dataclass(frozen=True, slots=True)
class DeployedFile:
    """One file of ours in the rule directory, for display."""

    name: str
    path: str
    version: FileVersion
    size_bytes: int
    modified_at: datetime
    outcome: Outcome
