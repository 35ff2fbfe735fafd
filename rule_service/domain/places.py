"""The places of a query that a value can stand at, and which types of parameters belong there."""

from collections.abc import Iterator, Sequence
from enum import Enum, auto

from rule_service.domain.model import ParameterType
from rule_service.domain.promql.tokens import Token, TokenKind


class Place(Enum):
    """EXPRESSION: bare. RANGE: bare, between brackets. LABEL: a label name, in {} or in the list of `by`, `on`, ...

    STRING: in quotes; EQUAL_STRING: after `=` and `!=` in {}; REGEX_STRING: after `=~` and `!~`.
    COMMENT: nothing is put in.
    """

    EXPRESSION = auto()
    RANGE = auto()
    LABEL = auto()
    STRING = auto()
    EQUAL_STRING = auto()
    REGEX_STRING = auto()
    COMMENT = auto()


STRING_PLACES = frozenset({Place.STRING, Place.EQUAL_STRING, Place.REGEX_STRING})

_TYPES = {
    Place.EXPRESSION: {ParameterType.NUMBER, ParameterType.DURATION, ParameterType.METRIC_NAME},
    Place.RANGE: {ParameterType.NUMBER, ParameterType.DURATION},
    Place.LABEL: {ParameterType.LABEL_NAME},
    Place.STRING: set(ParameterType),
    Place.EQUAL_STRING: set(ParameterType) - {ParameterType.REGEX},
    Place.REGEX_STRING: set(ParameterType),
    Place.COMMENT: set(ParameterType),
}
_WHERE = {
    ParameterType.NUMBER: "a number stands bare in an expression, or in quotes",
    ParameterType.DURATION: "a duration stands bare between [ and ] or after offset, or in quotes",
    ParameterType.STRING: "a string stands in quotes",
    ParameterType.REGEX: "a regular expression stands in quotes, after =~ or !~ or as a function's argument",
    ParameterType.LABEL_NAME: "a label name stands bare in {} or after by, without, on, ignoring, group_left and "
    "group_right, or in quotes",
    ParameterType.METRIC_NAME: "a metric name stands bare where a metric is selected, or in quotes",
}
_BEFORE_LABELS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_OTHER_WORDS = (
    *("and", "or", "unless", "atan2", "bool", "offset", "start", "end", "step", "range"),
    *("sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk", "bottomk", "quantile"),
    *("count_values", "limitk", "limit_ratio", "smoothed", "anchored", "fill", "fill_left", "fill_right"),
)
KEYWORDS = _BEFORE_LABELS.union(_OTHER_WORDS)
"""Words, in lower case, that can mean something else than a metric where one is expected."""


def why_misplaced(parameter_type: ParameterType, place: Place) -> str | None:
    """Where a parameter of this type belongs instead, or None if it may stand here."""
    return None if parameter_type in _TYPES[place] else _WHERE[parameter_type]


def with_places(text: str, tokens: Sequence[Token]) -> Iterator[tuple[Token, Place]]:
    """Each token with the place it is at."""
    opened: list[Place] = []
    before = ""
    for token in tokens:
        if token.kind is TokenKind.COMMENT:
            yield token, Place.COMMENT
            continue
        around = opened[-1] if opened else Place.EXPRESSION
        yield token, _string_place(before, around) if token.kind is TokenKind.STRING else around
        match token.kind:
            case TokenKind.LEFT_BRACE:
                opened.append(Place.LABEL)
            case TokenKind.LEFT_BRACKET:
                opened.append(Place.RANGE)
            case TokenKind.LEFT_PAREN:
                opened.append(Place.LABEL if before.lower() in _BEFORE_LABELS else around)
            case TokenKind.RIGHT_BRACE | TokenKind.RIGHT_BRACKET | TokenKind.RIGHT_PAREN if opened:
                opened.pop()
        before = text[token.start : token.end]


def _string_place(before: str, around: Place) -> Place:
    if before in ("=~", "!~"):
        return Place.REGEX_STRING
    return Place.EQUAL_STRING if around is Place.LABEL and before in ("=", "!=") else Place.STRING
