"""A folder that nobody else can enter, for the life of the process."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = re.compile(r"rulecast-(\d+)-\w+")


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder of mode 0700 for temporary files, gone at the end.

    A process that was killed leaves its folder behind; the next one removes it.
    """
    _remove_leftovers(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=f"rulecast-{os.getpid()}-") as folder:
        yield Path(folder)


def _remove_leftovers(parent: Path) -> None:
    for folder in parent.glob("rulecast-*"):
        named = _NAME.fullmatch(folder.name)
        if named is not None and not Path(f"/proc/{named[1]}").exists() and _is_ours(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return folder.is_dir() and not folder.is_symlink() and found.st_uid == os.geteuid()
