"""GetEffectiveRules and ExplainRule: all that is said of a rule."""

from dataclasses import replace

import pytest

from rule_service.domain.explain import effective_rules, explain_rule
from rule_service.domain.index import WorldIndex
from rule_service.domain.model import AlertRule, Parameter, ParameterType
from rule_service.domain.resolve import Outcome
from rule_service.domain.warning import WarningCode
from tests.support.worlds import SPEC, group, rule, world

ENV = (group("env/prod"), group("env/prod/prod-eu"), group("env/dev"))
RULES = (
    rule("global", config={"parameters": {"threshold": 95.0}}),
    rule("namespace:env"),
    rule("group:prod", config={"parameters": {"threshold": 80.0}}),
    rule("group:dev", enabled=False),
)
OTHER = world([rule("group:dev", id="disk-dev", key="disk")], ENV, key="disk")
CPU = world(RULES, ENV)


def test_effective_rules_are_one_for_each_key_by_key() -> None:
    found = effective_rules([OTHER, CPU], {"env": "dev"})
    assert [(rule.key, rule.id) for rule, _ in found] == [("disk", "disk-dev"), ("high-cpu", "group-dev")]
    assert [rule.id for rule, _ in effective_rules([OTHER, CPU], {"env": "prod-eu"})] == ["group-prod"]


def test_an_effective_rule_needs_only_those_that_hold_the_series() -> None:
    labels = {"env": "prod-eu"}
    holding = world(RULES[:3], ENV[:2])
    assert effective_rules([holding], labels) == effective_rules([CPU], labels)


def test_a_rule_tells_all_about_itself() -> None:
    found = explain_rule(RULES[2], WorldIndex(CPU), {"env": "prod-eu", "instance": "web-1"})
    assert found.rendered is not None
    assert found.rendered.source_query == "cpu > 80"
    assert found.rendered.expr == 'cpu{env=~"prod|prod-eu"} > 80'
    assert found.rendered.file_name == "group-prod.yml"
    assert found.group_name(beside=1) == "group-prod/default/0"
    assert found.merged.config.parameters == {"threshold": 80.0}
    [threshold] = [each for each in found.merged.trace if each.path == "parameters.threshold"]
    assert [(each.rule_id, each.value) for each in threshold.replaced] == [("group-prod", 90.0), ("global", 95.0)]
    assert found.verdict == "won: it beats the other candidates"
    assert found.resolution is not None
    assert [(each.rule.id, each.outcome) for each in found.resolution.candidates] == [
        ("group-prod", Outcome.WON),
        ("namespace-env", Outcome.LOST),
        ("global", Outcome.LOST),
    ]


def test_an_alert_that_is_off_is_effective_and_in_no_file() -> None:
    [(off, _)] = effective_rules([CPU], {"env": "dev"})
    assert off.enabled is False
    found = explain_rule(off, WorldIndex(CPU), {"env": "dev"})
    assert found.rendered is None
    assert found.group_name(beside=0) is None
    assert found.merged.config.parameters == {"threshold": 95.0}
    assert found.verdict.endswith("it is disabled, so the alert is off here")


def test_a_disabled_rule_that_could_not_be_enabled_says_why() -> None:
    strict = replace(SPEC, parameters=(Parameter("threshold", ParameterType.NUMBER, maximum=50.0),))
    off = rule("group:dev", spec=strict, enabled=False)
    both = world((RULES[0], off), ENV)
    [(found, merged)] = effective_rules([both], {"env": "dev"})
    assert (found, merged.config.parameters) == (off, {"threshold": 95.0})
    [warning] = explain_rule(off, WorldIndex(both)).warnings
    assert warning.code is WarningCode.CAN_NOT_BE_ENABLED
    assert 'parameters[threshold]: rule "group-dev" would inherit this from rule "global": ' in warning.message


def test_a_disabled_rule_that_could_not_be_enabled_says_what_it_ignores_too() -> None:
    above = rule("global", config={"parameters": {"other": "x"}})
    broken = replace(SPEC, query="cpu > {{ .missing }}")
    off = rule("group:dev", spec=broken, enabled=False)
    both = world((above, off), ENV)
    codes = [warning.code for warning in explain_rule(off, WorldIndex(both)).warnings]
    assert codes == [WarningCode.PARAMETER_IGNORED, WarningCode.CAN_NOT_BE_ENABLED]


def test_a_disabled_rule_is_warned_of_as_if_it_were_enabled() -> None:
    off = rule("group:dev", spec=replace(SPEC, query="absent(cpu) > {{ .threshold }}"), enabled=False)
    on_rule = replace(off, enabled=True)
    found = explain_rule(off, WorldIndex(world((off,), ENV)))
    on = explain_rule(on_rule, WorldIndex(world((on_rule,), ENV)))
    assert found.rendered is None
    assert found.warnings == on.warnings != ()


@pytest.mark.parametrize(
    ("asked", "labels", "verdict"),
    [
        (RULES[0], {"env": "dev"}, 'lost to rule "group-dev": a group\'s rule beats the global one'),
        (RULES[2], {"env": "dev"}, 'not a candidate: the series has env="dev", so group prod does not hold it'),
        (RULES[2], {"job": "a"}, 'not a candidate: the series has no label "env", so group prod does not hold it'),
        (RULES[1], {"env": ""}, 'not a candidate: the series has no label "env", so namespace env does not hold it'),
    ],
)
def test_the_verdict_on_a_rule_for_a_series(asked: AlertRule, labels: dict[str, str], verdict: str) -> None:
    assert explain_rule(asked, WorldIndex(CPU), labels).verdict == verdict


def test_without_labels_there_is_no_verdict() -> None:
    found = explain_rule(RULES[0], WorldIndex(CPU))
    assert (found.resolution, found.verdict) == (None, "")
    assert [str(matcher) for matcher in found.matchers.all] == ['env=""']
