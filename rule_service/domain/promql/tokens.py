"""The words of PromQL, as Prometheus's own lexer cuts them, up to 3.x.

Nothing is decided here about what a word means: `sum` is an IDENTIFIER, and the selector scanner knows from its
place whether it is an aggregation, a metric or a label. So fragments and unbalanced text can be cut as well.
"""

import re
from bisect import bisect_right
from enum import Enum
from typing import NamedTuple

from rule_service.domain.promql.strings import BadEscape, unquote
from rulecast.errors import InvalidInput, Position
from rulecast.reasons import Reason

FIELD = "query"


class TokenKind(Enum):
    NUMBER = "number"
    DURATION = "duration"
    IDENTIFIER = "identifier"
    STRING = "string"
    OPERATOR = "operator"
    LEFT_PAREN = "("
    RIGHT_PAREN = ")"
    LEFT_BRACE = "{"
    RIGHT_BRACE = "}"
    LEFT_BRACKET = "["
    RIGHT_BRACKET = "]"
    COMMA = ","
    COLON = ":"
    AT = "@"
    COMMENT = "comment"
    END = "end"
    """No word of the text: the scanner puts it after the last one."""


class Token(NamedTuple):
    """One word: `text[start:end]`, offsets in characters. The first character of a STRING is its quote."""

    kind: TokenKind
    start: int
    end: int


_KINDS = {kind.value: kind for kind in TokenKind}

_NUMBER = r"""
    (?P<number> (?: 0[xX]_?[0-9a-fA-F][0-9a-fA-F_]*+
                  | (?:[0-9][0-9_]*+(?>(?:\.[0-9_]*+)?) | \.[0-9][0-9_]*+) (?>(?:[eE][+-]?[0-9][0-9_]*+)?) )
        (?![0-9A-Za-z_.]) )"""
_DURATION = r"""
    (?P<duration> (?=[0-9])
        (?>(?:[0-9]++y)?(?:[0-9]++w)?(?:[0-9]++d)?(?:[0-9]++h)?(?:[0-9]++m(?!s))?(?:[0-9]++s)?(?:[0-9]++ms)?)
        (?![0-9A-Za-z_.]) )"""
_STRING = r"""
    (?P<string> "(?>(?:[^"\\\n]++|\\[^\n])*)" | '(?>(?:[^'\\\n]++|\\[^\n])*)' | `[^`]*+` )"""
_COMMENT = r"(?P<comment> \#[^\r\n]*+ )"
_OPERATOR = r"(?P<operator> =~ | !~ | == | != | <= | >= | </ | >/ | [-+*/%^<>=] )"
_BLANKS = " \t\r\n"


def _lexer(identifier: str, punctuation: str) -> re.Pattern[str]:
    identifiers, punctuations = f"(?P<identifier> {identifier} )", f"(?P<punctuation> {punctuation} )"
    words = (identifiers, punctuations, _OPERATOR, _STRING, _NUMBER, _DURATION, _COMMENT)
    return re.compile(f"[{_BLANKS}]*+ (?: {'|'.join(words)} )", re.VERBOSE)


_OUTSIDE = _lexer(r"[A-Za-z_:][A-Za-z0-9_:]*+", r"[][(){},@]")
# between brackets a colon parts the range from the step, and is in no name: `[5m:step()]`
_IN_BRACKETS = _lexer(r"[A-Za-z_][A-Za-z0-9_]*+", r"[][(){},@:]")


class Lines:
    """Turns offsets in one text into lines and columns."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(newline.end() for newline in re.finditer("\n", text))]

    def position(self, offset: int) -> Position:
        line = bisect_right(self._starts, offset)
        return Position(line, offset - self._starts[line - 1] + 1)


def position_of(text: str, offset: int) -> Position:
    """Line and column, both from 1, of the character at `offset`."""
    return Lines(text).position(offset)


def syntax_error(text: str, offset: int, message: str) -> InvalidInput:
    """QUERY_INVALID at `offset`."""
    return InvalidInput.of(FIELD, Reason.QUERY_INVALID, message, position_of(text, offset))


def tokenize(text: str) -> list[Token]:
    """All words of `text` in order, comments included; what lies between two of them is white space.

    Raises InvalidInput (QUERY_INVALID) with the position of the first character that starts no word.
    """
    tokens: list[Token] = []
    match = _OUTSIDE.match
    at = 0
    while word := match(text, at):
        start, at = word.span(word.lastindex or 0)
        kind = _KINDS[word.lastgroup or ""] if word.lastgroup != "punctuation" else _KINDS[text[start]]
        tokens.append(Token(kind, start, at))
        if kind is TokenKind.STRING:
            _check_string(text, start, at)
        elif kind is TokenKind.LEFT_BRACKET:
            match = _IN_BRACKETS.match
        elif kind is TokenKind.RIGHT_BRACKET:
            match = _OUTSIDE.match
    end = len(text) - len(text[at:].lstrip(_BLANKS))
    if end < len(text):
        raise syntax_error(text, end, _why_not(text, end))
    return tokens


def _check_string(text: str, start: int, end: int) -> None:
    broken = text.find("�", start, end)
    if broken >= 0:
        raise syntax_error(text, broken, 'U+FFFD stands for broken UTF-8: remove it, or write "\\ufffd"')
    if text.find("\\", start, end) >= 0:
        try:
            unquote(text[start:end])
        except BadEscape as error:
            raise syntax_error(text, start + error.offset, str(error)) from None


def _why_not(text: str, offset: int) -> str:
    char = text[offset]
    if char in "\"'`":
        return f"the string has no closing {char}"
    if char.isascii() and (char.isdigit() or char == "."):
        return "this is neither a number nor a duration such as 1h30m"
    return f"unexpected character {char!r}"
