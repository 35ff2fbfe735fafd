"""What a write would do, told before anybody does it, on a real database with a real promtool."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from rule_service.domain.layout import RULES_PER_GROUP
from rule_service.domain.model import Config, GlobalScope, Group, GroupScope, Namespace, NamespaceScope, Scope, Target
from rule_service.usecases.ports_delivery import HelloFacts
from rulecast.errors import InvalidInput, NotFound
from rulecast.v1 import (
    bundle_pb2,
    common_pb2,
    group_pb2,
    history_pb2,
    namespace_pb2,
    preview_pb2,
    rule_pb2,
    target_pb2,
    template_pb2,
)
from tests.support.bundles import BundleText, previewing
from tests.support.edits import CPU, CPU_TEMPLATE, DO, Edits, open_edits


@pytest_asyncio.fixture
async def edits(database: str, promtool: Path) -> AsyncIterator[Edits]:
    """The namespace env with the groups prod > eu and dev, the rules cpu-all and cpu-prod, and a target in eu."""
    async with open_edits(database, promtool) as opened:
        await opened.namespaces.create(Namespace("env", "env"), DO)
        for group in (Group("prod", "env", "prod"), Group("eu", "env", "eu", "prod"), Group("dev", "env", "dev")):
            await opened.groups.create(group, DO)
        await opened.templates.create(CPU_TEMPLATE, DO)
        await opened.rule(GlobalScope(), "cpu-all")
        await opened.rule(GroupScope("prod"), "cpu-prod", config=Config(parameters={"threshold": 80.0}))
        await opened.targets.create(Target("web", "web", group_ids=("eu",)), DO)
        yield opened


async def preview(edits: Edits, **write: Any) -> preview_pb2.PreviewChangeResponse:
    """The preview, and that nothing was done."""
    before, files = await edits.store.revision(), await edits.files()
    answer = await previewing(edits)(preview_pb2.PreviewChangeRequest(**write))
    assert (await edits.store.revision(), await edits.files()) == (before, files)
    return answer


def threshold(id: str, value: float) -> rule_pb2.UpdateAlertRuleRequest:
    rule = rule_pb2.AlertRule(id=id)
    rule.config.parameters["threshold"].number_value = value
    return rule_pb2.UpdateAlertRuleRequest(rule=rule)


def signed(diff: str) -> list[str]:
    return [line for line in diff.splitlines()[2:] if line[0] in "-+"]


async def test_a_threshold_is_one_line_and_no_alert_loses_its_state(edits: Edits) -> None:
    answer = await preview(edits, update_alert_rule=threshold("cpu-prod", 85))
    assert [(each.id, each.action) for each in answer.resources] == [("cpu-prod", history_pb2.UPDATED)]
    (file,) = answer.files
    assert (file.file_name, file.kind, file.rule_count) == ("group-prod.yml", common_pb2.FileChange.MODIFIED, 1)
    lines = signed(file.diff)
    assert [line.replace(" ", "") for line in lines if "expr" in line] == [
        '-expr:cpu_percent{env=~"eu|prod"}>80',
        '+expr:cpu_percent{env=~"eu|prod"}>85',
    ]
    assert [(each.rule_id, each.kind) for each in answer.rules] == [("cpu-prod", common_pb2.FileChange.MODIFIED)]
    assert (answer.file_count, answer.rule_count, answer.target_count, answer.lost_state_count) == (1, 1, 0, 0)


async def test_a_rule_more_says_which_targets_get_it_and_who_takes_its_file(
    edits: Edits,
) -> None:
    served: dict[str, tuple[Scope, ...]] = {"all": (), "dev-only": (GroupScope("dev"),), "eu-only": (GroupScope("eu"),)}
    for id, serves in served.items():
        await edits.deployers.claim(HelloFacts(id, b"p" * 16, "1.0", "3.1.0", "http://localhost", serves), "here", 30.0)
    rule = rule_pb2.AlertRule(id="cpu-eu", template_id="cpu", scope=common_pb2.Scope(group_id="eu"))
    answer = await preview(edits, create_alert_rule=rule_pb2.CreateAlertRuleRequest(rule=rule))
    files = {each.file_name: (each.kind, list(each.deployer_ids)) for each in answer.files}
    assert files == {
        "group-eu.yml": (common_pb2.FileChange.ADDED, ["all", "eu-only"]),
        "group-prod.yml": (common_pb2.FileChange.MODIFIED, ["all", "eu-only"]),
    }
    assert [(each.target_id, each.key, each.before_rule_id, each.after_rule_id) for each in answer.targets] == [
        ("web", "high-cpu", "cpu-prod", "cpu-eu")
    ]
    assert {each.rule_id: each.kind for each in answer.rules}["cpu-eu"] == common_pb2.FileChange.ADDED


async def test_another_label_value_resets_alerts(edits: Edits) -> None:
    await edits.rule(GroupScope("eu"), "cpu-eu")
    renamed = group_pb2.UpdateGroupRequest(group=group_pb2.Group(id="eu", label_value="europe"))
    answer = await preview(edits, update_group=renamed)
    (lost,) = answer.lost_states
    assert (lost.rule_id, lost.loss) == ("cpu-eu", preview_pb2.LostAlertState.RESET)
    assert (lost.before.labels["env"], lost.after.labels["env"]) == ("eu", "europe")
    assert (lost.before.file_name, lost.before.alert_name) == ("group-eu.yml", "HighCPU")
    # the target moves with its group
    assert answer.target_count == 0


async def test_a_deletion_ends_alerts(edits: Edits) -> None:
    answer = await preview(edits, delete_alert_rule=rule_pb2.DeleteAlertRuleRequest(id="cpu-prod"))
    (lost,) = answer.lost_states
    assert (lost.rule_id, lost.loss, lost.HasField("after")) == (
        "cpu-prod",
        preview_pb2.LostAlertState.REMOVED,
        False,
    )
    assert {each.file_name: each.kind for each in answer.files} == {
        "global.yml": common_pb2.FileChange.MODIFIED,
        "group-prod.yml": common_pb2.FileChange.DELETED,
    }
    (target,) = answer.targets
    assert (target.before_rule_id, target.after_rule_id, target.after_enabled) == ("cpu-prod", "cpu-all", True)


async def test_a_rule_too_many_for_its_prometheus_group_tells_whose_state_is_lost(edits: Edits) -> None:
    rules = [
        f"  - {{id: r{at}, key: r{at}, scope: {{global: {{}}}}, spec: {{alert_name: R{at}, severity: s, query: up}}}}\n"
        for at in range(RULES_PER_GROUP)
    ]
    await BundleText(edits).apply("rules:\n" + "".join(rules[:-1]))
    before = yaml.safe_load((await edits.files())["global.yml"])
    assert [(each["name"], len(each["rules"])) for each in before["groups"]] == [("global/default/0", 50)]

    answer = await preview(edits, apply_bundle=bundle_pb2.ApplyBundleRequest(content="rules:\n" + "".join(rules)))
    await BundleText(edits).apply("rules:\n" + "".join(rules))
    after = yaml.safe_load((await edits.files())["global.yml"])
    moved = [
        rule["alert"] for group in after["groups"] if group["name"] == "global/default/1" for rule in group["rules"]
    ]
    moved = [name for name in moved if name != f"R{RULES_PER_GROUP - 1}"]
    assert 10 < len(moved) < 40
    assert sorted(each.before.alert_name for each in answer.lost_states) == sorted(moved)
    assert {each.loss for each in answer.lost_states} == {preview_pb2.LostAlertState.RESET}
    places = {(each.before.group, each.after.group) for each in answer.lost_states}
    assert places == {("global/default/0", "global/default/1")}
    assert answer.lost_state_count == len(moved)


async def test_switching_off_is_told_for_each_target(edits: Edits) -> None:
    off = rule_pb2.UpdateAlertRuleRequest(rule=rule_pb2.AlertRule(id="cpu-prod", enabled=False))
    (target,) = (await preview(edits, update_alert_rule=off)).targets
    assert (target.after_rule_id, target.before_enabled, target.after_enabled) == ("cpu-prod", True, False)


async def test_a_target_that_moves_changes_no_file(edits: Edits) -> None:
    moved = target_pb2.UpdateTargetRequest(target=target_pb2.Target(id="web", group_ids=["dev"]))
    answer = await preview(edits, update_target=moved)
    assert (answer.file_count, answer.rule_count) == (0, 0)
    assert [(each.before_rule_id, each.after_rule_id) for each in answer.targets] == [("cpu-prod", "cpu-all")]
    created = target_pb2.CreateTargetRequest(target=target_pb2.Target(id="db", hostname="db", group_ids=["prod"]))
    answer = await preview(edits, create_target=created)
    assert [(each.target_id, each.before_rule_id, each.after_rule_id) for each in answer.targets] == [
        ("db", "", "cpu-prod")
    ]


async def test_rebase_rollback_and_bundle_are_previewed_too(edits: Edits) -> None:
    newer = replace(CPU, query="cpu_used > {{ .threshold }}")
    await edits.templates.update("cpu", "", lambda record: replace(record.value, spec=newer), DO)
    rebased = await preview(edits, rebase_alert_rules=rule_pb2.RebaseAlertRulesRequest(template_id="cpu"))
    assert (rebased.resource_count, rebased.rule_count, rebased.lost_state_count) == (2, 2, 0)
    start = await edits.store.revision()
    await edits.rules.delete("cpu-prod", "", DO)
    back = await preview(edits, rollback=history_pb2.RollbackRequest(revision=start, rule_id="cpu-prod"))
    assert [(each.id, each.action) for each in back.resources] == [("cpu-prod", history_pb2.CREATED)]
    assert [each.after_rule_id for each in back.targets] == ["cpu-prod"]
    content = "rules: [{id: cpu-dev, template_id: cpu, scope: {group_id: dev}}]\ngroups: [{id: x, namespace_id: env}]"
    applied = await preview(edits, apply_bundle=bundle_pb2.ApplyBundleRequest(content=content))
    assert [each.id for each in applied.resources] == ["x", "cpu-dev"]
    assert "group-dev.yml" in {each.file_name for each in applied.files}


@pytest.mark.parametrize(
    "write",
    [
        {"create_namespace": namespace_pb2.CreateNamespaceRequest(namespace=namespace_pb2.Namespace(id="new"))},
        {
            "update_namespace": namespace_pb2.UpdateNamespaceRequest(
                namespace=namespace_pb2.Namespace(id="env", label="e")
            )
        },
        {"delete_namespace": namespace_pb2.DeleteNamespaceRequest(id="empty")},
        {"create_group": group_pb2.CreateGroupRequest(group=group_pb2.Group(id="new"))},
        {"delete_group": group_pb2.DeleteGroupRequest(id="prod", force=True)},
        {"delete_target": target_pb2.DeleteTargetRequest(id="web")},
        {"create_alert_template": template_pb2.CreateAlertTemplateRequest()},
        {
            "update_alert_template": template_pb2.UpdateAlertTemplateRequest(
                template=template_pb2.AlertTemplate(id="cpu", key="k")
            )
        },
        {"delete_alert_template": template_pb2.DeleteAlertTemplateRequest(id="cpu")},
        {"load_library": template_pb2.LoadLibraryRequest()},
        {"undelete_alert_rule": rule_pb2.UndeleteAlertRuleRequest(id="deleted")},
        {"purge_alert_rule": rule_pb2.PurgeAlertRuleRequest(id="deleted")},
    ],
    ids=lambda write: next(iter(write)),
)
async def test_every_other_write_is_previewed(edits: Edits, write: dict[str, Any]) -> None:
    await edits.namespaces.create(Namespace("empty", "empty"), DO)
    await edits.rule(NamespaceScope("env"), "deleted")
    await edits.rules.delete("deleted", "", DO)
    for template in write.values():
        if isinstance(template, template_pb2.CreateAlertTemplateRequest):
            template.template.id = "new"
            template.template.spec.MergeFrom(template_pb2.AlertSpec(alert_name="A", severity="s", query="up"))
    assert (await preview(edits, **write)).resource_count > 0


async def test_a_write_that_would_be_refused_is_refused_in_its_own_words(edits: Edits) -> None:
    with pytest.raises(InvalidInput) as refused:
        await preview(edits, update_alert_rule=threshold("cpu-prod", 101))
    assert refused.value.violations[0].field == "update_alert_rule.rule.config.parameters[threshold]"
    with pytest.raises(NotFound):
        await preview(edits, delete_group=group_pb2.DeleteGroupRequest(id="nothing"))
    with pytest.raises(InvalidInput, match="one of create_namespace"):
        await preview(edits)


async def test_long_answers_are_cut_and_counted(edits: Edits) -> None:
    targets = "\n".join(f"  - {{id: t{number:03}, hostname: h, group_ids: [dev]}}" for number in range(250))
    applied = await preview(edits, apply_bundle=bundle_pb2.ApplyBundleRequest(content=f"targets:\n{targets}"))
    assert (len(applied.targets), applied.target_count) == (200, 250)
    assert (len(applied.resources), applied.resource_count) == (200, 250)
