"""From a query template to PromQL: the place of a placeholder decides how its value is written (DESIGN 1.3).

bare          numbers, durations and names as they are
in a string   the value's text, with the escapes of that kind of quote
after =~ !~   the same, and quoted for the regular expression; a parameter of the type regex as `(?:...)`
in a comment  the placeholder is left alone

Places are found in a copy of the template in which each placeholder is replaced by its stand-in, a harmless word of
the same length: so offsets and positions are those of the template. Whatever the escaping does, the tokens of the
result must be those of that copy. Values are put in once; placeholders within them are text.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

from rule_service.domain.durations import parse_duration
from rule_service.domain.matchers import regex_quote
from rule_service.domain.model import Parameter, ParameterType, ParameterValue
from rule_service.domain.parameters import format_number
from rule_service.domain.placeholders import Placeholder, find_placeholders, unknown_parameter, value_of
from rule_service.domain.places import KEYWORDS, STRING_PLACES, Place, why_misplaced, with_places
from rule_service.domain.promql.limits import check_limits
from rule_service.domain.promql.strings import BadEscape, quote, unquote
from rule_service.domain.promql.tokens import Token, TokenKind, position_of, tokenize
from rule_service.domain.re2 import BadRegex, Item, ItemKind, scan_regex
from rule_service.domain.wording import shown
from rulecast.errors import InvalidInput, Position, RulecastError
from rulecast.reasons import Reason


@dataclass(frozen=True, slots=True)
class Hole:
    """A placeholder to be filled: its parameter, its place, and the token of the stand-in copy that it is in."""

    placeholder: Placeholder
    parameter: Parameter
    place: Place
    token: Token


@dataclass(frozen=True, slots=True)
class QueryTemplate:
    """A query template that has been read. tokens: those of the stand-in copy. holes: in order, none in comments."""

    query: str
    field: str
    tokens: tuple[Token, ...]
    holes: tuple[Hole, ...]

    def error(self, at: int, reason: Reason, message: str) -> InvalidInput:
        return InvalidInput.of(self.field, reason, message, position_of(self.query, at))

    def misplaced(self, hole: Hole, message: str) -> InvalidInput:
        text = f"{hole.placeholder} cannot stand here: {message}"
        return self.error(hole.placeholder.at, Reason.PARAMETER_MISPLACED, text)


def query_placeholders(query: str, parameters: Sequence[Parameter], field: str) -> list[Placeholder]:
    """The placeholders that are filled in, in order; those in comments are not. Raises as `read_query` does."""
    return [hole.placeholder for hole in read_query(query, parameters, field).holes]


@dataclass(frozen=True, slots=True)
class RenderedQuery:
    """outline: the text with another number or duration, of the same length, for each value that stands as a word.

    Queries with one outline have the same words at the same places but for these, and so the same selectors.
    """

    text: str
    outline: str


def render_query(
    query: str, parameters: Sequence[Parameter], values: Mapping[str, ParameterValue], field: str
) -> RenderedQuery:
    """The query with every placeholder replaced by its value.

    parameters: as `check_parameters` returned them. values: by name, defaults included; others are ignored.
    Raises as `read_query` does, LimitExceeded for a result that is longer than a query may be, and InvalidInput:
    PARAMETER_MISSING, what `check_value` raises, PARAMETER_MISPLACED for a value that cannot be written at its place,
    PARAMETER_OUT_OF_BOUNDS for a range or offset of 0.
    """
    template = read_query(query, parameters, field)
    written = [_written(template, hole, value_of(hole.parameter, values, field)) for hole in template.holes]
    rendered = _filled(template, written)
    with _for_field(field):
        check_limits(rendered)
    _check_shape(template, written, rendered)
    return RenderedQuery(rendered, _filled(template, map(_outlined, template.holes, written)))


def _filled(template: QueryTemplate, written: Iterable[str]) -> str:
    pieces: list[str] = []
    at = 0
    for hole, text in zip(template.holes, written, strict=True):
        pieces += (template.query[at : hole.placeholder.start], text)
        at = hole.placeholder.end
    return "".join((*pieces, template.query[at:]))


def _outlined(hole: Hole, text: str) -> str:
    if hole.place in STRING_PLACES or hole.parameter.type not in (ParameterType.NUMBER, ParameterType.DURATION):
        return text
    sign = "-" if text.startswith("-") else ""
    return sign + _stand_in(hole.parameter, len(text) - len(sign))


def read_query(query: str, parameters: Sequence[Parameter], field: str) -> QueryTemplate:
    """Finds the holes of a query template and checks that each parameter's type belongs where it stands.

    Raises InvalidInput for `field` with the position in the template: TEMPLATE_SYNTAX, QUERY_INVALID,
    PARAMETER_UNKNOWN, PARAMETER_MISPLACED.
    """
    return _read(query, tuple(parameters), field)


# the rules of one template at many scopes are rendered one after the other
@lru_cache(maxsize=256)
def _read(query: str, parameters: tuple[Parameter, ...], field: str) -> QueryTemplate:
    with _for_field(field):
        check_limits(query)
    declared = {parameter.name: parameter for parameter in parameters}
    placeholders = find_placeholders(query)
    stand_ins = _with_stand_ins(query, placeholders, declared)
    tokens = _tokens(query, stand_ins, field)
    holes: list[Hole] = []
    # a stand-in is part of one word, so each placeholder is in one token
    remaining = deque(placeholders)
    for token, place in with_places(stand_ins, tokens):
        while remaining and remaining[0].start < token.end:
            placeholder = remaining.popleft()
            parameter = declared.get(placeholder.name)
            if place is Place.COMMENT:
                _check_comment(query, placeholder, field)
            elif parameter is None:
                raise unknown_parameter(placeholder.name, declared, field, position_of(query, placeholder.at))
            else:
                holes.append(Hole(placeholder, parameter, place, token))
    template = QueryTemplate(query, field, tuple(tokens), tuple(holes))
    for hole in holes:
        _check_place(template, hole)
    for token in dict.fromkeys(hole.token for hole in holes if hole.place in STRING_PLACES):
        _check_string(template, [hole for hole in holes if hole.token is token])
    return template


def _check_comment(query: str, placeholder: Placeholder, field: str) -> None:
    if "\n" in query[placeholder.start : placeholder.end]:
        message = f"the trim mark of {placeholder} joins it to a comment: write it without the mark"
        raise InvalidInput.of(field, Reason.TEMPLATE_SYNTAX, message, position_of(query, placeholder.at))


def _with_stand_ins(query: str, placeholders: Sequence[Placeholder], declared: Mapping[str, Parameter]) -> str:
    pieces: list[str] = []
    at = 0
    for each in placeholders:
        pieces += (query[at : each.start], _stand_in(declared.get(each.name), each.end - each.start))
        at = each.end
    return "".join((*pieces, query[at:]))


def _stand_in(parameter: Parameter | None, length: int) -> str:
    if parameter is not None and parameter.type is ParameterType.NUMBER:
        return "1" * length
    if parameter is not None and parameter.type is ParameterType.DURATION:
        return "1" * (length - 1) + "m"
    # whatever stands in front, it goes on with it: a name, or an escape that is looked at later
    return "a" * length


def _tokens(query: str, stand_ins: str, field: str) -> list[Token]:
    """The tokens of the stand-in copy, in which no `{{` may be left outside comments."""
    try:
        with _for_field(field):
            tokens = tokenize(stand_ins)
    except InvalidInput as error:
        wrong = error.violations[0].position
        line = stand_ins.split("\n")[wrong.line - 1] if wrong else ""
        if wrong and (column := line.rfind("{{", 0, wrong.column)) >= 0:
            raise _no_placeholder(field, replace(wrong, column=column + 1)) from None
        raise
    without_comments = stand_ins
    for token in tokens:
        if token.kind is TokenKind.COMMENT:
            blank = " " * (token.end - token.start)
            without_comments = without_comments[: token.start] + blank + without_comments[token.end :]
    if (stray := without_comments.find("{{")) >= 0:
        raise _no_placeholder(field, position_of(query, stray))
    return tokens


def _no_placeholder(field: str, position: Position) -> InvalidInput:
    message = (
        "{{ begins no placeholder here: write {{ .name }} with the lower-case name of a parameter; there is no other "
        "template language in a query. Two braces in a string are written \\x7b\\x7b"
    )
    return InvalidInput.of(field, Reason.TEMPLATE_SYNTAX, message, position)


@contextmanager
def _for_field(field: str) -> Iterator[None]:
    try:
        yield
    except RulecastError as error:
        error.violations = tuple(replace(violation, field=field) for violation in error.violations)
        raise


def _check_place(template: QueryTemplate, hole: Hole) -> None:
    if right := why_misplaced(hole.parameter.type, hole.place):
        raise template.misplaced(hole, right)
    if hole.place in STRING_PLACES:
        return
    if hole.parameter.type in (ParameterType.NUMBER, ParameterType.DURATION):
        if (hole.token.start, hole.token.end) != (hole.placeholder.start, hole.placeholder.end):
            right = f"a {hole.parameter.type} is a word of its own; for a number with a unit declare a duration"
            raise template.misplaced(hole, right)
    elif hole.token.kind is not TokenKind.IDENTIFIER:
        raise template.misplaced(hole, "a name does not continue a number")


# stands for a placeholder while a string is looked at: it belongs to no escape and to no one's query
_MARK = "\U0010ffff"


def _check_string(template: QueryTemplate, holes: Sequence[Hole]) -> None:
    """The text around the holes of one string must be complete without them: no half escape, no open class."""
    token = holes[0].token
    literal = ""
    at = token.start
    for hole in holes:
        literal += template.query[at : hole.placeholder.start] + _MARK
        at = hole.placeholder.end
    literal += template.query[at : token.end]
    try:
        text = unquote(literal)
    except BadEscape as error:
        hole = holes[literal.count(_MARK, 0, error.offset)]
        raise template.misplaced(hole, "an unfinished escape is in front of it") from None
    if text.count(_MARK) != len(holes):
        raise template.error(token.start, Reason.QUERY_INVALID, "U+10FFFF is no character: remove it from this string")
    if holes[0].place is Place.REGEX_STRING:
        _check_regex(template, holes, text)


def _check_regex(template: QueryTemplate, holes: Sequence[Hole], pattern: str) -> None:
    try:
        items = scan_regex(pattern)
    except BadRegex as error:
        message = f"this regular expression is not valid around its placeholders: {error}"
        raise template.error(holes[0].token.start, Reason.QUERY_INVALID, message) from None
    counted = _count_spans(pattern, items)
    remaining = iter(holes)
    for before, item, after in zip([None, *items], items, [*items[1:], None], strict=False):
        for _ in range(pattern.count(_MARK, item.start, item.end)):
            hole = next(remaining)
            if item.kind is not ItemKind.CHARACTER or item.start in counted:
                raise template.misplaced(hole, "not within [ ], \\Q...\\E or { } of a regular expression")
            if before and before.kind is ItemKind.ESCAPE and _OCTAL.fullmatch(pattern, before.start, before.end):
                raise template.misplaced(hole, "an octal escape of less than three digits is in front of it")
            if after and after.kind is ItemKind.REPEAT and hole.parameter.type is not ParameterType.REGEX:
                raise template.misplaced(hole, f"{pattern[after.start]} repeats its last character: use (?:...)")


_OCTAL = re.compile(r"\\[0-7]{1,2}")
_COUNT = re.compile(rf"\{{[0-9{_MARK}]*,?[0-9{_MARK}]*\}}")


def _count_spans(pattern: str, items: Sequence[Item]) -> set[int]:
    """The offsets between braces that would count repetitions, were the placeholders digits."""
    plain = "".join(
        pattern[each.start] if each.kind is ItemKind.CHARACTER else " " * (each.end - each.start) for each in items
    )
    return {offset for found in _COUNT.finditer(plain) for offset in range(*found.span())}


def _written(template: QueryTemplate, hole: Hole, value: ParameterValue) -> str:
    text = value if isinstance(value, str) else format_number(value)
    if hole.place not in STRING_PLACES:
        _check_bare(template, hole, text)
        return text
    if hole.place is Place.REGEX_STRING:
        text = f"(?:{text})" if hole.parameter.type is ParameterType.REGEX else regex_quote(text)
    return _escaped(template, hole, text)


def _check_bare(template: QueryTemplate, hole: Hole, text: str) -> None:
    if hole.parameter.type is ParameterType.DURATION and parse_duration(text) == 0:
        raise template.error(
            hole.placeholder.at,
            Reason.PARAMETER_OUT_OF_BOUNDS,
            f"a range or an offset is longer than 0, and the parameter {shown(hole.parameter.name)} is {text}: "
            "give it a minimum",
        )
    if text.startswith("-") and _next_word(template, hole) == "^":
        # to PromQL -2 ^ 2 is -(2 ^ 2)
        raise template.misplaced(hole, f"{text} would be negated after ^, not before: write ({hole.placeholder}) ^ ...")


def _next_word(template: QueryTemplate, hole: Hole) -> str:
    following = template.tokens[template.tokens.index(hole.token) + 1 :]
    return next((template.query[each.start : each.end] for each in following if each.kind is not TokenKind.COMMENT), "")


def _escaped(template: QueryTemplate, hole: Hole, text: str) -> str:
    """`text` as it stands in the string that the hole is in."""
    mark = template.query[hole.token.start]
    if mark == '"':
        return quote(text)[1:-1]
    if mark == "'":
        return '"'.join(quote(part)[1:-1] for part in text.split('"')).replace("'", "\\'")
    for char in "`\ufffd":
        if char in text:
            raise template.misplaced(hole, f"its value has a {char}, which no `string` can hold: use double quotes")
    return text


def _check_shape(template: QueryTemplate, written: Sequence[str], rendered: str) -> None:
    """No value breaks out of its place: the tokens are those of the template, and no name is a keyword."""
    expected = list(_expected_tokens(template, written))
    try:
        tokens = tokenize(rendered)
    except InvalidInput:
        tokens = []
    if tokens != [token for _, token in expected]:
        message = "the values of the parameters change the words of the query around them: use other values"
        raise InvalidInput.of(template.field, Reason.PARAMETER_MISPLACED, message)
    names = {hole.token: hole for hole in template.holes if hole.place in (Place.EXPRESSION, Place.LABEL)}
    for source, token in expected:
        if source in names and token.kind is TokenKind.IDENTIFIER:
            _check_name(template, names[source], rendered[token.start : token.end])


def _check_name(template: QueryTemplate, hole: Hole, name: str) -> None:
    if name.lower() in ("nan", "inf"):
        raise template.misplaced(hole, f"{name} is a number to PromQL: use another name, or put it in quotes")
    if hole.place is Place.EXPRESSION and name.lower() in KEYWORDS:
        right = f"{shown(name)} is a word of PromQL: select such a metric with {{__name__={shown(name)}}}"
        raise template.misplaced(hole, right)


def _expected_tokens(template: QueryTemplate, written: Sequence[str]) -> Iterator[tuple[Token, Token]]:
    """Each token of the stand-in copy, and where it is in the result; the sign of a number comes on its own."""
    fillings = deque(zip(template.holes, written, strict=True))
    shift = 0
    for token in template.tokens:
        start = token.start + shift
        while fillings and fillings[0][0].token is token:
            hole, text = fillings.popleft()
            if text.startswith("-") and hole.place not in STRING_PLACES:
                yield token, Token(TokenKind.OPERATOR, start, start + 1)
                start += 1
            shift += len(text) - (hole.placeholder.end - hole.placeholder.start)
        yield token, Token(token.kind, start, token.end + shift)
