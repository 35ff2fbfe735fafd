"""A deployer killed with SIGKILL at every system call that changes the disk, over and over."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from deployer_service.adapters.prometheus import PrometheusHttp, directories_of
from deployer_service.pipeline.contents import rule_ids, rules_in
from tests.support.crash_runner import CrashRunner
from tests.support.deployer_parts import files_matched
from tests.support.prometheus import parts_of, running_prometheus
from tests.support.rule_files import rule_file

OLD = {
    "global.yml": rule_file("everywhere", "moves", version=1),
    "group-edited.yml": rule_file("edited", version=1),
    "group-deleted.yml": rule_file("ends", "outlives"),
    "group-same.yml": rule_file("same"),
}
NEW = {
    "global.yml": rule_file("everywhere", version=1),
    "group-edited.yml": rule_file("edited", version=2),
    "group-zadded.yml": rule_file("moves", "outlives", version=1),
    "group-same.yml": rule_file("same"),
}
FOREIGN = {"alerts.yml": rule_file("foreign")}
LASTING = {b"everywhere", b"moves", b"outlives", b"edited", b"same", b"foreign"}


@dataclass
class Ground:
    rules: Path
    runner: CrashRunner
    prometheus: PrometheusHttp

    def go_to(self, files: dict[str, bytes]) -> None:
        """A deployer that lives brings all to these files."""
        now = files_matched(self.rules)
        assert self.runner.apply(files, now.keys() - files.keys() - FOREIGN.keys())
        assert files_matched(self.rules) == {**files, **FOREIGN}

    def check_wreck(self) -> None:
        """What Prometheus would find if it were started now: whole files, and no rule missing."""
        found = files_matched(self.rules)
        for name, content in found.items():
            assert content in (OLD.get(name), NEW.get(name), FOREIGN.get(name)), name
        assert frozenset().union(*map(rule_ids, found.values())) >= LASTING

    async def check_converged(self) -> dict[str, bytes]:
        """Disk is the old or the new set, Prometheus runs it, nothing is left over."""
        found = files_matched(self.rules)
        ours = {name: content for name, content in found.items() if name not in FOREIGN}
        assert ours in (OLD, NEW)
        assert found == {**ours, **FOREIGN}
        assert (await self.prometheus.loaded()).rules == {name: rules_in(content) for name, content in ours.items()}
        assert list((self.rules / ".rulecast" / "staging").iterdir()) == []
        assert not (self.rules / ".rulecast" / "journal.json").exists()
        return ours


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    rules = tmp_path / "rules"
    rules.mkdir()
    for name, content in FOREIGN.items():
        (rules / name).write_bytes(content)
    parts = parts_of("found")
    async with (
        running_prometheus(parts, tmp_path, rules=rules, interval="1m") as server,
        aiohttp.ClientSession() as session,
    ):
        with CrashRunner(rules, server.url, parts.promtool) as runner:
            ground = Ground(rules, runner, PrometheusHttp(session, server.url, directories_of(rules)))
            ground.go_to(OLD)
            yield ground


async def test_killed_at_every_step_of_a_batch(ground: Ground) -> None:
    ends = []
    for step in itertools.count(1):
        lived = ground.runner.apply(NEW, OLD.keys() - NEW.keys(), dies_at=step)
        ground.check_wreck()
        assert ground.runner.recover()
        ends.append(await ground.check_converged())
        if lived:
            break
        if ends[-1] == NEW:
            ground.go_to(OLD)
    assert ends[0] == OLD
    assert ends[-1] == NEW
    changed = [one == NEW for one in ends]
    assert changed == sorted(changed), "once a batch is begun, it is never undone by a crash"
    assert len(ends) > 20


async def test_killed_at_every_step_of_the_recovery(ground: Ground) -> None:
    first = await first_step_that_changes(ground)
    for step in itertools.count(1):
        ground.runner.apply(NEW, OLD.keys() - NEW.keys(), dies_at=first)
        assert (ground.rules / ".rulecast" / "journal.json").exists()
        lived = ground.runner.recover(dies_at=step)
        ground.check_wreck()
        assert ground.runner.recover()
        assert await ground.check_converged() == NEW
        if lived:
            break
        ground.go_to(OLD)
    assert step > 10


async def first_step_that_changes(ground: Ground) -> int:
    """The first step of the batch to kill at so that some, but not all, of its files were moved."""
    for step in itertools.count(1):
        lived = ground.runner.apply(NEW, OLD.keys() - NEW.keys(), dies_at=step)
        assert not lived
        found = files_matched(ground.rules)
        if found != {**OLD, **FOREIGN}:
            ground.go_to(OLD)
            return step
    raise AssertionError("unreachable")


@pytest.mark.prove
@pytest.mark.timeout(1800)  # the steps of a batch times those of a recovery: over a thousand deployers, one by one
async def test_killed_at_every_step_of_the_recovery_from_every_step_of_a_batch(ground: Ground) -> None:
    for first in itertools.count(1):
        for step in itertools.count(1):
            done = ground.runner.apply(NEW, OLD.keys() - NEW.keys(), dies_at=first)
            lived = ground.runner.recover(dies_at=step)
            ground.check_wreck()
            assert ground.runner.recover()
            await ground.check_converged()
            ground.go_to(OLD)
            if lived:
                break
        if done:
            break


async def test_killed_at_every_step_of_its_very_first_start(tmp_path: Path) -> None:
    parts = parts_of("found")
    rules = tmp_path / "rules"
    async with (
        running_prometheus(parts, tmp_path, rules=rules, interval="1m") as server,
        aiohttp.ClientSession() as session,
    ):
        with CrashRunner(rules, server.url, parts.promtool) as runner:
            for step in itertools.count(1):
                lived = runner.apply(NEW, dies_at=step)
                if rules.exists():
                    found = files_matched(rules)
                    assert all(found[name] == NEW[name] for name in found)
                if lived:
                    break
            ground = Ground(rules, runner, PrometheusHttp(session, server.url, directories_of(rules)))
            assert files_matched(ground.rules) == NEW
            assert (await ground.prometheus.loaded()).rules == {name: rules_in(NEW[name]) for name in NEW}
