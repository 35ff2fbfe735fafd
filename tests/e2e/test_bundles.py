"""A bundle of a hundred rules on its way to a real Prometheus, over gRPC and HTTP, and what it would do told first."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio

from deploy.local.parts import PrometheusParts
from rulecast.v1 import bundle_pb2, common_pb2, history_pb2, preview_pb2, rule_pb2
from tests.support.solo import Solo, solo
from tests.support.system import RPC

RULES = 100


def bundle(threshold: int) -> str:
    """Two groups with their rules, the rules first."""
    rules = "".join(
        f"  - {{id: r{number}, template_id: cpu, key: k{number // 2}, scope: {{group_id: g{number % 2}}},"
        f" config: {{parameters: {{threshold: {threshold}}}}}}}\n"
        for number in range(RULES)
    )
    return f"""
rules:
{rules}
groups: [{{id: g0}}, {{id: g1}}]
templates:
  - id: cpu
    spec:
      alert_name: HighCPU
      severity: warning
      query: cpu_percent > {{{{ .threshold }}}}
      parameters: [{{name: threshold, type: NUMBER}}]
"""


@pytest_asyncio.fixture
async def here(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> AsyncIterator[Solo]:
    async with solo(tmp_path, database, prometheus_parts) as opened:
        yield opened


async def test_a_hundred_rules_cost_one_reload(here: Solo) -> None:
    before = here.reloads()
    applied = await here.first.bundles.ApplyBundle(
        bundle_pb2.ApplyBundleRequest(content=bundle(80), owner="team", wait_for=common_pb2.ACTIVE), timeout=RPC
    )
    assert (applied.created, applied.change.revision) == (RULES + 3, 1)
    assert applied.change.rollout.state == common_pb2.Rollout.ACTIVE
    assert here.reloads() == before + 1
    assert await here.thresholds() == {f"r{number}": 80 for number in range(RULES)}

    again = await here.first.bundles.ApplyBundle(
        bundle_pb2.ApplyBundleRequest(
            content=bundle(80), owner="team", mode=bundle_pb2.ApplyBundleRequest.SYNC, wait_for=common_pb2.ACTIVE
        ),
        timeout=RPC,
    )
    assert (again.unchanged, again.change.revision) == (RULES + 3, 0)

    rules = {f"r{number}" for number in range(RULES)}
    preview = await here.first.previews.PreviewChange(
        preview_pb2.PreviewChangeRequest(apply_bundle=bundle_pb2.ApplyBundleRequest(content=bundle(70), owner="team")),
        timeout=RPC,
    )
    assert {each.rule_id for each in preview.rules} == rules
    assert {each.file_name: list(each.deployer_ids) for each in preview.files} == {
        "group-g0.yml": ["deployer"],
        "group-g1.yml": ["deployer"],
    }
    assert (preview.lost_state_count, preview.target_count) == (0, 0)
    assert here.reloads() == before + 1


async def test_the_same_over_http(here: Solo) -> None:
    async with aiohttp.ClientSession(here.first.url) as http:
        body: dict[str, Any] = {"content": bundle(80), "owner": "team", "wait_for": "ACTIVE"}
        applied = await post(http, "bundles:apply", body)
        assert (applied["created"], applied["change"]["rollout"]["state"]) == (RULES + 3, "ACTIVE")
        async with http.get("/api/v1/bundles:export", params={"owner": "team", "format": "JSON"}) as answer:
            exported = await answer.json()
        assert exported["resource_count"] == RULES + 3
        same = await post(http, "bundles:apply", {**body, "content": exported["content"], "mode": "SYNC"})
        assert (same["unchanged"], same["change"]["revision"]) == (RULES + 3, "0")
        preview = await post(http, "changes:preview", {"delete_group": {"id": "g0", "force": True}})
        assert (preview["rule_count"], preview["lost_state_count"]) == (RULES // 2, RULES // 2)
        async with http.get("/api/v1/alert-rules", params={"owner": "team", "page_size": "1000"}) as answer:
            listed = (await answer.json())["rules"]
        assert (len(listed), listed[0]["owner"]) == (RULES, "team")
        wrong = await post(http, "bundles:apply", {"content": "rules:\n  - {id: x, scop: {}}"}, 400)
        (violation,) = wrong["error"]["details"][-1]["field_violations"]
        assert violation["field"] == "rules[0].scop"
        assert "did you mean 'scope'?" in violation["description"]
        assert violation["description"].endswith("(line 2, column 13)")
        typed = {"bundle": {"rules": [{"id": "x", "template_id": "none", "scope": {"global": {}}, "key": "x"}]}}
        assert (await post(http, "bundles:apply", typed, 404))["error"]["status"] == "NOT_FOUND"


async def test_what_a_bundle_lost_is_brought_back_by_the_next(here: Solo) -> None:
    apply = bundle_pb2.ApplyBundleRequest(content=bundle(80), owner="team", wait_for=common_pb2.ACTIVE)
    await here.first.bundles.ApplyBundle(apply, timeout=RPC)
    await here.first.rules.DeleteAlertRule(rule_pb2.DeleteAlertRuleRequest(id="r7"), timeout=RPC)
    answer = await here.first.bundles.ApplyBundle(apply, timeout=RPC)
    changed = [each for each in answer.resources if each.action != history_pb2.UNCHANGED]
    assert [(each.id, each.action) for each in changed] == [("r7", history_pb2.CREATED)]
    assert len(await here.thresholds()) == RULES
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await here.first.bundles.ApplyBundle(
            bundle_pb2.ApplyBundleRequest(content="groups: [{id: g0, label_value: x}]", owner="other"), timeout=RPC
        )
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def post(http: aiohttp.ClientSession, path: str, body: dict[str, Any], status: int = 200) -> Any:
    async with http.post(f"/api/v1/{path}", json=body) as answer:
        found = await answer.json()
        assert answer.status == status, found
        return found
