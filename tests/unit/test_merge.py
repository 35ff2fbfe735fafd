"""What a rule is configured with, and where each value is from (DESIGN 1.2)."""

from typing import Any

from rule_service.domain.index import WorldIndex
from rule_service.domain.merge import Merged, Origin, TraceEntry, merge_config
from rule_service.domain.model import AlertRule, AlertSpec, Config, MergeStrategy, Parameter, ParameterType
from rule_service.domain.warning import WarningCode
from rulecast.reasons import Reason
from tests.support.worlds import SPEC, THRESHOLD, group, rule, world

GROUPS = (group("env/prod"), group("env/prod/eu"), group("env/eu/eu1"))
OVERRIDE = MergeStrategy.OVERRIDE


def merge(of: str, *rules: AlertRule) -> Merged:
    index = WorldIndex(world(rules, GROUPS))
    [asked] = [each for each in rules if each.id == of]
    return merge_config(asked, index)


def entry(merged: Merged, path: str) -> TraceEntry:
    [found] = [each for each in merged.trace if each.path == path]
    return found


def history(merged: Merged, path: str) -> list[tuple[str, Any]]:
    """Who set a value and to what, the oldest first."""
    found = entry(merged, path)
    return [(each.rule_id, each.value) for each in (*found.replaced, found.setting)]


def config(**values: Any) -> dict[str, Any]:
    return values


def test_the_lowest_layers_are_the_parameter_default_and_the_template_defaults() -> None:
    spec = AlertSpec("A", "warning", "up", (THRESHOLD,), Config(for_duration="5m", parameters={"threshold": 85.0}))
    merged = merge("global", rule("global", spec=spec))
    assert merged.config == Config(for_duration="5m", labels={"severity": "warning"}, parameters={"threshold": 85.0})
    assert [(each.path, each.setting.origin) for each in merged.trace] == [
        ("for_duration", Origin.TEMPLATE_DEFAULTS),
        ("labels.severity", Origin.TEMPLATE_DEFAULTS),
        ("parameters.threshold", Origin.TEMPLATE_DEFAULTS),
    ]
    [replaced] = entry(merged, "parameters.threshold").replaced
    assert (replaced.origin, replaced.value) == (Origin.PARAMETER_DEFAULT, 90.0)


def test_configs_come_down_the_lineage_map_by_map() -> None:
    merged = merge(
        "group-eu1",
        rule("global", config=config(for_duration="1m", labels={"team": "infra", "tier": "1"})),
        rule("namespace:env", config=config(labels={"team": "env"}, annotations={"summary": "s"})),
        rule("group:prod", config=config(for_duration="2m", parameters={"threshold": 70.0})),
        rule("group:eu1", config=config(labels={"team": "eu"}, interval="30s")),
    )
    assert merged.config == Config(
        for_duration="2m",
        interval="30s",
        labels={"severity": "warning", "team": "eu", "tier": "1"},
        annotations={"summary": "s"},
        parameters={"threshold": 70.0},
    )
    assert history(merged, "labels.team") == [("global", "infra"), ("namespace-env", "env"), ("group-eu1", "eu")]
    assert history(merged, "for_duration") == [("global", "1m"), ("group-prod", "2m")]
    assert history(merged, "parameters.threshold") == [("group-eu1", 90.0), ("group-prod", 70.0)]
    assert entry(merged, "for_duration").setting.scope == rule("group:prod").scope


def test_groups_beside_the_lineage_give_nothing() -> None:
    merged = merge("group-prod", rule("group:eu", config=config(for_duration="9m")), rule("group:prod"))
    assert merged.config.for_duration is None


def test_a_rule_that_overrides_takes_its_own_defaults_and_config_alone() -> None:
    merged = merge(
        "group-eu",
        rule("global", config=config(for_duration="1m", labels={"team": "infra"})),
        rule("group:eu", merge_strategy=OVERRIDE, config=config(keep_firing_for="3m")),
    )
    assert merged.config == Config(keep_firing_for="3m", labels={"severity": "warning"}, parameters={"threshold": 90.0})


def test_a_lineage_starts_at_the_last_that_overrides() -> None:
    merged = merge(
        "group-eu1",
        rule("global", merge_strategy=OVERRIDE, config=config(labels={"a": "global"})),
        rule("group:prod", merge_strategy=OVERRIDE, config=config(labels={"b": "prod"})),
        rule("group:eu", config=config(labels={"c": "eu"})),
        rule("group:eu1"),
    )
    assert merged.config.labels == {"severity": "warning", "b": "prod", "c": "eu"}


