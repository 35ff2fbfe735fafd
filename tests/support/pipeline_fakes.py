"""The pipeline's ports in memory. Each passes the contract suite of the real one (tests/contract)."""

import asyncio
import hashlib
import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deployer_service.pipeline.contents import rules_in
from deployer_service.pipeline.names import own_name
from deployer_service.pipeline.ports import Configuration, FileStat, Loaded, Parts, PipelinePolicy, Step
from deployer_service.pipeline.run import Pipeline
from deployer_service.state import FileSet, Generation, PrometheusStatus, Record, Why
from rulecast.errors import FailedPrecondition, RulecastError, Unavailable
from rulecast.reasons import Reason

RULES = Path("/rules")
STORE = Path("/store")
START = datetime(2026, 1, 1, tzinfo=UTC)
BAD = b"== =="
"""What a content holds that promtool and Prometheus refuse."""


class VirtualClock:
    """Time that passes only by sleeping (`by_itself`) or by `advance`. slept: all sleeps that were asked for."""

    def __init__(self, *, by_itself: bool = True) -> None:
        self.slept: list[float] = []
        self._seconds = 0.0
        self._by_itself = by_itself
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        self.slept.append(seconds)
        if self._by_itself:
            self._seconds += seconds
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._seconds + seconds, len(self.slept), waiter))
        await waiter

    async def advance(self, seconds: float) -> None:
        """Lets time pass, waking each sleeper at its moment and letting it do all it can without waiting."""
        await self._settle()
        end = self._seconds + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            self._seconds, _, waiter = heapq.heappop(self._sleepers)
            if not waiter.done():
                waiter.set_result(None)
            await self._settle()
        self._seconds = end

    async def _settle(self) -> None:
        for _ in range(100):
            await asyncio.sleep(0)


class FakeDirectory:
    """files: what Prometheus would load. faults: errors that the next calls of a method raise, by its name."""

    def __init__(self, path: Path = RULES) -> None:
        self.files: dict[str, bytes] = {}
        self.contents: dict[bytes, bytes] = {}
        self.aside: dict[Path, bytes] = {}
        self.foreign: dict[Path, bytes] = {}
        self.faults: dict[str, list[RulecastError]] = {}
        self.moves: list[tuple[Step, ...]] = []
        self.opened = False
        self._path = path

    def fail(self, method: str, reason: Reason, times: int = 1) -> None:
        self.faults[method] = [Unavailable.of("", reason, f"{self._path}: {reason}")] * times

    def _raise_fault(self, method: str) -> None:
        if waiting := self.faults.get(method):
            raise waiting.pop()

    @property
    def path(self) -> Path:
        return self._path

    async def open(self) -> None:
        self._raise_fault("open")
        self.opened = True

    async def close(self) -> None:
        self.opened = False

    async def scan(self) -> FileSet:
        self._raise_fault("scan")
        ours = {name: content for name, content in self.files.items() if own_name(name)}
        return {name: hashlib.sha256(content).digest() for name, content in ours.items()}

    async def store(self, contents: Mapping[bytes, bytes]) -> None:
        self._raise_fault("store")
        self.contents.update(contents)

    async def content(self, sha256: bytes) -> bytes | None:
        return self.contents.get(sha256)

    def stored_path(self, sha256: bytes) -> Path:
        return STORE / sha256.hex()

    async def move(self, steps: Sequence[Step]) -> None:
        self._raise_fault("move")
        if any(step.sha256 is not None and step.sha256 not in self.contents for step in steps):
            raise Unavailable.of("", Reason.WRITE_FAILED, "the stored content is gone")
        self.moves.append(tuple(steps))
        for step in steps:
            if step.sha256 is None:
                self.files.pop(step.file_name, None)
            else:
                self.files[step.file_name] = self.contents[step.sha256]

    async def adopt(self, names: Sequence[str]) -> FileSet:
        hashes = {name: hashlib.sha256(self.files[name]).digest() for name in names if name in self.files}
        self.contents.update({sha256: self.files[name] for name, sha256 in hashes.items()})
        return hashes

    async def set_aside(self, name: str) -> Path | None:
        if name not in self.files:
            return None
        path = self._path / f"{name}.{len(self.aside)}"
        self.aside[path] = self.files[name]
        return path

    async def prune(self, keep: frozenset[bytes]) -> None:
        self.contents = {sha256: content for sha256, content in self.contents.items() if sha256 in keep}

    async def stat(self, names: Sequence[str]) -> Mapping[str, FileStat]:
        return {name: FileStat(len(self.files[name]), START) for name in names if name in self.files}

    async def foreign_files(self, globs: Sequence[str]) -> tuple[Path, ...]:
        return tuple(sorted(self.foreign))

    def read(self, path: Path) -> bytes:
        """What promtool reads at a path."""
        if path.parent == STORE:
            return self.contents[bytes.fromhex(path.name)]
        return self.foreign[path] if path in self.foreign else self.files[path.name]


class FakeJournal:
    """record, begun: what is kept. faults: errors that the next calls of a method raise, by its name."""

    def __init__(self, keep: int = 5) -> None:
        self.record: Record | None = None
        self.begun: Record | None = None
        self.kept: dict[int, Generation] = {}
        self.faults: dict[str, list[RulecastError]] = {}
        self._keep = keep

    def _raise_fault(self, method: str) -> None:
        if waiting := self.faults.get(method):
            raise waiting.pop()

    async def load(self) -> Record | None:
        return self.record

    async def unfinished(self) -> Record | None:
        return self.begun

    async def begin(self, record: Record) -> None:
        self._raise_fault("begin")
        self.kept[record.generation] = Generation(record.generation, record.files)
        self.begun = record

    async def finish(self) -> None:
        self.record, self.begun = self.begun, None
        for number in sorted(self.kept)[: -self._keep]:
            del self.kept[number]

    async def save(self, record: Record) -> None:
        self._raise_fault("save")
        self.record = record

    async def generations(self) -> tuple[Generation, ...]:
        return tuple(self.kept[number] for number in sorted(self.kept))


