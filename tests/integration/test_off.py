"""Rules that are off: in no file, checked all the same, and in nobody's way (docs/decisions/0012)."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from rule_service.domain.model import AlertRule, AlertSpec, Config, GlobalScope, Group, GroupScope, Namespace
from rule_service.usecases.rebase import TheseRules
from rule_service.usecases.rollback import Everything
from rule_service.usecases.rules import RuleDraft
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason
from tests.support.bundles import BundleText
from tests.support.edits import CPU, CPU_TEMPLATE, DO, TRY, Edits, open_edits

UNCLOSED = replace(CPU, query="sum(cpu_percent > {{ .threshold }}")
NO_TYPE_CHECK = replace(CPU, query="rate(cpu_percent) > {{ .threshold }}")
NARROW = replace(CPU, parameters=(replace(CPU.parameters[0], maximum=95.0),))


def threshold(value: float) -> Config:
    return Config(parameters={"threshold": value})


@pytest_asyncio.fixture
async def edits(database: str, promtool: Path) -> AsyncIterator[Edits]:
    """The group dev of the namespace env, the template cpu, and its rule for everything."""
    async with open_edits(database, promtool) as opened:
        await opened.namespaces.create(Namespace("env", "env"), DO)
        await opened.groups.create(Group("dev", "env", "dev"), DO)
        await opened.templates.create(CPU_TEMPLATE, DO)
        await opened.rule(GlobalScope(), "cpu-all")
        yield opened


def off(spec: AlertSpec, config: Config | None = None) -> RuleDraft:
    return RuleDraft("off", GroupScope("dev"), key="high-cpu", spec=spec, config=config or Config(), enabled=False)


async def world(edits: Edits) -> tuple[int, dict[str, bytes]]:
    return await edits.store.revision(), await edits.files()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (UNCLOSED, r"\( has no closing \)"),
        (NO_TYPE_CHECK, "promtool refuses it"),
        (replace(CPU, query='cpu_percent{env="prod"} > {{ .threshold }}'), "never matches in the scope"),
    ],
    ids=["parser", "promtool", "scope"],
)
@pytest.mark.parametrize("options", [DO, TRY], ids=["saved", "tried"])
async def test_a_query_that_could_not_run_is_refused(
    edits: Edits, spec: AlertSpec, message: str, options: object
) -> None:
    before = await world(edits)
    with pytest.raises(InvalidInput, match=message) as refused:
        await edits.rules.create(off(spec), options)  # type: ignore[arg-type]
    assert refused.value.violations[0].field == "rule.spec.query"
    assert await world(edits) == before


async def test_what_it_lacks_or_inherits_is_no_mistake_of_its_own(edits: Edits) -> None:
    await edits.rules.update("cpu-all", "", lambda rule: replace(rule, config=threshold(99.0)), DO)
    needs = replace(NARROW, parameters=(replace(NARROW.parameters[0], default=None),))
    written = await edits.rules.create(off(needs), DO)
    assert (written.value.placed, await edits.exprs()) == (None, {"global.yml": ['cpu_percent{env!="dev"} > 99']})
    await edits.rules.delete("cpu-all", "", DO)
    await edits.rules.update("off", "", lambda rule: replace(rule, config=Config(for_duration="1m")), DO)
    with pytest.raises(InvalidInput) as refused:
        await edits.rules.switch("off", "", True, DO)
    assert refused.value.reason is Reason.PARAMETER_MISSING


async def test_an_update_is_checked_too(edits: Edits) -> None:
    await edits.rules.create(off(CPU), DO)
    before = await world(edits)
    with pytest.raises(InvalidInput, match="has no closing"):
        await edits.rules.update("off", "", lambda rule: replace(rule, spec=UNCLOSED), DO)
    with pytest.raises(InvalidInput, match="promtool refuses it"):
        await edits.rules.update("off", "", lambda rule: replace(rule, spec=NO_TYPE_CHECK), DO)
    bad = Config(annotations={"summary": "{{ $nothing }}"})
    with pytest.raises(InvalidInput) as refused:
        await edits.rules.update("off", "", lambda rule: replace(rule, config=bad), DO)
    assert refused.value.violations[0].field == "rule.config.annotations[summary]"
    assert await world(edits) == before


async def test_an_update_that_also_switches_off_is_checked(edits: Edits) -> None:
    before = await world(edits)
    with pytest.raises(InvalidInput, match="has no closing"):
        await edits.rules.create(replace(off(UNCLOSED), enabled=True), DO)
    await edits.rules.create(replace(off(CPU), enabled=True), DO)
    with pytest.raises(InvalidInput, match="has no closing"):
        await edits.rules.update("off", "", lambda rule: replace(rule, spec=UNCLOSED, enabled=False), DO)
    assert (await world(edits))[0] == before[0] + 1


async def test_a_bundle_says_which_of_its_rules_it_is(edits: Edits) -> None:
    before = await world(edits)
    text = """
