"""Bundles on a real database with a real promtool: all or nothing, whose is what, and the way out and back in."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deploy.local.postgres import PostgresServer
from rule_service.domain.model import (
    AlertTemplate,
    Config,
    Exporter,
    GlobalScope,
    Group,
    GroupScope,
    MergeStrategy,
    Namespace,
    NamespaceScope,
    Target,
)
from rule_service.usecases.filters import GroupFilter, NamespaceFilter, RuleFilter, TargetFilter, TemplateFilter
from rule_service.usecases.ports import Page, Record
from rule_service.usecases.rules import RuleDraft
from rulecast.errors import AlreadyExists, FailedPrecondition, InvalidInput, LimitExceeded, NotFound, RulecastError
from rulecast.reasons import Reason
from tests.support.bundles import LIMITS, BundleText, actions
from tests.support.edits import CPU, CPU_TEMPLATE, DO, Edits, open_edits
from tests.support.postgres import fresh_database

WORLD = """
# children before parents, rules before everything
rules:
  - id: cpu-eu
    template_id: cpu
    scope: {group_id: eu}
    config: {parameters: {threshold: 70}}
  - id: cpu-prod
    template_id: cpu
    scope: {group_id: prod}
    config:
      parameters: {threshold: 80.5}
      labels: {team: 007}
  - id: disk
    key: disk
    scope: {global: {}}
    spec:
      alert_name: DiskFull
      severity: critical
      query: |
        disk_free_bytes
          < 100
groups:
  - {id: eu, parent_id: prod, label_value: eu-1}
  - {id: prod, namespace_id: env}
namespaces:
  - id: env
templates:
  - id: cpu
    key: high-cpu
    spec:
      alert_name: HighCPU
      severity: warning
      query: cpu_percent > {{ .threshold }}
      parameters:
        - {name: threshold, type: NUMBER, default: 90, minimum: 0, maximum: 100}
targets:
  - {id: web, hostname: web.example, group_ids: [eu], exporters: [{name: node, port: 9100}]}
