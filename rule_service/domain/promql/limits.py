"""How long and how deep a query may be. Comes before everything else that reads one."""

import re

from rule_service.domain.promql.tokens import FIELD, position_of, syntax_error
from rulecast.errors import InvalidInput, LimitExceeded
from rulecast.reasons import Reason

MAX_BYTES = 16 * 1024
MAX_NESTING = 100
"""Prometheus has no such limit, but the process of promql-parser dies at 10,000 (SIGSEGV), and no one reads 100."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# what nests, and what hides it: strings and comments, closed or not
_NESTING = re.compile(
    r"""(?P<open>[(\[{]) | (?P<close>[)\]}])
      | "(?>(?:[^"\\\n]++|\\.)*)"? | '(?>(?:[^'\\\n]++|\\.)*)'? | `[^`]*+`? | \#[^\r\n]*+""",
    re.VERBOSE,
)


def check_limits(text: str) -> None:
    """Raises LimitExceeded (TOO_LARGE) or InvalidInput (QUERY_INVALID, QUERY_TOO_DEEP), the latter with a position.

    At most 16 KiB of UTF-8 and 100 open parentheses, brackets and braces; no NUL, no lone surrogates.
    """
    _check_characters(text)
    _check_nesting(text)


def _check_characters(text: str) -> None:
    # a character is at least one byte: a text of many megabytes is not encoded only to be refused
    size = len(text) if len(text) > MAX_BYTES else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        message = f"the query has more than {MAX_BYTES} bytes: shorten it, or move a part into a recording rule"
        raise LimitExceeded.of(FIELD, Reason.TOO_LARGE, message, limit=str(MAX_BYTES))
    if (nul := text.find("\0")) >= 0:
        raise syntax_error(text, nul, "a NUL character: remove it")
    if surrogate := _LONE_SURROGATE.search(text):
        raise syntax_error(text, surrogate.start(), "half of a surrogate pair: the text is no valid Unicode")


def _check_nesting(text: str) -> None:
    depth = 0
    for found in _NESTING.finditer(text):
        if found["open"]:
            depth += 1
        elif found["close"]:
            depth -= 1
        if depth > MAX_NESTING:
            message = f"more than {MAX_NESTING} levels of parentheses: simplify the query"
            raise InvalidInput.of(FIELD, Reason.QUERY_TOO_DEEP, message, position_of(text, found.start()))
