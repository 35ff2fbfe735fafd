"""Limits that are settings: what is over one is refused, over gRPC and HTTP, with the limit and the setting's name."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from rule_service.settings import Limits
from tests.support.api_cases import CPU, THRESHOLD
from tests.support.locks import table_locked
from tests.support.system import RPC, Replica, replica
from tests.support.transports import Answer, over_grpc, over_http
from tests.support.waiting import wait_for

SMALL = {
    "request_bytes": 65_536,
    "page_size": 100,
    "rules_per_call": 3,
    "labels": 2,
    "annotations": 2,
    "parameters": 2,
    "exporters": 2,
    "calls_at_once": 2,
}
PARAMETERS = [{**THRESHOLD, "name": f"p{at}"} for at in range(3)]
THREE = {f"l{at}": "x" for at in range(3)}
OVER: list[tuple[str, str, dict[str, Any], str]] = [
    ("request_bytes", "CreateGroup", {"group": {"id": "a", "description": "x" * 65_600}}, ""),
    ("page_size", "ListGroups", {"page_size": 101}, "page_size"),
    ("rules_per_call", "BatchGetAlertRules", {"ids": ["a", "b", "c", "d"]}, "ids"),
    ("rules_per_call", "RebaseAlertRules", {"rule_ids": ["a", "b", "c", "d"]}, "rule_ids"),
    ("labels", "CreateAlertRule", {"rule": {"config": {"labels": THREE}}}, "rule.config.labels"),
    ("labels", "CreateTarget", {"target": {"labels": THREE}}, "target.labels"),
    (
        "annotations",
        "CreateAlertTemplate",
        {"template": {"spec": {"default_config": {"annotations": THREE}}}},
        "template.spec.default_config.annotations",
    ),
    ("parameters", "CreateAlertRule", {"rule": {"spec": {"parameters": PARAMETERS}}}, "rule.spec.parameters"),
    ("parameters", "UpdateAlertRule", {"rule": {"id": "a", "config": {"parameters": THREE}}}, "rule.config.parameters"),
    (
        "exporters",
        "CreateTarget",
        {"target": {"exporters": [{"name": "n", "port": at} for at in range(3)]}},
        "target.exporters",
    ),
]
FITTING: list[tuple[str, dict[str, Any]]] = [
    ("CreateGroup", {"group": {"id": "a", "description": "x" * 2_000}}),
    ("ListGroups", {"page_size": 100}),
    ("ListRuleFiles", {"page_size": 10_000}),
    ("CreateAlertTemplate", {"template": {"id": "cpu", "spec": {**CPU, "scope_exclude_metrics": ["a", "b", "c"]}}}),
]


@pytest_asyncio.fixture
async def service(tmp_path: Path, database: str, promtool: Path) -> AsyncIterator[Replica]:
    settings = {f"RULE_SERVICE_LIMITS_{name.upper()}": str(value) for name, value in SMALL.items()}
    one = replica(tmp_path, database, promtool, settings=settings)
    try:
        await one.start()
        yield one
    finally:
        await one.child.stop()
        await one.channel.close()


def test_every_limit_is_tried() -> None:
    assert SMALL.keys() == Limits.model_fields.keys()
    assert {setting for setting, *_ in OVER} == SMALL.keys() - {"calls_at_once"}


async def test_what_is_over_a_limit_is_told_the_limit_and_the_setting(service: Replica) -> None:
    async with aiohttp.ClientSession() as http:
        for setting, method, request, field in OVER:
            for answer in (
                await over_grpc(service, method, request),
                await over_http(http, service, method, request),
            ):
                what = f"{method}: {answer.body}"
                assert (answer.code, answer.reason) == ("RESOURCE_EXHAUSTED", "TOO_LARGE"), what
                assert answer.details[0]["metadata"]["setting"] == f"limits.{setting}", what
                assert answer.http_status in (413, 429), what
                message = answer.body["error"]["message"]
                assert str(SMALL[setting]) in message, what
                assert f"limits.{setting}" in message, what
                assert answer.fields == ([field] if field else []), what
        for method, request in FITTING:
            assert (await over_grpc(service, method, request)).code == "OK", method


async def test_more_calls_than_are_worked_on_at_once_are_told_to_come_again(service: Replica, database: str) -> None:
    async with aiohttp.ClientSession() as http:

        async def refused() -> Answer | None:
            answer = await over_http(http, service, "ListGroups", {})
            return answer if answer.code != "OK" else None

        async with asyncio.TaskGroup() as group, table_locked(database, "history"):
            waiting = [
                group.create_task(over_grpc(service, "CreateGroup", {"group": {"id": f"g{at}"}}), name=f"write-{at}")
                for at in range(2)
            ]
            answer = await wait_for(refused, RPC)
        assert answer is not None
        assert (answer.code, answer.http_status, answer.reason) == ("RESOURCE_EXHAUSTED", 429, "TOO_MANY_CALLS")
        assert answer.details[0]["metadata"] == {"limit": "2", "setting": "limits.calls_at_once", "retry_after": "1"}
        assert [each["retry_delay"] for each in answer.details if "retry_delay" in each] == ["1s"]
        assert [task.result().code for task in waiting] == ["OK", "OK"]
        assert not await refused()
