"""The images, built and started as they are to be run: read-only, with no capability, not as root."""

import json
from collections.abc import Iterator
from importlib.metadata import version

import pytest

from deploy.local.process import REPOSITORY
from deploy.lock import locked
from tests.support.containers import HARDENED, build, container, docker, health, inspect, logs, need_engine
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.images, pytest.mark.timeout(3000)]

START = 120.0
SERVICES = ("rule-service", "deployer-service")
NOWHERE = "RULE_SERVICE_DATABASE_URL=postgresql://nobody@127.0.0.1:1/nothing"
ONLY_OURS = "import importlib.metadata as m, json; print(json.dumps([[d.name, d.version] for d in m.distributions()]))"


@pytest.fixture(scope="module")
def images() -> Iterator[dict[str, str]]:
    """The image of each service; removed at the end."""
    need_engine()
    built: dict[str, str] = {}
    try:
        for service in SERVICES:
            built[service] = build(service)
        yield built
    finally:
        for image in built.values():
            docker("rmi", "--force", image)


@pytest.mark.parametrize("service", SERVICES)
def test_it_holds_what_the_lock_says_and_nothing_else(images: dict[str, str], service: str) -> None:
    command = ("run", "--rm", *HARDENED, "--network=none", "--entrypoint=python3", images[service], "-c", ONLY_OURS)
    found = {name.lower().replace("_", "-"): its for name, its in json.loads(docker(*command).stdout)}
    lock = (REPOSITORY / "deploy/docker/runtime.lock").read_text()
    wanted = {each.name: each.text.partition("==")[2].split()[0] for each in locked(lock)}
    assert found == {**wanted, "rulecast": version("rulecast")}


@pytest.mark.parametrize("service", SERVICES)
def test_promtool_runs_there_and_the_user_is_not_root(images: dict[str, str], service: str) -> None:
    image = images[service]
    run = ("run", "--rm", *HARDENED, "--network=none", "--entrypoint=sh", image, "-c", "promtool --version 2>&1; id -u")
    said = docker(*run).stdout
    assert "promtool, version" in said
    assert said.splitlines()[-1] == "65532"
    assert inspect(image)["Config"]["User"] == "65532:65532"


async def test_the_deployer_becomes_healthy_owns_its_volume_and_ends_in_order(images: dict[str, str]) -> None:
    """With no rule service and no Prometheus: it looks after its files all the same."""
    mounted = "--volume=/etc/prometheus/rules/generated"
    with container(images["deployer-service"], *HARDENED, "--network=none", mounted) as id:
        await wait_for(lambda: health(id) == "healthy", timeout=START, every=0.5)
        owner = docker("exec", id, "stat", "--format=%u:%g %a", "/etc/prometheus/rules/generated").stdout
        assert owner == "65532:65532 755\n"
        docker("exec", id, "test", "-f", "/etc/prometheus/rules/generated/.rulecast/lock")
        docker("stop", "--time=60", id)
        assert inspect(id)["State"]["ExitCode"] == 0, logs(id)


async def test_the_rule_service_says_in_its_health_what_it_waits_for(images: dict[str, str]) -> None:
    with container(images["rule-service"], *HARDENED, "--network=none", f"--env={NOWHERE}") as id:
        await wait_for(lambda: "database does not answer" in logs(id), timeout=START, every=0.5)
        asked = docker("exec", id, "rule-service", "health", check=False)
        assert (asked.returncode, asked.stderr) == (1, "rule-service: not ready: waiting for the database\n")
        docker("stop", "--time=60", id)
        assert inspect(id)["State"]["ExitCode"] == 0, logs(id)
