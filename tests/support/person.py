"""Who edits rules through the API, and tries again like a person would: reads what is there, then asks once more."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from rulecast.v1 import common_pb2, group_pb2, rule_pb2
from tests.support.system import Replica, cpu_rule
from tests.support.truth import threshold_of, written_at

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds for one try."""
TRY_AGAIN = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
)


@dataclass(frozen=True)
class Acknowledged:
    """What a rule's threshold became by an edit that was answered; None: it was deleted. revision: as answered."""

    rule: str
    threshold: float | None
    revision: int


@dataclass
class Person:
    """Nobody else may edit the same rules. tries: how often was asked, for all edits together."""

    replicas: Sequence[Replica]
    source: random.Random
    acknowledged: list[Acknowledged] = field(default_factory=list)
    tries: int = 0

    async def create(self, rule: str, scope: common_pb2.Scope, threshold: float, **fields: Any) -> None:
        asked = cpu_rule(rule, scope, threshold, **fields)

        async def call(stub: Any) -> rule_pb2.AlertRule:
            answer = await stub.CreateAlertRule(rule_pb2.CreateAlertRuleRequest(rule=asked), timeout=PATIENCE)
            return answer.rule  # type: ignore[no-any-return]

        async def is_there(stub: Any) -> rule_pb2.AlertRule:
            return await stub.GetAlertRule(rule_pb2.GetAlertRuleRequest(id=rule), timeout=PATIENCE)  # type: ignore[no-any-return]

        # what an unanswered try has done already counts as done
        created = await self._until_answered(call, {grpc.StatusCode.ALREADY_EXISTS: is_there})
        assert created.config.parameters["threshold"].number_value == threshold
        self._note(rule, threshold, created)

    async def set_threshold(self, rule: str, threshold: float) -> None:
        request = rule_pb2.UpdateAlertRuleRequest(
            rule=rule_pb2.AlertRule(id=rule), update_mask=FieldMask(paths=["config.parameters.threshold"])
        )
        request.rule.config.parameters["threshold"].number_value = threshold
        self._note(rule, threshold, await self._until_answered(self._updating(request), {}))

    async def enable(self, rule: str, enabled: bool) -> None:
        request = rule_pb2.UpdateAlertRuleRequest(
            rule=rule_pb2.AlertRule(id=rule, enabled=enabled), update_mask=FieldMask(paths=["enabled"])
        )
        updated = await self._until_answered(self._updating(request), {})
        self._note(rule, updated.config.parameters["threshold"].number_value, updated)

    async def delete(self, rule: str) -> None:
        async def call(stub: Any) -> rule_pb2.AlertRule:
            answer = await stub.DeleteAlertRule(rule_pb2.DeleteAlertRuleRequest(id=rule), timeout=PATIENCE)
            return answer.rule  # type: ignore[no-any-return]

        async def is_gone(stub: Any) -> rule_pb2.AlertRule:
            return await stub.GetAlertRule(rule_pb2.GetAlertRuleRequest(id=rule), timeout=PATIENCE)  # type: ignore[no-any-return]

        deleted = await self._until_answered(call, {grpc.StatusCode.NOT_FOUND: is_gone})
        assert deleted.metadata.HasField("delete_time")
        self._note(rule, None, deleted)

    async def move(self, group: str, parent: str) -> None:
        """To another parent; empty is none."""
        request = group_pb2.UpdateGroupRequest(
            group=group_pb2.Group(id=group, parent_id=parent), update_mask=FieldMask(paths=["parent_id"])
        )

        async def call(replica: Replica) -> None:
            await replica.groups.UpdateGroup(request, timeout=PATIENCE)

        await self._retried(call)

    def last(self) -> dict[str, float | None]:
        """What each rule was left at."""
        return {each.rule: each.threshold for each in self.acknowledged}

    async def lost(self, database: str) -> list[Acknowledged]:
        """The acknowledged edits that are not in the database: not in its history, or not in the rule they left."""
        missing = [each for each in self.acknowledged if not await _in_history(database, each)]
        for rule, threshold in self.last().items():
            if await threshold_of(database, rule) != threshold:
                missing.append(Acknowledged(rule, threshold, 0))
        return missing

    def _note(self, rule: str, threshold: float | None, stored: rule_pb2.AlertRule) -> None:
        self.acknowledged.append(Acknowledged(rule, threshold, stored.metadata.revision))

    def _updating(self, request: rule_pb2.UpdateAlertRuleRequest) -> Callable[[Any], Awaitable[rule_pb2.AlertRule]]:
        async def call(stub: Any) -> rule_pb2.AlertRule:
            return (await stub.UpdateAlertRule(request, timeout=PATIENCE)).rule  # type: ignore[no-any-return]

        return call

    async def _until_answered(
        self,
        call: Callable[[Any], Awaitable[rule_pb2.AlertRule]],
        done_before: dict[grpc.StatusCode, Callable[[Any], Awaitable[rule_pb2.AlertRule]]],
    ) -> rule_pb2.AlertRule:
        """done_before: what is asked where a later try is told that there is nothing left to do, by how it is told."""
        unanswered = False

        async def attempt(replica: Replica) -> rule_pb2.AlertRule:
            nonlocal unanswered
            try:
                return await call(replica.rules)
            except grpc.aio.AioRpcError as error:
                if unanswered and error.code() in done_before:
                    return await done_before[error.code()](replica.rules)
                unanswered = unanswered or error.code() in TRY_AGAIN
                raise

        return await self._retried(attempt)

    async def _retried(self, call: Callable[[Replica], Awaitable[T]]) -> T:
        pause = 0.05
        while True:
            self.tries += 1
            try:
                return await call(self.source.choice(self.replicas))
            except grpc.aio.AioRpcError as error:
                if error.code() not in TRY_AGAIN:
                    raise
            await asyncio.sleep(self.source.uniform(0, pause))
            pause = min(1.0, pause * 2)


async def _in_history(database: str, edit: Acknowledged) -> bool:
    try:
        after = await written_at(database, edit.revision, edit.rule)
    except KeyError:
        return False
    if after is None or edit.threshold is None:
        return after is None and edit.threshold is None
    return bool(after["config"]["parameters"]["threshold"] == edit.threshold)
