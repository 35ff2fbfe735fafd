"""What may be the name of a thing, and what may stand in a text.

Label and metric names are those of the oldest Prometheus served (2.42): the UTF-8 names of 3.x are refused.
Each check returns nothing, or raises InvalidInput with the field, the reason and what would be right.
Lengths are counted in characters.
"""

import re
from collections.abc import Collection

from rule_service.domain.wording import shown
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason

MAX_ID = 63
MAX_ALERT_NAME = 200
MAX_NAME = 200
MAX_HOSTNAME = 253
MAX_LABEL_VALUE = 2_048
MAX_ANNOTATION = 8_192
MAX_DESCRIPTION = 2_048

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_PARAMETER_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SEVERITY = re.compile(r"[a-zA-Z0-9_-]{1,63}")
_HOST_PART = re.compile(r"[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

_SET_BY_PROMETHEUS = "alertname"
_SET_BY_RULECAST = "severity"


def is_label_name(value: str) -> bool:
    return len(value) <= MAX_NAME and _LABEL_NAME.fullmatch(value) is not None


def is_metric_name(value: str) -> bool:
    return len(value) <= MAX_NAME and _METRIC_NAME.fullmatch(value) is not None


def is_hostname(value: str) -> bool:
    return len(value) <= MAX_HOSTNAME and all(_HOST_PART.fullmatch(part) for part in value.split("."))


def text_problem(value: str) -> str | None:
    """Why Prometheus could not hold this text, or None."""
    if "\0" in value:
        return "it holds a NUL character: remove it"
    if surrogate := _SURROGATE.search(value):
        return f"it is not valid UTF-8: U+{ord(surrogate[0]):04X} stands alone at character {surrogate.start() + 1}"
    return None


def check_id(value: str, field: str) -> None:
    """An id becomes part of file names and label values: `[a-z0-9-]`, at most 63, a letter or digit at both ends."""
    if not value:
        raise InvalidInput.of(field, Reason.FIELD_REQUIRED, "an id is needed, e.g. production")
    if len(value) > MAX_ID or _ID.fullmatch(value) is None:
        raise InvalidInput.of(
            field,
            Reason.ID_INVALID,
            f"{shown(value)} is not an id: use a-z, 0-9 and '-', at most {MAX_ID} characters, "
            f"beginning and ending with a letter or digit, e.g. {shown(_suggested_id(value))}",
        )


def _suggested_id(value: str) -> str:
    joined = re.sub(r"[^a-z0-9]+", "-", value[: 4 * MAX_ID].lower()).strip("-")
    return joined[:MAX_ID].rstrip("-") or "production"


def check_label_name(value: str, field: str) -> None:
    if not is_label_name(value):
        raise _bad_name(value, field, "a label name", "a-z, A-Z, 0-9 and '_'", "instance_type")


def check_annotation_name(value: str, field: str) -> None:
    if not is_label_name(value):
        raise _bad_name(value, field, "an annotation name", "a-z, A-Z, 0-9 and '_'", "summary")


def _bad_name(value: str, field: str, kind: str, characters: str, example: str) -> InvalidInput:
    suggestion = re.sub(r"[^a-zA-Z0-9_]+", "_", value[:MAX_NAME])
    if suggestion[:1].isdigit():
        suggestion = "_" + suggestion
    right = suggestion if suggestion.strip("_") and is_label_name(suggestion) else example
    return InvalidInput.of(
        field,
        Reason.LABEL_NAME_INVALID,
        f"{shown(value)} is not {kind}: use {characters}, at most {MAX_NAME} characters, "
        f"not beginning with a digit, e.g. {shown(right)}",
    )


def check_rule_label(name: str, field: str, scope_labels: Collection[str] = ()) -> None:
    """A label that an alert's author sets.

    scope_labels: the labels of the namespaces; they tell which group a series is in, so no rule may claim one.
    Raises LABEL_NAME_INVALID or LABEL_RESERVED.
    """
    check_label_name(name, field)
    if name == _SET_BY_PROMETHEUS:
        raise _reserved(field, f"the label {shown(name)} is Prometheus's own, from the alert's name: change that")
    if name.startswith("__"):
        raise _reserved(field, f"the label {shown(name)} is internal to Prometheus: use a name without '__' in front")
    if name in scope_labels:
        raise _reserved(
            field,
            f"the label {shown(name)} tells which group of a namespace a series is in: "
            "give the rule the scope of that group instead",
        )


def check_namespace_label(name: str, field: str) -> None:
    """The label that tells a series' group in a namespace. Raises LABEL_NAME_INVALID or LABEL_RESERVED."""
    check_rule_label(name, field)
    if name == _SET_BY_RULECAST:
        raise _reserved(field, f"the label {shown(name)} is set by every rule and tells no groups apart: use another")


def _reserved(field: str, message: str) -> InvalidInput:
    return InvalidInput.of(field, Reason.LABEL_RESERVED, message)


def check_metric_name(value: str, field: str) -> None:
    if not is_metric_name(value):
        raise InvalidInput.of(
            field,
            Reason.FIELD_INVALID,
            f"{shown(value)} is not a metric name: use a-z, A-Z, 0-9, '_' and ':', at most {MAX_NAME} characters, "
            "not beginning with a digit, e.g. node_load1",
        )


def check_parameter_name(value: str, field: str) -> None:
    """Lower case, so that no parameter can be taken for `.Labels` or `.Value` of Prometheus's own templates."""
    if len(value) > MAX_ID or _PARAMETER_NAME.fullmatch(value) is None:
        raise InvalidInput.of(
            field,
            Reason.FIELD_INVALID,
            f"{shown(value)} is not a parameter name: use a-z, 0-9 and '_', at most {MAX_ID} characters, "
            "beginning with a letter, e.g. threshold",
        )


def check_alert_name(value: str, field: str) -> None:
    if not value.strip():
        raise InvalidInput.of(field, Reason.FIELD_REQUIRED, "an alert needs a name, e.g. HighCPU")
    check_text(value, field, MAX_ALERT_NAME)
    if control := _CONTROL.search(value):
        raise InvalidInput.of(
            field,
            Reason.FIELD_INVALID,
            f"the alert name {shown(value)} holds the control character U+{ord(control[0]):04X} "
            f"at character {control.start() + 1}: remove it",
        )


def check_severity(value: str, field: str) -> None:
    if not value:
        raise InvalidInput.of(field, Reason.FIELD_REQUIRED, "a severity is needed, e.g. warning or critical")
    if _SEVERITY.fullmatch(value) is None:
        raise InvalidInput.of(
            field,
            Reason.FIELD_INVALID,
            f"{shown(value)} is not a severity: use a-z, A-Z, 0-9, '_' and '-', at most 63 characters, "
            "e.g. warning or critical",
        )


def check_hostname(value: str, field: str) -> None:
    """Dot-separated parts of `[a-zA-Z0-9_-]`, each at most 63 and not beginning or ending with '-' (RFC 1123).

    An underscore is allowed, since hosts have them whatever the RFC says.
    """
    if not value:
        raise InvalidInput.of(field, Reason.FIELD_REQUIRED, "a hostname is needed, e.g. web-1.example.com")
    if not is_hostname(value):
        raise InvalidInput.of(
            field,
            Reason.FIELD_INVALID,
            f"{shown(value)} is not a hostname: use letters, digits, '-', '_' and '.', at most {MAX_HOSTNAME} "
            "characters and 63 between dots, without a port, e.g. web-1.example.com",
        )


def check_label_value(value: str, field: str) -> None:
    check_text(value, field, MAX_LABEL_VALUE)


def check_annotation(value: str, field: str) -> None:
    check_text(value, field, MAX_ANNOTATION)


def check_text(value: str, field: str, limit: int) -> None:
    """Any text that Prometheus can hold, of at most `limit` characters. Raises TOO_LARGE or FIELD_INVALID."""
    if len(value) > limit:
        raise InvalidInput.of(
            field, Reason.TOO_LARGE, f"this text has {len(value)} characters: at most {limit} are allowed"
        )
    if problem := text_problem(value):
        raise InvalidInput.of(field, Reason.FIELD_INVALID, f"{shown(value)} cannot be stored: {problem}")
