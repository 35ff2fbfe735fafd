"""Parameters: declarations that make sense, values that fit, numbers as PromQL writes them."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rule_service.domain.model import Parameter, ParameterType, ParameterValue
from rule_service.domain.parameters import (
    check_parameter,
    check_parameters,
    check_value,
    example_value,
    format_number,
)
from rule_service.domain.promql.tokens import TokenKind, tokenize
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason

PERCENT = Parameter("threshold", ParameterType.NUMBER, default=80.0, minimum=0.0, maximum=100.0)
WINDOW = Parameter("window", ParameterType.DURATION, default="5m", minimum="1m", maximum="1h")
MODE = Parameter("mode", ParameterType.STRING, allowed=("idle", "iowait"))


def of(kind: ParameterType, **facts: Any) -> Parameter:
    return Parameter("p", kind, **facts)


@pytest.mark.parametrize(
    ("parameter", "value", "normalised"),
    [
        (PERCENT, 80, 80.0),
        (PERCENT, 0, 0.0),
        (PERCENT, 100.0, 100.0),
        (of(ParameterType.NUMBER), -0.0, 0.0),
        (of(ParameterType.NUMBER, allowed=(1.0, 2.0)), 2, 2.0),
        (WINDOW, "5m", "5m"),
        (WINDOW, "90s", "90s"),
        (of(ParameterType.DURATION), "0", "0s"),
        (of(ParameterType.DURATION, allowed=("60s",)), "1m", "1m"),
        (MODE, "idle", "idle"),
        (of(ParameterType.STRING), "", ""),
        (of(ParameterType.STRING), "a\"'`\\\n{{ .x }}\u2028", "a\"'`\\\n{{ .x }}\u2028"),
        (of(ParameterType.REGEX), "web-(1|2).*", "web-(1|2).*"),
        (of(ParameterType.LABEL_NAME), "instance", "instance"),
        (of(ParameterType.METRIC_NAME), "job:up:sum", "job:up:sum"),
    ],
)
def test_a_value_that_fits_is_normalised(
    parameter: Parameter, value: ParameterValue, normalised: ParameterValue
) -> None:
    checked = check_value(parameter, value, "field")
    assert (type(checked), checked) == (type(normalised), normalised)
    assert math.copysign(1, checked) == 1 if isinstance(checked, float) else True


@pytest.mark.parametrize(
    ("parameter", "value", "reason", "message"),
    [
        (PERCENT, "80", Reason.PARAMETER_TYPE, "write 80 without quotes"),
        (PERCENT, "high", Reason.PARAMETER_TYPE, "a number from 0 to 100"),
        (PERCENT, True, Reason.PARAMETER_TYPE, "not true"),
        (PERCENT, math.nan, Reason.PARAMETER_TYPE, "finite"),
        (PERCENT, -math.inf, Reason.PARAMETER_TYPE, "finite"),
        (PERCENT, 10**400, Reason.PARAMETER_TYPE, "finite"),
        (PERCENT, 100.5, Reason.PARAMETER_OUT_OF_BOUNDS, "100.5 is not allowed"),
        (PERCENT, -1, Reason.PARAMETER_OUT_OF_BOUNDS, "from 0 to 100"),
        (of(ParameterType.NUMBER, minimum=1.0), 0.5, Reason.PARAMETER_OUT_OF_BOUNDS, "at least 1"),
        (of(ParameterType.NUMBER, maximum=1.0), 2, Reason.PARAMETER_OUT_OF_BOUNDS, "at most 1"),
        (WINDOW, "5 minutes", Reason.DURATION_INVALID, "e.g. 5m"),
        (WINDOW, 300, Reason.PARAMETER_TYPE, 'a duration from "1m" to "1h"'),
        (WINDOW, "59s", Reason.PARAMETER_OUT_OF_BOUNDS, '"59s" is not allowed'),
        (WINDOW, "61m", Reason.PARAMETER_OUT_OF_BOUNDS, '"61m" is not allowed'),
        (MODE, "user", Reason.PARAMETER_OUT_OF_BOUNDS, 'one of "idle", "iowait"'),
        (MODE, 1, Reason.PARAMETER_TYPE, "a string"),
        (of(ParameterType.STRING), "a\0b", Reason.PARAMETER_TYPE, "NUL"),
        (of(ParameterType.STRING), "a\udfff", Reason.PARAMETER_TYPE, "UTF-8"),
        (of(ParameterType.STRING), "x" * 4097, Reason.TOO_LARGE, "at most 4096"),
        (of(ParameterType.REGEX), "a)|(b", Reason.PARAMETER_TYPE, "at character 2"),
        (of(ParameterType.REGEX), "(?=a)", Reason.PARAMETER_TYPE, "lookahead"),
        (of(ParameterType.REGEX), r"(a)\1", Reason.PARAMETER_TYPE, "backreferences"),
        (of(ParameterType.LABEL_NAME), "a-b", Reason.PARAMETER_TYPE, "a label name"),
        (of(ParameterType.LABEL_NAME), "a:b", Reason.PARAMETER_TYPE, "a label name"),
        (of(ParameterType.METRIC_NAME), "a b", Reason.PARAMETER_TYPE, "a metric name"),
        (of(ParameterType.METRIC_NAME), "", Reason.PARAMETER_TYPE, "a metric name"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(
    parameter: Parameter, value: Any, reason: Reason, message: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_value(parameter, value, "config.parameters")
    [violation] = refused.value.violations
    assert (violation.field, violation.reason) == ("config.parameters", reason)
    assert message in violation.message
    assert f'"{parameter.name}"' in violation.message
    assert violation.message.isprintable()


def test_a_long_list_of_allowed_values_is_cut_in_messages() -> None:
    parameter = of(ParameterType.NUMBER, allowed=tuple(float(n) for n in range(200)))
    with pytest.raises(InvalidInput, match=r"11, \.\.\.$"):
        check_value(parameter, -1, "field")


@pytest.mark.parametrize(
    ("parameter", "field", "reason"),
    [
        (replace(PERCENT, name="Threshold"), "name", Reason.FIELD_INVALID),
        (replace(PERCENT, default="80"), "default", Reason.PARAMETER_TYPE),
        (replace(PERCENT, default=101.0), "default", Reason.PARAMETER_OUT_OF_BOUNDS),
        (replace(PERCENT, minimum="0"), "minimum", Reason.PARAMETER_TYPE),
        (replace(PERCENT, maximum=True), "maximum", Reason.PARAMETER_TYPE),
        (replace(PERCENT, minimum=100.5), "minimum", Reason.FIELD_INVALID),
        (replace(PERCENT, allowed=(80.0, 120.0)), "allowed", Reason.PARAMETER_OUT_OF_BOUNDS),
        (replace(PERCENT, allowed=(80.0, 80)), "allowed", Reason.FIELD_INVALID),
        (replace(PERCENT, allowed=(90.0,)), "default", Reason.PARAMETER_OUT_OF_BOUNDS),
        (replace(PERCENT, allowed=tuple(range(101)) * 3), "allowed", Reason.TOO_LARGE),
        (replace(WINDOW, minimum="2h"), "minimum", Reason.FIELD_INVALID),
        (replace(WINDOW, maximum="1 hour"), "maximum", Reason.DURATION_INVALID),
        (replace(WINDOW, allowed=("60s", "1m")), "allowed", Reason.FIELD_INVALID),
        (replace(MODE, minimum="a"), "minimum", Reason.FIELD_INVALID),
        (replace(MODE, maximum="a"), "maximum", Reason.FIELD_INVALID),
        (replace(MODE, description="a\0"), "description", Reason.FIELD_INVALID),
        (of(ParameterType.REGEX, default="("), "default", Reason.PARAMETER_TYPE),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(parameter: Parameter, field: str, reason: Reason) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_parameter(parameter, "p")
    assert [(each.field, each.reason) for each in refused.value.violations] == [(f"p.{field}", reason)]


def test_a_declaration_comes_back_normalised() -> None:
    written = of(ParameterType.NUMBER, default=1, minimum=0, maximum=2, allowed=(1, 2))
    checked = check_parameter(written, "p")
    assert checked == written
    assert all(
        isinstance(value, float) for value in (checked.default, checked.minimum, checked.maximum, *checked.allowed)
    )
    assert check_parameter(of(ParameterType.DURATION, default="0"), "p").default == "0s"


def test_a_name_is_declared_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_parameters((PERCENT, WINDOW, PERCENT), "spec.parameters")
    [violation] = refused.value.violations
    assert violation.field == "spec.parameters[threshold]"
    assert "twice" in violation.message
    assert check_parameters((PERCENT, WINDOW), "spec.parameters") == (PERCENT, WINDOW)


def test_there_may_be_only_so_many_parameters() -> None:
    many = tuple(of(ParameterType.STRING) for _ in range(1_001))
    with pytest.raises(InvalidInput, match="at most 1000"):
        check_parameters(many, "spec.parameters")


@pytest.mark.parametrize("kind", list(ParameterType))
def test_an_example_fits(kind: ParameterType) -> None:
    parameter = check_parameter(of(kind), "p")
    assert check_value(parameter, example_value(parameter), "p") == example_value(parameter)


def test_an_example_is_the_default_or_within_bounds() -> None:
    assert example_value(PERCENT) == 80.0
    assert example_value(MODE) == "idle"
    assert example_value(of(ParameterType.NUMBER, minimum=5.0)) == 5.0
    assert example_value(of(ParameterType.DURATION, maximum="1m")) == "1m"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (80.0, "80"),
        (-3.0, "-3"),
        (0.0, "0"),
        (0.1, "0.1"),
        (1e15, "1000000000000000"),
        (1e21, "1e+21"),
        (1.5e-7, "1.5e-07"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
    ],
)
def test_a_number_is_written_without_ornament(number: float, text: str) -> None:
    assert format_number(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=0))
def test_a_number_is_one_word_of_promql_and_reads_back(number: float) -> None:
    text = format_number(number)
    assert float(text) == number
    assert [token.kind for token in tokenize(text)] == [TokenKind.NUMBER]
