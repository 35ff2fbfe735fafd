"""Placeholders, `{{ .threshold }}`: their form, and what may be put in for them.

The form is strict: one dot and one name in lower case, with white space around it and Go's trim marks (`{{-`, `-}}`)
allowed. Nothing else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rule_service.domain.model import Parameter, ParameterValue
from rule_service.domain.parameters import check_value
from rule_service.domain.wording import shown
from rulecast.errors import InvalidInput, Position
from rulecast.reasons import Reason

BLANKS = " \t\r\n"
"""White space, as Go's templates understand it."""

PLACEHOLDER = re.compile(
    r"\{\{(?P<trim_before>-(?=[ \t\r\n]))?[ \t\r\n]*+\.(?P<name>[a-z][a-z0-9_]*+)(?:[ \t\r\n]++(?P<trim_after>-)?)?\}\}"
)


@dataclass(frozen=True, slots=True)
class Placeholder:
    """`text[start:end]`: the placeholder with the white space its trim marks remove. at: where its braces are."""

    name: str
    at: int
    start: int
    end: int

    @classmethod
    def of(cls, found: re.Match[str], behind: int) -> "Placeholder":
        """A match of PLACEHOLDER; nothing before the offset `behind` is trimmed."""
        text, start, end = found.string, found.start(), found.end()
        if found["trim_before"]:
            while start > behind and text[start - 1] in BLANKS:
                start -= 1
        if found["trim_after"]:
            while end < len(text) and text[end] in BLANKS:
                end += 1
        return cls(found["name"], found.start(), start, end)

    def __str__(self) -> str:
        return "{{ ." + self.name + " }}"


def find_placeholders(text: str) -> list[Placeholder]:
    """All placeholders, wherever they stand."""
    placeholders: list[Placeholder] = []
    for found in PLACEHOLDER.finditer(text):
        placeholders.append(Placeholder.of(found, placeholders[-1].end if placeholders else 0))
    return placeholders


def unknown_parameter(name: str, parameters: Mapping[str, Parameter], field: str, position: Position) -> InvalidInput:
    """PARAMETER_UNKNOWN, with the parameters that are declared."""
    instead = f"use a declared one ({', '.join(parameters)})" if parameters else "remove it"
    message = f"the parameter {shown(name)} is not declared: declare it, or {instead}"
    return InvalidInput.of(field, Reason.PARAMETER_UNKNOWN, message, position)


def value_of(parameter: Parameter, values: Mapping[str, ParameterValue], field: str) -> ParameterValue:
    """The checked value. Raises InvalidInput: PARAMETER_MISSING, and as `check_value` does."""
    if parameter.name not in values:
        raise InvalidInput.of(
            field,
            Reason.PARAMETER_MISSING,
            f"the parameter {shown(parameter.name)} has no value: set it in the config, "
            "or give it a default in the template",
        )
    return check_value(parameter, values[parameter.name], field)
