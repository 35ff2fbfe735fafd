"""Large bundles, and many at once: what they cost does not follow their size, and no two of them mix."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from rule_service.domain.render import RenderedRule
from rule_service.promtool import PromtoolChecker
from rule_service.store.pool import Session
from rule_service.usecases.ports_check import CheckFailure
from rulecast.errors import FailedPrecondition
from rulecast.process.promtool import Promtool
from tests.support.bundles import BundleText
from tests.support.edits import DO, Edits, open_edits


class CountedChecker:
    """promtool, counted."""

    def __init__(self, promtool: Path) -> None:
        self.runs = 0
        self._checker = PromtoolChecker(Promtool(promtool), at_once=2)

    async def check(self, rules: Sequence[RenderedRule]) -> tuple[CheckFailure, ...]:
        self.runs += 1
        return await self._checker.check(rules)


@pytest_asyncio.fixture
async def edits(database: str, promtool: Path) -> AsyncIterator[Edits]:
    async with open_edits(database, promtool) as opened:
        yield opened


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that is sent."""
    sent: list[str] = []
    for name in ("rows", "row", "value", "run", "delete"):
        inner = getattr(Session, name)

        async def counted(self: Session, sql: str, *args: object, inner: object = inner) -> object:
            sent.append(sql)
            return await inner(self, sql, *args)  # type: ignore[operator]

        monkeypatch.setattr(Session, name, counted)
    return sent


def bundle(count: int) -> str:
    """Ten keys, each at so many groups that there are `count` rules, and a target in each group."""
    groups = range(count // 10)
    rules = "".join(
        f"  - {{id: r{number}, key: k{number % 10}, scope: {{group_id: g{number // 10}}},"
        f" spec: {{alert_name: A, severity: s, query: up}}}}\n"
        for number in range(count)
    )
    targets = "".join(f"  - {{id: t{at}, hostname: h, group_ids: [g{at}]}}\n" for at in groups)
    return f"rules:\n{rules}targets:\n{targets}groups: [{', '.join(f'{{id: g{at}}}' for at in groups)}]\n"


async def test_a_thousand_rules_are_one_revision_and_one_run_of_promtool(
    edits: Edits, promtool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker = CountedChecker(promtool)
    monkeypatch.setattr(edits.publisher._parts, "checker", checker)
    answer = await BundleText(edits).apply(bundle(1_000), owner="big")
    assert (answer.created, answer.change.revision, checker.runs) == (1_200, 1, 1)
    assert len(await edits.files()) == 100
    gone = await BundleText(edits).apply("{}", "SYNC", owner="big")
    assert (gone.deleted, gone.change.revision, checker.runs) == (1_200, 2, 1)
    assert await edits.files() == {}


async def test_a_larger_bundle_needs_no_more_statements(edits: Edits, statements: list[str]) -> None:
    counts = []
    # the larger ones are in more files than an edit remembers
    for size in (20, 60, 100):
        for content, mode in (
            (bundle(size), "UPSERT"),
            (bundle(size).replace("query: up", "query: down"), "UPSERT"),
            ("{}", "SYNC"),
        ):
            statements.clear()
            await BundleText(edits).apply(content, mode, owner="team")
            counts.append(len(statements))
    # the first ones bring nothing back that was deleted
    assert counts[3:6] == counts[6:]


async def test_of_many_owners_at_once_one_gets_it(edits: Edits) -> None:
    async def apply(owner: str) -> str | None:
        try:
            await BundleText(edits).apply(
                "groups: [{id: g}]\ntargets: [{id: t, hostname: h, group_ids: [g]}]", owner=owner
            )
        except FailedPrecondition:
            return None
        return owner

    async with asyncio.TaskGroup() as tasks:
        applied = [tasks.create_task(apply(f"owner-{number}"), name=f"owner-{number}") for number in range(8)]
    (winner,) = {each.result() for each in applied} - {None}
    group, target = await edits.store.group("g"), await edits.store.target("t")
    assert group is not None
    assert target is not None
    assert {group.value.owner, target.value.owner} == {winner}
    assert await edits.store.revision() == 1


async def test_the_same_bundle_at_once_is_one_revision(edits: Edits) -> None:
    async with asyncio.TaskGroup() as tasks:
        applied = [
            tasks.create_task(BundleText(edits).apply(bundle(20), owner="team"), name=f"apply-{number}")
            for number in range(6)
        ]
    created = sorted(each.result().created for each in applied)
    assert created == [0] * 5 + [24]
    assert await edits.store.revision() == 1


async def test_a_bundle_and_a_person_at_once_lose_nothing(edits: Edits) -> None:
    """The person's rule is in none of the files' way: both are in the end what they were to be."""
    text = BundleText(edits)
    await text.apply(bundle(20), owner="team")

    async def person() -> None:
        for number in range(5):
            await text.apply(
                f"rules: [{{id: mine-{number}, key: k1, scope: {{global: {{}}}}, spec: {SPEC}}}]", "UPSERT"
            )
            await text.apply(
                f"rules: [{{id: mine-{number}, key: free-{number}, scope: {{global: {{}}}}, spec: {SPEC}}}]"
            )

    async def team() -> None:
        for size in (10, 20, 10, 30):
            await text.apply(bundle(size), "SYNC", owner="team")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(person(), name="person")
        tasks.create_task(team(), name="team")
    exprs = await edits.exprs()
    files = await edits.files()
    await edits.delivery.regenerate_all(DO)
    assert await edits.files() == files
    assert len(exprs["global.yml"]) == 5
    assert {name for name in exprs if name.startswith("group-")} == {"group-g0.yml", "group-g1.yml", "group-g2.yml"}


SPEC = "{alert_name: A, severity: s, query: up}"
