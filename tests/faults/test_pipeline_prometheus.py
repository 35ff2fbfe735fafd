"""A Prometheus that is stopped, frozen, restarted or refuses, and a promtool that does not do its work."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from deploy.local.prometheus import PrometheusServer
from deployer_service.pipeline.contents import rules_in
from deployer_service.pipeline.ports import PipelinePolicy
from deployer_service.state import Active, BatchResult, Deferred, Rejected
from rulecast.reasons import Reason
from tests.support.deployer_parts import QUICK, Deployer, deployer
from tests.support.freezing import frozen
from tests.support.prometheus import parts_of, running_prometheus
from tests.support.rule_files import BROKEN, batch, rule_file
from tests.support.waiting import wait_for

A, B = "group-a.yml", "group-b.yml"
A1, A2, A3 = (rule_file("a", version=version) for version in (1, 2, 3))


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules"
    path.mkdir()
    return path


@pytest.fixture
async def server(tmp_path: Path, rules: Path) -> AsyncIterator[PrometheusServer]:
    async with running_prometheus(parts_of("found"), tmp_path, rules=rules, interval="1m") as server:
        yield server


@asynccontextmanager
async def living(
    rules: Path, url: str, promtool: Path, *, policy: PipelinePolicy = QUICK, promtool_timeout: float = 30.0
) -> AsyncIterator[Deployer]:
    """A deployer that has recovered and whose pipeline runs, and that soon gives up waiting for Prometheus."""
    async with deployer(
        rules, url, promtool, policy=policy, quick=0.5, slow=2.0, promtool_timeout=promtool_timeout
    ) as here:
        await here.pipeline.recover()
        running = asyncio.ensure_future(here.pipeline.run())
        try:
            yield here
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


def reason_of(result: BatchResult, name: str = A) -> Reason | None:
    outcome = result.outcomes[name].outcome
    return outcome.why.reason if isinstance(outcome, Deferred | Rejected) else None


async def becomes(here: Deployer, files: dict[str, bytes]) -> None:
    async def so() -> bool:
        loaded = (await here.prometheus.loaded()).rules
        return loaded == {name: rules_in(content) for name, content in files.items()}

    await wait_for(so, 30.0)
    await wait_for(lambda: not here.pipeline.state().record.troubles, 30.0)
    assert here.on_disk() == files


async def test_stopped_and_started(rules: Path, server: PrometheusServer) -> None:
    async with living(rules, server.url, server.parts.promtool) as here:
        await here.pipeline.apply(batch({A: A1}))
        await server.stop()
        assert reason_of(await here.pipeline.apply(batch({A: A2}))) is Reason.PROMETHEUS_UNREACHABLE
        assert reason_of(await here.pipeline.apply(batch({A: A3}))) is Reason.PROMETHEUS_UNREACHABLE
        assert here.on_disk() == {A: A3}
        assert not here.pipeline.state().prometheus.up
        await server.start()
        (report,) = await asyncio.wait_for(here.pipeline.news(), 30.0)
        assert report.outcome == Active()
        await becomes(here, {A: A3})
        assert here.pipeline.state().prometheus.up


async def test_killed_and_started_between_two_batches(rules: Path, server: PrometheusServer) -> None:
    async with living(rules, server.url, server.parts.promtool) as here:
        await here.pipeline.apply(batch({A: A1}))
        server.kill()
        await server.start()
        assert (await here.pipeline.apply(batch({A: A2}))).outcomes[A].outcome == Active()
        await becomes(here, {A: A2})


async def test_frozen_and_thawed(rules: Path, server: PrometheusServer) -> None:
    async with living(rules, server.url, server.parts.promtool) as here:
        await here.pipeline.apply(batch({A: A1}))
        async with frozen(server.pid):
            assert reason_of(await here.pipeline.apply(batch({A: A2}))) is Reason.PROMETHEUS_UNREACHABLE
            assert here.on_disk() == {A: A2}
        await becomes(here, {A: A2})


async def test_a_bad_rule_among_a_thousand_good_ones(rules: Path, server: PrometheusServer) -> None:
    good = {f"group-g{number}.yml": rule_file(*(f"r{number}-{i}" for i in range(10))) for number in range(100)}
    async with deployer(rules, server.url, server.parts.promtool) as here:
        await here.pipeline.recover()
        result = await here.pipeline.apply(batch({**good, "group-bad.yml": BROKEN}))
        outcomes = {name: report.outcome for name, report in result.outcomes.items()}
        assert isinstance(outcomes.pop("group-bad.yml"), Rejected)
        assert set(outcomes.values()) == {Active()}
        await becomes_but_for_troubles(here, good)


async def becomes_but_for_troubles(here: Deployer, files: dict[str, bytes]) -> None:
    assert (await here.prometheus.loaded()).rules == {name: rules_in(content) for name, content in files.items()}
    assert here.on_disk() == files


class TestAnswers:
    """What only a Prometheus in trouble answers is answered by a stand-in before a real one."""

    @pytest.fixture
    async def gate(self, server: PrometheusServer) -> AsyncIterator["Gate"]:
        gate = Gate(server.url)
        await gate.open()
        try:
            yield gate
        finally:
            await gate.close()

    async def test_500_and_then_200(self, rules: Path, server: PrometheusServer, gate: "Gate") -> None:
        async with living(rules, gate.url, server.parts.promtool) as here:
            gate.reloads = [500, 500, 500]
            assert (await here.pipeline.apply(batch({A: A1}))).outcomes[A].outcome == Active()

    async def test_500_for_a_while(self, rules: Path, server: PrometheusServer, gate: "Gate") -> None:
        async with living(rules, gate.url, server.parts.promtool) as here:
            await here.pipeline.apply(batch({A: A1}))
            gate.reloads = [500] * 8
            assert reason_of(await here.pipeline.apply(batch({A: A2}))) is Reason.RELOAD_FAILED
            await becomes(here, {A: A2})

    async def test_403_with_nobody_to_signal(self, rules: Path, server: PrometheusServer, gate: "Gate") -> None:
        async with living(rules, gate.url, server.parts.promtool) as here:
            gate.reloads = [403] * 1000
            assert reason_of(await here.pipeline.apply(batch({A: A1}))) is Reason.RELOAD_REFUSED
            gate.reloads = []
            await becomes(here, {A: A1})

    async def test_503_from_a_proxy(self, rules: Path, server: PrometheusServer, gate: "Gate") -> None:
        async with living(rules, gate.url, server.parts.promtool) as here:
            gate.reloads = [503] * 10
            assert reason_of(await here.pipeline.apply(batch({A: A1}))) is Reason.PROMETHEUS_UNREACHABLE
            await becomes(here, {A: A1})

    async def test_a_200_that_loads_nothing(self, rules: Path, server: PrometheusServer, gate: "Gate") -> None:
        async with living(rules, gate.url, server.parts.promtool) as here:
            await here.pipeline.apply(batch({B: A1}))
            gate.reloads = [200] * 2
            outcome = (await here.pipeline.apply(batch({A: A1}))).outcomes[A].outcome
            assert not isinstance(outcome, Active)
            assert here.on_disk().keys() == {B}


class Gate:
    """Passes all on to a Prometheus, but answers the next reloads itself with these codes."""

    def __init__(self, url: str) -> None:
        self.reloads: list[int] = []
        self._upstream = url
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        assert self._runner is not None
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def open(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()

    async def close(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _pass(self, request: web.Request) -> web.Response:
        if request.path == "/-/reload" and self.reloads:
            return web.Response(status=self.reloads.pop(), text="its words")
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, self._upstream + request.path_qs) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)


def replace_program(program: Path, body: str | None) -> None:
    """By a shell script; by nothing for None."""
    program.unlink()
    if body is not None:
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)


def link_program(program: Path, real: Path) -> None:
    program.unlink(missing_ok=True)
    program.symlink_to(real)


class TestPromtool:
    @pytest.fixture
    def program(self, tmp_path: Path, server: PrometheusServer) -> Path:
        """The real one, which a test replaces."""
        path = tmp_path / "promtool"
        path.symlink_to(server.parts.promtool)
        return path

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (None, Reason.PROMTOOL_MISSING),
            ("sleep 600", Reason.PROMTOOL_TIMEOUT),
            ("exit 0", Reason.PROMTOOL_UNUSABLE),
            ("echo odd; exit 42", Reason.PROMTOOL_UNUSABLE),
            ("kill -9 $$", Reason.PROMTOOL_UNUSABLE),
        ],
    )
    async def test_nothing_is_put_in_place_unchecked(
        self, rules: Path, server: PrometheusServer, program: Path, body: str | None, reason: Reason
    ) -> None:
        # the real one may be slow on a busy machine, the one that hangs need not be waited for
        timeout = 1.0 if reason is Reason.PROMTOOL_TIMEOUT else 30.0
        async with living(rules, server.url, program, promtool_timeout=timeout) as here:
            replace_program(program, body)
            assert reason_of(await here.pipeline.apply(batch({A: A1}))) is reason
            assert here.on_disk() == {}
            link_program(program, server.parts.promtool)
            await becomes(here, {A: A1})

    async def test_none_is_needed_where_validation_is_switched_off(
        self, rules: Path, server: PrometheusServer, tmp_path: Path
    ) -> None:
        policy = replace(QUICK, validate=False)
        async with living(rules, server.url, tmp_path / "nowhere", policy=policy) as here:
            await here.pipeline.apply(batch({A: A1}))
            result = await here.pipeline.apply(batch({A: BROKEN, B: A1}))
            assert not any(isinstance(report.outcome, Active) for report in result.outcomes.values())
            await becomes_but_for_troubles(here, {A: A1})
