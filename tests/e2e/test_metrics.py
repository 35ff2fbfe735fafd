"""What operators see after something went wrong: metrics of both services, and log lines with reason and path."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

import deployer_service.metrics
import rule_service.metrics
import rulecast.rpc.metrics
from deploy.local.parts import PrometheusParts
from rulecast.process.metrics import declared
from rulecast.reasons import Reason
from rulecast.v1 import common_pb2, delivery_pb2, rule_pb2
from tests.support.solo import UNCHECKED, UNKNOWN_FUNCTION, Solo, solo, told
from tests.support.system import RPC, cpu_rule, global_scope, group_scope
from tests.support.waiting import wait_for

FILES = "rulecast_deployer_files_total"
TROUBLES = "rulecast_deployer_files_in_trouble"
OUTCOMES = "rulecast_stream_outcomes_total"
JSON = {"Content-Type": "application/json"}


def log_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def logged(path: Path, event: str, **facts: Any) -> bool:
    """Whether a line says this."""
    return any(line["event"] == event and facts.items() <= line.items() for line in log_of(path))


async def test_a_rejected_file(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> None:
    async with solo(tmp_path, database, prometheus_parts, settings=UNCHECKED) as here:
        await here.make_groups("prod")
        await here.create(cpu_rule("prod", group_scope("prod"), 90))
        bad = await here.set_query("prod", UNKNOWN_FUNCTION)
        assert told(bad) == ("group-prod.yml", "REJECTED", Reason.PROMTOOL_CHECK_FAILED)
        at, service = await here.deployer_metrics(), await here.service_metrics()
        labels = '{reason="PROMTOOL_CHECK_FAILED",state="rejected"}'
        assert (at[FILES + labels], at[TROUBLES + labels]) == (1, 1)
        assert at[f'{FILES}{{reason="",state="active"}}'] == 1
        assert service[f'{OUTCOMES}{{state="REJECTED"}}'] == 1
        assert (at["rulecast_deployer_batches_total"], at["rulecast_deployer_revision"]) == (2, bad.revision)
        for step in ("validate", "reload", "verify"):
            assert at[f'rulecast_deployer_step_seconds_count{{step="{step}"}}'] >= 1
        assert service["rulecast_stream_updates_total"] == at["rulecast_deployer_batches_total"] + 1, "the empty first"
        assert service["rulecast_stream_unacknowledged_seconds"] == 0
        assert logged(
            tmp_path / "deployer.log", "file not active", file="group-prod.yml", reason="PROMTOOL_CHECK_FAILED"
        )

        # regenerated, it is offered once more
        await here.first.delivery.RegenerateAll(delivery_pb2.RegenerateAllRequest(), timeout=RPC)
        await wait_for(lambda: _has(here, FILES + labels, 2), RPC)
        assert (await here.set_query("prod", "cpu_percent > {{ .threshold }}")).state == common_pb2.Rollout.ACTIVE
        assert TROUBLES + labels not in await here.deployer_metrics()


async def test_a_file_that_was_rolled_back(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> None:
    async with solo(tmp_path, database, prometheus_parts, settings=UNCHECKED, deployer_settings=UNCHECKED) as here:
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        bad = await here.set_query("everywhere", UNKNOWN_FUNCTION)
        assert told(bad) == ("global.yml", "ROLLED_BACK", Reason.RELOAD_FAILED)
        at, service = await here.deployer_metrics(), await here.service_metrics()
        labels = '{reason="RELOAD_FAILED",state="rolled_back"}'
        assert (at[FILES + labels], at[TROUBLES + labels]) == (1, 1)
        assert at['rulecast_deployer_reload_failures_total{reason="RELOAD_FAILED"}'] >= 1
        assert service[f'{OUTCOMES}{{state="ROLLED_BACK"}}'] == 1
        log = tmp_path / "deployer.log"
        assert logged(log, "reload failed", reason="RELOAD_FAILED", level="warning")
        assert logged(log, "file not active", file="global.yml", reason="RELOAD_FAILED")
        assert logged(tmp_path / "replica.log", "update answered", states={"ROLLED_BACK": 1})


async def test_drift_and_a_directory_that_is_closed(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    async with solo(
        tmp_path,
        database,
        prometheus_parts,
        deployer_settings={"DEPLOYER_DRIFT_INTERVAL": "1s"},
        through=("tests.support.ordinary",),
    ) as here:
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        log = tmp_path / "deployer.log"
        file = here.rules / "global.yml"
        assert (await here.deployer_metrics())["rulecast_deployer_drift_total"] == 0
        file.unlink()
        await wait_for(lambda: _has(here, "rulecast_deployer_drift_total", 1), RPC)
        await wait_for(file.exists, RPC)
        assert logged(log, "rule file was removed by somebody else", file="global.yml")
        await wait_for(lambda: _has(here, "rulecast_deployer_drifted_files", 0), RPC)

        folders = [here.rules, *(path for path in here.rules.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        try:
            closed = await here.set_threshold("everywhere", 80)
        finally:
            for folder in folders:
                folder.chmod(0o755)
        assert told(closed) == ("global.yml", "DEFERRED", Reason.PERMISSION_DENIED)
        at, service = await here.deployer_metrics(), await here.service_metrics()
        assert at[f'{FILES}{{reason="PERMISSION_DENIED",state="deferred"}}'] == 1
        assert service[f'{OUTCOMES}{{state="DEFERRED"}}'] >= 1
        assert any(
            line["event"] == "batch postponed"
            and line["reason"] == "PERMISSION_DENIED"
            and str(here.rules) in line["error"]
            for line in log_of(log)
        )
        await here.becomes_active(closed.revision)
        assert not any(series.startswith(TROUBLES) for series in await here.deployer_metrics())


async def test_one_id_leads_from_the_answer_to_every_line(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    async with solo(tmp_path, database, prometheus_parts) as here:
        spec = {"alert_name": "Cpu", "severity": "warning", "query": "cpu > 1"}
        body = {"id": "cpu", "key": "cpu", "scope": {"global": {}}, "enabled": True, "spec": spec}
        url = here.first.url + "/api/v1/alert-rules"
        timeout = aiohttp.ClientTimeout(total=RPC)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.post(url, json={"rule": body}, headers={"X-Request-Id": "by-hand/1"}) as made:
                assert (made.status, made.headers["X-Request-Id"]) == (200, "by-hand/1"), await made.text()
                revision = int((await made.json())["change"]["revision"])
            async with session.post(url, data=b"{", headers={"X-Request-Id": "by-hand/2", **JSON}) as refused:
                assert (refused.status, refused.headers["X-Request-Id"]) == (400, "by-hand/2")
                assert "by-hand/2" in await refused.text()
            async with session.get(here.first.url + "/api/v1/nothing", headers={"X-Request-Id": "x" * 129}) as unknown:
                assert (unknown.status, len(unknown.headers["X-Request-Id"])) == (404, 32)
            for query, status in (("", 200), ("?group_id=none", 404)):
                async with session.get(here.first.url + "/api/v1/sd/prometheus" + query) as polled:
                    assert polled.status == status
        await here.becomes_active(revision)

        service = tmp_path / "replica.log"
        method = "/rulecast.v1.AlertRuleService/CreateAlertRule"
        assert logged(service, "rpc", request_id="by-hand/1", method=method, code="OK", revision=revision)
        assert logged(service, "http request refused", request_id="by-hand/2", reason="FIELD_INVALID")
        # Prometheus asks every few seconds
        polls = [line for line in log_of(service) if line.get("method", "").endswith("/ListScrapeTargets")]
        assert [line["code"] for line in polls] == ["NOT_FOUND"]
        updates = [line for line in log_of(service) if line["event"] == "update sent" and line["revision"] == revision]
        nonce = updates[-1]["nonce"]
        deployer = tmp_path / "deployer.log"
        assert logged(deployer, "prometheus reloaded", revision=revision, nonce=nonce)
        assert logged(deployer, "update applied", revision=revision, nonce=nonce, files=1)
        counted = await here.service_metrics()
        assert counted['rulecast_refusals_total{grpc_service="http",reason="FIELD_INVALID"}'] == 1


async def test_both_pages_are_whole_and_pass_promtool(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    async with solo(tmp_path, database, prometheus_parts) as here:
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        await here.set_threshold("everywhere", 80)
        with pytest.raises(grpc.aio.AioRpcError):
            await here.set_query("everywhere", "sum({{ .threshold }}")
        await here.disable("everywhere")
        dry = rule_pb2.CreateAlertRuleRequest(rule=cpu_rule("other", group_scope("g"), 90), validate_only=True)
        with pytest.raises(grpc.aio.AioRpcError):
            await here.first.rules.CreateAlertRule(dry, timeout=RPC)
        await wait_for(lambda: _counts(here, "rulecast_revision", 3), RPC)
        await wait_for(lambda: _counts(here, 'rulecast_rollout_lag_revisions{deployer="deployer"}', 0), RPC)

        service = await here.service_metrics()
        update = 'rulecast_edits_total{method="UpdateAlertRule",outcome='
        assert (service[update + '"committed"}'], service[update + '"refused"}']) == (2, 1)
        assert service['rulecast_edits_total{method="CreateAlertRule",outcome="committed"}'] == 1
        assert service['rulecast_validation_failures_total{reason="QUERY_INVALID"}'] == 1
        assert (service['rulecast_rules{state="disabled"}'], service["rulecast_rendered_rules"]) == (1, 0)
        assert (service["rulecast_ready"], service["rulecast_database_up"]) == (1, 1)
        assert service["rulecast_promtool_seconds_count"] >= 2
        lag = 'rulecast_rollout_lag_seconds{deployer="deployer"}'
        assert (service[lag], service['rulecast_rollout_connected{deployer="deployer"}']) == (0, 1)
        at = await here.deployer_metrics()
        assert (at["rulecast_deployer_unverified_files"], at["rulecast_deployer_rollbacks_total"]) == (0, 0)
        assert at["rulecast_deployer_prometheus_reload_successful"] == 1
        assert at["rulecast_deployer_batch_seconds_count"] == 3

        for url, modules in (
            (here.first.url + "/metrics", (rule_service.metrics, rulecast.rpc.metrics)),
            (here.metrics_url, (deployer_service.metrics, rulecast.rpc.metrics)),
        ):
            page = await _page(url)
            missing = [each.name for each in declared(*modules) if f"# HELP {each.name} " not in page]
            assert not missing
            linted = await asyncio.to_thread(_linted, prometheus_parts.promtool, page)
            assert linted.returncode == 0, linted.stdout + linted.stderr


async def _page(url: str) -> str:
    timeout = aiohttp.ClientTimeout(total=RPC)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
        return await answer.text()


def _linted(promtool: Path, page: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=RPC, check=False
    )


async def _counts(here: Solo, series: str, value: float) -> bool:
    return (await here.service_metrics()).get(series) == value


async def _has(here: Solo, series: str, value: float) -> bool:
    return (await here.deployer_metrics()).get(series) == value
