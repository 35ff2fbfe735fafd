"""The folder for downloaded parts, shared by every checkout of one user."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_dir() -> Path:
    """RULECAST_CACHE, else `rulecast` in XDG_CACHE_HOME, else `~/.cache/rulecast`. It may not exist yet."""
    if named := os.environ.get("RULECAST_CACHE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "rulecast"


def fill_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Calls `fill(new folder)` and names the result `folder`, unless that exists. Gives `folder`.

    It appears whole or not at all, and of several processes one fills it while the others wait.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                fill(fresh)
                fresh.chmod(0o755)
                fresh.rename(folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    return folder
