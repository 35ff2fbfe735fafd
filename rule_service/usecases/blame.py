"""Says in which field of the request a rule's mistake is, when rendering or promtool refuses it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rule_service.domain.wording import shown
from rule_service.usecases.ports_check import CheckFailure
from rulecast.errors import InvalidInput, RulecastError, Violation
from rulecast.reasons import Reason

_TEXT_OF = re.compile(r'\b(label|annotation) "([a-zA-Z0-9_]+)"')


def with_fields(error: RulecastError, rule_id: str, prefixes: Mapping[str, str]) -> RulecastError:
    """The error of rendering a rule, in terms of the request.

    prefixes: the fields of the rules that the request is about, by id. Any other rule fails because of what it
    inherits or how it is now scoped; then the message names it.
    """
    prefix = prefixes.get(rule_id)
    return replace(error, violations=tuple(_placed(each, rule_id, prefix) for each in error.violations))


def together(errors: Sequence[RulecastError]) -> RulecastError:
    """Several mistakes as one error: of their kind where that is the same, else the request as a whole is wrong."""
    if len(errors) == 1:
        return errors[0]
    kinds = {type(error) for error in errors}
    kind = kinds.pop() if len(kinds) == 1 else InvalidInput
    metadata = {name: value for error in reversed(errors) for name, value in error.metadata.items()}
    return kind(tuple(violation for error in errors for violation in error.violations), metadata)


def refused_by_promtool(failure: CheckFailure, prefixes: Mapping[str, str]) -> Violation:
    """promtool's word on a rendered rule, in terms of the request."""
    prefix = prefixes.get(failure.rule_id)
    text = _TEXT_OF.search(failure.message)
    place = f"{text[1]}s[{text[2]}]" if text is not None else "query"
    violation = Violation(place, Reason.QUERY_INVALID, f"promtool refuses it: {failure.message}", failure.position)
    return _placed(violation, failure.rule_id, prefix)


def _placed(violation: Violation, rule_id: str, prefix: str | None) -> Violation:
    part = violation.field.removeprefix("rule.config.")
    field = f"spec.{part}" if part == "query" else f"config.{part}"
    if prefix is not None:
        return replace(violation, field=f"{prefix}.{field}")
    message = f"rule {shown(rule_id)} would be broken by this: {violation.message}"
    return replace(violation, field=f"rules[{rule_id}].{field}", message=message)
