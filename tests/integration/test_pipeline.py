"""The whole pipeline on a real Prometheus, a real promtool and a real directory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from deploy.local.prometheus import PrometheusServer
from deployer_service.adapters.prometheus_process import PrometheusProcess
from deployer_service.pipeline.contents import rules_in
from deployer_service.pipeline.ports import PipelinePolicy
from deployer_service.state import Active, Deferred, FileReport, Rejected, RolledBack
from rulecast.reasons import Reason
from tests.support.deployer_parts import QUICK, Deployer, deployer
from tests.support.prometheus import choices, parts_of, running_prometheus
from tests.support.rule_files import BROKEN, batch, rule_file

A, B, C = "group-a.yml", "namespace-b.yml", "global.yml"
A1, A2 = rule_file("a", version=1), rule_file("a", version=2)
B1, B2 = rule_file("b", version=1), rule_file("b", version=2)


@dataclass
class Machine:
    """A Prometheus with its rule directory, and deployers for it."""

    server: PrometheusServer
    rules: Path
    stack: AsyncExitStack

    async def deployer(self, policy: PipelinePolicy = QUICK) -> Deployer:
        """Recovered."""
        process = PrometheusProcess(self.server.port)
        made = await self.stack.enter_async_context(
            deployer(self.rules, self.server.url, self.server.parts.promtool, policy=policy, hang_up=process.hang_up)
        )
        await made.pipeline.recover()
        return made


@pytest.fixture(params=choices())
async def machine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Machine]:
    rules = tmp_path / "generated"
    rules.mkdir()
    async with (
        running_prometheus(parts_of(request.param), tmp_path, rules=rules) as server,
        AsyncExitStack() as stack,
    ):
        yield Machine(server, rules, stack)


async def agree(here: Deployer, files: dict[str, bytes]) -> None:
    """Disk, record and Prometheus all say these files."""
    assert {name: content for name, content in here.on_disk().items() if name != "foreign.yml"} == files
    assert (await here.prometheus.loaded()).rules == {name: rules_in(content) for name, content in files.items()}
    record = here.pipeline.state().record
    assert record.files.keys() == files.keys()
    assert {name: version.sha256 for name, version in record.good.items()} == here.pipeline.state().manifest


async def next_report(here: Deployer) -> FileReport:
    """The next news, with the pipeline running until then."""
    running = asyncio.ensure_future(here.pipeline.run())
    try:
        (report,) = await asyncio.wait_for(here.pipeline.news(), 30.0)
        return report
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_files_come_change_and_go(machine: Machine) -> None:
    here = await machine.deployer()
    result = await here.pipeline.apply(batch({A: A1, B: B1, C: A1}))
    assert all(report.outcome == Active() for report in result.outcomes.values())
    await agree(here, {A: A1, B: B1, C: A1})
    await here.pipeline.apply(batch({A: A2}, [C], revision=2))
    await agree(here, {A: A2, B: B1})
    assert (here.rules / A).stat().st_mode & 0o777 == 0o644
    listed = {file.name: file for file in await here.pipeline.list_files()}
    assert listed[A].path == str(here.rules / A)
    assert (listed[A].size_bytes, listed[A].version.rules) == (len(A2), 1)


async def test_a_bad_rule_among_good_ones(machine: Machine) -> None:
    here = await machine.deployer()
    await here.pipeline.apply(batch({A: A1}))
    result = await here.pipeline.apply(batch({A: BROKEN, B: B1}))
    rejected = result.outcomes[A].outcome
    assert isinstance(rejected, Rejected)
    assert (rejected.why.reason, rejected.why.group, rejected.why.rule) == (
        Reason.PROMTOOL_CHECK_FAILED,
        "g",
        "Alert_broken",
    )
    assert "parse error" in rejected.why.message
    assert result.outcomes[B].outcome == Active()
    await agree(here, {A: A1, B: B1})


async def test_what_only_prometheus_refuses_is_rolled_back(machine: Machine) -> None:
    here = await machine.deployer(replace(QUICK, validate=False))
    await here.pipeline.apply(batch({A: A1, B: B1}))
    result = await here.pipeline.apply(batch({A: BROKEN, B: B2}))
    outcome = result.outcomes[A].outcome
    assert isinstance(outcome, RolledBack)
    assert outcome.why.reason is Reason.RELOAD_FAILED
    assert "group-a.yml: line 5: could not parse expression" in outcome.why.message
    assert result.outcomes[B].outcome == Active()
    await agree(here, {A: A1, B: B2})
    assert here.pipeline.state().prometheus.last_reload_ok


async def test_a_bad_file_of_others_is_named_and_waited_for(machine: Machine) -> None:
    here = await machine.deployer()
    foreign = machine.rules / "foreign.yml"
    foreign.write_bytes(BROKEN)
    outcome = (await here.pipeline.apply(batch({A: A1}))).outcomes[A].outcome
    assert isinstance(outcome, Deferred)
    assert f"{foreign}: line 5: could not parse expression" in outcome.why.message
    foreign.write_bytes(rule_file("foreign"))
    assert (await next_report(here)).outcome == Active()
    await agree(here, {A: A1})


async def test_rule_files_that_do_not_cover_the_directory(machine: Machine) -> None:
    config = machine.server.config
    before = config.read_text()
    config.write_text(yaml.safe_dump({"rule_files": [f"{machine.rules}-other/*.yml"]}))
    here = await machine.deployer()
    await here.pipeline.reload()
    await here.pipeline.check_drift()
    assert [notice.code for notice in here.pipeline.state().notices] == ["RULE_FILES_NOT_COVERED"]
    outcome = (await here.pipeline.apply(batch({A: A1}))).outcomes[A].outcome
    assert isinstance(outcome, Deferred)
    assert outcome.why.reason is Reason.RULE_FILES_NOT_COVERED
    assert f"{machine.rules}/*.yml" in outcome.why.message
    config.write_text(before)
    assert (await next_report(here)).outcome == Active()
    await agree(here, {A: A1})
    await here.pipeline.check_drift()
    assert here.pipeline.state().notices == ()


async def test_reloading_is_left_to_others(machine: Machine) -> None:
    here = await machine.deployer(replace(QUICK, reload=replace(QUICK.reload, enabled=False)))
    outcome = (await here.pipeline.apply(batch({A: A1}))).outcomes[A].outcome
    assert isinstance(outcome, Deferred)
    assert outcome.why.reason is Reason.RELOAD_DISABLED
    assert here.on_disk() == {A: A1}
    await here.prometheus.reload(30.0)
    assert (await next_report(here)).outcome == Active()


async def test_a_mass_deletion_has_to_be_asked_for(machine: Machine) -> None:
    here = await machine.deployer()
    await here.pipeline.apply(batch({A: A1, B: B1, C: A1}))
    result = await here.pipeline.apply(batch({}, [A, B, C]))
    assert {type(report.outcome) for report in result.outcomes.values()} == {Rejected}
    await agree(here, {A: A1, B: B1, C: A1})
    await here.pipeline.apply(batch({}, [A, B, C], mass_deletion_allowed=True))
    await agree(here, {})


async def test_the_next_process_goes_on_without_a_reload(machine: Machine) -> None:
    async with deployer(machine.rules, machine.server.url, machine.server.parts.promtool) as first:
        await first.pipeline.recover()
        await first.pipeline.remember(epoch=3, history_id="h")
        await first.pipeline.apply(batch({A: A1}, revision=7))
        reloaded = (await first.prometheus.status()).last_reload_time
    here = await machine.deployer()
    record = here.pipeline.state().record
    assert (record.revision, record.epoch, record.history_id, record.generation) == (7, 3, "h", 1)
    assert (await here.prometheus.status()).last_reload_time == reloaded
    await agree(here, {A: A1})


async def test_batches_at_once_take_turns(machine: Machine) -> None:
    here = await machine.deployer()
    contents = {f"group-{number}.yml": rule_file(f"r{number}") for number in range(10)}
    results = await asyncio.gather(
        *(here.pipeline.apply(batch({name: content}, revision=n)) for n, (name, content) in enumerate(contents.items()))
    )
    assert all(report.outcome == Active() for result in results for report in result.outcomes.values())
    await agree(here, contents)


async def test_old_contents_are_kept_for_five_generations(machine: Machine) -> None:
    here = await machine.deployer()
    for version in range(8):
        await here.pipeline.apply(batch({A: rule_file("a", version=version)}))
    kept = {path.read_bytes() for path in (machine.rules / ".rulecast" / "content").iterdir()}
    assert kept == {rule_file("a", version=version) for version in range(3, 8)}
