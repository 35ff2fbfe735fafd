"""Adds the matchers of a scope to the vector selectors of a query (DESIGN 1.3), by editing its text.

A selector may say for itself whether it is scoped: `__scope__="on"` is replaced by the matchers at that very place,
`__scope__="off"` is removed. Both are valid PromQL, so a marked query still parses in every editor.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rule_service.domain.matchers import Matcher, MatchOp, ValueSet
from rule_service.domain.model import ScopeMode
from rule_service.domain.promql.selectors import find_selectors
from rule_service.domain.promql.shape import Branch, Selector, WrittenMatcher
from rule_service.domain.promql.tokens import FIELD, Lines, position_of, syntax_error
from rulecast.errors import InvalidInput, Position
from rulecast.reasons import Reason

MARK = "__scope__"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A matcher of the author's on a label of the scope: both hold, so the selector selects what both allow."""

    matcher: Matcher
    position: Position


@dataclass(frozen=True, slots=True)
class Scoped:
    """A query with its scope.

    selectors_total: the vector selectors that select series (the label selector of `info()` does not).
    selectors_scoped: those that carry the scope's matchers, written just now or before.
    """

    text: str
    selectors_total: int
    selectors_scoped: int
    conflicts: tuple[Conflict, ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """A selector, its mark (`written`, None without one), and whether it is to be scoped."""

    selector: Selector
    written: WrittenMatcher | None
    scoped: bool


@dataclass(frozen=True, slots=True)
class Scopable:
    """A query whose selectors are found and marked: all that scoping it comes to, whatever the scope.

    selectors: those to be scoped; total: those that select series. labels: what the author's matchers in `selectors`
    are on. pieces: the text around each place for the matchers of a scope, where they are on none of these labels.
    """

    text: str
    mode: ScopeMode
    marked: tuple[Marked, ...]
    selectors: tuple[Selector, ...]
    total: int
    labels: frozenset[str]
    pieces: tuple[str, ...]

    def of(self, text: str) -> "Scopable":
        """The same for a text that has the same selectors at the same places."""
        pieces, _ = _taken_apart(text, self.marked, lambda _: MARK)
        return Scopable(text, self.mode, self.marked, self.selectors, self.total, self.labels, pieces)

    def asks_for(self, matchers: Iterable[Matcher]) -> bool:
        """Whether the author's matchers are on a label of these too, so that one has to be held against the other."""
        return not self.labels.isdisjoint([matcher.label for matcher in matchers])

    def scope(self, matchers: Sequence[Matcher], own_scope: Sequence[Matcher] = ()) -> Scoped:
        """What `scope_query` returns, and raises but for mistakes of the text."""
        _check_scoped(self, own_scope)
        if matchers and not self.asks_for((*matchers, *own_scope)):
            return self._scoped(",".join(map(str, matchers)).join(self.pieces))
        _check_matches(self, own_scope)
        pieces, written = _taken_apart(self.text, self.marked, lambda branch: _missing(branch, matchers))
        text = "".join(part for pair in zip(pieces, (*written, ""), strict=True) for part in pair)
        return self._scoped(text, _conflicts(self, matchers))

    def _scoped(self, text: str, conflicts: tuple[Conflict, ...] = ()) -> Scoped:
        return Scoped(text, self.total, len(self.selectors), conflicts)


def scope_query(
    text: str,
    matchers: Sequence[Matcher],
    *,
    mode: ScopeMode,
    exclude_metrics: Collection[str],
    own_scope: Sequence[Matcher] = (),
) -> Scoped:
    """`text` with `matchers` in each selector that is to be scoped; nothing else of it changes.

    exclude_metrics: metric names to leave alone in the mode auto, `*` standing for any characters (`kube_*_labels`).
    own_scope: those of `matchers` that say where the rule applies, without the exclusions.
    A matcher that a selector has already is not written again, so scoping an unmarked query twice changes nothing.

    Raises InvalidInput: QUERY_INVALID where `text` is no PromQL or a mark is wrong; QUERY_NOT_SCOPED where no selector
    is left to scope, though the mode is manual or the rule has a scope of its own; QUERY_NEVER_MATCHES where the
    author's matchers of a selector exclude all that `own_scope` allows.
    """
    marked = mark_selectors(text, find_selectors(text), mode=mode, exclude_metrics=exclude_metrics)
    return scopable(text, marked, mode).scope(matchers, own_scope)


def scopable(text: str, marked: Sequence[Marked], mode: ScopeMode) -> Scopable:
    """A query with its marked selectors, ready to be scoped any number of times."""
    selectors = tuple(each.selector for each in marked if each.scoped)
    total = sum(not each.selector.info_labels for each in marked)
    labels = frozenset(
        written.matcher.label for selector in selectors for branch in selector.branches for written in branch.matchers
    )
    pieces, _ = _taken_apart(text, marked, lambda _: MARK)
    return Scopable(text, mode, tuple(marked), selectors, total, labels, pieces)


def mark_selectors(
    text: str, selectors: Sequence[Selector], *, mode: ScopeMode, exclude_metrics: Collection[str]
) -> list[Marked]:
    """Which selectors are to be scoped. Raises QUERY_INVALID for a mark that is wrong, or there twice."""
    excluded = _any_of(exclude_metrics)
    decided = []
    for selector in selectors:
        mark = _mark_of(text, selector)
        if mark is None:
            left_out = selector.info_labels or (selector.metric is not None and excluded.fullmatch(selector.metric))
            decided.append(Marked(selector, None, mode is ScopeMode.AUTO and not left_out))
            continue
        on = mark.matcher.value == "on"
        if on and mode is ScopeMode.NONE:
            raise syntax_error(text, mark.start, 'the scope mode "none" scopes no selector: for this mark use "manual"')
        decided.append(Marked(selector, mark, on))
    return decided


def _any_of(patterns: Collection[str]) -> re.Pattern[str]:
    return re.compile("|".join(".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns) or r"(?!)")


def _mark_of(text: str, selector: Selector) -> WrittenMatcher | None:
    marks = [mark for branch in selector.branches for mark in branch.matchers if mark.matcher.label == MARK]
    if not marks:
        return None
    if len(marks) > 1:
        raise syntax_error(text, marks[1].start, f"a selector takes one {MARK}, not two")
    if marks[0].matcher.op is not MatchOp.EQUAL or marks[0].matcher.value not in ("on", "off"):
        raise syntax_error(text, marks[0].start, f'a selector says {MARK}="on" or {MARK}="off", nothing else')
    return marks[0]


def _check_scoped(query: Scopable, own_scope: Sequence[Matcher]) -> None:
    if query.selectors:
        return
    if query.mode is ScopeMode.MANUAL:
        message = f'no selector is marked {MARK}="on": mark one, or choose the scope mode "auto" or "none"'
        raise InvalidInput.of(FIELD, Reason.QUERY_NOT_SCOPED, message, Position(1, 1))
    if query.mode is ScopeMode.AUTO and own_scope:
        message = 'no selector is left to scope, so the alert would fire in every scope alike: choose the mode "none"'
        raise InvalidInput.of(FIELD, Reason.QUERY_NOT_SCOPED, message, Position(1, 1))


def _check_matches(query: Scopable, own_scope: Sequence[Matcher]) -> None:
    allowed: dict[str, ValueSet] = {}
    for matcher in own_scope:
        allowed[matcher.label] = allowed.get(matcher.label, ValueSet.all()).intersect(matcher.possible_values())
    for branch in (branch for selector in query.selectors for branch in selector.branches):
        left = dict(allowed)
        for written in branch.matchers:
            label = written.matcher.label
            if label not in left:
                continue
            left[label] = left[label].intersect(written.matcher.possible_values())
            if left[label].is_empty:
                scope = ",".join(str(matcher) for matcher in own_scope if matcher.label == label)
                message = f"{written.matcher} never matches in the scope {scope}: remove it"
                at = position_of(query.text, written.start)
                raise InvalidInput.of(FIELD, Reason.QUERY_NEVER_MATCHES, message, at)


def _conflicts(query: Scopable, matchers: Sequence[Matcher]) -> tuple[Conflict, ...]:
    lines = Lines(query.text)
    labels = {matcher.label for matcher in matchers}
    return tuple(
        Conflict(written.matcher, lines.position(written.start))
        for selector in query.selectors
        for branch in selector.branches
        for written in branch.matchers
        if written.matcher.label in labels and written.matcher not in matchers
    )


class _Edit(NamedTuple):
    """Replaces `text[start:end]` by `matchers` between `before` and `after`; without them it removes."""

    start: int
    end: int
    before: str = ""
    matchers: str = ""
    after: str = ""


_Missing = Callable[[Branch], str]
"""The matchers that are to be written into a branch, as text."""


def _missing(branch: Branch, matchers: Iterable[Matcher]) -> str:
    present = {written.matcher for written in branch.matchers}
    return ",".join(str(matcher) for matcher in matchers if matcher not in present)


def _taken_apart(text: str, marked: Iterable[Marked], missing: _Missing) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The text around each place where matchers are written, and what is written there."""
    pieces: list[str] = []
    written: list[str] = []
    piece = ""
    at = 0
    for edit in (edit for each in marked for edit in _edits(text, each, missing)):
        piece += text[at : edit.start] + edit.before
        if edit.matchers:
            pieces.append(piece)
            written.append(edit.matchers)
            piece = edit.after
        at = edit.end
    return (*pieces, piece + text[at:]), tuple(written)


def _edits(text: str, marked: Marked, missing: _Missing) -> Iterator[_Edit]:
    for branch in marked.selector.branches:
        matchers = missing(branch) if marked.scoped else ""
        if marked.written is not None and marked.written in branch.matchers:
            yield from _replace_mark(text, branch, marked.written, matchers)
        elif matchers and marked.selector.braces is None:
            yield _Edit(branch.insert_at, branch.insert_at, "{", matchers, "}")
        elif matchers:
            yield _Edit(branch.insert_at, branch.insert_at, "," if branch.matchers else "", matchers)


def _replace_mark(text: str, branch: Branch, mark: WrittenMatcher, matchers: str) -> Iterator[_Edit]:
    """The mark gives way to `matchers`, or to nothing, and then a comma goes with it; comments between stay."""
    index = branch.matchers.index(mark)
    before = branch.matchers[index - 1].comma if index else None
    if matchers:
        yield _Edit(mark.start, mark.end, matchers=matchers)
    elif mark.comma is not None:
        yield from _cut(text, mark.start, mark.end, mark.comma, _blanks_after(text, mark.comma + 1))
    elif before is not None:
        yield from _cut(text, before, before + 1, mark.start, mark.end)
    else:
        yield _Edit(mark.start, mark.end)


def _cut(text: str, first: int, first_end: int, second: int, second_end: int) -> Iterator[_Edit]:
    """Removes two spans, and what is between them if it is only white space."""
    if text[first_end:second].strip():
        yield _Edit(first, first_end)
        yield _Edit(second, second_end)
    else:
        yield _Edit(first, second_end)


def _blanks_after(text: str, offset: int) -> int:
    """Past the spaces that a removed comma leaves, unless they end the line."""
    end = offset
    while text[end : end + 1] in (" ", "\t"):
        end += 1
    return offset if text[end : end + 1] in ("\r", "\n") else end
