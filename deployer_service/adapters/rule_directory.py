"""The rule directory on a local disk.

    <rule directory>/global.yml, namespace-<id>.yml, group-<id>.yml    what Prometheus loads
    <rule directory>/.rulecast/content/<sha256>     every content that may be needed again
    <rule directory>/.rulecast/staging/<n>          complete files about to be renamed into place
    <rule directory>/.rulecast/set-aside/           copies of files that somebody else changed
    <rule directory>/.rulecast/lock                 held while a deployer runs

All of it is on one file system, so that a rename is atomic, and no `*.yml` or `*.yaml` matches any of our own names.
Contents are copied, not hard-linked: an edit in place of a live file must not reach the copy it is repaired from.
"""

import contextlib
import fcntl
import glob
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from deployer_service.adapters.disk import Disk, DiskThread, disk_error, naming
from deployer_service.pipeline.names import own_name
from deployer_service.pipeline.ports import WORK_DIRECTORY, FileStat, Step
from deployer_service.state import FileSet
from rulecast.errors import FailedPrecondition, RulecastError, Unavailable
from rulecast.reasons import Reason

log = structlog.get_logger(__name__)

NOT_A_FILE = bytes(32)
"""Stands for the hash of something that has one of our names but is no regular file."""

_SET_ASIDE_KEPT = 20
# A file changed again within the clock's grain could keep its times: such a young hash is not remembered.
_SETTLED_NS = 2_000_000_000

_Identity = tuple[int, int, int, int]


