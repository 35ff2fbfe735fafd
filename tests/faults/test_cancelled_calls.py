"""Calls that end before their answer: cancelled, out of time, or with a client that is gone. Everything or nothing."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
import yaml

from rulecast.v1 import delivery_pb2, history_pb2, rule_pb2
from tests.e2e.test_hostile_everywhere import everything
from tests.support.locks import commit_lock_is_free, table_locked
from tests.support.solo import UNCHECKED
from tests.support.system import RPC, Replica, cpu_rule, global_scope, replica
from tests.support.waiting import wait_for

SOON = 0.5
"""Seconds of a deadline that is over while the write waits."""
RULES = "/api/v1/alert-rules"


@pytest_asyncio.fixture
async def service(tmp_path: Path, database: str, promtool: Path) -> AsyncIterator[Replica]:
    one = replica(tmp_path, database, promtool, settings=UNCHECKED)
    try:
        await one.start()
        yield one
        errors = [line for line in one.child.log.read_text().splitlines() if '"level": "error"' in line]
        assert not errors, errors[0]
    finally:
        await one.child.stop()
        await one.channel.close()


async def commit_lock_is_held(database: str) -> bool:
    return not await commit_lock_is_free(database)


def creation(id: str) -> dict[str, Any]:
    """A rule to create, as JSON."""
    return {
        "rule": {
            "id": id,
            "key": id,
            "scope": {"global": {}},
            "spec": {"alert_name": "X", "severity": "warning", "query": f"up == {id.rpartition('-')[2]}"},
        }
    }


def rpc(service: Replica, id: str, **options: Any) -> Any:
    rule = cpu_rule(id, global_scope(), 1, key=id)
    return service.rules.CreateAlertRule(rule_pb2.CreateAlertRuleRequest(rule=rule), **options)


Ending = Callable[[Replica, Callable[[], Awaitable[bool]]], Awaitable[None]]
"""Begins a write, and ends it before its answer once the write holds the lock."""


async def cancelled_over_grpc(service: Replica, held: Callable[[], Awaitable[bool]]) -> None:
    call = rpc(service, "new-1")
    await wait_for(held, RPC)
    call.cancel()


async def out_of_time_over_grpc(service: Replica, held: Callable[[], Awaitable[bool]]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await rpc(service, "new-1", timeout=SOON)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def client_gone_over_http(service: Replica, held: Callable[[], Awaitable[bool]]) -> None:
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        call = group.create_task(_post(http, service), name="post")
        await wait_for(held, RPC)
        call.cancel()


async def out_of_time_over_http(service: Replica, held: Callable[[], Awaitable[bool]]) -> None:
    headers = {"Grpc-Timeout": f"{round(SOON * 1000)}m"}
    async with aiohttp.ClientSession(headers=headers) as http:
        status, body = await _post(http, service)
    assert (status, body["error"]["status"]) == (504, "DEADLINE_EXCEEDED")
    assert body["error"]["details"][0]["reason"] == "DEADLINE_EXCEEDED"


async def _post(http: aiohttp.ClientSession, service: Replica) -> tuple[int, Any]:
    async with http.post(service.url + RULES, json=creation("new-1")) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    "ending", [cancelled_over_grpc, out_of_time_over_grpc, client_gone_over_http, out_of_time_over_http]
)
async def test_a_write_that_ends_early_leaves_nothing_and_frees_the_lock_at_once(
    service: Replica, database: str, ending: Ending
) -> None:
    await rpc(service, "there-1", timeout=RPC)
    before = await everything(service)
    # a write puts its history down last, so by then all else is written
    async with table_locked(database, "history"):
        await ending(service, lambda: commit_lock_is_held(database))
        # while the table is still locked: the write does not wait for it any more
        await wait_for(lambda: commit_lock_is_free(database), RPC)
    assert await everything(service) == before

    answer = await rpc(service, "new-1", timeout=RPC)
    assert answer.change.revision == 2, "no revision was lost"


async def test_writes_that_end_at_any_time_are_done_as_a_whole_or_not_at_all(service: Replica) -> None:
    dice = random.Random(5)
    ended = 0

    async def end_early(at: int, http: aiohttp.ClientSession) -> None:
        nonlocal ended
        with suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(dice.uniform(0.0, 0.08)):
                if at % 2:
                    await rpc(service, f"rule-{at}")
                else:
                    async with http.post(service.url + RULES, json=creation(f"rule-{at}")) as answer:
                        await answer.read()
                return
        ended += 1

    async with aiohttp.ClientSession() as http:
        for start in range(0, 160, 4):
            async with asyncio.TaskGroup() as group:
                for at in range(start, start + 4):
                    group.create_task(end_early(at, http), name=f"write-{at}")
    assert ended > 20, "hardly any ended early"

    # whoever holds the lock now is the last
    last = (await rpc(service, "last-1", timeout=RPC)).change.revision
    rules = await service.rules.ListAlertRules(rule_pb2.ListAlertRulesRequest(page_size=1000), timeout=RPC)
    revisions = await service.history.ListRevisions(history_pb2.ListRevisionsRequest(page_size=1000), timeout=RPC)
    file = await service.delivery.GetRuleFile(delivery_pb2.GetRuleFileRequest(file_name="global.yml"), timeout=RPC)
    there = sorted(rule.id for rule in rules.rules)
    assert [each.revision for each in revisions.revisions] == list(range(last, -1, -1)), "0 is the empty start"
    assert sorted(each.resources[0].id for each in revisions.revisions[:-1]) == there
    in_file = [
        rule["annotations"]["rulecast_rule"]
        for group in yaml.safe_load(file.content)["groups"]
        for rule in group["rules"]
    ]
    assert sorted(each.partition("@")[0] for each in in_file) == there
