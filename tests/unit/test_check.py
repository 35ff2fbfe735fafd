"""Whether a whole value may be saved: what is wrong, where, and what would be right."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from rule_service.domain.check import (
    MAX_LABELS,
    MAX_PRIORITY,
    check_config,
    check_group,
    check_group_parent,
    check_namespace,
    check_rule,
    check_target,
    check_template,
)
from rule_service.domain.model import (
    AlertSpec,
    AlertTemplate,
    Config,
    Exporter,
    Group,
    Namespace,
    Parameter,
    ParameterType,
    Target,
)
from rulecast.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound, RulecastError
from rulecast.reasons import Reason
from tests.support.worlds import SPEC, group, rule

R = Reason


def problems(check: Callable[[], Any]) -> set[tuple[str, Reason]]:
    """Field and reason of each thing that is wrong."""
    with pytest.raises(InvalidInput) as refused:
        check()
    return {(each.field, each.reason) for each in refused.value.violations}


class TestNamespace:
    ENV = Namespace("environment", "env", 5, "Where it runs.")

    def test_a_good_one(self) -> None:
        check_namespace(self.ENV, [self.ENV, Namespace("other", "other")])

    def test_everything_wrong_at_once(self) -> None:
        bad = Namespace("Env!", "severity", MAX_PRIORITY + 1, "x" * 2_049)
        assert problems(lambda: check_namespace(bad, [])) == {
            ("namespace.id", R.ID_INVALID),
            ("namespace.label", R.LABEL_RESERVED),
            ("namespace.policy_priority", R.FIELD_INVALID),
            ("namespace.description", R.TOO_LARGE),
        }

    def test_two_namespaces_share_no_label(self) -> None:
        with pytest.raises(AlreadyExists) as refused:
            check_namespace(Namespace("second", "env"), [self.ENV])
        assert refused.value.reason is R.LABEL_TAKEN
        assert '"environment"' in str(refused.value)


class TestGroup:
    GROUPS: ClassVar = {each.id: each for each in (group("env/a"), group("env/a/b"), group("env/b/c"))}

    def test_good_ones(self) -> None:
        for each in self.GROUPS.values():
            check_group(each, self.GROUPS)
        check_group(group("env/c/d"), self.GROUPS)

    def test_everything_wrong_at_once(self) -> None:
        bad = Group("", "env", "", description="\0")
        assert problems(lambda: check_group(bad, {})) == {
            ("group.id", R.FIELD_REQUIRED),
            ("group.label_value", R.FIELD_REQUIRED),
            ("group.description", R.FIELD_INVALID),
        }

    def test_two_groups_share_no_label_value(self) -> None:
        with pytest.raises(AlreadyExists) as refused:
            check_group(group("env/new", value="a"), self.GROUPS)
        assert refused.value.reason is R.LABEL_VALUE_TAKEN

    def test_a_parent_is_of_the_same_namespace(self) -> None:
        with pytest.raises(NotFound) as refused:
            check_group(group("env/elsewhere/x"), self.GROUPS)
        assert (refused.value.reason, refused.value.violations[0].field) == (R.GROUP_NOT_FOUND, "group.parent_id")

    @pytest.mark.parametrize("parent", ["a", "b", "c"])
    def test_no_group_is_its_own_ancestor(self, parent: str) -> None:
        with pytest.raises(FailedPrecondition, match="own ancestor") as refused:
            check_group_parent(replace(self.GROUPS["a"], parent_id=parent), self.GROUPS)
        assert refused.value.reason is R.GROUP_CYCLE

    def test_moving_to_a_deep_place_is_no_cycle(self) -> None:
        deep = {f"g{at}": Group(f"g{at}", "env", f"g{at}", f"g{at - 1}" if at else None) for at in range(3_000)}
        check_group_parent(Group("new", "env", "new", "g2999"), deep)
        with pytest.raises(FailedPrecondition, match=r"g0 > g2999 > g2998 > \.\.\. > g1 > g0"):
            check_group_parent(replace(deep["g0"], parent_id="g2999"), deep)


class TestTarget:
    GROUPS: ClassVar = {"a": group("env/a"), "b": group("env/b"), "x": group("cluster/x")}
    NAMESPACES: ClassVar = {"env": Namespace("env", "env"), "cluster": Namespace("cluster", "cluster")}
    GOOD = Target("web-1", "web-1.example.com", "10.0.0.1", {"os": "linux"}, (Exporter("node", 9100),), ("a", "x"))

    def check(self, **changes: Any) -> None:
        check_target(replace(self.GOOD, **changes), self.GROUPS, self.NAMESPACES)

    def test_a_good_one(self) -> None:
        self.check()
        self.check(labels={"env": "a"})

    def test_everything_wrong_at_once(self) -> None:
        wrong = {
            "id": "",
            "hostname": "a b",
            "labels": {"__meta": "x", "ok": "\0"},
            "exporters": (Exporter("Node!", 0, "metrics", "ftp"),),
        }
        assert problems(lambda: self.check(**wrong)) == {
            ("target.id", R.FIELD_REQUIRED),
            ("target.hostname", R.FIELD_INVALID),
            ("target.labels[__meta]", R.LABEL_RESERVED),
            ("target.labels[ok]", R.FIELD_INVALID),
            ("target.exporters[0].name", R.ID_INVALID),
            ("target.exporters[0].port", R.FIELD_INVALID),
            ("target.exporters[0].path", R.FIELD_INVALID),
            ("target.exporters[0].scheme", R.FIELD_INVALID),
        }

    def test_an_exporter_is_listed_once(self) -> None:
        twice = (Exporter("node", 9100), Exporter("node", 9100, "/other"))
        assert problems(lambda: self.check(exporters=twice)) == {("target.exporters", R.FIELD_INVALID)}

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"group_ids": ("a", "b")}, R.TWO_GROUPS_OF_ONE_NAMESPACE),
            ({"group_ids": ("a",), "labels": {"env": "b"}}, R.LABEL_RESERVED),
            ({"group_ids": ("nowhere",)}, R.GROUP_NOT_FOUND),
        ],
    )
    def test_memberships(self, changes: dict[str, Any], reason: Reason) -> None:
        with pytest.raises(RulecastError) as refused:
            self.check(**changes)
        assert refused.value.reason is reason


class TestTemplate:
    def test_values_come_back_normalised(self) -> None:
        window = Parameter("window", ParameterType.DURATION, default="0", allowed=("0", "5m"))
        spec = AlertSpec(
            "A", "warning", 'cpu{window="{{ .window }}"} > 1', (window,), Config(parameters={"window": "0"})
        )
        checked = check_template(AlertTemplate("a", "a", spec)).spec
        assert checked.parameters[0].default == "0s"
        assert checked.defaults.parameters == {"window": "0s"}

    def test_everything_wrong_at_once(self) -> None:
        spec = AlertSpec(
            "",
            "very bad",
            "cpu > {{ .other }}",
            scope_exclude_metrics=("kube_*", "a-b"),
            defaults=Config(interval="1 m"),
        )
        assert problems(lambda: check_template(AlertTemplate("A", "B", spec, description="\0"))) == {
            ("template.id", R.ID_INVALID),
            ("template.key", R.ID_INVALID),
            ("template.description", R.FIELD_INVALID),
            ("template.spec.alert_name", R.FIELD_REQUIRED),
            ("template.spec.severity", R.FIELD_INVALID),
            ("template.spec.scope_exclude_metrics", R.FIELD_INVALID),
            ("template.spec.default_config.interval", R.DURATION_INVALID),
        }

    def test_its_texts_are_checked_as_templates(self) -> None:
        spec = replace(SPEC, query="cpu > {{ .other }}", defaults=Config(annotations={"summary": "{{ .third }}"}))
        assert problems(lambda: check_template(AlertTemplate("a", "a", spec))) == {
            ("template.spec.query", R.PARAMETER_UNKNOWN),
            ("template.spec.default_config.annotations[summary]", R.PARAMETER_UNKNOWN),
        }


class TestRule:
    def test_a_good_one_comes_back_normalised(self) -> None:
        checked = check_rule(rule("group:dev", config={"parameters": {"threshold": 80}}), {"env"})
        assert checked == rule("group:dev", config={"parameters": {"threshold": 80.0}})
        assert isinstance(checked.config.parameters["threshold"], float)

    def test_everything_wrong_at_once(self) -> None:
        bad = rule("global", id="A", key="", priority=-MAX_PRIORITY - 1, config={"for_duration": "5 minutes"})
        assert problems(lambda: check_rule(bad, ())) == {
            ("rule.id", R.ID_INVALID),
            ("rule.key", R.FIELD_REQUIRED),
            ("rule.priority", R.FIELD_INVALID),
            ("rule.config.for_duration", R.DURATION_INVALID),
        }

    def test_the_defaults_of_a_spec_may_not_set_scope_labels_either(self) -> None:
        bad = rule("global", spec=replace(SPEC, defaults=Config(labels={"env": "x"})))
        found = problems(lambda: check_rule(bad, {"env"}))
        assert found == {("rule.spec.default_config.labels[env]", R.LABEL_RESERVED)}


class TestConfig:
    def found(self, **values: Any) -> set[tuple[str, Reason]]:
        return problems(lambda: check_config(Config(**values), SPEC, {"env"}, "config"))

    def test_durations(self) -> None:
        check_config(Config(for_duration="0s", keep_firing_for="0s", interval="1ms"), SPEC, (), "config")
        assert self.found(for_duration="-1m", keep_firing_for="", interval="0s") == {
            ("config.for_duration", R.DURATION_INVALID),
            ("config.keep_firing_for", R.DURATION_INVALID),
            ("config.interval", R.DURATION_INVALID),
        }

    def test_labels(self) -> None:
        assert self.found(labels={"alertname": "a", "__x": "a", "env": "a", "1st": "a", "ok": "\ud800"}) == {
            ("config.labels[alertname]", R.LABEL_RESERVED),
            ("config.labels[__x]", R.LABEL_RESERVED),
            ("config.labels[env]", R.LABEL_RESERVED),
            ("config.labels[1st]", R.LABEL_NAME_INVALID),
            ("config.labels[ok]", R.FIELD_INVALID),
        }

    def test_annotations(self) -> None:
        assert self.found(annotations={"rulecast_rule": "a", "a b": "a", "ok": "x" * 10_000}) == {
            ("config.annotations[rulecast_rule]", R.LABEL_RESERVED),
            ("config.annotations[a b]", R.LABEL_NAME_INVALID),
            ("config.annotations[ok]", R.TOO_LARGE),
        }

    def test_parameters(self) -> None:
        assert self.found(parameters={"threshold": "80", "other": 1.0}) == {
            ("config.parameters[threshold]", R.PARAMETER_TYPE),
            ("config.parameters[other]", R.PARAMETER_UNKNOWN),
        }
        assert self.found(parameters={"threshold": 101.0}) == {
            ("config.parameters[threshold]", R.PARAMETER_OUT_OF_BOUNDS)
        }

    def test_counts_are_limited(self) -> None:
        many = {f"l{at}": "x" for at in range(MAX_LABELS + 1)}
        assert self.found(labels=many, annotations=many) == {
            ("config.labels", R.TOO_LARGE),
            ("config.annotations", R.TOO_LARGE),
        }
