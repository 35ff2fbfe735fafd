"""Checks a query in this process, from cheap to dear. The last word is promtool's, which is not asked here."""

from dataclasses import dataclass
from enum import StrEnum

import promql_parser

from rule_service.domain.promql.limits import check_limits
from rule_service.domain.promql.selectors import scan
from rule_service.domain.promql.shape import Shape

MAX_OPERATORS_PARSED = 256
"""Signs included. promql-parser recurs for each, at about 2.5 KB of stack, and takes quadratic time: `1+1+...` with
8,000 of them ran for 20 s and then killed the process (SIGSEGV), well within the limits of bytes and of nesting."""


class Verdict(StrEnum):
    """What promql-parser says. It refuses 255 of 9,282 valid expressions and accepts 21 of 1,348 invalid ones."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Checked:
    """A query that has PromQL's shape. `message`: why promql-parser rejects it or has no opinion, else ""."""

    shape: Shape
    verdict: Verdict
    message: str = ""


def check_query(text: str) -> Checked:
    """The shape of `text` and promql-parser's opinion of it, which promtool may overrule either way.

    Raises LimitExceeded (TOO_LARGE), InvalidInput (QUERY_TOO_DEEP, QUERY_INVALID) with a position: these are final.
    Needs 1 MiB of stack.
    """
    check_limits(text)
    shape = scan(text)
    return Checked(shape, *ask_parser(text, len(shape.operators) + shape.signs))


def check_with_matchers(text: str, before: Verdict) -> None:
    """Checks what has become of a checked query that was given matchers. Raises as `check_query`.

    Matchers add no operator and no nesting. So where promql-parser took both, the shape need not be found once more.
    """
    check_limits(text)
    if before is not Verdict.ACCEPTED or _parse(text)[0] is not Verdict.ACCEPTED:
        check_query(text)


def ask_parser(text: str, operators: int) -> tuple[Verdict, str]:
    """promql-parser's opinion of what has PromQL's shape, and why, else "". operators: how many, signs included."""
    if operators > MAX_OPERATORS_PARSED:
        return Verdict.UNKNOWN, "too many operators for promql-parser"
    return _parse(text)


def _parse(text: str) -> tuple[Verdict, str]:
    try:
        promql_parser.parse(text)
    except ValueError as error:
        return Verdict.REJECTED, str(error)
    except BaseException as error:
        # a Rust panic (`foo offset 9.5e100`): its type can not be imported, and it is no Exception
        if type(error).__name__ != "PanicException":
            raise
        return Verdict.UNKNOWN, f"promql-parser panicked: {error}"
    return Verdict.ACCEPTED, ""
