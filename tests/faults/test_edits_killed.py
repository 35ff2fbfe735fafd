"""The rule service killed, or cut off from its database, after every step of an edit's transaction."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from deploy.local.parts import PrometheusParts
from rulecast.v1 import delivery_pb2, group_pb2, rule_pb2
from tests.support.cluster import CALL
from tests.support.person import TRY_AGAIN
from tests.support.steps import StepProxy
from tests.support.system import Replica, cpu_rule, global_scope, group_scope, replica
from tests.support.truth import contradictions, read_truth, threshold_of
from tests.support.waiting import wait_for

UNCHECKED = {"PROMETHEUS_VALIDATE_RULES": "false"}
"""promtool runs between the transactions, not in them; without it there is time for every step."""


@dataclass
class Ground:
    """One rule service, with a proxy before its database."""

    replica: Replica
    proxy: StepProxy
    database: str

    async def prepare(self) -> None:
        """Groups `above`, `a` and `b`, and rules of one alert at `a`, `b` and everywhere."""
        for id in ("above", "a", "b"):
            await self.replica.groups.CreateGroup(
                group_pb2.CreateGroupRequest(group=group_pb2.Group(id=id)), timeout=CALL
            )
        for rule in (
            cpu_rule("everywhere", global_scope(), 90),
            cpu_rule("of-a", group_scope("a"), 80),
            cpu_rule("of-b", group_scope("b"), 70),
        ):
            await self.replica.rules.CreateAlertRule(rule_pb2.CreateAlertRuleRequest(rule=rule), timeout=CALL)

    async def is_as_rendered_anew(self) -> bool:
        """Whether rendering everything from the rules would change nothing."""
        request = delivery_pb2.RegenerateAllRequest(validate_only=True)
        answer = await self.replica.delivery.RegenerateAll(request, timeout=CALL)
        return not answer.errors and not answer.change.files


@pytest.fixture
async def ground(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> AsyncIterator[Ground]:
    async with StepProxy.to(database) as proxy:
        one = replica(tmp_path, proxy.url, prometheus_parts.promtool, settings=UNCHECKED)
        try:
            await one.start()
            ground = Ground(one, proxy, database)
            await ground.prepare()
            yield ground
        finally:
            await one.child.stop()
            await one.channel.close()


Edit = Callable[[Replica, int], Awaitable[Any]]


async def change(replica: Replica, attempt: int) -> None:
    request = rule_pb2.UpdateAlertRuleRequest(rule=rule_pb2.AlertRule(id="of-a"))
    request.rule.config.parameters["threshold"].number_value = 100 + attempt
    await replica.rules.UpdateAlertRule(request, timeout=CALL)


async def create(replica: Replica, attempt: int) -> None:
    rule = cpu_rule(f"new-{attempt}", group_scope("above"), 60)
    rule.key = f"key-{attempt}"
    await replica.rules.CreateAlertRule(rule_pb2.CreateAlertRuleRequest(rule=rule), timeout=CALL)


async def switch(replica: Replica, _: int) -> None:
    """Off or on again: the group's file goes or comes."""
    rule = await replica.rules.GetAlertRule(rule_pb2.GetAlertRuleRequest(id="of-b"), timeout=CALL)
    request = rule_pb2.UpdateAlertRuleRequest(rule=rule_pb2.AlertRule(id="of-b", enabled=not rule.enabled))
    await replica.rules.UpdateAlertRule(request, timeout=CALL)


async def move(replica: Replica, attempt: int) -> None:
    """Changes what is rendered for every rule of the alert."""
    request = group_pb2.UpdateGroupRequest(group=group_pb2.Group(id="a", label_value=f"value-{attempt}"))
    await replica.groups.UpdateGroup(request, timeout=CALL)


