"""The JSON of a body, read more strictly than Python's reader does it. Pure.

What two readers may understand differently is refused (RFC 8259): names are unique, numbers finite, the text is UTF-8.
"""

import json
import re
from collections import Counter
from typing import Any

from rulecast.errors import InvalidInput, Position
from rulecast.reasons import Reason

_LONGEST_INTEGER = 20
"""Digits, with the sign, of an int64."""
_HALF = re.compile("[\ud800-\udfff]")
_SHOWN = 100
"""Characters of a name in a message."""


def read_json(body: bytes) -> Any:
    """The value; an empty object for an empty body. Raises InvalidInput, with the position where it is known."""
    if not body.strip():
        return {}
    try:
        value = json.loads(
            body.decode("utf-8-sig"), parse_int=_integer, parse_constant=_no_number, object_pairs_hook=_unique
        )
    except json.JSONDecodeError as error:
        where = Position(error.lineno, error.colno)
        raise InvalidInput.of("", Reason.FIELD_INVALID, f"the body is not JSON: {error.msg}", where) from None
    except UnicodeDecodeError as error:
        message = f"the body is not UTF-8: byte {error.start} of it is no character; send JSON in UTF-8"
        raise InvalidInput.of("", Reason.FIELD_INVALID, message) from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput.of("", Reason.FIELD_INVALID, f"the body is not JSON: {error}") from None
    if b"\\u" in body:
        _refuse_half_characters(value)
    return value


def _integer(digits: str) -> int | float:
    """Beyond every field of ours an integer is a number like any other; Python reads none of thousands of digits."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        message = f"the body names {twice[:_SHOWN]!r} twice in one object: which one is meant? Remove one"
        raise InvalidInput.of("", Reason.FIELD_INVALID, message)
    return found


def _refuse_half_characters(value: Any) -> None:
    """JSON can escape half of a surrogate pair, which no UTF-8 and so no message can hold."""
    waiting = [("", value)]
    while waiting:
        path, each = waiting.pop()
        if isinstance(each, dict):
            waiting += [(path, name) for name in each]
            waiting += [(f"{path}.{name}" if path else name, inner) for name, inner in each.items()]
        elif isinstance(each, list):
            waiting += [(f"{path}[{at}]", inner) for at, inner in enumerate(each)]
        elif isinstance(each, str) and _HALF.search(each):
            message = "it holds half of a surrogate pair, which is no character: remove it"
            raise InvalidInput.of(path, Reason.FIELD_INVALID, message)
