"""An edit that promtool looks at while another one is committed: it is committed on what the database holds by then."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
import pytest_asyncio

from rule_service.domain.model import (
    AlertSpec,
    Config,
    GlobalScope,
    Group,
    GroupScope,
    Namespace,
    NamespaceScope,
    Scope,
    Target,
)
from rule_service.domain.render import RenderedRule
from rule_service.usecases.ports_check import CheckFailure
from rule_service.usecases.rules import RuleDraft
from rulecast.errors import NotFound
from tests.support.edits import CPU_TEMPLATE, DO, Edits
from tests.support.store import open_database
from tests.support.truth import contradictions


@dataclass
class Holding:
    """Implements `RuleChecker`: finds nothing, and keeps the next edit that asks until it is let go."""

    kept: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    keeping: bool = False

    async def check(self, rules: Sequence[RenderedRule]) -> tuple[CheckFailure, ...]:
        if self.keeping:
            self.keeping = False
            self.kept.set()
            await self.gone.wait()
        return ()


@dataclass
class Opened:
    edits: Edits
    checker: Holding
    url: str

    async def meanwhile(self, edit: Awaitable[object], other: Callable[[Edits], Awaitable[object]]) -> None:
        """The whole of the other edit happens after the first one was tried. Raises what that one raises."""
        self.checker.keeping = True
        async with asyncio.timeout(60):
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(_outcome(edit), name="edit")
                await self.checker.kept.wait()
                await other(self.edits)
                self.checker.gone.set()
        error = running.result()
        if error is not None:
            raise error

    async def check(self) -> None:
        """Whether all that is stored is what rendering everything anew gives."""
        assert await contradictions(self.url) == []
        assert (await self.edits.delivery.regenerate_all(DO)).change.revision == 0


async def _outcome(edit: Awaitable[object]) -> Exception | None:
    try:
        await edit
    except Exception as error:
        return error
    return None


def threshold(value: float) -> Config:
    return Config(parameters={"threshold": value})


@pytest_asyncio.fixture
async def opened(database: str) -> AsyncIterator[Opened]:
    """The groups prod > eu and dev of env, a of dc; a rule of one alert at each but a, and at the global scope."""
    async with open_database(database) as pool:
        checker = Holding()
        edits = Edits(pool, checker)
        for namespace in (Namespace("env", "env"), Namespace("dc", "dc")):
            await edits.namespaces.create(namespace, DO)
        for group in (
            Group("prod", "env", "prod"),
            Group("eu", "env", "eu", "prod"),
            Group("dev", "env", "dev"),
            Group("a", "dc", "a"),
        ):
            await edits.groups.create(group, DO)
        await edits.templates.create(CPU_TEMPLATE, DO)
        await edits.rule(GlobalScope(), "all")
        for id, value in (("prod", 80.0), ("eu", 70.0), ("dev", 60.0)):
            await edits.rule(GroupScope(id), id, config=threshold(value))
        yield Opened(edits, checker, database)


def inherit(edits: Edits) -> Awaitable[object]:
    """The rule of eu takes its threshold from above."""
    return edits.rules.update("eu", "", lambda rule: replace(rule, config=Config()), DO)


def set_threshold(id: str, value: float) -> Callable[[Edits], Awaitable[object]]:
    return lambda edits: edits.rules.update(id, "", lambda rule: replace(rule, config=threshold(value)), DO)


def another_alert(scope: Scope) -> Callable[[Edits], Awaitable[object]]:
    draft = RuleDraft("down", scope, key="down", spec=AlertSpec("Down", "warning", "up == 0"))
    return lambda edits: edits.rules.create(draft, DO)


def regrouped(**facts: object) -> Callable[[Edits], Awaitable[object]]:
    return lambda edits: edits.groups.update("eu", "", lambda record: replace(record.value, **facts), DO)  # type: ignore[arg-type]


OTHERS: dict[str, tuple[Callable[[Edits], Awaitable[object]], str]] = {
    "its parent's rule": (set_threshold("prod", 85.0), 'cpu_percent{env="eu"} > 85'),
    "the parent of its parent": (set_threshold("all", 95.0), 'cpu_percent{env="eu"} > 80'),
    "the rule of a group beside it": (set_threshold("dev", 65.0), 'cpu_percent{env="eu"} > 80'),
    "its parent's rule is gone": (lambda e: e.rules.delete("prod", "", DO), 'cpu_percent{env="eu"} > 90'),
    "a rule of its namespace comes": (
        lambda e: e.rule(NamespaceScope("env"), "env", config=threshold(55.0)),
        'cpu_percent{env="eu"} > 80',
    ),
    "a rule of another namespace comes": (
        lambda e: e.rule(GroupScope("a"), "a", config=threshold(55.0), priority=5),
        'cpu_percent{dc!="a",env="eu"} > 80',
    ),
    "another alert in its file": (another_alert(GroupScope("eu")), 'cpu_percent{env="eu"} > 80'),
    "its group's value": (regrouped(label_value="europe"), 'cpu_percent{env="europe"} > 80'),
    "its group's parent": (regrouped(parent_id=None), 'cpu_percent{env="eu"} > 90'),
    "the namespace's label": (
        lambda e: e.namespaces.update("env", "", lambda r: replace(r.value, label="environment"), DO),
        'cpu_percent{environment="eu"} > 80',
    ),
    "a target": (lambda e: e.targets.create(Target("web", "web", "web"), DO), 'cpu_percent{env="eu"} > 80'),
    "everything anew": (lambda e: e.delivery.regenerate_all(DO), 'cpu_percent{env="eu"} > 80'),
}


@pytest.mark.parametrize("other", OTHERS)
async def test_an_edit_counts_with_what_was_committed_meanwhile(opened: Opened, other: str) -> None:
    change, expr = OTHERS[other]
    await opened.meanwhile(inherit(opened.edits), change)
    assert expr in (await opened.edits.exprs())["group-eu.yml"]
    await opened.check()


async def test_both_changes_of_one_rule_count(opened: Opened) -> None:
    def described(edits: Edits) -> Awaitable[object]:
        return edits.rules.update("eu", "", lambda rule: replace(rule, description="for Europe"), DO)

    await opened.meanwhile(inherit(opened.edits), described)
    record = await opened.edits.store.rule("eu")
    assert record is not None
    assert (record.value.description, record.value.config) == ("for Europe", Config())
    await opened.check()


async def test_what_is_gone_meanwhile_is_not_edited(opened: Opened) -> None:
    with pytest.raises(NotFound):
        await opened.meanwhile(inherit(opened.edits), lambda edits: edits.rules.delete("eu", "", DO))
    assert "group-eu.yml" not in await opened.edits.files()
    await opened.check()


async def test_two_rules_that_come_at_once_leave_both_to_the_rule_above(opened: Opened) -> None:
    await opened.edits.rules.delete("dev", "", DO)
    created = opened.edits.rule(GroupScope("dev"), "dev-2", config=threshold(61.0))
    await opened.meanwhile(created, lambda e: e.rule(GroupScope("a"), "a", config=threshold(55.0), priority=5))
    assert (await opened.edits.exprs())["global.yml"] == ['cpu_percent{dc!="a",env!~"dev|eu|prod"} > 90']
    await opened.check()


async def test_another_alert_in_the_file_of_a_rule_for_everything_stays_there(opened: Opened) -> None:
    await opened.meanwhile(set_threshold("all", 91.0)(opened.edits), another_alert(GlobalScope()))
    exprs = (await opened.edits.exprs())["global.yml"]
    assert sorted(exprs) == ['cpu_percent{env!~"dev|eu|prod"} > 91', "up == 0"]
    await opened.check()
