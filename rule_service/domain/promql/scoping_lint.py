"""Warns where scoping every selector is valid but seldom what the author wants (DESIGN 1.3).

Judged from the text alone, so a warning says what to look at. Each was measured with promtool on series of which some
lack the scope's label. Selectors that are not scoped (excluded, marked `off`) never give one.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from rule_service.domain.model import ScopeMode
from rule_service.domain.promql.scoping import MARK, Marked
from rule_service.domain.promql.shape import BinaryOperator, Frame, FrameKind, Selector, Shape
from rule_service.domain.promql.strings import unquote
from rule_service.domain.promql.tokens import Lines
from rulecast.errors import Position


class ScopingRisk(StrEnum):
    """Stable codes."""

    ABSENT = "ABSENT"
    JOIN = "JOIN"
    SET_FILTER = "SET_FILTER"
    NO_SELECTOR = "NO_SELECTOR"
    OR_WITHOUT_SELECTOR = "OR_WITHOUT_SELECTOR"
    SCALAR = "SCALAR"
    TOP_OF_SCOPE = "TOP_OF_SCOPE"
    RECORDED_METRIC = "RECORDED_METRIC"


@dataclass(frozen=True, slots=True)
class ScopingWarning:
    risk: ScopingRisk
    message: str
    position: Position

    def __str__(self) -> str:
        return f"{self.risk}: {self.message} (line {self.position.line}, column {self.position.column})"


_LEAVE_OUT = f'if its series lack the label, mark it {MARK}="off" or name it in scope_exclude_metrics'
_PRECEDENCE = {"or": 1, "and": 2, "unless": 2, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5, "atan2": 5, "^": 6}
_COMPARISON = 3
_TOP = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})


def lint_scoping(
    shape: Shape, marked: Iterable[Marked], *, mode: ScopeMode, scope_labels: Collection[str] = ()
) -> list[ScopingWarning]:
    """The warnings for a query with marked selectors, in order of position; none in the mode `none`.

    scope_labels: the labels of the namespaces, where known: a join on one of them is right.
    """
    if mode is ScopeMode.NONE:
        return []
    lint = _Lint(shape, [each.selector for each in marked if each.scoped], frozenset(scope_labels))
    found = sorted(lint.run(), key=lambda warning: warning[0])
    lines = Lines(shape.text)
    return [ScopingWarning(risk, message, lines.position(offset)) for offset, risk, message in found]


_Found = tuple[int, ScopingRisk, str]
_Span = tuple[int, int]


class _Lint:
    def __init__(self, shape: Shape, scoped: list[Selector], scope_labels: frozenset[str]) -> None:
        self._shape = shape
        self._scoped = _Selectors(scoped)
        self._selectors = _Selectors([each for each in shape.selectors if not each.info_labels])
        self._scope_labels = scope_labels

    def run(self) -> Iterator[_Found]:
        if not self._shape.selectors:
            yield 0, ScopingRisk.NO_SELECTOR, "no selector to scope: the alert would fire in every scope alike"
        for frame in self._shape.frames:
            yield from self._frame(frame)
        for operator, left, right in _sides(self._shape):
            if operator.op == "or":
                yield from self._or(operator, left, right)
            elif self._matches_without_scope(operator):
                yield from self._match(operator, left if operator.grouping == "group_right" else right)
        for selector in self._scoped.all:
            yield from _recorded(selector)

    def _frame(self, frame: Frame) -> Iterator[_Found]:
        if self._scoped.first_in((frame.opened, frame.closed)) is None:
            return
        if frame.kind is FrameKind.CALL and frame.name in ("absent", "absent_over_time"):
            message = f"{frame.name}() fires in every scope that never had such a series"
            yield frame.start, ScopingRisk.ABSENT, message
        elif frame.kind is FrameKind.CALL and frame.name == "scalar":
            message = f"scalar() is NaN, and nothing fires, where the scope has no series or several; {_LEAVE_OUT}"
            yield frame.start, ScopingRisk.SCALAR, message
        elif frame.kind is FrameKind.AGGREGATION and frame.name in _TOP:
            yield frame.start, ScopingRisk.TOP_OF_SCOPE, f"{frame.name} picks within each scope, not among all series"

    def _or(self, operator: BinaryOperator, left: _Span, right: _Span) -> Iterator[_Found]:
        if self._selectors.first_in(left) is None or self._selectors.first_in(right) is None:
            message = "a side of or has no selector: it holds in every scope alike"
            yield operator.start, ScopingRisk.OR_WITHOUT_SELECTOR, message

    def _match(self, operator: BinaryOperator, looked_up: _Span) -> Iterator[_Found]:
        selector = self._scoped.first_in(looked_up)
        if selector is None:
            return
        what = selector.metric or "the selector"
        if operator.grouping:
            message = f"{what} is joined without the scope's label, and nothing fires if it is not there; {_LEAVE_OUT}"
            yield selector.start, ScopingRisk.JOIN, message
        elif operator.op in ("and", "unless"):
            harm = "nothing fires" if operator.op == "and" else "nothing is held back"
            message = f"{what} is matched without the scope's label, and {harm} if it is not there; {_LEAVE_OUT}"
            yield selector.start, ScopingRisk.SET_FILTER, message

    def _matches_without_scope(self, operator: BinaryOperator) -> bool:
        """Series are matched on labels that do not tell the scope, so those of one side may lack it."""
        named = {label if label[0] not in "\"'`" else unquote(label) for label in operator.labels}
        if operator.matching == "on":
            return not named & self._scope_labels
        return operator.matching == "ignoring" and bool(named & self._scope_labels)


class _Selectors:
    """Selectors in the order of the text, found by place."""

    def __init__(self, selectors: list[Selector]) -> None:
        self.all = selectors
        self._starts = [each.start for each in selectors]

    def first_in(self, span: _Span) -> Selector | None:
        index = bisect_left(self._starts, span[0])
        return self.all[index] if index < len(self.all) and self._starts[index] < span[1] else None


def _sides(shape: Shape) -> Iterator[tuple[BinaryOperator, _Span, _Span]]:
    """Each binary operator with the spans of its two operands."""
    lefts: dict[int, _Span] = {}
    waiting: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, operator in enumerate(shape.operators):
        # of the same parentheses: those that bind looser than all that follow them so far
        looser = waiting[operator.frame, operator.argument]
        while looser and _binds(shape.operators[looser[-1]]) >= _binds(operator):
            ended = looser.pop()
            yield shape.operators[ended], lefts[ended], (shape.operators[ended].end, operator.start)
        begins = shape.operators[looser[-1]].end if looser else _argument(shape, operator)[0]
        lefts[index] = (begins, operator.start)
        looser.append(index)
    for index in (index for looser in waiting.values() for index in looser):
        operator = shape.operators[index]
        yield operator, lefts[index], (operator.end, _argument(shape, operator)[1])


def _argument(shape: Shape, operator: BinaryOperator) -> _Span:
    return shape.frames[operator.frame].argument_span(operator.argument)


def _binds(operator: BinaryOperator) -> int:
    return _PRECEDENCE.get(operator.op, _COMPARISON)


def _recorded(selector: Selector) -> Iterator[_Found]:
    metric = selector.metric
    if metric is not None and ":" in metric:
        message = f"{metric} looks recorded: {_LEAVE_OUT}, or keep the label in its recording rule"
        yield selector.start, ScopingRisk.RECORDED_METRIC, message
