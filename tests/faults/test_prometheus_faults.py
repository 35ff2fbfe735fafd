"""Prometheus and promtool in trouble, seen from outside: an RPC in; outcomes, the disk and Prometheus's API out."""

import asyncio
import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from deploy.local.parts import PrometheusParts
from rulecast.reasons import Reason
from rulecast.v1 import common_pb2, delivery_pb2, rule_pb2
from tests.support.freezing import frozen
from tests.support.solo import UNCHECKED, UNKNOWN_FUNCTION, Solo, configure, only_trouble, solo, told
from tests.support.system import RPC, cpu_rule, global_scope, group_scope
from tests.support.waiting import wait_for

UNREACHABLE = ("global.yml", "DEFERRED", Reason.PROMETHEUS_UNREACHABLE)


async def test_stopped_and_started_on_a_disk_that_changed(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    async with solo(tmp_path, database, prometheus_parts, deployer_settings={"DEPLOYER_DRIFT_INTERVAL": "1s"}) as here:
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        await here.prometheus.stop()
        first = await here.set_threshold("everywhere", 80)
        assert told(first) == UNREACHABLE
        second = await here.set_threshold("everywhere", 70)
        assert told(second) == UNREACHABLE
        assert here.deployer.files() == await here.contents()
        assert not (await here.status()).prometheus_up

        file = here.rules / "global.yml"
        file.write_bytes(file.read_bytes().replace(b"> 70", b"> 7"))
        await here.prometheus.start()
        for revision in (first.revision, second.revision):
            await here.becomes_active(revision)
        await wait_for(lambda: _has_thresholds(here, everywhere=70))
        assert here.deployer.files() == await here.contents()
        await wait_for(lambda: _is_listed_as_up(here))


async def test_frozen_and_thawed(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> None:
    async with solo(tmp_path, database, prometheus_parts) as here:
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        async with frozen(here.prometheus.pid):
            rollout = await here.set_threshold("everywhere", 80)
            assert told(rollout) == UNREACHABLE
        await here.becomes_active(rollout.revision)
        assert await here.thresholds() == {"everywhere": 80}


async def test_who_asks_for_that_waits_until_the_prometheus_that_is_down_is_back(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    async with solo(tmp_path, database, prometheus_parts) as here, asyncio.TaskGroup() as tasks:
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        await here.prometheus.stop()
        known = await here.set_threshold("everywhere", 80)
        assert told(known) == UNREACHABLE
        request = delivery_pb2.WaitForRolloutRequest(
            revision=known.revision, wait_for=common_pb2.ACTIVE_OR_REFUSED, timeout=Duration(nanos=300_000_000)
        )
        assert told(await here.first.delivery.WaitForRollout(request, timeout=RPC)) == UNREACHABLE

        async def disable() -> rule_pb2.UpdateAlertRuleResponse:
            update = rule_pb2.UpdateAlertRuleRequest(
                rule=rule_pb2.AlertRule(id="everywhere", enabled=False),
                update_mask=FieldMask(paths=["enabled"]),
                wait_for=common_pb2.ACTIVE_OR_REFUSED,
            )
            answer: rule_pb2.UpdateAlertRuleResponse = await here.first.rules.UpdateAlertRule(update, timeout=2 * RPC)
            return answer

        waiting = tasks.create_task(disable(), name="update")
        await wait_for(lambda: _is_known_as_deferred(here, known.revision + 1))
        assert not waiting.done()
        await here.prometheus.start()
        answer = await waiting
        assert answer.change.rollout.state == common_pb2.Rollout.ACTIVE
        assert await here.thresholds() == {}


async def _is_known_as_deferred(here: Solo, revision: int) -> bool:
    newest = (await here.first.delivery.ListDeployers(delivery_pb2.ListDeployersRequest(), timeout=RPC)).revision
    return newest >= revision and (await here.rollout(revision)).state == common_pb2.Rollout.DEFERRED


@contextmanager
def slow_file(path: Path) -> Iterator["SlowFile"]:
    """A rule file of somebody else that Prometheus can not read to its end before it is let go."""
    os.mkfifo(path)
    file = SlowFile(path)
    try:
        yield file
    finally:
        file.let_go()


class SlowFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: int | None = None

    def is_read(self) -> bool:
        """Whether a reload has begun and hangs on it. From then on it does so until it is let go."""
        try:
            self._writer = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        return self._writer is not None

    def let_go(self) -> None:
        """Prometheus finds an empty rule file, now and later."""
        if self._writer is not None:
            self._path.unlink()
            self._path.touch()
            os.close(self._writer)
            self._writer = None


async def test_killed_in_the_middle_of_a_reload(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    others = tmp_path / "others"
    others.mkdir()
    configuration = {"rule_files": [f"{tmp_path}/rules/*.yml", f"{others}/*.yml"]}
    async with solo(tmp_path, database, prometheus_parts, configuration=configuration) as here:
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        with slow_file(others / "slow.yml") as slow:
            edit = _threshold_request("everywhere", 80)
            revision = (await here.first.rules.UpdateAlertRule(edit, timeout=RPC)).change.revision
            await wait_for(slow.is_read, RPC)
            assert (await here.rollout(revision)).state == common_pb2.Rollout.PENDING
            here.prometheus.kill()
        await here.prometheus.start()
        await here.becomes_active(revision)
        assert await here.thresholds() == {"everywhere": 80}


async def test_edits_made_during_a_slow_reload_share_the_next_one(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    others = tmp_path / "others"
    others.mkdir()
    configuration = {"rule_files": [f"{tmp_path}/rules/*.yml", f"{others}/*.yml"]}
    groups = [f"g{number}" for number in range(10)]
    async with solo(tmp_path, database, prometheus_parts, configuration=configuration) as here:
        await here.make_groups(*groups)
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        before = here.reloads()
        with slow_file(others / "slow.yml") as slow:
            await here.first.rules.UpdateAlertRule(_threshold_request("everywhere", 80), timeout=RPC)
            await wait_for(slow.is_read, RPC)
            for group in groups:
                request = rule_pb2.CreateAlertRuleRequest(rule=cpu_rule(group, group_scope(group), 70))
                last = await here.first.rules.CreateAlertRule(request, timeout=RPC)
            assert (await here.rollout(last.change.revision)).state == common_pb2.Rollout.PENDING
            slow.let_go()
            await here.becomes_active(last.change.revision)
        assert here.reloads() == before + 2
        assert await here.thresholds() == {"everywhere": 80, **dict.fromkeys(groups, 70)}


class TestTheReloadIsRefused:
    async def test_without_lifecycle_it_is_signalled_and_verified(
        self, tmp_path: Path, database: str, prometheus_parts: PrometheusParts
    ) -> None:
        async with solo(
            tmp_path,
            database,
            prometheus_parts,
            settings=UNCHECKED,
            deployer_settings=UNCHECKED,
            lifecycle=False,
        ) as here:
            created = await here.create(cpu_rule("everywhere", global_scope(), 90))
            assert created.state == common_pb2.Rollout.ACTIVE
            bad = await here.set_query("everywhere", UNKNOWN_FUNCTION)
            assert told(bad) == ("global.yml", "ROLLED_BACK", Reason.RELOAD_FAILED)
            assert await here.thresholds() == {"everywhere": 90}
            await here.set_query("everywhere", "cpu_percent > {{ .threshold }}")
            good = await here.set_threshold("everywhere", 80)
            assert good.state == common_pb2.Rollout.ACTIVE
            assert await here.thresholds() == {"everywhere": 80}

    async def test_without_lifecycle_and_with_nobody_to_signal_it_says_so(
        self, tmp_path: Path, database: str, prometheus_parts: PrometheusParts
    ) -> None:
        nowhere = {"PROMETHEUS_PID_FILE": str(tmp_path / "no.pid")}
        async with solo(tmp_path, database, prometheus_parts, deployer_settings=nowhere, lifecycle=False) as here:
            rollout = await here.create(cpu_rule("everywhere", global_scope(), 90))
            assert told(rollout) == ("global.yml", "DEFERRED", Reason.RELOAD_REFUSED)
            assert "--web.enable-lifecycle" in rollout.deployers[0].files[0].message
            # somebody else reloads it
            os.kill(here.prometheus.pid, signal.SIGHUP)
            await here.becomes_active(rollout.revision)
            assert await here.thresholds() == {"everywhere": 90}

    async def test_500_for_a_file_of_ours_and_all_is_as_it_was(
        self, tmp_path: Path, database: str, prometheus_parts: PrometheusParts
    ) -> None:
        """No promtool was asked beforehand, so that only Prometheus knows."""
        async with solo(tmp_path, database, prometheus_parts, settings=UNCHECKED, deployer_settings=UNCHECKED) as here:
            await here.create(cpu_rule("everywhere", global_scope(), 90))
            before = here.deployer.files()
            bad = await here.set_query("everywhere", UNKNOWN_FUNCTION)
            assert told(bad) == ("global.yml", "ROLLED_BACK", Reason.RELOAD_FAILED)
            (outcome,) = bad.deployers[0].files
            assert "mad_over_time" in outcome.message
            assert (outcome.group, outcome.rule) == (await _running_group(here), "HighCPU")
            assert here.deployer.files() == before
            assert await here.thresholds() == {"everywhere": 90}
            assert (await here.status()).last_reload_ok
            # what it would load at a start is good too
            here.prometheus.kill()
            await here.prometheus.start()
            assert await here.thresholds() == {"everywhere": 90}

    async def test_500_for_a_file_of_somebody_else_which_is_named(
        self, tmp_path: Path, database: str, prometheus_parts: PrometheusParts
    ) -> None:
        async with solo(tmp_path, database, prometheus_parts) as here:
            await here.create(cpu_rule("everywhere", global_scope(), 90))
            foreign = here.rules / "theirs.yml"
            foreign.write_text("groups:\n- name: theirs\n  rules:\n  - alert: Theirs\n    expr: up ==\n")
            rollout = await here.set_threshold("everywhere", 80)
            assert told(rollout) == ("global.yml", "DEFERRED", Reason.RELOAD_FAILED)
            assert str(foreign) in rollout.deployers[0].files[0].message
            assert "not ours" in rollout.deployers[0].files[0].message
            assert foreign.read_text().endswith("up ==\n")
            foreign.unlink()
            await here.becomes_active(rollout.revision)
            assert await here.thresholds() == {"everywhere": 80}


async def test_rule_files_that_do_not_cover_the_directory(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    async with solo(tmp_path, database, prometheus_parts, configuration={"rule_files": ["elsewhere/*.yml"]}) as here:
        rollout = await here.create(cpu_rule("everywhere", global_scope(), 90))
        assert told(rollout) == ("global.yml", "DEFERRED", Reason.RULE_FILES_NOT_COVERED)
        assert f"{here.rules}/*.yml" in rollout.deployers[0].files[0].message
        (warning,) = (await here.status()).warnings
        assert warning.code == Reason.RULE_FILES_NOT_COVERED
        assert "Prometheus does not load our rule files" in warning.message

        configure(here.prometheus.config, {"rule_files": [f"{here.rules}/*.yml"]})
        await here.becomes_active(rollout.revision)
        assert await here.thresholds() == {"everywhere": 90}
        assert not (await here.status()).warnings


async def test_a_configuration_that_prometheus_could_not_load_is_found_beforehand(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    settings = {"PROMETHEUS_CONFIG_PATH": str(tmp_path / "prometheus.yml")}
    async with solo(tmp_path, database, prometheus_parts, deployer_settings=settings) as here:
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        before, reloads = here.deployer.files(), here.reloads()
        good = here.prometheus.config.read_text()
        here.prometheus.config.write_text(good + "scrapeconfigs: []\n")
        rollout = await here.set_threshold("everywhere", 80)
        assert told(rollout) == ("global.yml", "DEFERRED", Reason.CONFIG_CHECK_FAILED)
        assert "field scrapeconfigs not found" in rollout.deployers[0].files[0].message
        assert (here.deployer.files(), here.reloads()) == (before, reloads)
        here.prometheus.config.write_text(good)
        await here.becomes_active(rollout.revision)
        assert await here.thresholds() == {"everywhere": 80}


class Program:
    """A promtool that can be taken away and replaced. It is the real one at first."""

    def __init__(self, path: Path, real: Path) -> None:
        self.path = path
        self._real = real
        self.mend()

    def mend(self) -> None:
        self._take(self.path.with_name("promtool.real"))

    def replace(self, script: str | None) -> None:
        """By a shell script; by nothing for None."""
        if script is None:
            self.path.unlink()
            return
        other = self.path.with_name("promtool.other")
        other.write_text(f"#!/bin/sh\n{script}\n")
        other.chmod(0o755)
        other.replace(self.path)

    def _take(self, temporary: Path) -> None:
        temporary.symlink_to(self._real)
        temporary.replace(self.path)


async def test_promtool_beside_the_deployer_does_not_do_its_work(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    program = Program(tmp_path / "promtool", prometheus_parts.promtool)
    settings = {"PROMTOOL_PATH": str(program.path), "PROMTOOL_TIMEOUT": "3s"}
    async with solo(tmp_path, database, prometheus_parts, deployer_settings=settings) as here:
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        for threshold, (script, reason) in enumerate(
            (
                (None, Reason.PROMTOOL_MISSING),
                ("exec sleep 600", Reason.PROMTOOL_TIMEOUT),
                ("exit 0", Reason.PROMTOOL_UNUSABLE),
                ("echo odd; exit 42", Reason.PROMTOOL_UNUSABLE),
                ("kill -9 $$", Reason.PROMTOOL_UNUSABLE),
            )
        ):
            before = here.deployer.files()
            program.replace(script)
            rollout = await here.set_threshold("everywhere", threshold)
            assert told(rollout) == ("global.yml", "DEFERRED", reason)
            assert here.deployer.files() == before
            program.mend()
            await here.becomes_active(rollout.revision)
            assert await here.thresholds() == {"everywhere": threshold}


async def test_one_bad_file_among_good_ones(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> None:
    """promtool at the deployer refuses what was saved; the rest is delivered in the same batch."""
    groups = [f"g{number}" for number in range(12)]
    async with solo(tmp_path, database, prometheus_parts, settings=UNCHECKED) as here:
        await here.make_groups(*groups)
        await here.deployer.child.stop()
        for group in groups:
            rule = cpu_rule(f"rule-{group}", group_scope(group), 80)
            if group == "g7":
                rule.spec.query = UNKNOWN_FUNCTION
            request = rule_pb2.CreateAlertRuleRequest(rule=rule)
            last = (await here.first.rules.CreateAlertRule(request, timeout=RPC)).change.revision
        await here.deployer.start()
        refused = ("group-g7.yml", "REJECTED", Reason.PROMTOOL_CHECK_FAILED)
        await wait_for(lambda: _is_in_trouble(here, refused), RPC)
        files = await here.contents()
        bad = files.pop("group-g7.yml")
        (outcome,) = (await here.as_listed()).files
        (group,) = yaml.safe_load(bad)["groups"]
        assert (outcome.group, outcome.rule) == (group["name"], "HighCPU")
        assert "mad_over_time" in outcome.message
        good = {f"rule-{group}": 80.0 for group in groups if group != "g7"}
        assert await here.thresholds() == good
        assert here.deployer.files() == files

        counted = await here.deployer_metrics()
        rejected = 'rulecast_deployer_files_total{reason="PROMTOOL_CHECK_FAILED",state="rejected"}'
        assert (counted[rejected], counted["rulecast_deployer_batches_total"]) == (1, 1)
        for threshold in (70, 60, 50):
            assert (await here.set_threshold("rule-g1", threshold)).state == common_pb2.Rollout.ACTIVE
        counted = await here.deployer_metrics()
        assert (counted[rejected], counted["rulecast_deployer_batches_total"]) == (1, 4)
        # also by a deployer that has been started anew
        await here.deployer.child.stop()
        await here.deployer.start()
        await here.connected()
        assert (await here.set_threshold("rule-g1", 40)).state == common_pb2.Rollout.ACTIVE
        assert rejected not in await here.deployer_metrics()
        assert only_trouble((await here.as_listed()).files) == refused
        assert bad not in here.deployer.files().values()

        mended = await here.set_query("rule-g7", "cpu_percent > {{ .threshold }}")
        assert mended.state == common_pb2.Rollout.ACTIVE
        assert not (await here.as_listed()).files
        assert await here.thresholds() == {**good, "rule-g1": 40, "rule-g7": 80}
        assert (await here.rollout(last)).state == common_pb2.Rollout.ACTIVE


async def _is_listed_as_up(here: Solo) -> bool:
    return bool((await here.as_listed()).prometheus_up)


async def _has_thresholds(here: Solo, **thresholds: float) -> bool:
    return await here.thresholds() == thresholds


async def _is_in_trouble(here: Solo, trouble: tuple[str, str, str]) -> bool:
    files = (await here.as_listed()).files
    return len(files) == 1 and only_trouble(files) == trouble


async def _running_group(here: Solo) -> str:
    (group,) = await here.deployer.api("/api/v1/rules", "groups")
    return str(group["name"])


def _threshold_request(id: str, threshold: float) -> rule_pb2.UpdateAlertRuleRequest:
    request = rule_pb2.UpdateAlertRuleRequest(rule=rule_pb2.AlertRule(id=id))
    request.update_mask.paths.append("config.parameters.threshold")
    request.rule.config.parameters["threshold"].number_value = threshold
    return request
