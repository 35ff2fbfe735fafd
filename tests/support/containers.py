"""Docker through its command line: what is started by a test is gone at its end."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from deploy.local.process import REPOSITORY

HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
BUILD = 1500.0
"""Seconds that building an image may take: it downloads."""


def docker(*arguments: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs `docker arguments...` in the checkout. Fails the test with what it said; never skips it."""
    return _run(["docker", *arguments], timeout, check)


def compose(*arguments: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Compose 2 on deploy/compose.yaml: the plugin of the docker command, or the program docker-compose."""
    return _run([*_compose(), "--file", "deploy/compose.yaml", *arguments], timeout, check)


def need_engine() -> None:
    """Fails the test where no Docker engine answers."""
    if shutil.which("docker") is None:
        pytest.fail("there is no docker command here: `make test-images` needs a Docker engine, `make test` does not")
    answer = docker("version", "--format", "{{.Server.Version}}", check=False)
    if answer.returncode:
        pytest.fail(f"no Docker engine answers, and `make test-images` needs one: {answer.stderr.strip()}")


def build(service: str) -> str:
    """The image's name, of this test run alone. RULECAST_BASE and RULECAST_PROMTOOL choose as for Compose."""
    name = f"rulecast-test/{service}:{uuid.uuid4().hex[:12]}"
    given = {"BASE": os.environ.get("RULECAST_BASE"), "PROMTOOL": os.environ.get("RULECAST_PROMTOOL")}
    arguments = [f"--build-arg={key}={value}" for key, value in given.items() if value]
    docker("build", "--file", f"deploy/docker/{service}.Dockerfile", "--tag", name, *arguments, ".", timeout=BUILD)
    return name


@contextmanager
def container(image: str, *options: str, command: Sequence[str] = ()) -> Iterator[str]:
    """A container that runs; its id. It is removed with its volumes, whatever happens."""
    id = docker("run", "--detach", *options, image, *command).stdout.strip()
    try:
        yield id
    finally:
        docker("rm", "--force", "--volumes", id)


def inspect(id: str) -> Any:
    return json.loads(docker("inspect", id).stdout)[0]


def health(id: str) -> str:
    """`starting`, `healthy` or `unhealthy`."""
    return str(inspect(id)["State"]["Health"]["Status"])


def logs(id: str) -> str:
    done = docker("logs", id)
    return done.stdout + done.stderr


def _compose() -> list[str]:
    if _run(["docker", "compose", "version"], 60, check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose") is None:
        pytest.fail("there is neither `docker compose` nor docker-compose here, and this test needs one")
    version = _run(["docker-compose", "version", "--short"], 60, check=True).stdout.strip()
    if version.removeprefix("v").startswith("1."):
        pytest.fail(f"docker-compose is {version} here, which cannot read deploy/compose.yaml: it needs Compose 2")
    return ["docker-compose"]


def _run(command: Sequence[str], timeout: float, check: bool) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        pytest.fail(f"{' '.join(command[:4])} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done
