"""From a rule and its world to the alerting rule that Prometheus evaluates (DESIGN 1.3)."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from rule_service.domain.index import WorldIndex
from rule_service.domain.model import AlertRule, AlertSpec, Config, Group, ScopeMode
from rule_service.domain.render import RenderedRule, render_rule
from rule_service.domain.settled import RULE_ANNOTATION
from rule_service.domain.warning import WarningCode
from rulecast.errors import InvalidInput, LimitExceeded, RulecastError
from rulecast.reasons import Reason
from tests.support.rendering import render_key
from tests.support.worlds import SPEC, THRESHOLD, group, rule, world

ENV = (group("env/prod"), group("env/prod/prod-eu"), group("env/dev"))


def render(of: str, *rules: AlertRule, groups: tuple[Group, ...] = ENV) -> RenderedRule:
    index = WorldIndex(world(rules, groups))
    [asked] = [each for each in rules if each.id == of]
    return render_rule(asked, index)


def spec(query: str, **facts: Any) -> AlertSpec:
    return AlertSpec("Alert", "warning", query, **facts)


def test_every_field_is_in_its_place() -> None:
    config = {
        "for_duration": "90s",
        "keep_firing_for": "10m",
        "interval": "60s",
        "labels": {"team": "infra"},
        "annotations": {"summary": "over {{ .threshold }} at {{ $value }}"},
    }
    rendered = render("group-dev", rule("group:dev", config=config))
    proof = f"group-dev@{rendered.digest}"
    assert rendered.source_query == "cpu > 90"
    assert rendered.interval == "1m"
    assert rendered.file_name == "group-dev.yml"
    assert yaml.safe_load(rendered.text) == [
        {
            "alert": "HighCPU",
            "expr": 'cpu{env="dev"} > 90',
            "for": "1m30s",
            "keep_firing_for": "10m",
            "labels": {"severity": "warning", "team": "infra", "env": "dev"},
            "annotations": {"summary": "over 90 at {{ $value }}", RULE_ANNOTATION: proof},
        }
    ]
    assert rendered.labels == yaml.safe_load(rendered.text)[0]["labels"]
    assert rendered.annotations == yaml.safe_load(rendered.text)[0]["annotations"]


def test_zero_durations_and_empty_texts_are_left_out() -> None:
    config = {
        "for_duration": "0s",
        "keep_firing_for": "0s",
        "labels": {"severity": ""},
        "annotations": {"summary": ""},
    }
    rendered = render("global", rule("global", config=config))
    [written] = yaml.safe_load(rendered.text)
    assert set(written) == {"alert", "expr", "annotations"}
    assert set(written["annotations"]) == {RULE_ANNOTATION}
    assert (rendered.for_duration, rendered.keep_firing_for, rendered.interval) == (None, None, None)


@pytest.mark.parametrize(
    ("where", "label"), [("group:dev", "dev"), ("group:prod", None), ("namespace:env", None), ("global", None)]
)
def test_only_a_group_without_children_adds_its_label(where: str, label: str | None) -> None:
    [rendered] = render_key(world([rule(where)], ENV))
    assert rendered.labels.get("env") == label


def test_braces_in_a_label_value_are_no_template_action() -> None:
    groups = (group("env/x", value="{{ $value }}"),)
    assert render("group-x", rule("group:x"), groups=groups).labels["env"] == '{{"{{"}} $value }}'


def test_disabled_rules_are_in_no_file() -> None:
    assert [each.rule_id for each in render_key(world([rule("global"), rule("group:dev", enabled=False)], ENV))] == [
        "global"
    ]


class TestDigest:
    BASE = rule("group:dev", config={"for_duration": "1m", "labels": {"a": "1"}, "annotations": {"b": "1"}})

    @pytest.mark.parametrize(
        "changed",
        [
            {"for_duration": "2m"},
            {"keep_firing_for": "1m"},
            {"interval": "1m"},
            {"labels": {"a": "2"}},
            {"annotations": {"b": "2"}},
            {"parameters": {"threshold": 80.0}},
        ],
    )
    def test_it_changes_with_every_field(self, changed: dict[str, Any]) -> None:
        other = replace(self.BASE, config=replace(self.BASE.config, **changed))
        assert render("group-dev", other).digest != render("group-dev", self.BASE).digest

    def test_it_changes_with_what_other_rules_take(self) -> None:
        before, after = (render("global", *rules) for rules in ([rule("global")], [rule("global"), self.BASE]))
        assert before.digest != after.digest

    def test_it_is_the_same_for_the_same_rule_written_another_way(self) -> None:
        config = replace(self.BASE.config, for_duration="60s", labels={"a": "1", "c": ""})
        other = replace(self.BASE, config=config, description="other", priority=3, template_version=9)
        assert render("group-dev", other) == render("group-dev", self.BASE)

    def test_it_is_16_hex_digits_in_one_annotation(self) -> None:
        rendered = render("group-dev", self.BASE)
        assert len(bytes.fromhex(rendered.digest)) == 8
        assert rendered.annotations[RULE_ANNOTATION] == f"group-dev@{rendered.digest}"
        assert rendered.text.count(rendered.digest) == 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("vector(1)", Reason.QUERY_NOT_SCOPED),
            ('cpu{env="prod"} > 1', Reason.QUERY_NEVER_MATCHES),
            ("cpu > > 1", Reason.QUERY_INVALID),
            ("{}", Reason.QUERY_INVALID),
            ('count({job=~".*"}) > 1', Reason.QUERY_INVALID),
            ('cpu > on () {job!="a"}', Reason.QUERY_INVALID),
            ("(" * 101 + "cpu" + ")" * 101, Reason.QUERY_TOO_DEEP),
            ("cpu > {{ .other }}", Reason.PARAMETER_UNKNOWN),
        ],
    )
    def test_of_a_query(self, query: str, reason: Reason) -> None:
        with pytest.raises(InvalidInput) as refused:
            render("group-dev", rule("group:dev", spec=spec(query)))
        assert refused.value.reason is reason
        assert refused.value.violations[0].field == "query"

    def test_of_a_parameter_without_a_value(self) -> None:
        needs = spec(SPEC.query, parameters=(replace(THRESHOLD, default=None),))
        with pytest.raises(InvalidInput) as refused:
            render("global", rule("global", spec=needs))
        assert refused.value.reason is Reason.PARAMETER_MISSING

    def test_of_a_scope_label_that_a_config_sets(self) -> None:
        above = rule("global", config={"labels": {"env": "x"}})
        with pytest.raises(InvalidInput) as refused:
            render("group-dev", above, rule("group:dev"))
        assert (refused.value.reason, refused.value.violations[0].field) == (Reason.LABEL_RESERVED, "labels[env]")

    def test_of_an_inherited_annotation_with_a_parameter_of_another_template(self) -> None:
        above = rule("global", config={"annotations": {"summary": "{{ .threshold }}"}})
        with pytest.raises(InvalidInput) as refused:
            render("group-dev", above, rule("group:dev", spec=spec("cpu > 1")))
        assert (refused.value.reason, refused.value.violations[0].field) == (
            Reason.PARAMETER_UNKNOWN,
            "annotations[summary]",
        )

    def test_a_scope_may_add_more_than_an_author_may_write(self) -> None:
        groups = tuple(Group(f"group-{at:04}", "env", f"value-{at:04}") for at in range(2_500))
        rules = [rule("global"), *(rule(f"group:{each.id}") for each in groups)]
        rendered = render("global", *rules, groups=groups)
        assert len(rendered.expr) > 16 * 1024
        assert rendered.expr.count("value-") == 2_500

    def test_but_not_without_limit(self) -> None:
        groups = tuple(Group(f"group-{at}", "env", "v" * 1_000 + str(at)) for at in range(100))
        rules = [rule("global", spec=spec(" + ".join(["cpu"] * 12))), *(rule(f"group:{each.id}") for each in groups)]
        with pytest.raises(LimitExceeded) as refused:
            render("global", *rules, groups=groups)
        assert refused.value.reason is Reason.TOO_LARGE


class TestWarnings:
    def codes(self, of: str, *rules: AlertRule) -> list[str]:
        return [warning.code for warning in render(of, *rules).warnings]

    def test_none_for_a_plain_rule(self) -> None:
        assert self.codes("group-dev", rule("global"), rule("group:dev")) == []

    def test_of_the_scoping_lint_with_a_position(self) -> None:
        [warning] = render("group-dev", rule("group:dev", spec=spec("absent(cpu)"))).warnings
        assert warning.code == "ABSENT"
        assert warning.position is not None

    def test_none_of_the_scoping_lint_where_the_scope_asks_for_no_label(self) -> None:
        assert self.codes("global", rule("global", spec=spec("absent(cpu)"))) == []

    def test_of_a_global_rule_that_is_not_scoped_beside_others(self) -> None:
        everywhere = rule("global", spec=spec("vector(1)", scope_mode=ScopeMode.NONE))
        assert self.codes("global", everywhere) == []
        assert self.codes("global", everywhere, rule("group:dev")) == [WarningCode.EVERYWHERE]

    def test_of_promql_parser(self) -> None:
        [warning] = render("group-dev", rule("group:dev", spec=spec("rate(cpu[5m * 2]) > 1"))).warnings
        assert warning.code == WarningCode.PARSER_DISAGREES
        assert "promtool decides" in warning.message

    def test_of_an_author_who_asks_for_the_scope_himself(self) -> None:
        own = rule("group:dev", spec=spec('cpu{env=~"de.*"} > 1'))
        assert self.codes("group-dev", own) == [WarningCode.SCOPE_LABEL_IN_QUERY]

    def test_of_merging(self) -> None:
        rules = (rule("global"), rule("group:dev", spec=spec("cpu > 1")))
        above = replace(rules[0], config=Config(parameters={"threshold": 1.0}))
        assert self.codes("group-dev", above, rules[1]) == [WarningCode.PARAMETER_IGNORED]


def test_every_refusal_is_one_a_caller_can_read() -> None:
    with pytest.raises(RulecastError, match="query: "):
        render("global", rule("global", spec=spec("cpu >")))
