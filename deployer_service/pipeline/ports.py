"""What the pipeline needs from outside. The pipeline owns these; `deployer_service.adapters` implements them.

A fault of the machine or of Prometheus is raised as a RulecastError with its own reason and the path or address in
its message.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from deployer_service.state import FileSet, Generation, PrometheusStatus, Record, Why


@dataclass(frozen=True, slots=True)
class Step:
    """One move of a file of ours. sha256: the content to put there, None to remove the file."""

    file_name: str
    sha256: bytes | None


@dataclass(frozen=True, slots=True)
class FileStat:
    size_bytes: int
    modified_at: datetime


WORK_DIRECTORY = ".rulecast"
"""Our own subdirectory of the rule directory."""


class RuleDirectory(Protocol):
    """The directory that Prometheus loads, and beside its files the store of their contents, by hash.

    Only names that `names.is_ours` are ever listed, written or removed.
    """

    @property
    def path(self) -> Path: ...

    async def open(self) -> None:
        """Makes what is missing, takes the lock, removes left-overs. Again and again is fine.

        Raises FailedPrecondition (DUPLICATE_DEPLOYER) when another process has the lock.
        """

    async def close(self) -> None:
        """Waits for what is under way and releases the lock."""

    async def scan(self) -> FileSet:
        """The files of ours on disk, read now."""

    async def store(self, contents: Mapping[bytes, bytes]) -> None:
        """Keeps contents by their SHA-256, durably. All or an error; nothing that Prometheus reads changes."""

    async def content(self, sha256: bytes) -> bytes | None:
        """A stored content; None if it is not there, or not what was stored."""

    def stored_path(self, sha256: bytes) -> Path:
        """Where a stored content lies, for promtool."""

    async def move(self, steps: Sequence[Step]) -> None:
        """Takes the steps in their order, each one atomically, and makes them durable.

        Room for all is taken first: a full disk fails before the first step. A content that is not stored raises
        Unavailable (WRITE_FAILED) before the first step.
        """

    async def adopt(self, names: Sequence[str]) -> FileSet:
        """Stores the contents of these files of ours as they are on disk, and tells their hashes.

        What is gone, or is not a regular file, is left out.
        """

    async def set_aside(self, name: str) -> Path | None:
        """Keeps a copy of a file that somebody else changed, where no glob matches; None if it is gone."""

    async def prune(self, keep: frozenset[bytes]) -> None:
        """Forgets all stored contents but these."""

    async def stat(self, names: Sequence[str]) -> Mapping[str, FileStat]:
        """Those of these files that are on disk."""

    async def foreign_files(self, globs: Sequence[str]) -> tuple[Path, ...]:
        """The files that are not ours and that these globs match, as far as they are on this machine."""


class Journal(Protocol):
    """The record, and the one that is about to take its place."""

    async def load(self) -> Record | None:
        """The record; None when there is none or it can not be read (it is then set aside)."""

    async def unfinished(self) -> Record | None:
        """The record of a change that was begun and not finished."""

    async def begin(self, record: Record) -> None:
        """Before the first file moves: from now on a crash ends in this record."""

    async def finish(self) -> None:
        """After the last file moved: the begun record is the record."""

    async def save(self, record: Record) -> None:
        """Replaces the record where no file moves. Not while a change is unfinished."""

    async def generations(self) -> tuple[Generation, ...]:
        """The kept generations, the newest last."""


class Checker(Protocol):
    """promtool."""

    async def check(self, files: Sequence[Path]) -> Mapping[Path, Why]:
        """The files that it refuses. Raises Unavailable when it can not tell."""


class ConfigChecker(Protocol):
    """promtool on Prometheus's own configuration."""

    async def check(self) -> None:
        """Whether Prometheus can load it, and all rule files that it names but ours, which `Checker` has the word on.

        Raises FailedPrecondition (CONFIG_CHECK_FAILED), or Unavailable when it can not tell.
        """


LoadedRules = Counter[tuple[str, str, str]]
"""How often Prometheus runs each (group, alert, value of the annotation `rulecast_rule`)."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What Prometheus runs of our files: rules by file name. Files of ours with no group are not in it.

    prints: by file name, a fingerprint of all that it was told of these rules, in its own normal form.
    elsewhere: directories, as Prometheus sees them, that hold files of our names but are not taken for ours.
    """

    rules: Mapping[str, LoadedRules]
    prints: Mapping[str, bytes] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """What Prometheus was told. rule_globs: absolute. auto_reload: it looks for changed files by itself."""

    rule_globs: tuple[str, ...]
    auto_reload: bool = False


class Prometheus(Protocol):
    """Raises Unavailable (PROMETHEUS_UNREACHABLE) wherever it does not answer in time."""

    @property
    def address(self) -> str: ...

    @property
    def directories(self) -> tuple[str, ...]:
        """The paths under which it may know our rule directory, the likeliest first."""

    async def check_ready(self) -> None: ...

    async def reload(self, timeout: float) -> None:
        """Makes it load its files; returns when it says that it has.

        timeout: seconds. Raises FailedPrecondition RELOAD_FAILED with its words, FailedPrecondition RELOAD_REFUSED
        when neither HTTP nor a signal is possible, Unavailable RELOAD_TIMEOUT when it is not known how it ended.
        """

    async def status(self) -> PrometheusStatus: ...

    async def loaded(self, names: frozenset[str] | None = None) -> Loaded:
        """What it runs, of these files or of all of ours."""

    async def configuration(self) -> Configuration: ...


class Clock(Protocol):
    def now(self) -> datetime:
        """In UTC."""

    def monotonic(self) -> float:
        """Seconds from some moment."""

    async def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class ReloadPolicy:
    """How Prometheus is reloaded. Times in seconds.

    enabled: False leaves the reloading to somebody else; a file is then DEFERRED until Prometheus is seen to run it.
    timeout, timeout_per_rule: the longest wait for one reload is `timeout` or, if longer, `timeout_per_rule` times
    the number of our rules: giving up does not stop a reload, and asking again adds a second one.
    retry_delays: before each further try. min_interval: between the beginnings of two reloads.
    """

    enabled: bool = True
    timeout: float = 30.0
    timeout_per_rule: float = 0.002
    retry_delays: tuple[float, ...] = (1.0, 2.0, 4.0)
    min_interval: float = 0.1


@dataclass(frozen=True, slots=True)
class PipelinePolicy:
    """validate: whether promtool is asked. deferred_delays: between the tries of what is deferred, the last one again
    and again. drift_interval: seconds between two looks at disk and Prometheus."""

    reload: ReloadPolicy = field(default_factory=ReloadPolicy)
    validate: bool = True
    deferred_delays: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 15.0)
    drift_interval: float = 30.0


@dataclass(frozen=True, slots=True)
class Parts:
    """The ports, together. config_checker: None where Prometheus's configuration is not to be checked."""

    directory: RuleDirectory
    journal: Journal
    checker: Checker
    prometheus: Prometheus
    clock: Clock
    config_checker: ConfigChecker | None = None
