"""The answers that are promised by their names, as a script with nothing but a JSON reader sees them."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
from yarl import URL

from tests.support.system import Replica, replica

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest_asyncio.fixture
async def http(tmp_path: Path, database: str, promtool: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A rule service with rules at each of the three levels, and a target below them."""
    one: Replica = replica(tmp_path, database, promtool)
    try:
        await one.start()
        async with aiohttp.ClientSession(base_url=one.url) as session:
            await post(session, "groups", {"group": {"id": "prod"}})
            await post(session, "targets", {"target": {"id": "web-1", "hostname": "web-1", "group_ids": ["prod"]}})
            for key, scope in (("a", {"global": {}}), ("b", {"namespace_id": "default"}), ("c", {"group_id": "prod"})):
                await post(session, "alert-rules", {"rule": rule(key, scope)})
            yield session
    finally:
        await one.child.stop()
        await one.channel.close()


def rule(key: str, scope: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"rule-{key}",
        "key": key,
        "scope": scope,
        "spec": {
            "alertName": "HighCPU",
            "severity": "critical",
            "query": "cpu_percent > {{ .threshold }}",
            "parameters": [{"name": "threshold", "type": "NUMBER"}],
            "defaultConfig": {"forDuration": "5m"},
        },
        "config": {"parameters": {"threshold": 80}},
    }


async def post(http: aiohttp.ClientSession, path: str, body: dict[str, Any] | None = None) -> Any:
    async with http.post(f"/api/v1/{path}", json=body) as answer:
        shown = await answer.json()
    assert answer.status == 200, shown
    return shown


async def get(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as answer:
        shown = await answer.json()
    assert answer.status == 200, shown
    return shown


async def test_regenerate(http: aiohttp.ClientSession) -> None:
    everything = await post(http, "prometheus/rules/regenerate")
    assert (everything["groups_affected"], everything["files_generated"], everything["errors"]) == (1, 3, [])
    assert re.fullmatch(r"\d+(\.\d+)?s", everything["duration"])
    one = await post(http, "prometheus/rules/regenerate/prod")
    assert (one["groups_affected"], one["files_generated"], one["errors"]) == (1, 1, [])


async def test_the_files_are_a_list_and_each_page_names_the_next(http: aiohttp.ClientSession) -> None:
    files = await get(http, "/api/v1/prometheus/rules/files")
    assert [(each["file_name"], each["group_id"], each["rule_count"]) for each in files] == [
        ("global.yml", "", 1),
        ("group-prod.yml", "prod", 1),
        ("namespace-default.yml", "", 1),
    ]
    for each in files:
        assert type(each["size_bytes"]) is int
        assert each["size_bytes"] > 100
        assert TIME.fullmatch(each["modified_at"])

    listed, path = [], "/api/v1/prometheus/rules/files?page_size=2"
    while path:
        async with http.get(path) as answer:
            listed += await answer.json()
            path = URL(answer.links["next"]["url"]).path_qs if "next" in answer.links else ""
    assert listed == files


async def test_effective(http: aiohttp.ClientSession) -> None:
    answer = await get(http, "/api/v1/prometheus/rules/effective/web-1")
    assert answer["target_id"] == "web-1"
    assert [(each["name"], each["severity"], each["source"], each["source_id"]) for each in answer["rules"]] == [
        ("HighCPU", "critical", "global", ""),
        ("HighCPU", "critical", "namespace", "default"),
        ("HighCPU", "critical", "group", "prod"),
    ]
    for each in answer["rules"]:
        assert each["query"].endswith("> 80")
        assert each["config"]["for_duration"] == "5m"
        assert each["config"]["parameters"] == {"threshold": 80}


async def test_health_reload_status_and_metrics(http: aiohttp.ClientSession) -> None:
    for path, shown in (("/health", "ready"), ("/health/ready", "ready"), ("/health/live", "live")):
        assert await get(http, path) == {"status": shown}
    assert await post(http, "prometheus/reload") == {"deployer_ids": []}
    status = await get(http, "/api/v1/prometheus/status")
    assert (status["deployers"], status["revision"]) == ([], "5")
    async with http.get("/metrics") as answer:
        assert "grpc_server_handled_total" in await answer.text()