class FakeChecker:
    """Refuses what holds BAD. checked: the files of each run. error: raised instead."""

    def __init__(self, directory: FakeDirectory) -> None:
        self.checked: list[tuple[Path, ...]] = []
        self.error: RulecastError | None = None
        self._directory = directory

    async def check(self, files: Sequence[Path]) -> Mapping[Path, Why]:
        if self.error is not None:
            raise self.error
        self.checked.append(tuple(files))
        bad = [path for path in files if BAD in self._directory.read(path)]
        return {path: Why(Reason.PROMTOOL_CHECK_FAILED, "parse error", "g", "Alert_broken") for path in bad}


class FakeConfigChecker:
    """Prometheus's configuration is sound unless `error` says otherwise. runs: how often it was asked."""

    def __init__(self) -> None:
        self.error: RulecastError | None = None
        self.runs = 0

    async def check(self) -> None:
        self.runs += 1
        if self.error is not None:
            raise self.error


class FakePrometheus:
    """Loads the directory's files on a reload, as Prometheus does: all of them or none.

    refused: answers a reload with 403. broken: refuses to load whatever the files say. globs: its rule_files.
    reload_faults: raised by the next reloads instead. loses: names of files that it silently does not load; keeps: that
    it goes on running when they are gone.
    """

    def __init__(self, directory: FakeDirectory, clock: VirtualClock) -> None:
        self.up = True
        self.refused = False
        self.broken = False
        self.globs: tuple[str, ...] = (f"{directory.path}/*.yml",)
        self.reload_faults: list[RulecastError] = []
        self.loses: set[str] = set()
        self.keeps: set[str] = set()
        self.reloads = 0
        self.timeouts: list[float] = []
        self.running: dict[str, bytes] = {}
        self._directory = directory
        self._clock = clock
        self._status = PrometheusStatus(up=True, version="2.42.0", started_at="1", last_reload_ok=True)

    @property
    def address(self) -> str:
        return "http://prometheus"

    @property
    def directories(self) -> tuple[str, ...]:
        return (str(self._directory.path),)

    def restart(self, version: str | None = None) -> None:
        """Started anew, with the files as they are now. A bad one keeps it from starting. version: the same as ever."""
        self.up = not self._is_bad()
        if self.up:
            self._load()
            self._status = replace(
                self._status,
                started_at=self._status.started_at + "1",
                last_reload_ok=True,
                version=version or self._status.version,
            )

    async def check_ready(self) -> None:
        if not self.up:
            raise Unavailable.of("", Reason.PROMETHEUS_UNREACHABLE, f"{self.address} does not answer")

    async def reload(self, timeout: float) -> None:
        await self.check_ready()
        self.reloads += 1
        self.timeouts.append(timeout)
        if self.reload_faults:
            raise self.reload_faults.pop()
        if self.refused:
            raise FailedPrecondition.of("", Reason.RELOAD_REFUSED, "403 Lifecycle API is not enabled.")
        if self.broken or self._is_bad():
            self._status = replace(self._status, last_reload_ok=False)
            raise FailedPrecondition.of("", Reason.RELOAD_FAILED, "500 failed to reload config")
        self._load()
        self._status = replace(self._status, last_reload_ok=True, last_reload_time=self._clock.now())

    def _is_bad(self) -> bool:
        return any(BAD in content for content in (*self._directory.files.values(), *self._directory.foreign.values()))

    def _load(self) -> None:
        covered = f"{self._directory.path}/*.yml" in self.globs
        files = self._directory.files if covered else {}
        kept = {name: content for name, content in self.running.items() if name in self.keeps}
        self.running = {**kept, **{name: content for name, content in files.items() if name not in self.loses}}

    async def status(self) -> PrometheusStatus:
        await self.check_ready()
        return self._status

    async def loaded(self, names: frozenset[str] | None = None) -> Loaded:
        await self.check_ready()
        rules = {name: rules_in(content) for name, content in self.running.items() if own_name(name)}
        asked = {name: Counter(found) for name, found in rules.items() if names is None or name in names}
        told = {name: found for name, found in asked.items() if found}
        return Loaded(told, {name: hashlib.sha256(self.running[name]).digest() for name in told})

    async def configuration(self) -> Configuration:
        await self.check_ready()
        return Configuration(self.globs)


@dataclass
class World:
    """A pipeline on fakes; `again` is the next process on the same disk and Prometheus."""

    policy: PipelinePolicy = field(default_factory=PipelinePolicy)
    clock: VirtualClock = field(default_factory=VirtualClock)
    directory: FakeDirectory = field(default_factory=FakeDirectory)
    journal: FakeJournal = field(default_factory=FakeJournal)

    def __post_init__(self) -> None:
        self.checker = FakeChecker(self.directory)
        self.config_checker = FakeConfigChecker()
        self.prometheus = FakePrometheus(self.directory, self.clock)
        self.pipeline = self.again()

    def again(self) -> Pipeline:
        self.pipeline = Pipeline(
            Parts(self.directory, self.journal, self.checker, self.prometheus, self.clock, self.config_checker),
            self.policy,
        )
        return self.pipeline
