"""The few things that are done to a disk, each one durable when it returns, each fault with its own reason."""

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from rulecast.errors import Unavailable
from rulecast.reasons import Reason

P = ParamSpec("P")
T = TypeVar("T")

FILE_MODE = 0o644
_PIECE = 1024 * 1024

_REASONS = {
    errno.ENOSPC: (Reason.DISK_FULL, "the disk is full: make room"),
    errno.EDQUOT: (Reason.QUOTA_EXCEEDED, "this user's disk quota is used up: raise it, or make room"),
    errno.EFBIG: (
        Reason.FILE_SIZE_LIMITED,
        "this process may not write a file of that size: raise its limit (ulimit -f, LimitFSIZE of systemd)",
    ),
    errno.EROFS: (Reason.READ_ONLY, "the file system is read-only: mount it writable"),
    errno.EACCES: (Reason.PERMISSION_DENIED, "permission denied: let this user write there"),
    errno.EPERM: (Reason.PERMISSION_DENIED, "not permitted: let this user write there"),
    errno.ENOENT: (Reason.DIRECTORY_MISSING, "it is missing: create the directory"),
    errno.ENOTDIR: (Reason.DIRECTORY_MISSING, "a part of the path is not a directory: create the directory"),
}


def disk_error(error: OSError, path: Path) -> Unavailable:
    """The one place where an errno becomes a reason. The message has the path and what would help."""
    reason, words = _REASONS.get(
        error.errno or 0, (Reason.WRITE_FAILED, f"{error.strerror or error}: see what is wrong there")
    )
    return Unavailable.of("", reason, f"{path}: {words}", path=str(path))


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turns an OSError into an error that names the path."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error


class Disk:
    """The system calls. Tests put one in its place that fails or dies at a chosen call."""

    def write(self, path: Path, content: bytes, owner: tuple[int, int] | None = None) -> None:
        """A new file, mode 0644, with the content on the disk. Left-overs of a failure are the caller's to remove.

        owner: uid and gid, None for our own.
        """
        with naming(path):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
            try:
                view = memoryview(content)
                while view:
                    view = view[os.write(file, view) :]
                os.fchmod(file, FILE_MODE)
                if owner is not None:
                    os.fchown(file, *owner)
                os.fsync(file)
            finally:
                os.close(file)

    def replace(self, source: Path, target: Path) -> None:
        """Atomic: whoever opens `target` gets the old or the new file."""
        with naming(target):
            os.replace(source, target)

    def remove(self, path: Path) -> None:
        """Nothing happens if it is not there."""
        with naming(path), contextlib.suppress(FileNotFoundError):
            path.unlink()

    def make_directory(self, path: Path) -> None:
        with naming(path):
            path.mkdir(mode=0o755, parents=True, exist_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Makes the names in it durable."""
        with naming(path):
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def read(self, path: Path) -> bytes | None:
        """The content; None if there is no such file, or it is not a regular one."""
        with naming(path):
            try:
                # not to hang on a pipe, not to follow a link
                file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                    return None
                raise
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    return None
                return b"".join(iter(lambda: os.read(file, _PIECE), b""))
            finally:
                os.close(file)

    def write_atomically(self, path: Path, content: bytes) -> None:
        """Replaces a file of our own. The temporary name ends in `.new`."""
        temporary = path.with_name(path.name + ".new")
        try:
            self.write(temporary, content)
            self.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        self.sync_directory(path.parent)


class DiskThread:
    """One thread for all that is done to one directory: in order, off the event loop.

    A cancelled caller does not wait any longer, but what it began is done before whatever comes next.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """Waits for what is under way."""
        self._executor.shutdown(wait=True)
