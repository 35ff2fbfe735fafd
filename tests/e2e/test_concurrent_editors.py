"""Many editors of one rule, over gRPC and HTTP and on two replicas: with etags no update is lost."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from deploy.local.parts import PrometheusParts
from rulecast.v1 import rule_pb2
from tests.support.solo import UNCHECKED
from tests.support.system import RPC, Replica, cpu_rule, global_scope, running_system
from tests.support.transports import Answer, over_grpc, over_http

RACES = 1_000
EDITORS = 8


@dataclass
class Contest:
    """A number in a rule, which each editor raises by one. written: how often each number was acknowledged."""

    http: aiohttp.ClientSession
    written: Counter[int] = field(default_factory=Counter)
    lost: int = 0

    @property
    def races(self) -> int:
        return self.written.total() + self.lost

    async def call(self, by_http: bool, replica: Replica, method: str, request: dict[str, Any]) -> Answer:
        if by_http:
            return await over_http(self.http, replica, method, request)
        return await over_grpc(replica, method, request)

    async def edit(self, by_http: bool, replica: Replica) -> None:
        """Raises the number, as it was read, until there have been enough races."""
        while self.races < RACES:
            rule = (await self.call(by_http, replica, "GetAlertRule", {"id": "counter"})).body
            number = int(rule["config"]["parameters"]["threshold"]) + 1
            change = {
                "rule": {"id": "counter", "etag": rule["etag"], "config": {"parameters": {"threshold": number}}},
                "update_mask": "config.parameters.threshold",
            }
            answer = await self.call(by_http, replica, "UpdateAlertRule", change)
            if answer.code == "OK":
                self.written[number] += 1
            else:
                assert (answer.code, answer.http_status, answer.reason) == ("ABORTED", 409, "ETAG_MISMATCH"), answer
                self.lost += 1


@pytest.mark.timeout(600)
async def test_no_update_is_lost(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> None:
    async with (
        running_system(tmp_path, database, prometheus_parts, replicas=2, deployers=0, settings=UNCHECKED) as system,
        aiohttp.ClientSession() as http,
    ):
        contest = Contest(http)
        first, second = system.replicas
        rule = cpu_rule("counter", global_scope(), 0)
        await first.rules.CreateAlertRule(rule_pb2.CreateAlertRuleRequest(rule=rule), timeout=RPC)
        async with asyncio.TaskGroup() as group:
            for at in range(EDITORS):
                editor = contest.edit(at % 2 == 0, second if at % 4 < 2 else first)
                group.create_task(editor, name=f"editor-{at}")

        assert contest.lost > 0, "nobody was ever faster: these were no races"
        raised = contest.written.total()
        assert contest.written == Counter(range(1, raised + 1)), "each number was written once, and none is missing"
        for by_http, replica in ((False, first), (True, second)):
            rule_now = (await contest.call(by_http, replica, "GetAlertRule", {"id": "counter"})).body
            assert rule_now["config"]["parameters"]["threshold"] == raised
            file = await contest.call(by_http, replica, "GetRuleFile", {"file_name": "global.yml"})
            (alert,) = yaml.safe_load(file.body["content"])["groups"][0]["rules"]
            assert alert["expr"] == f"cpu_percent > {raised}"
        history = await contest.call(
            False, first, "ListRevisions", {"kind": "RULE", "id": "counter", "page_size": 1000}
        )
        assert len(history.body["revisions"]) == raised + 1
