"""Rule directories that can not be written."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rulecast.reasons import Reason

ROOT = os.geteuid() == 0


@contextmanager
def read_only(rules: Path) -> Iterator[Reason]:
    """Mounted read-only where this may be done; otherwise without the right to write."""
    if not mount("--bind", str(rules), str(rules)):
        with no_right_to_write(rules) as reason:
            yield reason
        return
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", rules], check=True)
        yield Reason.READ_ONLY
    finally:
        unmount(rules)


@contextmanager
def no_right_to_write(rules: Path) -> Iterator[Reason]:
    """For whom permissions stop; root is not one of them, see `tests.support.ordinary`."""
    folders = [rules, *(path for path in rules.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        yield Reason.PERMISSION_DENIED
    finally:
        for folder in folders:
            folder.chmod(0o755)


@contextmanager
def small_disk(rules: Path) -> Iterator[bool]:
    """A file system of 1 MiB under the rule directory; False where nobody may mount one."""
    mounted = mount("-t", "tmpfs", "-o", "size=1m", "rulecast-test", str(rules))
    try:
        yield mounted
    finally:
        if mounted:
            unmount(rules)


def fill(rules: Path, room: int) -> Path:
    """Fills the disk up but for so many bytes; the file that does it."""
    ballast = rules / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    os.truncate(ballast, ballast.stat().st_size - room)
    return ballast


def mount(*arguments: str) -> bool:
    """Whether it was done. Who may not is told so by the system: root in a container too."""
    if not ROOT:
        return False
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode and os.strerror(errno.EPERM).lower() not in done.stderr.lower():
        refused = ("permission denied", "must be superuser")
        assert any(words in done.stderr.lower() for words in refused), done.stderr
    return done.returncode == 0


def unmount(rules: Path) -> None:
    subprocess.run(["umount", "--lazy", rules], check=True)
