"""Templates move on, and rules after them, on a real database with a real promtool."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from rule_service.domain.model import (
    AlertSpec,
    Config,
    GlobalScope,
    Group,
    GroupScope,
    Namespace,
    Parameter,
    ParameterType,
)
from rule_service.usecases.filters import RuleFilter
from rule_service.usecases.rebase import RulesOfTemplate, TheseRules
from rule_service.usecases.rules import RuleDraft
from rulecast.errors import InvalidInput, NotFound
from rulecast.reasons import Reason
from tests.support.edits import CPU, CPU_TEMPLATE, DO, TRY, Edits, open_edits

OF_CPU = RulesOfTemplate("cpu")
SUM = replace(CPU, query="sum by (env) (cpu_percent) > {{ .threshold }}")


@pytest_asyncio.fixture
async def edits(database: str, promtool: Path) -> AsyncIterator[Edits]:
    """The template cpu with rules everywhere (on), for prod (80) and for dev (off)."""
    async with open_edits(database, promtool) as opened:
        await opened.namespaces.create(Namespace("env", "env"), DO)
        for group in (Group("prod", "env", "prod"), Group("dev", "env", "dev")):
            await opened.groups.create(group, DO)
        await opened.templates.create(CPU_TEMPLATE, DO)
        await opened.rule(GlobalScope(), "cpu-all")
        await opened.rule(GroupScope("prod"), "cpu-prod", config=Config(parameters={"threshold": 80.0}))
        await opened.rule(GroupScope("dev"), "cpu-dev", enabled=False)
        yield opened


async def move_on(edits: Edits, spec: AlertSpec) -> None:
    await edits.templates.update("cpu", "", lambda record: replace(record.value, spec=spec), DO)


async def outdated(edits: Edits) -> list[str]:
    page = await edits.store.rules("", 100, RuleFilter(outdated=True))
    return [record.value.id for record in page.items]


async def test_the_outdated_ones_are_found(edits: Edits) -> None:
    await edits.rules.create(RuleDraft("direct", GlobalScope(), key="direct", spec=CPU), DO)
    assert await outdated(edits) == []
    await move_on(edits, SUM)
    await edits.rules.delete("cpu-dev", "", DO)
    await edits.rule(GroupScope("dev"), "cpu-new")
    assert await outdated(edits) == ["cpu-all", "cpu-prod"]


async def test_a_template_that_was_made_anew_is_another_version(edits: Edits) -> None:
    await edits.templates.delete("cpu", "", DO)
    assert await outdated(edits) == []
    await edits.templates.purge("cpu", "", DO)
    await edits.templates.create(replace(CPU_TEMPLATE, spec=SUM), DO)
    assert await outdated(edits) == ["cpu-all", "cpu-dev", "cpu-prod"]


async def test_all_rules_of_a_template_move_in_one_revision(edits: Edits) -> None:
    await move_on(edits, SUM)
    before, files = await edits.store.revision(), await edits.files()
    tried = await edits.rebase.rebase(OF_CPU, TRY)
    assert (tried.change.revision, await edits.files()) == (0, files)
    done = await edits.rebase.rebase(OF_CPU, DO)
    assert (done.value, done.change.files) == (tried.value, tried.change.files)
    assert done.change.revision == before + 1
    versions = [(each.after.id, each.before.template_version, each.after.template_version) for each in done.value]
    assert versions == [("cpu-all", 1, 2), ("cpu-dev", 1, 2), ("cpu-prod", 1, 2)]
    assert await edits.exprs() == {
        "global.yml": ['sum by (env) (cpu_percent{env!~"dev|prod"}) > 90'],
        "group-prod.yml": ['sum by (env) (cpu_percent{env="prod"}) > 80'],
    }
    assert await outdated(edits) == []
    again = await edits.rebase.rebase(OF_CPU, DO)
    assert (again.value, again.change.revision) == ((), 0)


async def test_some_rules_move_and_the_others_stay(edits: Edits) -> None:
    await move_on(edits, SUM)
    done = await edits.rebase.rebase(TheseRules(("cpu-prod", "cpu-prod")), DO)
    assert [each.after.id for each in done.value] == ["cpu-prod"]
    assert [change.name for change in done.change.files] == ["group-prod.yml"]
    assert await outdated(edits) == ["cpu-all", "cpu-dev"]


async def test_a_parameter_that_vanished_is_refused_for_each_rule_that_sets_it(edits: Edits) -> None:
    await edits.rules.update(
        "cpu-dev", "", lambda rule: replace(rule, config=Config(parameters={"threshold": 99.0})), DO
    )
    limit = Parameter("limit", ParameterType.NUMBER, 90.0)
    text = Config(annotations={"summary": "over {{ .limit }}"})
    await move_on(edits, replace(CPU, query="cpu_percent > {{ .limit }}", parameters=(limit,), defaults=text))
    before = await edits.files(), await edits.store.revision()
    with pytest.raises(InvalidInput, match='rule "cpu-dev" does not fit version 2') as refused:
        await edits.rebase.rebase(OF_CPU, DO)
    assert [(each.field, each.reason) for each in refused.value.violations] == [
        ("rules[cpu-dev].config.parameters[threshold]", Reason.PARAMETER_UNKNOWN),
        ("rules[cpu-prod].config.parameters[threshold]", Reason.PARAMETER_UNKNOWN),
    ]
    assert (await edits.files(), await edits.store.revision()) == before
    await edits.rebase.rebase(TheseRules(("cpu-all",)), DO)
    assert (await edits.exprs())["global.yml"] == ['cpu_percent{env!~"dev|prod"} > 90']


async def test_a_value_that_no_longer_fits_is_refused(edits: Edits) -> None:
    await move_on(edits, replace(CPU, parameters=(replace(CPU.parameters[0], minimum=85.0),)))
    with pytest.raises(InvalidInput) as refused:
        await edits.rebase.rebase(OF_CPU, TRY)
    (violation,) = refused.value.violations
    assert violation.field == "rules[cpu-prod].config.parameters[threshold]"
    assert violation.reason is Reason.PARAMETER_OUT_OF_BOUNDS


async def test_an_inherited_value_that_no_longer_fits_is_refused_with_the_rule_named(edits: Edits) -> None:
    await edits.rules.update(
        "cpu-all", "", lambda rule: replace(rule, config=Config(parameters={"threshold": 70.0})), DO
    )
    await edits.rules.update("cpu-prod", "", lambda rule: replace(rule, config=Config()), DO)
    await move_on(edits, replace(CPU, parameters=(replace(CPU.parameters[0], minimum=85.0),)))
    with pytest.raises(InvalidInput, match='"cpu-prod"') as refused:
        await edits.rebase.rebase(TheseRules(("cpu-prod",)), DO)
    assert refused.value.reason is Reason.PARAMETER_OUT_OF_BOUNDS


@pytest.mark.parametrize("deleted", [False, True])
async def test_what_is_not_there_is_named(edits: Edits, deleted: bool) -> None:
    if deleted:
        await edits.rules.delete("cpu-dev", "", DO)
    missing = "cpu-dev" if deleted else "nothing"
    with pytest.raises(NotFound) as refused:
        await edits.rebase.rebase(TheseRules(("cpu-all", missing)), DO)
    assert (refused.value.reason, refused.value.violations[0].field) == (Reason.RULE_NOT_FOUND, "rule_ids[1]")


async def test_a_rule_without_a_template_is_refused(edits: Edits) -> None:
    await edits.rules.create(RuleDraft("direct", GlobalScope(), key="direct", spec=CPU), DO)
    with pytest.raises(InvalidInput, match='"direct" was not made from a template'):
        await edits.rebase.rebase(TheseRules(("direct",)), DO)
    await edits.templates.delete("cpu", "", DO)
    with pytest.raises(NotFound, match='"cpu" of rule "cpu-all" was deleted'):
        await edits.rebase.rebase(TheseRules(("cpu-all",)), DO)
    with pytest.raises(NotFound) as refused:
        await edits.rebase.rebase(OF_CPU, DO)
    assert (refused.value.reason, refused.value.violations[0].field) == (Reason.TEMPLATE_NOT_FOUND, "template_id")