rules:
  - {id: fine, key: fine, scope: {global: {}}, enabled: false, spec: {alert_name: A, severity: s, query: up == 0}}
  - {id: open, key: open, scope: {global: {}}, enabled: false, spec: {alert_name: A, severity: s, query: sum(up}}
  - {id: type, key: type, scope: {global: {}}, enabled: false, spec: {alert_name: A, severity: s, query: rate(up)}}
"""
    with pytest.raises(InvalidInput) as parser:
        await BundleText(edits).apply(text)
    assert [each.field for each in parser.value.violations] == ["rules[1].spec.query"]
    with pytest.raises(InvalidInput) as types:
        await BundleText(edits).apply(text.replace("sum(up", "sum(up)"))
    assert [each.field for each in types.value.violations] == ["rules[2].spec.query"]
    assert await world(edits) == before
    await BundleText(edits).apply(text.replace("sum(up", "sum(up)").replace("rate(up)", "up"))
    assert await edits.exprs() == {"global.yml": ["cpu_percent > 90"]}


async def test_a_rebase_is_checked(database: str, edits: Edits) -> None:
    await edits.rule(GroupScope("dev"), "cpu-dev", enabled=False)
    async with open_edits(database, None) as unchecked:
        await unchecked.templates.update("cpu", "", lambda record: replace(record.value, spec=NO_TYPE_CHECK), DO)
    before = await world(edits)
    with pytest.raises(InvalidInput, match='rule "cpu-dev" would be broken by this: promtool refuses it') as refused:
        await edits.rebase.rebase(TheseRules(("cpu-dev",)), DO)
    assert refused.value.violations[0].field == "rules[cpu-dev].spec.query"
    assert await world(edits) == before


async def broken_by_its_surroundings(edits: Edits) -> None:
    """The rule `off` takes at most 95, and inherits 99."""
    await edits.rules.create(off(NARROW), DO)
    written = await edits.rules.update("cpu-all", "", lambda rule: replace(rule, config=threshold(99.0)), DO)
    assert [each.name for each in written.change.files] == ["global.yml"]


async def test_what_others_do_is_not_refused_for_it_and_it_tells(edits: Edits) -> None:
    await broken_by_its_surroundings(edits)
    assert await edits.exprs() == {"global.yml": ['cpu_percent{env!="dev"} > 99']}
    explained = await edits.understanding.explain_rule("off")
    assert explained.shown is not None
    assert [str(each.code) for each in explained.shown.warnings] == ["CAN_NOT_BE_ENABLED"]
    effective = await edits.understanding.effective_for_labels({"env": "dev"}, None)
    assert [(each.rule.id, each.rendered) for each in effective.rules] == [("off", None)]


async def test_enabling_it_says_what_does_not_fit_and_from_where(edits: Edits) -> None:
    await broken_by_its_surroundings(edits)
    before = await world(edits)
    with pytest.raises(InvalidInput, match='"off" would inherit this from rule "cpu-all"') as refused:
        await edits.rules.switch("off", "", True, DO)
    assert refused.value.violations[0].field == "rule.config.parameters[threshold]"
    assert await world(edits) == before
    await edits.rules.update("off", "", lambda rule: replace(rule, config=Config(for_duration="1m")), DO)
    await edits.rules.update("off", "", lambda rule: replace(rule, config=threshold(95.0)), DO)
    await edits.rules.switch("off", "", True, DO)
    assert (await edits.exprs())["group-dev.yml"] == ['cpu_percent{env="dev"} > 95']


async def test_it_comes_back_as_it_was(edits: Edits) -> None:
    await broken_by_its_surroundings(edits)
    there = await edits.store.revision()
    await edits.rules.delete("off", "", DO)
    await edits.rules.undelete("off", "", DO)
    await edits.rules.delete("off", "", DO)
    await edits.rollback.roll_back(there, Everything(), DO)
    back = await edits.store.rule("off")
    assert back is not None
    assert (back.deleted_at, back.value.enabled) == (None, False)
    assert await edits.exprs() == {"global.yml": ['cpu_percent{env!="dev"} > 99']}


async def test_switching_off_is_never_refused(database: str, promtool: Path, edits: Edits) -> None:
    async with open_edits(database, None) as unchecked:
        await unchecked.rules.create(replace(off(NO_TYPE_CHECK), enabled=True), DO)
    with pytest.raises(InvalidInput, match="promtool refuses it"):
        await edits.rules.update("off", "", lambda rule: replace(rule, config=threshold(80.0)), DO)

    def switched_off(rule: AlertRule) -> AlertRule:
        return replace(rule, enabled=False, description="until it is mended")

    await edits.rules.update("off", "", switched_off, DO)
    assert await edits.exprs() == {"global.yml": ['cpu_percent{env!="dev"} > 90']}
