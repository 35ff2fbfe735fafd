"""The braces of a vector selector."""

from rule_service.domain.matchers import Matcher, MatchOp
from rule_service.domain.promql.cursor import Cursor
from rule_service.domain.promql.shape import METRIC_NAME, Branch, WrittenMatcher
from rule_service.domain.promql.strings import unquote
from rule_service.domain.promql.tokens import Token, TokenKind, syntax_error

_OPS = {op.value: op for op in MatchOp}


def take_braces(cursor: Cursor, named: bool) -> tuple[tuple[int, int], tuple[Branch, ...]]:
    """The span of the braces at the cursor and their branches. `named`: a metric name stands before them."""
    opening = cursor.take(TokenKind.LEFT_BRACE, "here")
    branches = [_take_branch(cursor, opening.end, named)]
    while cursor.keyword() == "or":
        branches.append(_take_branch(cursor, cursor.skip().end, named))
        if not branches[-1].matchers:
            raise cursor.unexpected("a label matcher is expected after or")
    closing = cursor.take(TokenKind.RIGHT_BRACE, "after the label matchers")
    return (opening.start, closing.end), tuple(branches)


def _take_branch(cursor: Cursor, start: int, named: bool) -> Branch:
    matchers: list[WrittenMatcher] = []
    comma = True
    while comma and cursor.kind() in (TokenKind.IDENTIFIER, TokenKind.STRING):
        written = _take_matcher(cursor, named)
        matchers.append(written)
        named = named or written.is_name
        comma = written.comma is not None
    return Branch(tuple(matchers), matchers[-1].end if matchers else start)


def _take_matcher(cursor: Cursor, named: bool) -> WrittenMatcher:
    word = cursor.skip()
    label = _label(cursor, word)
    if word.kind is TokenKind.STRING and cursor.kind() is not TokenKind.OPERATOR:
        if named:
            raise syntax_error(cursor.text, word.start, "the metric name is given twice: a label needs a value")
        return WrittenMatcher(
            Matcher(METRIC_NAME, MatchOp.EQUAL, label), word.start, word.end, _take_comma(cursor), True
        )
    op = _OPS.get(cursor.operator())
    if op is None:
        raise cursor.unexpected("=, !=, =~ or !~ is expected after a label name")
    cursor.skip()
    if cursor.kind() is not TokenKind.STRING:
        raise cursor.unexpected("a label's value is written in quotes")
    value = cursor.skip()
    matcher = Matcher(label, op, unquote(cursor.written(value)))
    return WrittenMatcher(matcher, word.start, value.end, _take_comma(cursor))


def _label(cursor: Cursor, word: Token) -> str:
    written = cursor.written(word)
    if word.kind is TokenKind.STRING:
        return unquote(written)
    if ":" in written:
        raise syntax_error(cursor.text, word.start, f"{written} is no label name: a colon needs quotes around it")
    return written


def _take_comma(cursor: Cursor) -> int | None:
    return cursor.skip().start if cursor.kind() is TokenKind.COMMA else None
