"""Edits on a real database with a real promtool: all or nothing, and exactly what an edit can change."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from rule_service.domain.model import (
    AlertRule,
    AlertSpec,
    Config,
    GlobalScope,
    Group,
    GroupScope,
    Namespace,
    NamespaceScope,
    Target,
)
from rule_service.usecases.change import FileChangeKind
from rule_service.usecases.rules import RuleDraft
from rulecast.digest import file_sha256
from rulecast.errors import AlreadyExists, Conflict, FailedPrecondition, InvalidInput, NotFound
from rulecast.reasons import Reason
from tests.support.edits import CPU, CPU_TEMPLATE, DO, TRY, Edits, open_edits


@pytest_asyncio.fixture
async def edits(database: str, promtool: Path) -> AsyncIterator[Edits]:
    """Namespaces default and env, the groups prod > eu and dev, and the template cpu."""
    async with open_edits(database, promtool) as opened:
        await opened.namespaces.create(Namespace("env", "env"), DO)
        for group in (Group("prod", "env", "prod"), Group("eu", "env", "eu", "prod"), Group("dev", "env", "dev")):
            await opened.groups.create(group, DO)
        await opened.templates.create(CPU_TEMPLATE, DO)
        yield opened


def threshold(value: float) -> Config:
    return Config(parameters={"threshold": value})


async def test_a_rule_becomes_a_file_and_its_override_is_excluded_from_it(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    written = await edits.rule(GroupScope("prod"), "cpu-prod", config=threshold(80.0))
    assert await edits.exprs() == {
        "global.yml": ['cpu_percent{env!~"eu|prod"} > 90'],
        "group-prod.yml": ['cpu_percent{env=~"eu|prod"} > 80'],
    }
    kinds = {change.name: change.kind for change in written.change.files}
    assert kinds == {"global.yml": FileChangeKind.MODIFIED, "group-prod.yml": FileChangeKind.ADDED}
    assert written.value.placed is not None
    assert written.value.placed.rule.expr == 'cpu_percent{env=~"eu|prod"} > 80'
    assert written.value.placed.group == "group-prod/default/0"


async def test_what_is_stored_hangs_together(edits: Edits) -> None:
    written = await edits.rule(GlobalScope(), "cpu-all")
    (facts,) = (await edits.store.files("", 10)).items
    content = (await edits.files())["global.yml"]
    assert facts.sha256 == file_sha256(content)
    assert facts.revision == written.change.revision == await edits.store.revision()
    (logged,) = await edits.store.changed_files(written.change.revision)
    assert (logged.file_name, logged.sha256) == ("global.yml", facts.sha256)
    assert written.value.record.revision == written.change.revision


async def test_a_dry_run_answers_like_the_real_thing_and_changes_nothing(edits: Edits) -> None:
    revision = await edits.store.revision()
    tried = await edits.rule(GlobalScope(), "cpu-all", TRY)
    assert (await edits.store.revision(), await edits.files()) == (revision, {})
    assert await edits.store.rule("cpu-all") is None
    done = await edits.rule(GlobalScope(), "cpu-all")
    assert (tried.change.revision, done.change.revision) == (0, revision + 1)
    assert tried.change.files == done.change.files
    assert tried.value.placed == done.value.placed


async def test_an_edit_that_changes_nothing_makes_no_revision(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    before = await edits.store.revision()
    written = await edits.rules.update("cpu-all", "", lambda rule: rule, DO)
    assert (written.change.revision, await edits.store.revision()) == (0, before)
    assert written.value.placed is not None


async def test_an_edit_that_renders_alike_makes_a_revision_and_no_file(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    written = await edits.rules.update("cpu-all", "", lambda rule: replace(rule, description="why"), DO)
    assert written.change.revision > 0
    assert written.change.files == ()
    assert written.value.placed is not None


async def test_an_edit_touches_only_the_files_that_it_changes(edits: Edits) -> None:
    other = replace(CPU, alert_name="Other", query="other_percent > {{ .threshold }}")
    await edits.rules.create(RuleDraft("other", GlobalScope(), key="other", spec=other), DO)
    await edits.rule(GlobalScope(), "cpu-all")
    await edits.rule(GroupScope("dev"), "cpu-dev", config=threshold(95.0))
    before = await edits.files()
    written = await edits.rules.update("cpu-dev", "", lambda rule: replace(rule, config=threshold(85.0)), DO)
    after = await edits.files()
    assert [change.name for change in written.change.files] == ["group-dev.yml"]
    assert {name for name in after if after[name] != before[name]} == {"group-dev.yml"}


async def test_a_disabled_rule_switches_the_alert_off_and_has_no_file(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    await edits.rule(GroupScope("dev"), "cpu-dev", enabled=False)
    assert await edits.exprs() == {"global.yml": ['cpu_percent{env!="dev"} > 90']}


async def test_a_deleted_rule_no_longer_counts_and_frees_its_key(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    await edits.rule(GroupScope("dev"), "cpu-dev")
    deleted = await edits.rules.delete("cpu-dev", "", DO)
    assert deleted.value.record.deleted_at is not None
    assert await edits.exprs() == {"global.yml": ["cpu_percent > 90"]}
    await edits.rule(GroupScope("dev"), "cpu-dev-again")
    with pytest.raises(NotFound):
        await edits.rules.delete("cpu-dev", "", DO)


async def test_an_inherited_value_reaches_the_rules_below(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    await edits.rule(GroupScope("prod"), "cpu-prod")
    await edits.rules.update("cpu-all", "", lambda rule: replace(rule, config=threshold(70.0)), DO)
    assert await edits.exprs(["group-prod.yml"]) == {"group-prod.yml": ['cpu_percent{env=~"eu|prod"} > 70']}


async def test_a_rule_keeps_its_snapshot_when_the_template_moves_on(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    moved = await edits.templates.update(
        "cpu", "", lambda record: replace(record.value, spec=replace(CPU, query="new_percent > {{ .threshold }}")), DO
    )
    assert moved.value.value.version == 2
    assert await edits.exprs() == {"global.yml": ["cpu_percent > 90"]}
    written = await edits.rule(GroupScope("dev"), "cpu-dev")
    assert written.value.record.value.template_version == 2


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"query": "cpu_percent{"}, "rule.spec.query", Reason.QUERY_INVALID),
        ({"query": "rate(cpu_percent) > {{ .threshold }}"}, "rule.spec.query", Reason.QUERY_INVALID),
        ({"query": '{__name__=~".*"} > {{ .threshold }}'}, "rule.spec.query", Reason.QUERY_INVALID),
        ({"query": "cpu_percent > {{ .treshold }}"}, "rule.spec.query", Reason.PARAMETER_UNKNOWN),
        ({"alert_name": ""}, "rule.spec.alert_name", Reason.FIELD_REQUIRED),
        (
            {"defaults": Config(annotations={"summary": "{{ $nothing }} {{ .threshold }}"})},
            "rule.config.annotations[summary]",
            Reason.QUERY_INVALID,
        ),
    ],
)
async def test_a_bad_spec_is_refused_by_field_and_nothing_is_saved(
    edits: Edits, change: dict[str, str], field: str, reason: Reason
) -> None:
    before = await edits.store.revision()
    draft = RuleDraft("bad", GlobalScope(), key="bad", spec=replace(CPU, **change))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput) as refused:
        await edits.rules.create(draft, DO)
    assert (refused.value.violations[0].field, refused.value.reason) == (field, reason)
    assert (await edits.store.revision(), await edits.files()) == (before, {})


@pytest.mark.parametrize(
    ("config", "field", "reason"),
    [
        (threshold(101.0), "rule.config.parameters[threshold]", Reason.PARAMETER_OUT_OF_BOUNDS),
        (Config(parameters={"threshold": "80"}), "rule.config.parameters[threshold]", Reason.PARAMETER_TYPE),
        (Config(parameters={"limit": 80.0}), "rule.config.parameters[limit]", Reason.PARAMETER_UNKNOWN),
        (Config(for_duration="5 minutes"), "rule.config.for_duration", Reason.DURATION_INVALID),
        (Config(labels={"env": "x"}), "rule.config.labels[env]", Reason.LABEL_RESERVED),
        (Config(labels={"group_id": "x"}), "rule.config.labels[group_id]", Reason.LABEL_RESERVED),
        (Config(labels={"alertname": "x"}), "rule.config.labels[alertname]", Reason.LABEL_RESERVED),
    ],
)
async def test_a_bad_config_is_refused_by_field(edits: Edits, config: Config, field: str, reason: Reason) -> None:
    with pytest.raises(InvalidInput) as refused:
        await edits.rule(GlobalScope(), "bad", config=config)
    assert (refused.value.violations[0].field, refused.value.reason) == (field, reason)
    assert await edits.files() == {}


async def test_what_is_not_there_is_named(edits: Edits) -> None:
    with pytest.raises(NotFound) as no_group:
        await edits.rule(GroupScope("nowhere"), "bad")
    assert (no_group.value.reason, no_group.value.violations[0].field) == (
        Reason.GROUP_NOT_FOUND,
        "rule.scope.group_id",
    )
    with pytest.raises(NotFound) as no_namespace:
        await edits.rule(NamespaceScope("nowhere"), "bad")
    assert no_namespace.value.reason is Reason.NAMESPACE_NOT_FOUND
    with pytest.raises(NotFound) as no_template:
        await edits.rules.create(RuleDraft("bad", GlobalScope(), template_id="nothing"), DO)
    assert no_template.value.reason is Reason.TEMPLATE_NOT_FOUND


async def test_a_key_is_there_once_at_a_scope(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    with pytest.raises(AlreadyExists) as taken:
        await edits.rule(GlobalScope(), "cpu-other")
    assert taken.value.reason is Reason.KEY_TAKEN
    with pytest.raises(AlreadyExists) as same_id:
        await edits.rule(GroupScope("dev"), "cpu-all")
    assert same_id.value.reason is Reason.ID_TAKEN


async def test_a_stale_etag_is_refused_with_the_current_one(edits: Edits) -> None:
    first = (await edits.rule(GlobalScope(), "cpu-all")).value.record
    second = await edits.rules.update("cpu-all", first.etag, lambda rule: replace(rule, priority=1), DO)
    with pytest.raises(Conflict) as stale:
        await edits.rules.update("cpu-all", first.etag, lambda rule: replace(rule, priority=2), DO)
    assert stale.value.metadata["current_etag"] == second.value.record.etag
    with pytest.raises(Conflict):
        await edits.rules.delete("cpu-all", first.etag, DO)


async def test_what_a_rule_is_can_not_be_changed(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")

    def elsewhere(rule: AlertRule) -> AlertRule:
        return replace(rule, key="x", scope=GroupScope("dev"), spec=replace(CPU, severity="critical"))

    with pytest.raises(InvalidInput) as refused:
        await edits.rules.update("cpu-all", "", elsewhere, DO)
    assert {each.field for each in refused.value.violations} == {"rule.key", "rule.scope", "rule.spec"}


async def test_a_mistake_that_would_break_another_rule_names_it(edits: Edits) -> None:
    narrow = replace(CPU, parameters=(replace(CPU.parameters[0], maximum=95.0),))
    await edits.rule(GlobalScope(), "cpu-all")
    await edits.rules.create(RuleDraft("cpu-dev", GroupScope("dev"), key="high-cpu", spec=narrow), DO)
    before = await edits.files()
    with pytest.raises(InvalidInput, match="cpu-dev"):
        await edits.rules.update("cpu-all", "", lambda rule: replace(rule, config=threshold(99.0)), DO)
    assert await edits.files() == before


async def test_alerts_that_nobody_can_tell_apart_are_warned_of(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    draft = RuleDraft("cpu-too", GlobalScope(), key="cpu-too", spec=replace(CPU, query="cpu_steal > {{ .threshold }}"))
    elsewhere = await edits.rules.create(replace(draft, id="cpu-dev", scope=GroupScope("dev")), DO)
    assert elsewhere.change.warnings == ()
    tried = await edits.rules.create(draft, TRY)
    done = await edits.rules.create(draft, DO)
    assert [(each.rule_id, each.warning.code) for each in done.change.warnings] == [("cpu-too", "SAME_IDENTITY")]
    assert 'those of rule "cpu-all" at this scope' in done.change.warnings[0].warning.message
    assert tried.change.warnings == done.change.warnings
    severe = Config(labels={"severity": "critical"})
    mended = await edits.rules.update("cpu-all", "", lambda rule: replace(rule, config=severe), DO)
    assert mended.change.warnings == ()


async def test_a_group_that_moves_takes_its_values_along(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    await edits.rule(GroupScope("prod"), "cpu-prod")
    await edits.rule(GroupScope("dev"), "cpu-dev")
    written = await edits.groups.update("eu", "", lambda record: replace(record.value, parent_id="dev"), DO)
    assert await edits.exprs() == {
        "global.yml": ['cpu_percent{env!~"dev|eu|prod"} > 90'],
        "group-prod.yml": ['cpu_percent{env="prod"} > 90'],
        "group-dev.yml": ['cpu_percent{env=~"dev|eu"} > 90'],
    }
    assert {change.name for change in written.change.files} == {"group-dev.yml", "group-prod.yml"}


async def test_a_group_that_comes_under_a_ruled_one_is_covered_by_its_rule(edits: Edits) -> None:
    await edits.rule(GroupScope("prod"), "cpu-prod")
    await edits.groups.update("dev", "", lambda record: replace(record.value, parent_id="prod"), DO)
    assert await edits.exprs() == {"group-prod.yml": ['cpu_percent{env=~"dev|eu|prod"} > 90']}
    await edits.groups.update("dev", "", lambda record: replace(record.value, parent_id=None), DO)
    assert await edits.exprs() == {"group-prod.yml": ['cpu_percent{env=~"eu|prod"} > 90']}


async def test_another_label_value_is_rendered_where_it_counts(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    await edits.rule(GroupScope("dev"), "cpu-dev")
    await edits.rule(GroupScope("prod"), "cpu-prod")
    written = await edits.groups.update("dev", "", lambda record: replace(record.value, label_value="de.v"), DO)
    assert {change.name for change in written.change.files} == {"global.yml", "group-dev.yml"}
    assert await edits.exprs(["group-dev.yml"]) == {"group-dev.yml": ['cpu_percent{env="de.v"} > 90']}
    assert await edits.exprs(["global.yml"]) == {"global.yml": ['cpu_percent{env!~"de\\\\.v|eu|prod"} > 90']}


async def test_a_new_child_is_covered_by_its_parents_rule(edits: Edits) -> None:
    await edits.rule(GroupScope("dev"), "cpu-dev")
    await edits.groups.create(Group("lab", "env", "lab", "dev"), DO)
    assert await edits.exprs() == {"group-dev.yml": ['cpu_percent{env=~"dev|lab"} > 90']}


async def test_a_namespace_that_gets_another_label_re_renders_its_rules(edits: Edits) -> None:
    await edits.rule(NamespaceScope("env"), "cpu-env")
    await edits.namespaces.update("env", "", lambda record: replace(record.value, label="stage"), DO)
    assert await edits.exprs() == {"namespace-env.yml": ['cpu_percent{stage!=""} > 90']}


async def test_a_group_in_use_is_kept_unless_told_and_says_what_would_happen(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    await edits.rule(GroupScope("prod"), "cpu-prod")
    await edits.targets.create(Target("web", "web", "web", group_ids=("prod",)), DO)
    with pytest.raises(FailedPrecondition) as refused:
        await edits.groups.delete("prod", "", False, DO)
    for named in ("cpu-prod", "web", "eu"):
        assert named in str(refused.value)
    change = (await edits.groups.delete("prod", "", True, DO)).change
    assert {each.name: each.kind for each in change.files} == {
        "global.yml": FileChangeKind.MODIFIED,
        "group-prod.yml": FileChangeKind.DELETED,
    }
    assert await edits.exprs() == {"global.yml": ["cpu_percent > 90"]}
    eu, web = await edits.store.group("eu"), await edits.store.target("web")
    assert eu is not None
    assert web is not None
    assert (eu.value.parent_id, web.value.group_ids) == (None, ())
    rule = await edits.store.rule("cpu-prod")
    assert rule is not None
    assert rule.deleted_at is not None


async def test_a_group_can_not_be_its_own_ancestor(edits: Edits) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        await edits.groups.update("prod", "", lambda record: replace(record.value, parent_id="eu"), DO)
    assert refused.value.reason is Reason.GROUP_CYCLE


async def test_a_namespace_in_use_and_the_default_one_are_kept(edits: Edits) -> None:
    with pytest.raises(FailedPrecondition) as used:
        await edits.namespaces.delete("env", "", DO)
    assert used.value.reason is Reason.NAMESPACE_NOT_EMPTY
    with pytest.raises(FailedPrecondition) as default:
        await edits.namespaces.delete("default", "", DO)
    assert default.value.reason is Reason.NAMESPACE_PROTECTED


async def test_a_label_that_rules_set_can_not_tell_groups_apart(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all", config=Config(labels={"team": "web"}))
    with pytest.raises(FailedPrecondition, match="cpu-all"):
        await edits.namespaces.create(Namespace("team", "team"), DO)
    with pytest.raises(FailedPrecondition, match="cpu-all"):
        await edits.namespaces.update("env", "", lambda record: replace(record.value, label="team"), DO)
    await edits.rules.update("cpu-all", "", lambda rule: replace(rule, config=Config()), DO)
    await edits.namespaces.create(Namespace("team", "team"), DO)


async def test_a_target_is_in_one_group_of_a_namespace(edits: Edits) -> None:
    with pytest.raises(InvalidInput) as refused:
        await edits.targets.create(Target("web", "web", "web", group_ids=("prod", "dev")), DO)
    assert refused.value.reason is Reason.TWO_GROUPS_OF_ONE_NAMESPACE


async def test_edits_of_one_alert_at_once_all_count(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    names = [f"g{at}" for at in range(6)]
    for name in names:
        await edits.groups.create(Group(name, "env", name), DO)
    await asyncio.gather(*(edits.rule(GroupScope(name), f"cpu-{name}", config=threshold(50.0)) for name in names))
    exprs = await edits.exprs()
    assert exprs.pop("global.yml") == [f'cpu_percent{{env!~"{"|".join(names)}"}} > 90']
    assert exprs == {f"group-{name}.yml": [f'cpu_percent{{env="{name}"}} > 50'] for name in names}


async def test_two_writers_of_one_rule_do_not_lose_a_change(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")

    async def set_label(name: str) -> None:
        def change(rule: AlertRule) -> AlertRule:
            return replace(rule, config=replace(rule.config, labels={**rule.config.labels, name: "x"}))

        await edits.rules.update("cpu-all", "", change, DO)

    await asyncio.gather(*(set_label(f"l{at}") for at in range(8)))
    rule = await edits.store.rule("cpu-all")
    assert rule is not None
    assert set(rule.value.config.labels) == {f"l{at}" for at in range(8)}


async def test_the_library_is_loaded_once(edits: Edits) -> None:
    first = await edits.templates.load_library([], DO)
    assert len(first.value.created) >= 25
    second = await edits.templates.load_library([], DO)
    assert (second.value.created, second.change.revision) == ((), 0)
    assert second.value.existing == tuple(sorted(first.value.created))
    with pytest.raises(NotFound):
        await edits.templates.load_library(["no-such-template"], DO)


async def test_a_template_is_checked_by_promtool_before_a_rule_is_made_from_it(edits: Edits) -> None:
    spec = AlertSpec("Bad", "warning", "rate(cpu_percent) > 1")
    with pytest.raises(InvalidInput) as refused:
        await edits.templates.create(replace(CPU_TEMPLATE, id="bad", key="bad", spec=spec), DO)
    assert refused.value.violations[0].field == "template.spec.query"
    assert await edits.store.template("bad") is None


async def test_regenerating_what_is_right_changes_nothing_but_asks_for_a_comparison(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    await edits.rule(GroupScope("dev"), "cpu-dev")
    before = await edits.files()
    done = await edits.delivery.regenerate_all(DO)
    assert (done.groups, done.files, done.errors, done.change.revision) == (1, 2, (), 0)
    assert await edits.files() == before
    assert edits.commands.told == [("resync", None)]


async def test_regenerating_mends_a_file_that_was_lost(edits: Edits) -> None:
    await edits.rule(GlobalScope(), "cpu-all")
    before = await edits.files()
    async with edits.store.transaction() as transaction:
        await transaction.take_revision()
        await transaction.delete_rendered(["cpu-all"])
        await transaction.delete_files(["global.yml"])
    done = await edits.delivery.regenerate_all(DO)
    assert done.change.revision > 0
    assert await edits.files() == before


async def test_who_did_what_is_kept(edits: Edits) -> None:
    written = await edits.rule(GlobalScope(), "cpu-all")
    async with edits.store.transaction(rollback=True) as transaction:
        session = transaction._open
        row = await session.row("SELECT author, method FROM history WHERE revision = $1", written.change.revision)
        kept = await session.rows(
            "SELECT kind, resource_id, before, after FROM history_resources WHERE revision = $1",
            written.change.revision,
        )
    assert row is not None
    assert (row["author"], row["method"]) == ("tester", "Test")
    assert [(each["kind"], each["resource_id"], each["before"]) for each in kept] == [("rule", "cpu-all", None)]
    assert kept[0]["after"]["key"] == "high-cpu"
