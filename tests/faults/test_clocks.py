"""Clocks that disagree: leases are the database's, watchdogs are monotonic, wall clocks are for people."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from deploy.local.parts import PrometheusParts
from rulecast.v1 import common_pb2, delivery_pb2, rule_pb2
from tests.support.system import RPC, Replica, cpu_rule, global_scope, running_system
from tests.support.waiting import wait_for

SKEWED = str(Path(__file__).parents[1] / "support" / "skewed")
AHEAD, BEHIND = 7200, -7200


def clock(seconds: int) -> dict[str, str]:
    return {"PYTHONPATH": SKEWED, "SKEW_SECONDS": str(seconds)}


def off_by(log: str) -> float:
    """How far the clock of a process is off, by its last log line. Seconds."""
    written = datetime.fromisoformat(json.loads(log.splitlines()[-1])["timestamp"])
    return (written - datetime.now(UTC)).total_seconds()


async def the_deployer(rule_service: Replica) -> delivery_pb2.Deployer:
    listed = await rule_service.delivery.ListDeployers(delivery_pb2.ListDeployersRequest(), timeout=RPC)
    (only,) = listed.deployers
    found: delivery_pb2.Deployer = only
    return found


async def test_services_whose_clocks_are_hours_apart(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    async with running_system(
        tmp_path, database, prometheus_parts, settings=clock(AHEAD), deployer_settings=clock(BEHIND)
    ) as system:
        rule_service, (deployer,) = system.first, system.deployers
        request = rule_pb2.CreateAlertRuleRequest(
            rule=cpu_rule("everywhere", global_scope(), 90), wait_for=common_pb2.ACTIVE
        )
        created = await rule_service.rules.CreateAlertRule(request, timeout=RPC)
        assert created.change.rollout.state == common_pb2.Rollout.ACTIVE
        assert off_by(rule_service.child.output(1)) > 3600
        assert off_by(deployer.child.output(1)) < -3600
        # what is stored is dated by the database
        assert abs(created.rule.metadata.create_time.ToSeconds() - time.time()) < 600

        # its lease outlives many heartbeats, and another process of the name takes over when it is gone
        epoch = (await the_deployer(rule_service)).epoch
        deployer.child.kill()
        await deployer.start()

        async def took_over() -> bool:
            now = await the_deployer(rule_service)
            return now.connected and now.epoch > epoch

        await wait_for(took_over, timeout=60)
        update = rule_pb2.UpdateAlertRuleRequest(rule=rule_pb2.AlertRule(id="everywhere"), wait_for=common_pb2.ACTIVE)
        update.rule.config.parameters["threshold"].number_value = 80
        changed = await rule_service.rules.UpdateAlertRule(update, timeout=RPC)
        assert changed.change.rollout.state == common_pb2.Rollout.ACTIVE
        assert await deployer.running_exprs() == {"everywhere": "cpu_percent > 80"}
        assert (await the_deployer(rule_service)).connected