async def state(database: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that an edit writes, as it is now."""
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return {
                table: [tuple(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")]
                for table in (
                    "groups",
                    "rules",
                    "rendered_rules",
                    "rendered_files",
                    "history",
                    "history_resources",
                    "change_log",
                    "revision_counter",
                )
            }
    finally:
        await connection.close()


async def outcome(edit: Awaitable[Any]) -> grpc.StatusCode:
    try:
        await edit
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def interrupt(
    ground: Ground, edit: Awaitable[Any], steps: int | None, how: Callable[[], None]
) -> grpc.StatusCode:
    """Runs the edit until so many steps of its transactions have passed; then that happens to it. What it was told.

    steps: None is until its COMMIT was sent.
    """
    if steps is None:
        ground.proxy.hold_at_commit(passes=True)
    else:
        ground.proxy.hold_after(steps)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(outcome(edit), name="edit")
        reached = tasks.create_task(ground.proxy.reached.wait(), name="step")
        await asyncio.wait({running, reached}, return_when=asyncio.FIRST_COMPLETED)
        if ground.proxy.reached.is_set():
            how()
        reached.cancel()
    ground.proxy.go_on()
    return running.result()


async def no_transaction_left(database: str) -> None:
    """The server notices that its clients are gone when it reads from them next."""
    connection = await asyncpg.connect(database)
    try:

        async def none() -> bool:
            return not await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL "
                "AND pid <> pg_backend_pid()"
            )

        await wait_for(none, CALL)
    finally:
        await connection.close()


async def check_all_or_nothing(ground: Ground, before: dict[str, list[tuple[Any, ...]]], told: grpc.StatusCode) -> bool:
    """Whether the edit is there. Either nothing has changed, or everything agrees on one more revision."""
    await no_transaction_left(ground.database)
    after = await state(ground.database)
    assert await contradictions(ground.database) == []
    there = after["revision_counter"] != before["revision_counter"]
    if there:
        assert len(after["history"]) == len(before["history"]) + 1
    else:
        assert after == before
    if told is grpc.StatusCode.OK:
        assert there
    else:
        assert told in TRY_AGAIN
    return there


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(change, id="change"),
        pytest.param(create, id="create", marks=pytest.mark.prove),
        pytest.param(switch, id="switch", marks=pytest.mark.prove),
        pytest.param(move, id="move"),
    ],
)
async def test_cut_off_from_the_database_after_every_step(ground: Ground, edit: Edit) -> None:
    """To PostgreSQL this is what a killed service is: a client that ends in the middle."""
    fates = []
    for steps in range(1, 1000):
        before = await state(ground.database)
        told = await interrupt(ground, edit(ground.replica, steps), steps, ground.proxy.cut)
        fates.append((told, await check_all_or_nothing(ground, before, told)))
        if told is grpc.StatusCode.OK:
            break
    assert await ground.is_as_rendered_anew()
    assert fates[-1] == (grpc.StatusCode.OK, True)
    # only after the very last step is it there though nobody was told
    assert len(fates) > 10
    assert [there for _, there in fates[:-2]] == [False] * (len(fates) - 2)
    assert fates[-2][1]


async def kill_and_check(ground: Ground, steps: int | None) -> grpc.StatusCode:
    before = await state(ground.database)
    told = await interrupt(ground, change(ground.replica, steps or 0), steps, ground.replica.child.kill)
    await check_all_or_nothing(ground, before, told)
    if not ground.replica.child.running:
        await ground.replica.start()
    assert await ground.is_as_rendered_anew()
    return told


async def test_killed_in_the_middle_of_an_edit(ground: Ground) -> None:
    """At the beginning, under the commit lock, and after the commit was sent."""
    steps = await steps_of_a_change(ground)
    for at in (1, steps // 2 + 2, None):
        assert await kill_and_check(ground, at) in TRY_AGAIN


async def steps_of_a_change(ground: Ground) -> int:
    """Of the first one after a start: later ones have less to prepare."""
    await ground.replica.child.stop()
    await ground.replica.start()
    ground.proxy.hold_after(1000)
    await change(ground.replica, -1)
    assert ground.proxy.left is not None
    steps = 1000 - ground.proxy.left
    ground.proxy.go_on()
    await ground.replica.child.stop()
    await ground.replica.start()
    return steps


@pytest.mark.prove
async def test_frozen_under_the_commit_lock(ground: Ground, tmp_path: Path, prometheus_parts: PrometheusParts) -> None:
    """As on a machine that is paused or cut off: the server ends its transaction in time for those who wait for it."""
    await change(ground.replica, -1)
    other = replica(tmp_path, ground.database, prometheus_parts.promtool, name="other", settings=UNCHECKED)
    try:
        await other.start()
        ground.proxy.hold_at_commit(passes=False)
        async with asyncio.TaskGroup() as tasks:
            held = tasks.create_task(outcome(change(ground.replica, 1)), name="held")
            await ground.proxy.reached.wait()
            request = rule_pb2.UpdateAlertRuleRequest(rule=rule_pb2.AlertRule(id="of-b"))
            request.rule.config.parameters["threshold"].number_value = 75
            await other.rules.UpdateAlertRule(request, timeout=60)
            ground.proxy.go_on()
            assert await held in TRY_AGAIN
    finally:
        await other.child.stop()
        await other.channel.close()
    assert await contradictions(ground.database) == []
    assert await threshold_of(ground.database, "of-a") == 99  # as the first change has left it
    assert await threshold_of(ground.database, "of-b") == 75


@pytest.mark.prove
@pytest.mark.timeout(1800)
async def test_killed_after_every_step_of_an_edit(ground: Ground) -> None:
    for steps in range(1, 1000):
        if await kill_and_check(ground, steps) is grpc.StatusCode.OK:
            break
    assert steps > 10


async def test_killed_at_random_moments_under_writers(ground: Ground) -> None:
    """What was answered is there, however soon after the answer it was killed."""
    source = random.Random(4)
    thresholds: dict[str, float] = {}
    truth = await read_truth(ground.database)

    async def write(rule: str, killed: asyncio.Event) -> None:
        while not killed.is_set():
            request = rule_pb2.UpdateAlertRuleRequest(rule=rule_pb2.AlertRule(id=rule))
            request.rule.config.parameters["threshold"].number_value = value = source.randrange(10**9)
            thresholds.pop(rule, None)
            told = await outcome(ground.replica.rules.UpdateAlertRule(request, timeout=CALL))
            assert told in (grpc.StatusCode.OK, *TRY_AGAIN)
            if told is grpc.StatusCode.OK:
                thresholds[rule] = value

    for _ in range(3):
        killed = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for rule in ("everywhere", "of-a", "of-b"):
                tasks.create_task(write(rule, killed), name=rule)
            newest = truth.revision

            async def edited(newest: int = newest) -> bool:
                return (await read_truth(ground.database)).revision > newest + source.randrange(20)

            await wait_for(edited, CALL)
            ground.replica.child.kill()
            killed.set()
        await no_transaction_left(ground.database)
        assert await contradictions(ground.database) == []
        await ground.replica.start()
        for rule, threshold in thresholds.items():
            stored = await ground.replica.rules.GetAlertRule(rule_pb2.GetAlertRuleRequest(id=rule), timeout=CALL)
            assert stored.config.parameters["threshold"].number_value == threshold
        thresholds.clear()
        assert await ground.is_as_rendered_anew()
        truth = await read_truth(ground.database)
