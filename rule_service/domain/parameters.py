"""A template's parameters: whether a declaration makes sense, whether a value fits, and how a number is written."""

import math
from collections.abc import Sequence
from dataclasses import replace

from rule_service.domain.durations import parse_duration
from rule_service.domain.model import Parameter, ParameterType, ParameterValue
from rule_service.domain.names import (
    MAX_DESCRIPTION,
    check_parameter_name,
    check_text,
    is_label_name,
    is_metric_name,
    text_problem,
)
from rule_service.domain.re2 import BadRegex, scan_regex
from rule_service.domain.wording import shown
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason

MAX_PARAMETERS = 1_000  # what the setting `limits.parameters` can allow at most
MAX_ALLOWED = 256
MAX_VALUE = 4_096

_KINDS = {
    ParameterType.NUMBER: "a number",
    ParameterType.DURATION: "a duration",
    ParameterType.STRING: "a string",
    ParameterType.REGEX: "a regular expression",
    ParameterType.LABEL_NAME: "a label name",
    ParameterType.METRIC_NAME: "a metric name",
}
_EXAMPLES: dict[ParameterType, ParameterValue] = {
    ParameterType.NUMBER: 1.0,
    ParameterType.DURATION: "5m",
    ParameterType.STRING: "x",
    ParameterType.REGEX: "x",
    ParameterType.LABEL_NAME: "x",
    ParameterType.METRIC_NAME: "x",
}
_NAMED_IN_MESSAGES = 12
_NUMBERS = (int, float)
_ORDERED = {ParameterType.NUMBER, ParameterType.DURATION}


def format_number(number: float) -> str:
    """The shortest text that PromQL reads back as exactly this finite number: `80`, `0.5`, `-3`, `1e+21`."""
    return repr(number).removesuffix(".0")


def example_value(parameter: Parameter) -> ParameterValue:
    """A value that fits: the default if there is one. For looking at a template before a rule sets the value."""
    candidates = (parameter.default, *parameter.allowed[:1], parameter.minimum, parameter.maximum)
    return next((value for value in candidates if value is not None), _EXAMPLES[parameter.type])


def check_parameters(parameters: Sequence[Parameter], field: str) -> tuple[Parameter, ...]:
    """All declarations of a template, each as `check_parameter` returns it. No name comes twice."""
    if len(parameters) > MAX_PARAMETERS:
        raise InvalidInput.of(
            field, Reason.TOO_LARGE, f"{len(parameters)} parameters are declared: at most {MAX_PARAMETERS} are allowed"
        )
    seen: set[str] = set()
    for parameter in parameters:
        if parameter.name in seen:
            raise InvalidInput.of(
                f"{field}[{parameter.name}]",
                Reason.FIELD_INVALID,
                f"the parameter {shown(parameter.name)} is declared twice: remove or rename one",
            )
        seen.add(parameter.name)
    return tuple(check_parameter(parameter, f"{field}[{parameter.name}]") for parameter in parameters)


def check_parameter(parameter: Parameter, field: str) -> Parameter:
    """The declaration with its values normalised, as `check_value` does.

    Raises InvalidInput: FIELD_INVALID for its name, its bounds or `allowed`, PARAMETER_TYPE for a value of another
    type, PARAMETER_OUT_OF_BOUNDS for a default or an allowed value that the declaration itself rules out.
    """
    check_parameter_name(parameter.name, f"{field}.name")
    check_text(parameter.description, f"{field}.description", MAX_DESCRIPTION)
    if len(parameter.allowed) > MAX_ALLOWED:
        raise InvalidInput.of(
            f"{field}.allowed",
            Reason.TOO_LARGE,
            f"{len(parameter.allowed)} allowed values are listed: at most {MAX_ALLOWED} are possible",
        )
    checked = _with_bounds(parameter, field)
    allowed = tuple(_within_bounds(checked, value, f"{field}.allowed") for value in parameter.allowed)
    if len({_comparable(checked, value) for value in allowed}) < len(allowed):
        raise InvalidInput.of(
            f"{field}.allowed",
            Reason.FIELD_INVALID,
            f"a value is listed twice for the parameter {shown(parameter.name)}: remove one",
        )
    checked = replace(checked, allowed=allowed)
    if parameter.default is None:
        return checked
    return replace(checked, default=check_value(checked, parameter.default, f"{field}.default"))


def _with_bounds(parameter: Parameter, field: str) -> Parameter:
    for name, bound in (("minimum", parameter.minimum), ("maximum", parameter.maximum)):
        if bound is not None and parameter.type not in _ORDERED:
            raise InvalidInput.of(
                f"{field}.{name}",
                Reason.FIELD_INVALID,
                f"the parameter {shown(parameter.name)} is {_KINDS[parameter.type]}, which has no {name}: "
                "remove it, or list the allowed values",
            )
    bare = replace(parameter, minimum=None, maximum=None, allowed=())
    minimum = None if parameter.minimum is None else _typed(bare, parameter.minimum, f"{field}.minimum")
    maximum = None if parameter.maximum is None else _typed(bare, parameter.maximum, f"{field}.maximum")
    if minimum is not None and maximum is not None and _size(minimum) > _size(maximum):
        raise InvalidInput.of(
            f"{field}.minimum",
            Reason.FIELD_INVALID,
            f"the minimum of the parameter {shown(parameter.name)}, {_written(minimum)}, is more than its maximum, "
            f"{_written(maximum)}: exchange them",
        )
    return replace(bare, minimum=minimum, maximum=maximum)


