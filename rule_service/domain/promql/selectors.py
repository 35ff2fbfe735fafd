"""Finds every vector selector of a query: PromQL up to Prometheus 3.x, experimental syntax included.

PromQL's keywords may be metric names too (`sum`, `by`, `offset offset 5m`). What a word is follows from its place:
either an operand is expected there (a number, a string, a call, a selector), or an operator. Two states and a
stack of open parentheses are all it takes, so the time is linear and nothing recurs.
"""

from rule_service.domain.promql.braces import take_braces
from rule_service.domain.promql.cursor import SPECIAL_NUMBERS, Cursor
from rule_service.domain.promql.shape import BinaryOperator, Branch, Frame, FrameKind, Selector, Shape
from rule_service.domain.promql.tokens import Token, TokenKind, syntax_error

AGGREGATIONS = frozenset(
    {"avg", "bottomk", "count", "count_values", "group", "limit_ratio", "limitk"}
    | {"max", "min", "quantile", "stddev", "stdvar", "sum", "topk"}
)
_WORD_OPERATORS = frozenset({"and", "or", "unless", "atan2"})
_SIGN_OPERATORS = frozenset(["+", "-", "*", "/", "%", "^", "==", "!=", "<", ">", "<=", ">=", "</", ">/"])
_FILLS = frozenset({"fill", "fill_left", "fill_right"})
_GROUPINGS = frozenset({"group_left", "group_right"})
_NO_METRIC = frozenset({"atan2", "bool", "ignoring", "on"}) | _GROUPINGS
_MODIFIERS = frozenset({"anchored", "by", "offset", "smoothed", "without"}) | _FILLS
_NO_FUNCTION = _WORD_OPERATORS | _MODIFIERS | _NO_METRIC


def find_selectors(text: str) -> list[Selector]:
    """Every vector selector of `text` in order.

    Raises InvalidInput (QUERY_INVALID) with a position where `text` can not be a PromQL expression. What it does not
    raise for can still be wrong in ways that do not move a selector: types, function names, regular expressions.
    """
    return scan(text).selectors