"""


@pytest_asyncio.fixture
async def edits(database: str, promtool: Path) -> AsyncIterator[Edits]:
    async with open_edits(database, promtool) as opened:
        yield opened


@pytest.fixture
def text(edits: Edits) -> BundleText:
    return BundleText(edits)


def wrong(error: RulecastError) -> set[tuple[str, str]]:
    return {(each.field, str(each.reason)) for each in error.violations}


async def test_a_whole_world_in_one_revision_in_any_order(edits: Edits, text: BundleText) -> None:
    answer = await text.apply(WORLD, owner="base")
    assert set(actions(answer).values()) == {"CREATED"}
    assert (answer.created, answer.updated, answer.unchanged, answer.deleted) == (8, 0, 0, 0)
    assert answer.change.revision == await edits.store.revision() == 1
    assert await edits.exprs() == {
        "global.yml": ["disk_free_bytes\n  < 100\n"],
        "group-eu.yml": ['cpu_percent{env="eu-1"} > 70'],
        "group-prod.yml": ['cpu_percent{env="prod"} > 80.5'],
    }
    rule = await edits.store.rule("cpu-prod")
    assert rule is not None
    assert (rule.value.owner, rule.value.key, rule.value.config.labels) == ("base", "high-cpu", {"team": "007"})


async def test_again_changes_nothing(edits: Edits, text: BundleText) -> None:
    await text.apply(WORLD, owner="base")
    for mode in ("UPSERT", "SYNC"):
        answer = await text.apply(WORLD, mode, owner="base")
        assert (set(actions(answer).values()), answer.change.revision) == ({"UNCHANGED"}, 0)
    assert set(actions(await text.apply(WORLD)).values()) == {"UNCHANGED"}


async def test_a_dry_run_says_the_same_and_does_nothing(edits: Edits, text: BundleText) -> None:
    tried = await text.apply(WORLD, validate_only=True)
    assert (await edits.store.revision(), await edits.files()) == (0, {})
    done = await text.apply(WORLD)
    assert (actions(tried), list(tried.change.files)) == (actions(done), list(done.change.files))
    assert [each.file_name for each in done.change.files] == ["global.yml", "group-eu.yml", "group-prod.yml"]


async def test_create_only_names_all_that_is_there(edits: Edits, text: BundleText) -> None:
    await text.apply(WORLD)
    with pytest.raises(AlreadyExists) as refused:
        await text.apply(WORLD + "  - {id: db, hostname: db.example}\n", "CREATE_ONLY")
    assert wrong(refused.value) == {
        (f"{place}.id", "ID_TAKEN")
        for place in (
            *("rules[0]", "rules[1]", "rules[2]", "groups[0]", "groups[1]"),
            *("namespaces[0]", "templates[0]", "targets[0]"),
        )
    }
    assert await edits.store.target("db") is None


async def test_what_is_missing_is_deleted_in_sync_and_only_the_owners(edits: Edits, text: BundleText) -> None:
    await text.apply(WORLD, owner="base")
    await text.apply("targets: [{id: theirs, hostname: a}]", owner="other")
    await text.apply("targets: [{id: nobodys, hostname: a}]")
    slim = WORLD[: WORLD.index("targets:")].replace("  - {id: eu, parent_id: prod, label_value: eu-1}\n", "")
    slim = slim[: slim.index("  - id: cpu-eu")] + slim[slim.index("  - id: cpu-prod") :]
    answer = await text.apply(slim, "SYNC", owner="base")
    assert {name for name, action in actions(answer).items() if action == "DELETED"} == {
        "rule/cpu-eu",
        "group/eu",
        "target/web",
    }
    assert "group-eu.yml" not in await edits.files()
    assert {each.value.id for each in (await edits.store.targets("", 10)).items} == {"theirs", "nobodys"}
    everything = await text.apply("{}", "SYNC", owner="base")
    assert everything.deleted == 5
    assert await edits.files() == {}
    # a deleted rule comes back with what the bundle says of it now, and counts as created
    again = await text.apply(WORLD.replace("threshold: 70", "threshold: 60"), "CREATE_ONLY", owner="other")
    assert again.created == 8
    assert (await edits.exprs(["group-eu.yml"]))["group-eu.yml"] == ['cpu_percent{env="eu-1"} > 60']


async def test_sync_deletes_no_group_that_others_use(edits: Edits, text: BundleText) -> None:
    await text.apply(WORLD, owner="base")
    await edits.rule(GroupScope("eu"), "cpu-theirs", key="other")
    await edits.targets.create(Target("db", "db", group_ids=("eu",)), DO)
    before = await edits.files()
    with pytest.raises(FailedPrecondition) as refused:
        await text.apply("{}", "SYNC", owner="base")
    assert wrong(refused.value) == {("groups[eu]", "GROUP_NOT_EMPTY")}
    assert "rule cpu-theirs, target db" in str(refused.value)
    assert await edits.files() == before


async def test_two_owners_do_not_fight(edits: Edits, text: BundleText) -> None:
    await text.apply("targets: [{id: web, hostname: a}, {id: db, hostname: a}]", owner="one")
    for fields in ({"owner": "two"}, {}):
        with pytest.raises(FailedPrecondition, match='belongs to "one"') as refused:
            await text.apply("targets: [{id: web, hostname: b}]", **fields)
        assert wrong(refused.value) == {("targets[0]", "OWNED_BY_ANOTHER")}
    with pytest.raises(FailedPrecondition):
        await text.apply("targets: [{id: web, hostname: a}]", owner="two")
    taken = await text.apply("targets: [{id: web, hostname: a}]", owner="two", take_over=True)
    assert actions(taken) == {"target/web": "UPDATED"}
    gone = await text.apply("targets: []", "SYNC", owner="one")
    assert actions(gone) == {"target/db": "DELETED"}
    kept = await text.apply("targets: [{id: web, hostname: b}]", take_over=True)
    assert actions(kept) == {"target/web": "UPDATED"}
    web = await edits.store.target("web")
    assert web is not None
    assert (web.value.owner, web.value.hostname) == ("two", "b")


async def test_what_belongs_to_none_becomes_the_owners(edits: Edits, text: BundleText) -> None:
    await text.apply(WORLD)
    assert (await text.apply(WORLD, owner="base")).updated == 8
    everything: dict[str, Page[Record[Any]]] = {
        "namespaces": await edits.store.namespaces("", 10, NamespaceFilter(owner="base")),
        "groups": await edits.store.groups("", 10, GroupFilter("env", owner="base")),
        "targets": await edits.store.targets("", 10, TargetFilter("eu", hostname="web.example", owner="base")),
        "templates": await edits.store.templates("", 10, TemplateFilter("warning", owner="base")),
        "rules": await edits.store.rules("", 10, RuleFilter(owner="base")),
    }
    assert {kind: [each.value.id for each in page.items] for kind, page in everything.items()} == {
        "namespaces": ["env"],
        "groups": ["eu", "prod"],
        "targets": ["web"],
        "templates": ["cpu"],
        "rules": ["cpu-eu", "cpu-prod", "disk"],
    }
    assert [each.value.id for each in (await edits.store.namespaces("", 10, NamespaceFilter(owner=""))).items] == [
        "default"
    ]


async def test_the_first_namespace_is_let_go_but_stays(edits: Edits, text: BundleText) -> None:
    await text.apply("namespaces: [{id: default, label: group_id}]", owner="base")
    assert actions(await text.apply("{}", "SYNC", owner="base")) == {"namespace/default": "UPDATED"}
    default = await edits.store.namespace("default")
    assert default is not None
    assert default.value.owner == ""


async def test_a_person_who_edits_keeps_the_owner(edits: Edits, text: BundleText) -> None:
    await text.apply(WORLD, owner="base")
    await edits.groups.update("eu", "", lambda record: Group("eu", "env", "eu-2", "prod"), DO)
    await edits.rules.update("disk", "", lambda rule: replace(rule, enabled=False, owner=""), DO)
    await edits.rules.delete("cpu-eu", "", DO)
    await edits.rules.undelete("cpu-eu", "", DO)
    for id in ("disk", "cpu-eu"):
        rule = await edits.store.rule(id)
        assert rule is not None
        assert rule.value.owner == "base"
    group = await edits.store.group("eu")
    assert group is not None
    assert (group.value.owner, group.value.label_value) == ("base", "eu-2")
    assert (await text.apply(WORLD, "SYNC", owner="base")).updated == 2


async def test_names_change_hands(edits: Edits, text: BundleText) -> None:
    await text.apply(WORLD + "  - {id: db, hostname: db, group_ids: [prod]}\n")
    swapped = (
        WORLD.replace("label_value: eu-1", "label_value: prod")
        .replace("{id: prod, namespace_id: env}", "{id: prod, namespace_id: env, label_value: eu-1}")
        .replace("scope: {group_id: eu}", "scope: {group_id: other}")
        .replace("scope: {group_id: prod}", "scope: {group_id: eu}")
        .replace("scope: {group_id: other}", "scope: {group_id: prod}")
    )
    answer = await text.apply(swapped)
    assert {name for name, action in actions(answer).items() if action == "UPDATED"} == {
        "group/eu",
        "group/prod",
        "rule/cpu-eu",
        "rule/cpu-prod",
    }
    assert (await edits.exprs(["group-eu.yml", "group-prod.yml"])) == {
        "group-eu.yml": ['cpu_percent{env="prod"} > 80.5'],
        "group-prod.yml": ['cpu_percent{env="eu-1"} > 70'],
    }
    upside_down = (
        WORLD.replace("{id: eu, parent_id: prod, label_value: eu-1}", "{id: eu, namespace_id: env}")
        .replace("{id: prod, namespace_id: env}", "{id: prod, parent_id: eu}")
        .replace("key: high-cpu", "key: high")
    )
    await text.apply(upside_down)
    assert (await edits.exprs(["group-eu.yml"]))["group-eu.yml"] == ['cpu_percent{env="eu"} > 70']
    both = "namespaces: [{id: env, label: group_id}, {id: default, label: env}]"
    assert (await text.apply(both)).updated == 2
    assert (await edits.exprs(["group-eu.yml"]))["group-eu.yml"] == ['cpu_percent{group_id="eu"} > 70']


async def test_two_rules_exchange_their_keys(edits: Edits, text: BundleText) -> None:
    direct = "{{id: {}, key: {}, scope: {{global: {{}}}}, spec: {{alert_name: A, severity: s, query: {}}}}}"
    await text.apply(f"rules: [{direct.format('a', 'x', 'up')}, {direct.format('b', 'y', 'down')}]")
    answer = await text.apply(f"rules: [{direct.format('a', 'y', 'up')}, {direct.format('b', 'x', 'down')}]")
    assert set(actions(answer).values()) == {"UPDATED"}
    assert await edits.exprs() == {"global.yml": ["down", "up"]}


async def test_a_rule_that_moves_leaves_its_old_file(edits: Edits, text: BundleText) -> None:
    await text.apply(WORLD)
    await text.apply(WORLD.replace("scope: {group_id: eu}", "scope: {namespace_id: env}"))
    assert set(await edits.files()) == {"global.yml", "group-prod.yml", "namespace-env.yml"}


async def test_everything_that_is_wrong_is_told_at_once(edits: Edits, text: BundleText) -> None:
    await edits.namespaces.create(Namespace("taken", "team"), DO)
    await edits.templates.create(CPU_TEMPLATE, DO)
    await edits.rule(GlobalScope(), "here")
    bundle = """
    namespaces:
      - {id: a, label: team}
      - {id: Not An Id}
      - {id: b, label: x}
      - {id: c, label: x}
    groups:
      - {id: g1, namespace_id: none}
      - {id: g2, namespace_id: b, parent_id: nobody}
      - {id: g3, namespace_id: b, parent_id: g4}
      - {id: g4, namespace_id: b, parent_id: g3}
      - {id: g5, namespace_id: b, label_value: v}
      - {id: g6, namespace_id: b, label_value: v}
      - {id: g7, namespace_id: b, parent_id: g7}
      - {id: g8, namespace_id: b, parent_id: g3}
    targets:
      - {id: t, hostname: "not a host", group_ids: [g5, none]}
      - {id: t, hostname: fine}
    templates:
      - {id: bad, spec: {alert_name: A, severity: s, query: "up{"}}
    rules:
      - {id: r0, template_id: cpu, scope: {group_id: none}}
      - {id: r1, template_id: none, scope: {global: {}}, key: k}
      - {id: r2, template_id: cpu, scope: {namespace_id: b}, config: {parameters: {threshold: 101, x: 1}}}
      - {id: r3, template_id: cpu, scope: {global: {}}}
      - {id: r4, template_id: cpu, scope: {namespace_id: b}, config: {for_duration: 5 minutes}}
      - {id: r5, key: direct, scope: {global: {}}}
    """
    with pytest.raises(InvalidInput) as refused:
        await text.apply(bundle)
    assert wrong(refused.value) == {
        ("namespaces[0].label", "LABEL_TAKEN"),
        ("namespaces[1].id", "ID_INVALID"),
        ("namespaces[1].label", "LABEL_NAME_INVALID"),
        ("namespaces[2].label", "LABEL_TAKEN"),
        ("namespaces[3].label", "LABEL_TAKEN"),
        ("groups[0].namespace_id", "NAMESPACE_NOT_FOUND"),
        ("groups[1].parent_id", "GROUP_NOT_FOUND"),
        ("groups[2].parent_id", "GROUP_CYCLE"),
        ("groups[3].parent_id", "GROUP_CYCLE"),
        ("groups[4].label_value", "LABEL_VALUE_TAKEN"),
        ("groups[5].label_value", "LABEL_VALUE_TAKEN"),
        ("groups[6].parent_id", "GROUP_CYCLE"),
        ("targets[0].hostname", "FIELD_INVALID"),
        ("targets[1].id", "ID_TAKEN"),
        ("templates[0].spec.query", "QUERY_INVALID"),
        ("rules[0].scope.group_id", "GROUP_NOT_FOUND"),
        ("rules[1].template_id", "TEMPLATE_NOT_FOUND"),
        ("rules[2].config.parameters[threshold]", "PARAMETER_OUT_OF_BOUNDS"),
        ("rules[2].config.parameters[x]", "PARAMETER_UNKNOWN"),
        ("rules[3].key", "KEY_TAKEN"),
        ("rules[4].config.for_duration", "DURATION_INVALID"),
        ("rules[5].spec", "FIELD_REQUIRED"),
    }
    assert await edits.store.namespace("a") is None


async def test_rendering_tells_all_its_mistakes_too_and_so_does_promtool(edits: Edits, text: BundleText) -> None:
    direct = "{{id: {}, key: {}, scope: {{group_id: g}}, spec: {{alert_name: A, severity: s, query: '{}'}}}}"
    groups = "groups: [{id: g}]\nrules:\n"
    rules = [direct.format("a", "a", "vector(1)"), direct.format("b", "b", 'up{group_id="x"}')]
    with pytest.raises(InvalidInput) as refused:
        await text.apply(groups + "".join(f"  - {rule}\n" for rule in rules))
    assert wrong(refused.value) == {
        ("rules[0].spec.query", "QUERY_NOT_SCOPED"),
        ("rules[1].spec.query", "QUERY_NEVER_MATCHES"),
    }
    rules = [
        direct.format(id, id, "up").replace(
            "severity: s", f"severity: s, default_config: {{annotations: {{a: '{bad}'}}}}"
        )
        for id, bad in (("a", "{{ nothing }}"), ("b", "fine"), ("c", "{{ nowhere }}"))
    ]
    with pytest.raises(InvalidInput) as said:
        await text.apply(groups + "".join(f"  - {rule}\n" for rule in rules))
    assert {each.field.partition(".")[0] for each in said.value.violations} == {"rules[0]", "rules[2]"}
    assert await edits.store.revision() == 0


async def test_a_request_that_is_repeated_answers_what_the_first_did(edits: Edits, text: BundleText) -> None:
    first = await text.apply(WORLD, request_id="once")
    await edits.rules.delete("disk", "", DO)
    again = await text.apply(WORLD, request_id="once")
    assert (actions(again), again.change.revision) == (actions(first), first.change.revision)
    rule = await edits.store.rule("disk")
    assert rule is not None
    assert rule.deleted_at is not None
    with pytest.raises(InvalidInput) as refused:
        await text.apply("{}", request_id="once")
    assert refused.value.reason is Reason.REQUEST_ID_REUSED


async def test_rules_keep_their_snapshot_until_they_are_rebased(edits: Edits, text: BundleText) -> None:
    await text.apply(WORLD)
    newer = WORLD.replace("cpu_percent >", "cpu_used >")
    answer = await text.apply(newer)
    assert {name for name, action in actions(answer).items() if action == "UPDATED"} == {"template/cpu"}
    template = await edits.store.template("cpu")
    assert template is not None
    assert template.value.version == 2
    await text.apply(newer, rebase=True)
    assert (await edits.exprs(["group-eu.yml"]))["group-eu.yml"] == ['cpu_used{env="eu-1"} > 70']


async def test_limits(edits: Edits) -> None:
    small = BundleText(edits, replace(LIMITS, max_resources=3))
    with pytest.raises(LimitExceeded, match="8 resources: at most 3"):
        await small.apply(WORLD)
    await BundleText(edits).apply(WORLD)
    edits.exports._max = 7
    with pytest.raises(LimitExceeded, match="more than 7"):
        await BundleText(edits).export()


async def test_a_bundle_needs_an_owner_to_be_in_sync(text: BundleText) -> None:
    for fields, field in (({}, "owner"), ({"owner": "Not An Id"}, "owner")):
        with pytest.raises(InvalidInput) as refused:
            await text.apply("{}", "SYNC", **fields)
        assert refused.value.violations[0].field == field
    with pytest.raises(NotFound):
        await text.export(namespace_id="nothing")


async def rich(edits: Edits) -> None:
    """Everything that is hard to write down: old snapshots, templates that are gone, and strange texts."""
    strange = "é😀 \u2028 ' \" \\ # : {{ $value }}\n  two: lines\n\n"
    await edits.namespaces.create(Namespace("env", "env", 5, strange), DO)
    await edits.namespaces.update("default", "", lambda record: replace(record.value, label="part"), DO)
    for group in (Group("prod", "env", "no"), Group("eu", "env", "e|u", "prod", "80"), Group("off", "default", "~")):
        await edits.groups.create(group, DO)
    spec = replace(CPU, defaults=Config(labels={"team": "0x10"}, annotations={"text": strange, "sum": "1e3"}))
    await edits.templates.create(AlertTemplate("cpu", "high-cpu", spec, description=strange), DO)
    await edits.templates.create(replace(CPU_TEMPLATE, id="gone", key="gone"), DO)
    await edits.rule(GlobalScope(), "cpu-all", merge_strategy=MergeStrategy.OVERRIDE)
    await edits.rule(GroupScope("eu"), "cpu-eu", config=Config(parameters={"threshold": 1e-7}, for_duration="1h30m"))
    await edits.rules.create(RuleDraft("of-gone", NamespaceScope("env"), template_id="gone", priority=-3), DO)
    await edits.templates.delete("gone", "", DO)
    newer = replace(spec, query="cpu_used > {{ .threshold }}")
    await edits.templates.update("cpu", "", lambda record: replace(record.value, spec=newer), DO)
    await edits.rule(GroupScope("prod"), "cpu-prod", config=Config(labels={"w": " "}), enabled=False)
    await edits.rule(GroupScope("off"), "cpu-off", description="yes", key="1e3")
    await edits.rules.delete("cpu-off", "", DO)
    exporters = (Exporter("node", 9100), Exporter("x", 1, "/m", "https"))
    await edits.targets.create(Target("web", "web", "10.0.0.1", {"a": "true"}, exporters, ("eu", "off")), DO)


@pytest.mark.parametrize("format_", [1, 2], ids=["YAML", "JSON"])
async def test_what_was_exported_changes_nothing_and_makes_the_same_elsewhere(
    edits: Edits, text: BundleText, postgres_server: PostgresServer, promtool: Path, format_: int
) -> None:
    await rich(edits)
    exported = await text.export(format=format_)
    assert exported == await text.export(format=format_)
    for mode, fields in (("UPSERT", {}), ("UPSERT", {"rebase": False})):
        answer = await text.apply(exported, mode, **fields)
        assert (set(actions(answer).values()), answer.change.revision) == ({"UNCHANGED"}, 0)
    assert "cpu-off" not in exported
    async with fresh_database(postgres_server) as url, open_edits(url, promtool) as elsewhere:
        answer = await BundleText(elsewhere).apply(exported)
        assert answer.change.revision == 1
        assert await elsewhere.files() == await edits.files()
        assert await BundleText(elsewhere).export(format=format_) == exported


async def test_an_export_reads_well(text: BundleText) -> None:
    await text.apply(WORLD, owner="base")
    assert await text.export(owner="base") == (
        "namespaces:\n"
        "  - id: env\n"
        "    label: env\n"
        "groups:\n"
        "  - id: eu\n"
        "    namespace_id: env\n"
        "    label_value: eu-1\n"
        "    parent_id: prod\n"
        "  - id: prod\n"
        "    namespace_id: env\n"
        "    label_value: prod\n"
        "targets:\n"
        "  - id: web\n"
        "    hostname: web.example\n"
        "    address: web.example\n"
        "    exporters:\n"
        "      - name: node\n"
        "        port: 9100\n"
        '        path: "/metrics"\n'
        "        scheme: http\n"
        "    group_ids:\n"
        "      - eu\n"
        "templates:\n"
        "  - id: cpu\n"
        "    key: high-cpu\n"
        "    spec:\n"
        "      alert_name: HighCPU\n"
        "      severity: warning\n"
        "      query: cpu_percent > {{ .threshold }}\n"
        "      parameters:\n"
        "        - name: threshold\n"
        "          type: NUMBER\n"
        "          default: 90\n"
        "          minimum: 0\n"
        "          maximum: 100\n"
        "rules:\n"
        "  - id: cpu-eu\n"
        "    key: high-cpu\n"
        "    scope:\n"
        "      group_id: eu\n"
        "    template_id: cpu\n"
        "    config:\n"
        "      parameters:\n"
        "        threshold: 70\n"
        "  - id: cpu-prod\n"
        "    key: high-cpu\n"
        "    scope:\n"
        "      group_id: prod\n"
        "    template_id: cpu\n"
        "    config:\n"
        "      labels:\n"
        '        team: "007"\n'
        "      parameters:\n"
        "        threshold: 80.5\n"
        "  - id: disk\n"
        "    key: disk\n"
        "    scope:\n"
        "      global: {}\n"
        "    spec:\n"
        "      alert_name: DiskFull\n"
        "      severity: critical\n"
        "      query: |\n"
        "        disk_free_bytes\n"
        "          < 100\n"
    )
    assert (
        await text.export(owner="")
        == "namespaces:\n  - id: default\n    label: group_id\n    description: There from the start.\n"
    )
    assert await text.export(owner="nobody") == "{}\n"
    about = await text.export(namespace_id="env")
    assert "cpu-eu" in about
    assert "disk" not in about