def check_value(parameter: Parameter, value: ParameterValue, field: str) -> ParameterValue:
    """`value` normalised: a number as a float without `-0`, the duration `0` as `0s`, anything else as it is.

    `parameter` is as `check_parameter` returned it. Raises InvalidInput with the parameter's name, type and bounds:
    PARAMETER_TYPE, PARAMETER_OUT_OF_BOUNDS, DURATION_INVALID, LABEL_NAME_INVALID, TOO_LARGE.
    """
    normalised = _within_bounds(parameter, value, field)
    if not parameter.allowed:
        return normalised
    wanted = _comparable(parameter, normalised)
    if all(_comparable(parameter, allowed) != wanted for allowed in parameter.allowed):
        raise _out_of_bounds(parameter, normalised, field)
    return normalised


def _within_bounds(parameter: Parameter, value: ParameterValue, field: str) -> ParameterValue:
    normalised = _typed(parameter, value, field)
    if parameter.type in _ORDERED:
        size = _size(normalised)
        too_small = parameter.minimum is not None and size < _size(parameter.minimum)
        too_big = parameter.maximum is not None and size > _size(parameter.maximum)
        if too_small or too_big:
            raise _out_of_bounds(parameter, normalised, field)
    return normalised


def _typed(parameter: Parameter, value: ParameterValue, field: str) -> ParameterValue:
    if parameter.type is ParameterType.NUMBER:
        return _number(parameter, value, field)
    if not isinstance(value, str):
        raise _wrong_type(parameter, value, field)
    if len(value) > MAX_VALUE:
        raise InvalidInput.of(
            field,
            Reason.TOO_LARGE,
            f"the value of the parameter {shown(parameter.name)} has {len(value)} characters: "
            f"at most {MAX_VALUE} are allowed",
        )
    if parameter.type is ParameterType.DURATION:
        return _duration(parameter, value, field)
    if problem := _text_problem(parameter.type, value):
        raise _wrong_type(parameter, value, field, problem)
    return value


def _number(parameter: Parameter, value: ParameterValue, field: str) -> float:
    # to Python True is 1, but an author who writes `true` means something else
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        raise _wrong_type(parameter, value, field, _unquoted_number(value))
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _wrong_type(parameter, value, field, "it must be finite")
    return number + 0.0


def _unquoted_number(value: ParameterValue) -> str:
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        number = math.nan
    return f"write {format_number(number)} without quotes" if math.isfinite(number) else "write a number such as 80"


def _duration(parameter: Parameter, value: str, field: str) -> str:
    try:
        parse_duration(value)
    except InvalidInput as error:
        message = f"the parameter {shown(parameter.name)} is {_described(parameter)}: {error.violations[0].message}"
        raise InvalidInput.of(field, error.reason, message) from None
    return "0s" if value == "0" else value


def _text_problem(kind: ParameterType, value: str) -> str:
    if problem := text_problem(value):
        return problem
    if kind is ParameterType.LABEL_NAME and not is_label_name(value):
        return "use a-z, A-Z, 0-9 and '_', not beginning with a digit"
    if kind is ParameterType.METRIC_NAME and not is_metric_name(value):
        return "use a-z, A-Z, 0-9, '_' and ':', not beginning with a digit"
    if kind is ParameterType.REGEX:
        try:
            scan_regex(value)
        except BadRegex as error:
            return f"at character {error.offset + 1}, {error}"
    return ""


def _size(value: ParameterValue) -> float:
    """A number itself, a duration in milliseconds."""
    return parse_duration(value) if isinstance(value, str) else value


def _comparable(parameter: Parameter, value: ParameterValue) -> ParameterValue:
    return _size(value) if parameter.type is ParameterType.DURATION else value


def _wrong_type(parameter: Parameter, value: ParameterValue, field: str, problem: str = "") -> InvalidInput:
    what = f"the text {shown(value)}" if isinstance(value, str) else _written(value)
    return InvalidInput.of(
        field,
        Reason.PARAMETER_TYPE,
        f"the parameter {shown(parameter.name)} is {_described(parameter)}, not {what}"
        + (f": {problem}" if problem else ""),
    )


def _out_of_bounds(parameter: Parameter, value: ParameterValue, field: str) -> InvalidInput:
    return InvalidInput.of(
        field,
        Reason.PARAMETER_OUT_OF_BOUNDS,
        f"{_written(value)} is not allowed: the parameter {shown(parameter.name)} is {_described(parameter)}",
    )


def _described(parameter: Parameter) -> str:
    kind = _KINDS[parameter.type]
    if parameter.allowed:
        some = ", ".join(_written(value) for value in parameter.allowed[:_NAMED_IN_MESSAGES])
        return f"{kind}, one of {some}" + (", ..." if len(parameter.allowed) > _NAMED_IN_MESSAGES else "")
    if parameter.minimum is not None and parameter.maximum is not None:
        return f"{kind} from {_written(parameter.minimum)} to {_written(parameter.maximum)}"
    if parameter.minimum is not None:
        return f"{kind} of at least {_written(parameter.minimum)}"
    return kind if parameter.maximum is None else f"{kind} of at most {_written(parameter.maximum)}"


def _written(value: ParameterValue) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return shown(value) if isinstance(value, str) else format_number(value)
