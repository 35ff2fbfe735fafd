"""Rules over HTTP: found, read together, brought onto a new version, deleted, brought back, gone for good."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from deploy.local.parts import PrometheusParts
from tests.support.system import replica

CPU = {
    "alert_name": "HighCPU",
    "severity": "warning",
    "query": "cpu_percent > {{ .threshold }}",
    "parameters": [{"name": "threshold", "type": "NUMBER", "default": 90}],
}


@pytest_asyncio.fixture
async def http(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> AsyncIterator[aiohttp.ClientSession]:
    """A rule service alone, with the template cpu and its rules at the global scope and at the namespace default."""
    one = replica(tmp_path, database, prometheus_parts.promtool)
    try:
        await one.start()
        async with aiohttp.ClientSession(one.url) as session:
            await post(session, "alert-templates", {"template": {"id": "cpu", "spec": CPU}})
            for id, scope in (("cpu-all", {"global": {}}), ("cpu-default", {"namespace_id": "default"})):
                await post(session, "alert-rules", {"rule": {"id": id, "template_id": "cpu", "scope": scope}})
            yield session
    finally:
        await one.child.stop()
        await one.channel.close()


async def post(http: aiohttp.ClientSession, path: str, body: dict[str, Any], status: int = 200) -> Any:
    async with http.post(f"/api/v1/{path}", json=body) as answer:
        found = await answer.json()
        assert answer.status == status, found
        return found


async def get(http: aiohttp.ClientSession, path: str, *query: tuple[str, str], status: int = 200) -> Any:
    async with http.get(f"/api/v1/{path}", params=query) as answer:
        found = await answer.json()
        assert answer.status == status, found
        return found


def ids(answer: Any) -> list[str]:
    return [rule["id"] for rule in answer["rules"]]


async def test_rules_are_filtered_and_read_together(http: aiohttp.ClientSession) -> None:
    assert ids(await get(http, "alert-rules", ("namespace_id", "default"))) == ["cpu-default"]
    assert ids(await get(http, "alert-rules", ("severity", "warning"), ("text", "ALL"))) == ["cpu-all"]
    assert ids(await get(http, "alert-rules", ("outdated_only", "true"))) == []
    both = ("ids", "cpu-default"), ("ids", "cpu-all")
    found = await get(http, "alert-rules:batchGet", *both)
    assert ids(found) == ["cpu-default", "cpu-all"]
    assert found["rules"][1]["rendered"]["file_name"] == "global.yml"
    refused = await get(http, "alert-rules:batchGet", *both, ("ids", "nothing"), status=404)
    assert refused["error"]["details"][0]["reason"] == "RULE_NOT_FOUND"
    await get(http, "alert-rules:batchGet", status=400)


async def test_a_new_version_is_previewed_and_taken(http: aiohttp.ClientSession) -> None:
    spec = {**CPU, "query": "avg(cpu_percent) > {{ .threshold }}"}
    async with http.patch(
        "/api/v1/alert-templates/cpu", json={"template": {"spec": spec}, "update_mask": "spec"}
    ) as answer:
        assert answer.status == 200
    assert ids(await get(http, "alert-rules", ("outdated_only", "true"))) == ["cpu-all", "cpu-default"]
    preview = await post(http, "alert-rules:rebase", {"template_id": "cpu", "validate_only": True})
    (first, _) = preview["rules"]
    assert (first["rule_id"], first["from_version"], first["to_version"]) == ("cpu-all", 1, 2)
    assert "+  query: avg(cpu_percent) > {{ .threshold }}" in first["diff"].splitlines()
    assert {each["file_name"] for each in preview["change"]["files"]} == {"global.yml", "namespace-default.yml"}
    one = await post(http, "alert-rules:rebase", {"rule_ids": ["cpu-all"]})
    assert [each["rule_id"] for each in one["rules"]] == ["cpu-all"]
    assert ids(await get(http, "alert-rules", ("outdated_only", "true"))) == ["cpu-default"]
    for neither_or_both in ({}, {"template_id": "cpu", "rule_ids": ["cpu-all"]}):
        await post(http, "alert-rules:rebase", neither_or_both, status=400)


async def test_a_rule_comes_back_and_goes_for_good(http: aiohttp.ClientSession) -> None:
    refused = await post(http, "alert-rules/cpu-all:purge", {}, status=400)
    assert refused["error"]["status"] == "FAILED_PRECONDITION"
    async with http.delete("/api/v1/alert-rules/cpu-all") as answer:
        assert answer.status == 200
    back = await post(http, "alert-rules/cpu-all:undelete", {})
    assert (back["rule"]["id"], "delete_time" in back["rule"]["metadata"]) == ("cpu-all", False)
    assert back["rule"]["rendered"]["file_name"] == "global.yml"
    await post(http, "alert-rules/cpu-all:undelete", {}, status=409)
    async with http.delete("/api/v1/alert-rules/cpu-all") as answer:
        assert answer.status == 200
    purged = await post(http, "alert-rules/cpu-all:purge", {})
    await get(http, "alert-rules/cpu-all", status=404)
    revision = await get(http, f"revisions/{purged['change']['revision']}")
    assert [(each["id"], each["action"]) for each in revision["resources"]] == [("cpu-all", "PURGED")]