class LocalRuleDirectory:
    """See `pipeline.ports.RuleDirectory`. path: the rule directory; it is made if it is missing."""

    def __init__(self, path: Path, thread: DiskThread, disk: Disk) -> None:
        self._path = path
        self._thread = thread
        self._disk = disk
        self._work = path / WORK_DIRECTORY
        self._content = self._work / "content"
        self._staging = self._work / "staging"
        self._set_aside = self._work / "set-aside"
        self._lock: int | None = None
        self._hashes: dict[str, tuple[_Identity, bytes]] = {}

    @property
    def path(self) -> Path:
        return self._path

    async def open(self) -> None:
        await self._thread.run(self._open)

    async def close(self) -> None:
        await self._thread.run(self._unlock)

    async def scan(self) -> FileSet:
        return await self._thread.run(self._scan)

    async def store(self, contents: Mapping[bytes, bytes]) -> None:
        await self._thread.run(self._store, contents)

    async def content(self, sha256: bytes) -> bytes | None:
        return await self._thread.run(self._stored, sha256)

    def stored_path(self, sha256: bytes) -> Path:
        return self._content / sha256.hex()

    async def move(self, steps: Sequence[Step]) -> None:
        await self._thread.run(self._move, steps)

    async def adopt(self, names: Sequence[str]) -> FileSet:
        return await self._thread.run(self._adopt, names)

    async def set_aside(self, name: str) -> Path | None:
        return await self._thread.run(self._keep_copy, name)

    async def prune(self, keep: frozenset[bytes]) -> None:
        await self._thread.run(self._prune, keep)

    async def stat(self, names: Sequence[str]) -> Mapping[str, FileStat]:
        return await self._thread.run(self._stat, names)

    async def foreign_files(self, globs: Sequence[str]) -> tuple[Path, ...]:
        return await self._thread.run(self._foreign, globs)

    def _open(self) -> None:
        for directory in (self._path, self._content, self._staging, self._set_aside):
            self._disk.make_directory(directory)
        self._take_lock()
        for leftover in self._names(self._staging):
            self._disk.remove(self._staging / leftover)

    def _take_lock(self) -> None:
        """Takes the lock, also again where the directory was removed and made anew under us."""
        path = self._work / "lock"
        with naming(path):
            if self._lock is not None and _is_open_file(path, self._lock):
                return
            self._unlock()
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(lock, 100).decode(errors="replace").strip() or "unknown"
                os.close(lock)
                raise FailedPrecondition.of(
                    "",
                    Reason.DUPLICATE_DEPLOYER,
                    f"{self._path} is in use by another deployer, process {holder}: stop that one, "
                    "or give this one a rule directory of its own",
                    pid=holder,
                ) from error
            self._lock = lock
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _names(self, directory: Path) -> list[str]:
        with naming(directory):
            return sorted(os.listdir(directory))

    def _own_names(self) -> Iterator[str]:
        return (name for entry in self._names(self._path) if (name := own_name(entry)))

    def _scan(self) -> FileSet:
        found: dict[str, bytes] = {}
        for name in self._own_names():
            sha256 = self._hash(name)
            if sha256 is not None:
                found[name] = sha256
        self._hashes = {name: known for name, known in self._hashes.items() if name in found}
        return found

    def _hash(self, name: str) -> bytes | None:
        path = self._path / name
        with naming(path):
            try:
                now = os.lstat(path)
            except FileNotFoundError:
                return None
        if not stat.S_ISREG(now.st_mode):
            return NOT_A_FILE
        identity = (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
        known = self._hashes.get(name)
        if known and known[0] == identity:
            return known[1]
        content = self._disk.read(path)
        if content is None:
            return None
        sha256 = hashlib.sha256(content).digest()
        if time.time_ns() - now.st_ctime_ns > _SETTLED_NS:
            self._hashes[name] = (identity, sha256)
        return sha256

    def _store(self, contents: Mapping[bytes, bytes]) -> None:
        new = {sha256: content for sha256, content in contents.items() if self._stored(sha256) is None}
        if not new:
            return
        placed: list[Path] = []
        temporary = self._staging / "content"
        try:
            for sha256, content in new.items():
                self._disk.write(temporary, content)
                placed.append(self.stored_path(sha256))
                self._disk.replace(temporary, placed[-1])
        except RulecastError:
            _discard((temporary, *placed))  # gives the room back on a full disk
            raise
        self._disk.sync_directory(self._content)

    def _stored(self, sha256: bytes) -> bytes | None:
        content = self._disk.read(self.stored_path(sha256))
        return content if content is not None and hashlib.sha256(content).digest() == sha256 else None

    def _move(self, steps: Sequence[Step]) -> None:
        staged: dict[str, Path] = {}
        try:
            owner = self._owner()
            for number, step in enumerate(steps):
                if step.sha256 is not None:
                    staged[step.file_name] = self._staging / str(number)
                    self._disk.write(staged[step.file_name], self._needed(step.sha256), owner)
            for step in steps:
                target = self._path / self._checked(step.file_name)
                if step.sha256 is None:
                    self._disk.remove(target)
                else:
                    self._disk.replace(staged[step.file_name], target)
        except RulecastError:
            _discard(staged.values())
            raise
        self._disk.sync_directory(self._path)

    def _needed(self, sha256: bytes) -> bytes:
        content = self._stored(sha256)
        if content is None:
            path = self.stored_path(sha256)
            raise Unavailable.of("", Reason.WRITE_FAILED, f"{path}: the stored content is gone or damaged")
        return content

    def _checked(self, name: str) -> str:
        own = own_name(name)
        if own is None:
            raise AssertionError(f"{name!r} is not ours to write")
        return own

    def _owner(self) -> tuple[int, int] | None:
        """As root, files get the owner of the directory; anybody else can not give files away."""
        if os.geteuid() != 0:
            return None
        with naming(self._path):
            directory = self._path.stat()
        return directory.st_uid, directory.st_gid

    def _adopt(self, names: Sequence[str]) -> FileSet:
        contents: dict[str, bytes] = {}
        for name in names:
            content = self._disk.read(self._path / self._checked(name))
            if content is not None:
                contents[name] = content
        hashes = {name: hashlib.sha256(content).digest() for name, content in contents.items()}
        self._store({hashes[name]: content for name, content in contents.items()})
        return hashes

    def _keep_copy(self, name: str) -> Path | None:
        content = self._disk.read(self._path / self._checked(name))
        if content is None:
            return None
        copy = self._set_aside / f"{name}.{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        self._disk.write(copy, content)
        # the time ends the name, so that the oldest of one file come first; the mtime tells over all files
        copies = sorted(self._set_aside.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for old in copies[:-_SET_ASIDE_KEPT]:
            self._disk.remove(old)
        return copy

    def _prune(self, keep: frozenset[bytes]) -> None:
        kept = {sha256.hex() for sha256 in keep}
        for name in self._names(self._content):
            if name not in kept:
                self._disk.remove(self._content / name)

    def _stat(self, names: Sequence[str]) -> Mapping[str, FileStat]:
        found: dict[str, FileStat] = {}
        for name in names:
            path = self._path / self._checked(name)
            try:
                now = path.stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise disk_error(error, path) from error
            found[name] = FileStat(now.st_size, datetime.fromtimestamp(now.st_mtime, UTC))
        return found

    def _foreign(self, globs: Sequence[str]) -> tuple[Path, ...]:
        matched = {Path(path) for pattern in globs for path in glob.glob(pattern, include_hidden=True)}
        return tuple(sorted(path for path in matched if path.is_file() and not self._is_own(path)))

    def _is_own(self, path: Path) -> bool:
        return own_name(path.name) is not None and path.parent.resolve() == self._path.resolve()


def _is_open_file(path: Path, descriptor: int) -> bool:
    try:
        now = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(now, os.fstat(descriptor))


def _discard(paths: Iterable[Path]) -> None:
    """Removes what a failure left; where even that fails, the next `open` does it."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
