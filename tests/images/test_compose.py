"""`docker compose up` as a person uses it: the same demo as `make up`."""

import contextlib
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from deploy.local.demo import HOSTS
from deploy.local.story import PUBLISHED
from deploy.local.table import firing_in
from tests.support.containers import BUILD, compose, docker, inspect, logs, need_engine
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.images, pytest.mark.timeout(4000)]

OURS = ("rule-service", "deployer", "exporter", "prometheus", "alertmanager")
ALERTMANAGER = "http://127.0.0.1:9093"


@pytest.fixture(scope="module")
def project() -> Iterator[str]:
    """Everything started and the demo told; its words. Everything is gone at the end, volumes too."""
    need_engine()
    compose("build", timeout=3 * BUILD)
    try:
        compose("up", "--detach", timeout=600)
        id = of("demo")
        told = docker("wait", id, timeout=300).stdout.strip() == "0"
        assert told, f"{logs(id)}\n{compose('logs', check=False).stdout[-5000:]}"
        yield docker("logs", id).stdout
    finally:
        compose("down", "--volumes", timeout=300)


def of(service: str) -> str:
    """The id of the service's container."""
    return compose("ps", "--all", "--quiet", service).stdout.strip()


async def answer(url: str, **query: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(url, params=query, raise_for_status=True) as response:
        return await response.json()


async def test_the_alerts_fire_as_the_rules_say(project: str) -> None:
    assert "the alerts in Prometheus are as the rules say they should be" in project
    assert await firing_in(PUBLISHED.prometheus) == frozenset(HOSTS["production"])


async def test_prometheus_finds_the_hosts_and_every_part_answers_it(project: str) -> None:
    targets = (await answer(f"{PUBLISHED.prometheus}/api/v1/targets"))["data"]["activeTargets"]
    assert {each["health"] for each in targets} == {"up"}
    hosts = {each["labels"]["instance"] for each in targets if each["labels"]["job"] == "node"}
    assert hosts == {host for group in HOSTS.values() for host in group}


async def test_alertmanager_hears_of_them(project: str) -> None:
    async def heard() -> bool:
        alerts = await answer(f"{ALERTMANAGER}/api/v2/alerts")
        return {each["labels"]["instance"] for each in alerts} == set(HOSTS["production"])

    await wait_for(heard, timeout=120, every=0.5)


@pytest.mark.parametrize("service", OURS)
def test_each_runs_read_only_and_with_no_capability(project: str, service: str) -> None:
    host = inspect(of(service))["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["Privileged"]
    assert docker("exec", of(service), "id", "-u").stdout.strip() != "0"


def test_only_the_deployer_can_write_the_rules(project: str) -> None:
    folder = "/etc/prometheus/rules/generated"
    refused = docker("exec", of("prometheus"), "touch", f"{folder}/mine.yml", check=False)
    assert "Read-only file system" in refused.stderr
    listing = docker("exec", of("deployer"), "stat", "--format=%u %a", f"{folder}/group-production.yml").stdout
    assert listing == "65532 644\n"


@pytest.mark.parametrize("service", ["deployer", "rule-service", "prometheus", "postgres"])
async def test_an_edit_arrives_although_a_part_was_killed(project: str, service: str) -> None:
    docker("kill", of(service))
    docker("start", of(service))
    url = f"{PUBLISHED.rule_service_http}/api/v1/alert-rules/high-cpu-production"
    annotations = {"killed": service}

    async def saved() -> bool:
        body = {"rule": {"config": {"annotations": annotations}}}
        with contextlib.suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as http, http.patch(url, json=body) as response:
                return response.status == 200
        return False

    await wait_for(saved, timeout=180, every=1)
    revision = (await answer(f"{PUBLISHED.rule_service_http}/api/v1/prometheus/status"))["revision"]

    async def active() -> bool:
        rollout = await answer(f"{PUBLISHED.rule_service_http}/api/v1/rollouts/{revision}")
        return bool(rollout["state"] == "ACTIVE")

    await wait_for(active, timeout=180, every=1)
    rules = (await answer(f"{PUBLISHED.prometheus}/api/v1/rules", type="alert"))["data"]["groups"]
    running = [rule["annotations"].get("killed") for group in rules for rule in group["rules"]]
    assert service in running
