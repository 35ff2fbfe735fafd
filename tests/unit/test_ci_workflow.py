"""The CI runs what `.ci/run` runs, on every version that the project says it supports."""

import os
import re
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from deploy.local.parts import MINIMUM, RELEASE
from deploy.local.process import REPOSITORY

WORKFLOW: dict[Any, Any] = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text())
JOBS = WORKFLOW["jobs"]


def commands(job: str) -> list[str]:
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


def test_it_runs_on_every_change() -> None:
    triggers = WORKFLOW[True]  # the key `on`, as YAML 1.1 reads it
    assert triggers["push"]["branches"] == ["main"]
    assert "pull_request" in triggers


def test_it_runs_what_anybody_can_run() -> None:
    assert commands("test")[-1] == ".ci/run"
    script = (REPOSITORY / ".ci/run").read_text()
    assert all(f"\n{command}\n" in script for command in ("make setup", "make check", "make test"))


def test_the_images_are_built_and_started() -> None:
    assert commands("images") == ["make test-images"]
    assert re.search(r"^test-images:", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)


def test_every_supported_version_of_python_has_a_run() -> None:
    oldest = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["requires-python"]
    versions = JOBS["test"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert oldest == f">={versions[0]}"
    step = next(step for step in JOBS["test"]["steps"] if step.get("run") == ".ci/run")
    assert step["env"]["PYTHON"] == "python${{ matrix.python }}"


def test_debian_12_has_a_run_with_what_it_brings() -> None:
    """Its Python is 3.11.2: whether 3.11 is supported is not told by the newest 3.11 alone."""
    job = JOBS["debian"]
    assert job["container"] == "debian:bookworm-slim"
    assert not any("setup-python" in step.get("uses", "") for step in job["steps"])
    assert commands("debian")[-1] == ".ci/run"


def test_the_oldest_prometheus_and_the_pinned_one_have_a_run() -> None:
    versions = JOBS["test"]["strategy"]["matrix"]["prometheus"]
    assert versions == [f"{MINIMUM}.0", RELEASE]
    script = (REPOSITORY / ".ci/prometheus").read_text()
    assert all(re.search(rf"^{re.escape(version)}\)", script, flags=re.MULTILINE) for version in versions)


def test_it_may_only_read_and_ends_in_bounded_time() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in JOBS.values())


def test_every_action_has_a_version() -> None:
    used = [step["uses"] for job in JOBS.values() for step in job["steps"] if "uses" in step]
    assert len(used) == 5
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", each) for each in used)


def test_a_version_that_is_not_known_is_refused() -> None:
    done = subprocess.run(
        [REPOSITORY / ".ci/prometheus", "1.0.0", REPOSITORY / ".cache"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "it is not known how to get Prometheus 1.0.0\n"


@pytest.mark.parametrize("script", ["run", "prometheus"])
def test_the_scripts_are_good_bash_and_may_be_run(script: str) -> None:
    path = REPOSITORY / ".ci" / script
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0
