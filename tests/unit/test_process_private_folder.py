"""The private folder of a process."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rulecast.process.private_folder import private_folder


@pytest.fixture(autouse=True)
def _own_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_nobody_else_can_enter_it_and_it_goes() -> None:
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "socket").touch()
    assert not folder.exists()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f"rulecast-{dead_pid()}-abc"
    left.mkdir()
    (left / "grpc").touch()
    with private_folder():
        assert not left.exists()


def test_what_is_not_a_leftover_stays(tmp_path: Path) -> None:
    alive = tmp_path / f"rulecast-{os.getpid()}-abc"
    other = tmp_path / "rulecast-notes"
    file = tmp_path / f"rulecast-{dead_pid()}-file"
    link = tmp_path / f"rulecast-{dead_pid()}-link"
    alive.mkdir()
    other.mkdir()
    file.touch()
    link.symlink_to(other)
    with private_folder():
        pass
    assert alive.is_dir()
    assert other.is_dir()
    assert file.exists()
    assert link.is_symlink()
