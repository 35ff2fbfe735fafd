"""Targets and rules from one place: a real Prometheus scrapes what is stored, and a group's rule finds its series.

No relabelling anywhere: the labels of the namespaces come with the targets, by HTTP or by a file.
"""

import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.local.parts import PrometheusParts
from deploy.local.process import free_port
from rulecast.v1 import common_pb2, group_pb2, namespace_pb2, rule_pb2, target_pb2
from tests.support.solo import PATIENCE, Solo, solo
from tests.support.system import RPC, group_scope
from tests.support.waiting import wait_for

PATH = "/api/v1/sd/prometheus"


async def make_resources(system: Solo) -> None:
    """The namespace env with prod > web and dev; three hosts, on each of which the exporter is Prometheus itself."""
    one = system.first
    env = namespace_pb2.Namespace(id="env", label="environment")
    await one.namespaces.CreateNamespace(namespace_pb2.CreateNamespaceRequest(namespace=env), timeout=RPC)
    for group in (
        group_pb2.Group(id="prod", namespace_id="env", label_value="production"),
        group_pb2.Group(id="web", parent_id="prod"),
        group_pb2.Group(id="dev", namespace_id="env"),
    ):
        await one.groups.CreateGroup(group_pb2.CreateGroupRequest(group=group), timeout=RPC)
    for id, groups in (("db-1", ["prod"]), ("web-1", ["web"]), ("lab-1", ["dev"]), ("alone", [])):
        target = target_pb2.Target(id=id, hostname=f"{id}.example.com", address="127.0.0.1:22", group_ids=groups)
        target.exporters.add(name="prometheus", port=system.prometheus.port)
        await one.targets.CreateTarget(target_pb2.CreateTargetRequest(target=target), timeout=RPC)


def scoped_rule(job: str) -> rule_pb2.AlertRule:
    """Of the group prod: fires for everything that is up."""
    rule = rule_pb2.AlertRule(id=f"up-{job}", key=f"up-{job}", scope=group_scope("prod"))
    rule.spec.alert_name = f"Up{job}"
    rule.spec.severity = "info"
    rule.spec.query = f'up{{job="{job}"}} == 1'
    return rule


async def firing(system: Solo, name: str) -> set[tuple[str, str]]:
    """Host and environment of each alert of this name that fires."""
    alerts: list[Any] = await system.deployer.api("/api/v1/alerts", "alerts")
    return {
        (each["labels"]["instance"], each["labels"]["environment"])
        for each in alerts
        if each["labels"]["alertname"] == name and each["state"] == "firing"
    }


async def discovered(system: Solo, job: str) -> list[dict[str, str]]:
    """The labels of what Prometheus scrapes for this job, by host."""
    targets: list[Any] = await system.deployer.api("/api/v1/targets", "activeTargets")
    found = [each["labels"] for each in targets if each["labels"]["job"] == job]
    return sorted(found, key=lambda labels: str(labels["instance"]))


@pytest.mark.timeout(240)
async def test_a_groups_rule_finds_the_series_of_its_hosts(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}{PATH}"
    files = [str(tmp_path / "targets.json")]
    jobs = [
        {"job_name": "http", "http_sd_configs": [{"url": url, "refresh_interval": "1s"}]},
        {
            "job_name": "running",
            "http_sd_configs": [{"url": f"{url}?group_id=prod&statuses=UP", "refresh_interval": "1s"}],
        },
        {
            "job_name": "file",
            "file_sd_configs": [{"files": files, "refresh_interval": "1s"}],
        },
    ]
    async with solo(
        tmp_path,
        database,
        prometheus_parts,
        settings={"RULE_SERVICE_HTTP_LISTEN": f"127.0.0.1:{port}"},
        configuration={"scrape_configs": jobs},
    ) as system:
        await make_resources(system)
        for job in ("http", "file"):
            assert (await system.create(scoped_rule(job))).state == common_pb2.Rollout.ACTIVE
        expected = {("db-1.example.com", "production"), ("web-1.example.com", "web")}
        await wait_for(lambda: _is(firing(system, "Uphttp"), expected), PATIENCE)
        everywhere = await discovered(system, "http")
        assert [(each["instance"], each.get("environment")) for each in everywhere] == [
            ("alone.example.com", None),
            ("db-1.example.com", "production"),
            ("lab-1.example.com", "dev"),
            ("web-1.example.com", "web"),
        ]

        # as a cron job does it: `curl -fsS -o targets.new URL && mv targets.new targets.json`
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as answer:
            (tmp_path / "targets.new").write_bytes(await answer.read())
        os.replace(tmp_path / "targets.new", tmp_path / "targets.json")
        await wait_for(lambda: _is(firing(system, "Upfile"), expected), PATIENCE)
        assert [{**each, "job": "http"} for each in await discovered(system, "file")] == everywhere

        # nobody has said how anything is
        assert await discovered(system, "running") == []
        beats = [
            target_pb2.TargetHeartbeat(target_id=id, status=status)
            for id, status in (
                ("db-1", target_pb2.Target.UP),
                ("web-1", target_pb2.Target.MAINTENANCE),
                ("lab-1", target_pb2.Target.UP),
            )
        ]
        await system.first.targets.HeartbeatTargets(target_pb2.HeartbeatTargetsRequest(heartbeats=beats), timeout=RPC)
        await wait_for(lambda: _has_one(system, "running"), PATIENCE)
        (only,) = await discovered(system, "running")
        assert only["instance"] == "db-1.example.com"


async def _is(found: Any, expected: object) -> bool:
    return bool(await found == expected)


async def _has_one(system: Solo, job: str) -> bool:
    return len(await discovered(system, job)) == 1
