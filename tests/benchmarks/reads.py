"""Lists, and the rules that apply to a target, beside the bare query for as many rows."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg

from rulecast.v1 import common_pb2, group_pb2, rule_pb2, target_pb2
from tests.benchmarks.bench import UNCHECKED, Bench
from tests.benchmarks.figure import Figure, beside
from tests.benchmarks.population import GROUP_SIZE, file_of, group_id, rule_id
from tests.support.system import Replica

RULES = 100_000
GROUPS = RULES // GROUP_SIZE
TARGETS = RULES // 10
PAGE = 100
LARGE_PAGE = 1_000
STRIDE = 7_919
"""A prime: asks for one target after the other in no order that a cache would like."""
_BARE_PAGE = "SELECT * FROM rules WHERE id > $1 ORDER BY id LIMIT 101"


async def effective(bench: Bench) -> AsyncIterator[Figure]:
    """GetEffectiveRules of a target: 100 alerts, the rule of its group for each."""
    async with bench.database(RULES) as url, bench.replica(url, UNCHECKED) as service:
        connection = await asyncpg.connect(url)
        at = 0

        async def ask() -> None:
            nonlocal at
            at = (at + STRIDE) % TARGETS
            request = rule_pb2.GetEffectiveRulesRequest(target_id=f"h-{at:05d}")
            answer = await service.rules.GetEffectiveRules(request)
            assert {rule.rule_id for rule in answer.rules} == {rule_id(at % GROUPS, n) for n in range(GROUP_SIZE)}
            assert all(rule.query for rule in answer.rules)

        async def bare() -> None:
            sql = "SELECT expr, labels, annotations FROM rendered_rules WHERE file_name = $1"
            assert len(await connection.fetch(sql, file_of(at % GROUPS))) == GROUP_SIZE

        try:
            found = await beside(ask, bare, bench.times(200, 50))
        finally:
            await connection.close()
    figure = found.figure("effective", "p50 at most 10 ms", reached=False)
    yield found.figure("effective", figure.bound, figure.median <= 0.010)


@dataclass(frozen=True, slots=True)
class _List:
    """call: with a page token and a size."""

    name: str
    call: Callable[[str, int], Awaitable[Any]]
    field: str


def _lists(service: Replica) -> list[_List]:
    def of_rules(name: str, **which: Any) -> _List:
        def call(token: str, size: int) -> Awaitable[Any]:
            request = rule_pb2.ListAlertRulesRequest(page_size=size, page_token=token, **which)
            answer: Awaitable[Any] = service.rules.ListAlertRules(request)
            return answer

        return _List(name, call, "rules")

    def of_targets(token: str, size: int) -> Awaitable[Any]:
        answer: Awaitable[Any] = service.targets.ListTargets(
            target_pb2.ListTargetsRequest(page_size=size, page_token=token)
        )
        return answer

    def of_groups(token: str, size: int) -> Awaitable[Any]:
        answer: Awaitable[Any] = service.groups.ListGroups(
            group_pb2.ListGroupsRequest(page_size=size, page_token=token)
        )
        return answer

    return [
        of_rules("list_rules"),
        of_rules("list_rules_of_key", key="alert-77"),
        of_rules("list_rules_at_scope", scope=common_pb2.Scope(group_id=group_id(777))),
        of_rules("list_rules_of_severity", severity="warning"),
        _List("list_targets", of_targets, "targets"),
        _List("list_groups", of_groups, "groups"),
    ]


async def lists(bench: Bench) -> AsyncIterator[Figure]:
    """First and last pages of 100."""
    async with bench.database(RULES) as url, bench.replica(url, UNCHECKED) as service:
        connection = await asyncpg.connect(url)

        async def bare() -> None:
            await connection.fetch(_BARE_PAGE, rule_id(500, 0))

        try:
            for each in _lists(service):
                for suffix, token in (("", ""), ("_last", await _token_of_last_page(each))):

                    async def ask(each: _List = each, token: str = token) -> None:
                        assert len(getattr(await each.call(token, PAGE), each.field)) == PAGE

                    found = await beside(ask, bare, bench.times(100, 20))
                    figure = found.figure(each.name + suffix, "p50 at most 15 ms", reached=False)
                    yield found.figure(figure.name, figure.bound, figure.median <= 0.015)
        finally:
            await connection.close()


async def _token_of_last_page(asked: _List) -> str:
    """Goes there in large pages, and the last bit in those that are measured."""
    token = ""
    for size in (LARGE_PAGE, PAGE):
        while following := (await asked.call(token, size)).next_page_token:
            token = following
    return token