def scan(text: str) -> Shape:
    """The selectors, parentheses and binary operators of `text`. Raises as `find_selectors`."""
    return _Scanner(text).run()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._cursor = Cursor(text)
        self._shape = Shape(text, frames=[Frame(FrameKind.WHOLE, "", 0, 0, parent=0)])
        self._frame = 0
        self._closed: Frame | None = None
        """The frame whose `)` was the word before."""

    def run(self) -> Shape:
        operand_wanted = True
        while operand_wanted or self._cursor.kind() is not TokenKind.END:
            closed, self._closed = self._closed, None
            operand_wanted = self._operand() if operand_wanted else self._operator(closed)
        if self._frame:
            raise syntax_error(self._shape.text, self._open.opened - 1, "( has no closing )")
        self._open.closed = len(self._shape.text)
        return self._shape

    @property
    def _open(self) -> Frame:
        return self._shape.frames[self._frame]

    def _operand(self) -> bool:
        """Reads one operand, or what may stand before it. Returns whether an operand is still wanted."""
        cursor = self._cursor
        match cursor.kind():
            case TokenKind.NUMBER | TokenKind.DURATION | TokenKind.STRING:
                cursor.skip()
                return False
            case TokenKind.IDENTIFIER:
                return self._name()
            case TokenKind.LEFT_BRACE:
                self._selector(None)
                return False
            case TokenKind.LEFT_PAREN:
                self._open_frame(FrameKind.GROUP, "", cursor.peek())
                return True
            case TokenKind.OPERATOR if cursor.operator() in ("+", "-"):
                cursor.skip()
                self._shape.signs += 1
                return True
        raise cursor.unexpected("a metric, a number or an expression is expected")

    def _name(self) -> bool:
        cursor = self._cursor
        keyword = cursor.keyword()
        called = cursor.kind(1) is TokenKind.LEFT_PAREN
        if keyword in AGGREGATIONS and (called or cursor.keyword(1) in ("by", "without")):
            self._aggregation()
            return True
        if called and keyword not in SPECIAL_NUMBERS:
            if keyword in _NO_FUNCTION or ":" in keyword:
                raise cursor.unexpected(f"{keyword} is no function")
            word = cursor.skip()
            self._open_frame(FrameKind.CALL, cursor.written(word), word)
            if cursor.kind() is not TokenKind.RIGHT_PAREN:
                return True
            self._close_frame()
            return False
        if keyword in _NO_METRIC:
            raise cursor.unexpected(f'a metric of this name is written {{__name__="{keyword}"}}')
        word = cursor.skip()
        if keyword not in SPECIAL_NUMBERS:
            self._selector(word)
        return False

    def _aggregation(self) -> None:
        cursor = self._cursor
        word = cursor.skip()
        modified = cursor.kind() is TokenKind.IDENTIFIER
        if modified:
            cursor.skip()
            cursor.take_labels()
            if cursor.kind() is not TokenKind.LEFT_PAREN:
                raise cursor.unexpected("( is expected after the labels of an aggregation")
        self._open_frame(FrameKind.AGGREGATION, cursor.written(word).lower(), word, modified)

    def _open_frame(self, kind: FrameKind, name: str, start: Token, modified: bool = False) -> None:
        opening = self._cursor.skip()
        self._shape.frames.append(Frame(kind, name, start.start, opening.end, self._frame, modified))
        self._frame = len(self._shape.frames) - 1

    def _close_frame(self) -> None:
        if not self._frame:
            raise self._cursor.unexpected("there is no ( for it")
        frame = self._open
        frame.closed = self._cursor.skip().start
        self._frame = frame.parent
        self._closed = frame

    def _selector(self, name: Token | None) -> None:
        cursor = self._cursor
        start = name.start if name else cursor.peek().start
        if cursor.kind() is TokenKind.LEFT_BRACE:
            braces, branches = take_braces(cursor, named=name is not None)
            end = braces[1]
        elif name:
            braces, end = None, name.end
            branches = (Branch((), end),)
        frame = self._open
        in_info = frame.kind is FrameKind.CALL and frame.name == "info" and frame.argument == 1
        metric = cursor.written(name) if name else None
        self._shape.selectors.append(
            Selector(metric, start, end, braces, branches, self._frame, frame.argument, in_info)
        )

    def _operator(self, closed: Frame | None) -> bool:
        """Reads what may follow an operand. Returns whether an operand is wanted after it."""
        cursor = self._cursor
        match cursor.kind():
            case TokenKind.RIGHT_PAREN:
                self._close_frame()
                return False
            case TokenKind.LEFT_BRACKET:
                cursor.take_range()
                return False
            case TokenKind.AT:
                cursor.skip()
                cursor.take_time()
                return False
            case TokenKind.COMMA if self._open.kind in (FrameKind.CALL, FrameKind.AGGREGATION):
                self._open.commas.append(cursor.skip().start)
                return True
            case TokenKind.OPERATOR if cursor.operator() in _SIGN_OPERATORS:
                self._binary()
                return True
            case TokenKind.IDENTIFIER:
                return self._word(closed)
        raise cursor.unexpected("an operator is expected")

    def _word(self, closed: Frame | None) -> bool:
        cursor = self._cursor
        keyword = cursor.keyword()
        if keyword in _WORD_OPERATORS:
            self._binary()
            return True
        if keyword == "offset":
            cursor.skip()
            cursor.take_offset()
        elif keyword in ("anchored", "smoothed"):
            cursor.skip()
        elif keyword in ("by", "without") and closed and closed.kind is FrameKind.AGGREGATION and not closed.modified:
            cursor.skip()
            cursor.take_labels()
        else:
            raise cursor.unexpected("an operator is expected")
        return False

    def _binary(self) -> None:
        cursor = self._cursor
        word = cursor.skip()
        if cursor.keyword() == "bool":
            cursor.skip()
        matching, grouping = "", ""
        labels: tuple[str, ...] = ()
        if cursor.keyword() in ("on", "ignoring"):
            matching = cursor.keyword()
            cursor.skip()
            labels = cursor.take_labels()
            if cursor.keyword() in _GROUPINGS:
                grouping = cursor.keyword()
                cursor.skip()
                if cursor.kind() is TokenKind.LEFT_PAREN:
                    cursor.take_labels()
        while cursor.keyword() in _FILLS and cursor.kind(1) is TokenKind.LEFT_PAREN:
            cursor.skip()
            cursor.take_fill()
        op, begins, argument = cursor.written(word).lower(), cursor.peek().start, self._open.argument
        self._shape.operators.append(
            BinaryOperator(op, word.start, begins, self._frame, argument, matching, labels, grouping)
        )
