"""Finds the Prometheus process on this machine, to reload it by signal where its HTTP reload is switched off."""

import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
_LISTENING = "0A"
_NAME = "prometheus"


class PrometheusProcess:
    """The process that a pid file names, else the one called `prometheus` that listens on `port`.

    The port is looked for in this network namespace: a container's port that is published here is not it.
    """

    def __init__(self, port: int, pid_file: Path | None = None) -> None:
        self._port = port
        self._pid_file = pid_file

    def hang_up(self) -> int | None:
        """Sends SIGHUP, which makes Prometheus reload. Its pid; None if it is not found or is not ours to signal."""
        pid = self.find()
        if pid is None:
            return None
        try:
            os.kill(pid, signal.SIGHUP)
        except (ProcessLookupError, PermissionError):
            return None
        return pid

    def find(self) -> int | None:
        """Whatever a stale pid file or a proxy on the port says: only a process called prometheus is returned."""
        if self._pid_file is not None:
            pids = _pid_in(self._pid_file)
        else:
            sockets = frozenset(_listening_sockets(self._port))
            pids = (pid for pid in _processes() if sockets and _holds_one_of(pid, sockets))
        return next((pid for pid in pids if _is_prometheus(pid)), None)


def _pid_in(file: Path) -> Iterator[int]:
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeError):
        return
    if text.isdecimal() and int(text) > 1:
        yield int(text)


def _processes() -> Iterator[int]:
    return (int(entry) for entry in os.listdir(PROC) if entry.isdecimal())


def _is_prometheus(pid: int) -> bool:
    try:
        return _NAME in (PROC / str(pid) / "comm").read_text()
    except (OSError, UnicodeError):
        return False


def _listening_sockets(port: int) -> Iterator[str]:
    """The inodes of the sockets that listen on the port."""
    ending = ":" + struct.pack(">H", port).hex().upper()
    for table in ("tcp", "tcp6"):
        try:
            lines = (PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENING and fields[1].endswith(ending):
                yield fields[9]


def _holds_one_of(pid: int, sockets: frozenset[str]) -> bool:
    folder = PROC / str(pid) / "fd"
    try:
        return any(os.readlink(folder / entry)[8:-1] in sockets for entry in os.listdir(folder))
    except OSError:
        return False
