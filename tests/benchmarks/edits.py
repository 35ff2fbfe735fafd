"""From the RPC to ACTIVE."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field

import aiohttp
from google.protobuf.field_mask_pb2 import FieldMask

from deploy.local.parts import PrometheusParts
from rulecast.v1 import common_pb2, rule_pb2
from tests.benchmarks.bench import Bench
from tests.benchmarks.by_hand import PATIENCE, ByHand, by_hand, exprs
from tests.benchmarks.figure import Figure, beside
from tests.benchmarks.population import GROUP_SIZE, file_of, group_id, metric, rule_id
from tests.support.cluster import reloads
from tests.support.solo import Solo
from tests.support.system import Replica

RPC = 600.0
BURST = 50


def expr(group: int, alert: int, threshold: int) -> str:
    return f'{metric(alert)}{{group_id="{group_id(group)}"}} > {threshold}'


async def set_threshold(
    replica: Replica, group: int, alert: int, threshold: int, *, wait: bool = False
) -> rule_pb2.UpdateAlertRuleResponse:
    rule = rule_pb2.AlertRule(id=rule_id(group, alert))
    rule.config.parameters["threshold"].number_value = threshold
    request = rule_pb2.UpdateAlertRuleRequest(
        rule=rule,
        update_mask=FieldMask(paths=["config.parameters.threshold"]),
        wait_for=common_pb2.ACTIVE if wait else common_pb2.WAIT_FOR_UNSPECIFIED,
    )
    if wait:
        request.wait_timeout.FromSeconds(500)
    answer: rule_pb2.UpdateAlertRuleResponse = await replica.rules.UpdateAlertRule(request, timeout=RPC)
    return answer


@dataclass
class Edited:
    """Edits one rule after the other, each to a threshold that no rule ever had."""

    system: Solo
    groups: int
    thresholds: Iterator[int] = field(default_factory=lambda: itertools.count(1000))
    rules: Iterator[int] = field(default_factory=itertools.count)
    now: dict[tuple[int, int], int] = field(default_factory=dict)

    def next_rule(self) -> tuple[int, int]:
        at = next(self.rules)
        return at % self.groups, (7 * at) % GROUP_SIZE

    async def one(self) -> None:
        """Returns when the rule service says that it is ACTIVE."""
        group, alert = self.next_rule()
        threshold = self.now[group, alert] = next(self.thresholds)
        answer = await set_threshold(self.system.first, group, alert, threshold, wait=True)
        assert answer.change.rollout.state == common_pb2.Rollout.ACTIVE, answer.change.rollout

    async def burst(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(BURST):
                tasks.create_task(self.one(), name=f"edit {number}")

    async def check(self) -> None:
        """Prometheus runs every rule as it was edited last."""
        deployer = self.system.deployers[0]
        async with aiohttp.ClientSession(timeout=PATIENCE) as session:
            for (group, alert), threshold in self.now.items():
                running = await exprs(session, deployer.prometheus, deployer.rules / file_of(group))
                assert expr(group, alert, threshold) in running


@dataclass
class EditedByHand:
    """The same edits on files of the same content."""

    hand: ByHand
    edited: Edited
    now: dict[tuple[int, int], int] = field(default_factory=dict)

    async def one(self) -> None:
        group, alert = self.edited.next_rule()
        before = self.now.get((group, alert), 50 + (group + alert) % 50)
        after = self.now[group, alert] = next(self.edited.thresholds)
        await self.hand.edit(file_of(group), expr(group, alert, before), expr(group, alert, after))


async def edit_to_active(bench: Bench, name: str, rules: int, times: int) -> AsyncIterator[Figure]:
    for suffix, parts in bench.every_parts.items():
        yield await _edit_to_active(bench, f"{name}{suffix}", rules, parts, times)


async def _edit_to_active(bench: Bench, name: str, rules: int, parts: PrometheusParts, times: int) -> Figure:
    async with bench.system(rules, parts) as system:
        edited = Edited(system, rules // GROUP_SIZE)
        async with by_hand(bench.home(), parts, system.deployers[0].files()) as hand:
            itself = EditedByHand(hand, edited)
            await beside(edited.one, itself.one, 0)
            before = await _seconds(system)
            found = await beside(edited.one, itself.one, times, uncounted=0)
            stages = _stages(before, await _seconds(system), sum(found.ours) / times)
        await edited.check()
    if rules >= 10_000:
        return found.figure(name, "at most 1.1 times the floor", found.ratio <= 1.1, above=found.above, **stages)
    return found.figure(name, "at most 100 ms above the floor", found.above <= 0.1, above=found.above, **stages)


_STEPS = ("validate", "reload", "verify")
_STEP = 'rulecast_deployer_step_seconds_{}{{step="{}"}}'
_ANSWERED = "rulecast_stream_acknowledge_seconds_{}"
_Spent = Mapping[str, tuple[float, float]]


async def _seconds(system: Solo) -> _Spent:
    """By stage, as the services measure themselves: seconds until now, and how often."""
    deployer, service = await system.deployer_metrics(), await system.service_metrics()
    found = {
        step: (deployer.get(_STEP.format("sum", step), 0.0), deployer.get(_STEP.format("count", step), 0.0))
        for step in _STEPS
    }
    found["deployer"] = service[_ANSWERED.format("sum")], service[_ANSWERED.format("count")]
    return found


def _stages(
    before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]], whole: float
) -> dict[str, float]:
    """Mean seconds of an edit in each stage. whole: of all of it."""
    mean = {name: (after[name][0] - before[name][0]) / (after[name][1] - before[name][1]) for name in after}
    deployer = mean.pop("deployer")
    stages = {f"stage_{name}": seconds for name, seconds in mean.items()}
    stages["stage_rest_of_deployer"] = deployer - sum(mean.values())
    stages["stage_rule_service"] = whole - deployer
    return stages


async def burst_50(bench: Bench) -> AsyncIterator[Figure]:
    """50 edits at once beside one edit."""
    most = 0
    async with bench.system(1_000, bench.parts) as system:
        edited = Edited(system, 10)

        async def burst() -> None:
            nonlocal most
            before = reloads(system.deployers[0])
            await edited.burst()
            most = max(most, reloads(system.deployers[0]) - before)

        found = await beside(burst, edited.one, bench.times(8, 3))
        await edited.check()
    kept = most <= 3 and found.ratio <= 3
    yield found.figure("burst_50", "at most 3 reloads, and 3 times one edit", kept, reloads=most)
