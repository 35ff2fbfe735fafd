"""The history over gRPC and HTTP: list, read, compare, go back."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc
import pytest
import pytest_asyncio

from deploy.local.parts import PrometheusParts
from rulecast.rpc.access import FORWARDED_PEER
from rulecast.v1 import group_pb2, history_pb2, rule_pb2, target_pb2
from tests.support.system import RPC, Replica, cpu_rule, global_scope, replica


@pytest_asyncio.fixture
async def service(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> AsyncIterator[Replica]:
    """A rule service alone. Revision 1 made a rule, 2 changed its query, 3 made a target."""
    one = replica(tmp_path, database, prometheus_parts.promtool)
    try:
        await one.start()
        made = await one.rules.CreateAlertRule(
            rule_pb2.CreateAlertRuleRequest(rule=cpu_rule("cpu", global_scope(), 90)), timeout=RPC
        )
        made.rule.spec.query = "sum(cpu_percent)\n  > {{ .threshold }}"
        await one.rules.UpdateAlertRule(rule_pb2.UpdateAlertRuleRequest(rule=made.rule), timeout=RPC)
        await one.targets.CreateTarget(
            target_pb2.CreateTargetRequest(target=target_pb2.Target(id="web", hostname="web")), timeout=RPC
        )
        yield one
    finally:
        await one.child.stop()
        await one.channel.close()


async def test_revisions_over_grpc(service: Replica) -> None:
    first = await service.history.ListRevisions(history_pb2.ListRevisionsRequest(page_size=2), timeout=RPC)
    assert [(each.revision, each.method, each.resource_count) for each in first.revisions] == [
        (3, "CreateTarget", 1),
        (2, "UpdateAlertRule", 1),
    ]
    rest = await service.history.ListRevisions(
        history_pb2.ListRevisionsRequest(page_token=first.next_page_token), timeout=RPC
    )
    assert [each.method for each in rest.revisions] == ["CreateAlertRule", "migrate"]
    assert rest.next_page_token == ""
    of_rule = await service.history.ListRevisions(
        history_pb2.ListRevisionsRequest(kind=history_pb2.Resource.RULE, id="cpu"), timeout=RPC
    )
    assert [(each.revision, each.resources[0].action) for each in of_rule.revisions] == [
        (2, history_pb2.UPDATED),
        (1, history_pb2.CREATED),
    ]


async def test_one_revision_over_grpc(service: Replica) -> None:
    revision = await service.history.GetRevision(history_pb2.GetRevisionRequest(revision=2), timeout=RPC)
    (change,) = revision.resources
    assert (change.kind, change.id, change.action) == (history_pb2.Resource.RULE, "cpu", history_pb2.UPDATED)
    assert change.before.rule.spec.query != change.after.rule.spec.query == "sum(cpu_percent)\n  > {{ .threshold }}"
    (file,) = revision.files
    assert (file.file_name, file.deleted, len(file.sha256)) == ("global.yml", False, 32)
    made = await service.history.GetRevision(history_pb2.GetRevisionRequest(revision=3), timeout=RPC)
    assert not made.resources[0].HasField("before")
    assert made.resources[0].after.target.hostname == "web"


async def test_a_difference_shows_the_line(service: Replica) -> None:
    answer = await service.history.DiffRevisions(
        history_pb2.DiffRevisionsRequest(from_revision=1, kind=history_pb2.Resource.RULE), timeout=RPC
    )
    (diff,) = answer.diffs
    assert (answer.from_revision, answer.to_revision) == (1, 3)
    lines = diff.diff.splitlines()
    assert lines[:2] == ["--- rule/cpu@r1", "+++ rule/cpu@r3"]
    assert [line for line in lines[2:] if line[0] in "+-"] == [
        "-  query: cpu_percent > {{ .threshold }}",
        "+  query: |-",
        "+    sum(cpu_percent)",
        "+      > {{ .threshold }}",
    ]


async def test_going_back_over_http(service: Replica) -> None:
    async with aiohttp.ClientSession(service.url) as http:
        async with http.get("/api/v1/revisions", params={"kind": "RULE", "id": "cpu"}) as answer:
            listed = await answer.json()
        assert [each["revision"] for each in listed["revisions"]] == ["2", "1"]
        async with http.get("/api/v1/revisions:diff", params={"from_revision": "2", "to_revision": "1"}) as answer:
            assert (await answer.json())["diffs"][0]["action"] == "UPDATED"
        body = {"rule_id": "cpu", "validate_only": True}
        async with http.post("/api/v1/revisions/1:rollback", json=body) as answer:
            assert (answer.status, (await answer.json())["change"]["revision"]) == (200, "0")
        async with http.post("/api/v1/revisions/1:rollback", json={"everything": {}}) as answer:
            back = await answer.json()
        assert (back["resource_count"], back["change"]["revision"]) == (2, "4")
        async with http.get("/api/v1/alert-rules/cpu") as answer:
            assert (await answer.json())["spec"]["query"] == "cpu_percent > {{ .threshold }}"
        async with http.get("/api/v1/targets/web") as answer:
            assert "delete_time" in (await answer.json())["metadata"]
        async with http.post("/api/v1/revisions/1:rollback", json={}) as answer:
            assert (answer.status, (await answer.json())["error"]["details"][0]["reason"]) == (400, "FIELD_REQUIRED")


async def test_where_nobody_says_who_they_are_the_author_is_their_host(service: Replica) -> None:
    async with (
        aiohttp.ClientSession(service.url) as http,
        http.post("/api/v1/groups", json={"group": {"id": "web"}}) as answer,
    ):
        over_http = int((await answer.json())["change"]["revision"])
    # whoever says over TCP that it calls for another is not believed
    another = grpc.aio.Metadata((FORWARDED_PEER, "10.0.0.9"))
    group = group_pb2.CreateGroupRequest(group=group_pb2.Group(id="db"))
    over_grpc = (await service.groups.CreateGroup(group, metadata=another, timeout=RPC)).change.revision
    for revision in (over_http, over_grpc):
        found = await service.history.GetRevision(history_pb2.GetRevisionRequest(revision=revision), timeout=RPC)
        assert found.author == "127.0.0.1"


@pytest.mark.parametrize(
    "request_",
    [
        history_pb2.RollbackRequest(rule_id="cpu"),
        history_pb2.RollbackRequest(revision=1),
    ],
    ids=["no revision", "no subject"],
)
async def test_what_is_to_go_back_must_be_said(service: Replica, request_: history_pb2.RollbackRequest) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.history.Rollback(request_, timeout=RPC)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_page_tokens_of_other_lists_are_refused(service: Replica) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        # the token of a list that goes on after the id "cpu"
        await service.history.ListRevisions(history_pb2.ListRevisionsRequest(page_token="YWNwdQ"), timeout=RPC)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
