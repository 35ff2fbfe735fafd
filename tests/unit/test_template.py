"""A template as a whole: every placeholder is declared, every parameter is used, each where its type belongs."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from rule_service.domain.model import AlertSpec, Config, Parameter, ParameterType
from rule_service.domain.template import check_spec_templates, example_values
from rulecast.errors import InvalidInput, Position
from rulecast.reasons import Reason

THRESHOLD = Parameter("threshold", ParameterType.NUMBER, default=80.0, minimum=0.0, maximum=100.0)
WINDOW = Parameter("window", ParameterType.DURATION)
TEAM = Parameter("team", ParameterType.STRING, default="infra")


def spec(
    query: str = "rate(m[{{ .window }}]) > {{ .threshold }}",
    *parameters: Parameter,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> AlertSpec:
    defaults = Config(labels=labels or {}, annotations=annotations or {})
    return AlertSpec("HighCPU", "warning", query, parameters or (THRESHOLD, WINDOW), defaults)


def violations(checked: AlertSpec) -> list[tuple[str, Reason]]:
    with pytest.raises(InvalidInput) as refused:
        check_spec_templates(checked, "template.spec")
    return [(each.field, each.reason) for each in refused.value.violations]


def test_a_parameter_may_be_used_in_any_text() -> None:
    check_spec_templates(spec(), "template.spec")
    check_spec_templates(spec("m > 1", TEAM, labels={"team": "{{ .team }}"}), "template.spec")
    check_spec_templates(spec("m > 1", THRESHOLD, annotations={"summary": "{{ .threshold }}"}), "template.spec")
    check_spec_templates(replace(spec("up == 0"), parameters=()), "template.spec")


def test_every_unused_parameter_is_named() -> None:
    checked = spec("m > {{ .threshold }} # {{ .window }}", THRESHOLD, WINDOW, TEAM)
    assert violations(checked) == [
        ("template.spec.parameters[window]", Reason.PARAMETER_UNUSED),
        ("template.spec.parameters[team]", Reason.PARAMETER_UNUSED),
    ]


def test_every_wrong_text_is_named() -> None:
    checked = spec(
        "m > {{ .treshold }}",
        labels={"team": "{{ .team }}", "fine": "{{ .window }}"},
        annotations={"summary": "{{ .threshold", "description": "{{ $labels.instance }}"},
    )
    assert violations(checked) == [
        ("template.spec.query", Reason.PARAMETER_UNKNOWN),
        ("template.spec.default_config.labels[team]", Reason.PARAMETER_UNKNOWN),
        ("template.spec.default_config.annotations[summary]", Reason.TEMPLATE_SYNTAX),
    ]


def test_a_misplaced_type_is_found_before_any_rule_has_a_value() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_spec_templates(spec("m >\n {{ .team }}", Parameter("team", ParameterType.STRING)), "spec")
    [violation] = refused.value.violations
    assert (violation.field, violation.reason) == ("spec.query", Reason.PARAMETER_MISPLACED)
    assert violation.position == Position(2, 2)


def test_a_default_that_cannot_stand_where_it_is_used_is_found() -> None:
    nothing = replace(WINDOW, default="0s")
    assert violations(spec("rate(m[{{ .window }}])", nothing)) == [
        ("template.spec.query", Reason.PARAMETER_OUT_OF_BOUNDS)
    ]
    assert violations(spec("m{a=`{{ .team }}`}", replace(TEAM, default="a`b"))) == [
        ("template.spec.query", Reason.PARAMETER_MISPLACED)
    ]


def test_examples_are_the_defaults_where_there_are_any() -> None:
    assert example_values((THRESHOLD, WINDOW, TEAM)) == {"threshold": 80.0, "window": "5m", "team": "infra"}
