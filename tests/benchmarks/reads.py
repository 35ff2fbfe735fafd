"""Lists, and the rules that apply to a target, beside the bare query for the same rows."""

from collections.abc import AsyncIterator

import asyncpg

from rulecast.v1 import common_pb2, group_pb2, rule_pb2, target_pb2
from tests.benchmarks.bench import UNCHECKED, Bench
from tests.benchmarks.figure import Figure, beside
from tests.benchmarks.population import GROUP_SIZE, group_id, rule_id

RULES = 100_000
TARGETS = 10_000
PAGE = 100


async def effective(bench: Bench) -> AsyncIterator[Figure]:
    """GetEffectiveRules of a target: 100 alerts, the rule of its group for each."""
    async with bench.database(RULES, TARGETS) as url, bench.replica(url, UNCHECKED) as service:
        connection = await asyncpg.connect(url)
        try:
            numbers = iter(range(TARGETS))
            at = 0

            async def ask() -> None:
                nonlocal at
                at = (at + 7919) % TARGETS
                answer = await service.rules.GetEffectiveRules(
                    rule_pb2.GetEffectiveRulesRequest(target_id=f"h-{at:05d}")
                )
                assert len(answer.rules) == GROUP_SIZE
                assert all(rule.rule_id.startswith(f"r-{at % 1000:04d}-") and rule.query for rule in answer.rules)

            async def bare() -> None:
                rows = await connection.fetch(
                    "SELECT expr, labels, annotations FROM rendered_rules WHERE file_name = $1",
                    f"group-{group_id(next(numbers) % 1000)}.yml",
                )
                assert len(rows) == GROUP_SIZE

            found = await beside(ask, bare, bench.times(200, 30))
        finally:
            await connection.close()
    figure = found.figure("effective", "p50 at most 10 ms", reached=False)
    yield found.figure("effective", figure.bound, figure.median <= 0.010)


async def lists(bench: Bench) -> AsyncIterator[Figure]:
    """First and last pages of 100."""
    async with bench.database(RULES, TARGETS) as url, bench.replica(url, UNCHECKED) as service:
        connection = await asyncpg.connect(url)
        calls = {
            "list_rules": (service.rules.ListAlertRules, rule_pb2.ListAlertRulesRequest(page_size=PAGE), "rules"),
            "list_rules_of_key": (
                service.rules.ListAlertRules,
                rule_pb2.ListAlertRulesRequest(page_size=PAGE, key="alert-77"),
                "rules",
            ),
            "list_rules_of_scope": (
                service.rules.ListAlertRules,
                rule_pb2.ListAlertRulesRequest(page_size=PAGE, scope=common_pb2.Scope(group_id=group_id(777))),
                "rules",
            ),
            "list_rules_of_severity": (
                service.rules.ListAlertRules,
                rule_pb2.ListAlertRulesRequest(page_size=PAGE, severity="warning"),
                "rules",
            ),
            "list_targets": (service.targets.ListTargets, target_pb2.ListTargetsRequest(page_size=PAGE), "targets"),
            "list_groups": (service.groups.ListGroups, group_pb2.ListGroupsRequest(page_size=PAGE), "groups"),
        }
        try:
            for name, (call, request, field) in calls.items():
                last = type(request)()
                last.CopyFrom(request)
                last.page_token = await _token_of_last_page(call, request)
                for suffix, asked in (("", request), ("_last", last)):

                    async def ask(call=call, asked=asked, field=field) -> None:
                        assert len(getattr(await call(asked), field)) == PAGE

                    async def bare() -> None:
                        await connection.fetch(
                            "SELECT * FROM rules WHERE id > $1 ORDER BY id LIMIT 101", rule_id(500, 0)
                        )

                    found = await beside(ask, bare, bench.times(100, 20))
                    figure = found.figure(name + suffix, "p50 at most 15 ms", reached=False)
                    yield found.figure(figure.name, figure.bound, figure.median <= 0.015)
        finally:
            await connection.close()


async def _token_of_last_page(call, request) -> str:
    """Walks to it in large pages, then in the pages that are measured."""
    asked = type(request)()
    asked.CopyFrom(request)
    asked.page_size = PAGE
    token, before = "", ""
    while True:
        asked.page_token = token
        answer = await call(asked)
        if not answer.next_page_token:
            return token
        token = answer.next_page_token