def test_a_disabled_rule_of_the_lineage_gives_its_config() -> None:
    merged = merge("group-prod", rule("global", enabled=False, config=config(for_duration="1m")), rule("group:prod"))
    assert merged.config.for_duration == "1m"


def test_defaults_of_rules_above_are_not_inherited() -> None:
    above = AlertSpec("A", "critical", "up", (THRESHOLD,), Config(for_duration="5m"))
    merged = merge("group-prod", rule("global", spec=above), rule("group:prod"))
    assert merged.config == Config(labels={"severity": "warning"}, parameters={"threshold": 90.0})


def test_an_empty_label_stays_in_the_config_since_it_removes_one() -> None:
    merged = merge(
        "group-prod",
        rule("global", config=config(labels={"team": "a"})),
        rule("group:prod", config=config(labels={"team": ""})),
    )
    assert merged.config.labels["team"] == ""
    assert history(merged, "labels.team") == [("global", "a"), ("group-prod", "")]


def test_a_label_of_a_config_replaces_the_severity() -> None:
    merged = merge("global", rule("global", config=config(labels={"severity": "page"})))
    assert history(merged, "labels.severity") == [("global", "warning"), ("global", "page")]


def test_an_inherited_parameter_that_is_not_declared_is_ignored_with_a_warning() -> None:
    plain = AlertSpec("A", "warning", "up")
    merged = merge(
        "group-prod", rule("global", config=config(parameters={"threshold": 70.0})), rule("group:prod", spec=plain)
    )
    assert merged.config.parameters == {}
    [warning] = merged.warnings
    assert warning.code == WarningCode.PARAMETER_IGNORED
    assert '"threshold" set by rule "global" is ignored: rule "group-prod" declares no such' in warning.message


def test_an_inherited_value_must_be_one_that_the_rule_itself_allows() -> None:
    strict = AlertSpec("A", "warning", SPEC.query, (Parameter("threshold", ParameterType.NUMBER, maximum=50.0),))
    rules = (rule("global", config=config(parameters={"threshold": 70.0})), rule("group:prod", spec=strict))
    [misfit] = merge("group-prod", *rules).misfits
    assert (misfit.field, misfit.reason) == ("parameters[threshold]", Reason.PARAMETER_OUT_OF_BOUNDS)
    assert 'rule "group-prod" would inherit this from rule "global"' in misfit.message


def test_an_inherited_value_that_is_replaced_need_not_be_allowed() -> None:
    strict = AlertSpec("A", "warning", SPEC.query, (Parameter("threshold", ParameterType.NUMBER, maximum=50.0),))
    own = rule("group:prod", spec=strict, config=config(parameters={"threshold": 40.0}))
    merged = merge("group-prod", rule("global", config=config(parameters={"threshold": 70.0})), own)
    assert merged.config.parameters == {"threshold": 40.0}


def test_the_trace_has_one_entry_for_each_value_in_the_order_of_a_config() -> None:
    merged = merge(
        "global",
        rule(
            "global",
            config=config(
                for_duration="1m",
                keep_firing_for="2m",
                interval="3m",
                labels={"b": "1", "a": "2"},
                annotations={"z": "1"},
            ),
        ),
    )
    assert [each.path for each in merged.trace] == [
        *("for_duration", "keep_firing_for", "interval", "labels.a", "labels.b", "labels.severity", "annotations.z"),
        "parameters.threshold",
    ]


def test_the_trace_ends_with_what_the_config_has() -> None:
    spec = AlertSpec("A", "warning", "up", (THRESHOLD,), Config("5m", labels={"severity": "page", "a": "1"}))
    merged = merge(
        "group-eu1",
        rule("global", config=config(interval="1m", annotations={"b": "1"}, parameters={"threshold": 1.0, "x": 2.0})),
        rule("namespace:env", config=config(keep_firing_for="2m", labels={"a": "2"})),
        rule("group:eu1", spec=spec, config=config(annotations={"b": "2", "c": "3"})),
    )
    set_last = {each.path: each.setting.value for each in merged.trace}
    found = merged.config
    maps = {"labels": found.labels, "annotations": found.annotations, "parameters": found.parameters}
    assert set_last == {
        "for_duration": found.for_duration,
        "keep_firing_for": found.keep_firing_for,
        "interval": found.interval,
        **{f"{section}.{name}": value for section, values in maps.items() for name, value in values.items()},
    }
