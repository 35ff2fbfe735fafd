"""What Prometheus does meanwhile: it answers, it evaluates, and alerts keep their timers."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from deploy.local.parts import PrometheusParts
from rulecast.v1 import common_pb2, rule_pb2
from tests.support.solo import Solo, samples, solo
from tests.support.system import RPC, cpu_rule, global_scope, group_scope
from tests.support.waiting import wait_for

BURSTS, EDITS_AT_ONCE = 10, 20
INTERVAL = "2s"
"""Of the evaluations: one that is missed on a machine that is only busy would prove nothing."""
PAUSE = 0.02
"""Seconds between two queries."""


@dataclass
class Poller:
    """Asks Prometheus the same thing again and again. failures: what it said instead of an answer."""

    url: str
    answers: int = 0
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)

    async def run(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=RPC)) as session:
            while True:
                began = time.monotonic()
                try:
                    async with session.get(self.url + "/api/v1/query", params={"query": "vector(1)"}) as answer:
                        if answer.status == 200 and (await answer.json())["status"] == "success":
                            self.answers += 1
                        else:
                            self.failures.append(f"{answer.status}: {await answer.text()}")
                except aiohttp.ClientError as error:
                    self.failures.append(repr(error))
                self.slowest = max(self.slowest, time.monotonic() - began)
                await asyncio.sleep(PAUSE)


async def test_200_edits_of_thresholds_are_not_noticed(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    groups = [f"g{number}" for number in range(EDITS_AT_ONCE)]
    intervals = {"global": {"evaluation_interval": INTERVAL}}
    async with solo(tmp_path, database, prometheus_parts, configuration=intervals) as here:
        await here.make_groups(*groups)
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        await asyncio.gather(*(here.create(cpu_rule(id, group_scope(id), 80)) for id in groups))
        before = await _counted(here)
        reloads = here.reloads()
        poller = Poller(here.prometheus.url)
        async with asyncio.TaskGroup() as tasks:
            polling = tasks.create_task(poller.run(), name="poller")
            for burst in range(BURSTS):
                rollouts = await asyncio.gather(*(here.set_threshold(id, burst) for id in groups))
                assert {rollout.state for rollout in rollouts} == {common_pb2.Rollout.ACTIVE}
                assert await here.thresholds() == {"everywhere": 90, **dict.fromkeys(groups, burst)}
            # so that what the last edits did to evaluations is counted too
            done = await _counted(here)
            await wait_for(lambda: _has_evaluated(here, done.evaluations + 2 * len(groups)), RPC)
            polling.cancel()
        after = await _counted(here)
        assert poller.failures == []
        assert poller.answers > BURSTS
        assert poller.slowest < 10
        assert after.missed == before.missed
        assert after.failed == before.failed
        assert BURSTS <= here.reloads() - reloads < BURSTS * EDITS_AT_ONCE


@dataclass(frozen=True)
class Counted:
    """Over all groups since Prometheus was started."""

    evaluations: float
    missed: float
    failed: float


async def _counted(here: Solo) -> Counted:
    found = await samples(here.prometheus.url + "/metrics")

    def total(metric: str) -> float:
        return sum(value for series, value in found.items() if series.partition("{")[0] == metric)

    return Counted(
        total("prometheus_rule_evaluations_total"),
        total("prometheus_rule_group_iterations_missed_total"),
        total("prometheus_rule_evaluation_failures_total"),
    )


async def _has_evaluated(here: Solo, evaluations: float) -> bool:
    return (await _counted(here)).evaluations >= evaluations


@asynccontextmanager
async def busy_host() -> AsyncIterator[str]:
    """The address of an exporter that says `cpu_percent 95`."""

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(text="cpu_percent 95\n")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_pending_alert_keeps_its_timer_over_every_edit_but_that_of_a_label(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    async with busy_host() as address:
        scraped = {"scrape_configs": [{"job_name": "host", "static_configs": [{"targets": [address]}]}]}
        async with solo(tmp_path, database, prometheus_parts, configuration=scraped) as here:
            rule = cpu_rule("everywhere", global_scope(), 90)
            rule.config.for_duration = "10m"
            await here.create(rule)
            first = await _alert(here, after=None)
            assert (first.state, first.rule["duration"]) == ("pending", 600)

            await here.set_threshold("everywhere", 50)
            now = await _alert(here, after=first)
            assert now.rule["query"] == "cpu_percent > 50"
            assert (now.state, now.active_at) == ("pending", first.active_at)

            change = rule_pb2.AlertRule(id="everywhere")
            change.config.for_duration = "20m"
            await here.update(change, "config.for_duration")
            now = await _alert(here, after=now)
            assert now.rule["duration"] == 1200
            assert (now.state, now.active_at) == ("pending", first.active_at)

            change.config.annotations["summary"] = "another text"
            await here.update(change, "config.annotations.summary")
            now = await _alert(here, after=now)
            assert now.rule["annotations"]["summary"] == "another text"
            assert (now.state, now.active_at) == ("pending", first.active_at)

            # the time that is over counts
            change.config.for_duration = "1s"
            await here.update(change, "config.for_duration")
            now = await _alert(here, after=now)
            assert (now.state, now.active_at) == ("firing", first.active_at)

            change.config.labels["team"] = "db"
            await here.update(change, "config.labels.team")
            now = await _alert(here, after=now)
            assert now.rule["labels"]["team"] == "db"
            assert now.active_at > first.active_at


@dataclass(frozen=True)
class Alert:
    """The only alert of the only rule, as of the rule's last evaluation."""

    rule: dict[str, Any]

    @property
    def evaluated_at(self) -> datetime:
        return datetime.fromisoformat(self.rule["lastEvaluation"])

    @property
    def state(self) -> str:
        return str(self.rule["alerts"][0]["state"])

    @property
    def active_at(self) -> datetime:
        return datetime.fromisoformat(self.rule["alerts"][0]["activeAt"])


async def _alert(here: Solo, after: Alert | None) -> Alert:
    """Once the rule that Prometheus runs now has been evaluated, and after that of `after`."""

    async def evaluated() -> Alert | None:
        ((rule,),) = [group["rules"] for group in await here.deployer.api("/api/v1/rules", "groups")]
        alert = Alert(rule)
        is_new = rule["health"] == "ok" and (after is None or alert.evaluated_at > after.evaluated_at)
        return alert if is_new and rule["alerts"] else None

    found = await wait_for(evaluated, RPC)
    assert found is not None
    return found
