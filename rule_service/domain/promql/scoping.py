"""Adds the matchers of a scope to the vector selectors of a query (DESIGN 1.3), by editing its text.

A selector may say for itself whether it is scoped: `__scope__="on"` is replaced by the matchers at that very place,
`__scope__="off"` is removed. Both are valid PromQL, so a marked query still parses in every editor.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from rule_service.domain.matchers import Matcher, MatchOp, ValueSet
from rule_service.domain.model import ScopeMode
from rule_service.domain.promql.selectors import find_selectors
from rule_service.domain.promql.shape import Branch, Selector, WrittenMatcher
from rule_service.domain.promql.tokens import FIELD, Lines, position_of, syntax_error
from rule_service.domain.remembered import remembered
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
    marked = _marked(text, mode, tuple(exclude_metrics))
    scoped = [each.selector for each in marked if each.scoped]
    _check_scoped(mode, scoped, own_scope)
    _check_matches(text, scoped, own_scope)
    edits = (edit for each in marked for edit in _edits(text, each, matchers))
    total = sum(not each.selector.info_labels for each in marked)
    return Scoped(_apply(text, edits), total, len(scoped), _conflicts(text, scoped, matchers))


@remembered(8_192)
def _marked(text: str, mode: ScopeMode, exclude_metrics: tuple[str, ...]) -> tuple[Marked, ...]:
    return tuple(mark_selectors(text, find_selectors(text), mode=mode, exclude_metrics=exclude_metrics))


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


def _check_scoped(mode: ScopeMode, scoped: Sequence[Selector], own_scope: Sequence[Matcher]) -> None:
    if scoped:
        return
    if mode is ScopeMode.MANUAL:
        message = f'no selector is marked {MARK}="on": mark one, or choose the scope mode "auto" or "none"'
        raise InvalidInput.of(FIELD, Reason.QUERY_NOT_SCOPED, message, Position(1, 1))
    if mode is ScopeMode.AUTO and own_scope:
        message = 'no selector is left to scope, so the alert would fire in every scope alike: choose the mode "none"'
        raise InvalidInput.of(FIELD, Reason.QUERY_NOT_SCOPED, message, Position(1, 1))


def _check_matches(text: str, scoped: Sequence[Selector], own_scope: Sequence[Matcher]) -> None:
    allowed: dict[str, ValueSet] = {}
    for matcher in own_scope:
        allowed[matcher.label] = allowed.get(matcher.label, ValueSet.all()).intersect(matcher.possible_values())
    for branch in (branch for selector in scoped for branch in selector.branches):
        left = dict(allowed)
        for written in branch.matchers:
            label = written.matcher.label
            if label not in left:
                continue
            left[label] = left[label].intersect(written.matcher.possible_values())
            if left[label].is_empty:
                scope = ",".join(str(matcher) for matcher in own_scope if matcher.label == label)
                message = f"{written.matcher} never matches in the scope {scope}: remove it"
                raise InvalidInput.of(FIELD, Reason.QUERY_NEVER_MATCHES, message, position_of(text, written.start))


def _conflicts(text: str, scoped: Sequence[Selector], matchers: Sequence[Matcher]) -> tuple[Conflict, ...]:
    lines = Lines(text)
    labels = {matcher.label for matcher in matchers}
    return tuple(
        Conflict(written.matcher, lines.position(written.start))
        for selector in scoped
        for branch in selector.branches
        for written in branch.matchers
        if written.matcher.label in labels and written.matcher not in matchers
    )


Edit = tuple[int, int, str]
"""Replaces `text[start:end]` by a string."""


def _edits(text: str, marked: Marked, matchers: Sequence[Matcher]) -> Iterator[Edit]:
    for branch in marked.selector.branches:
        present = {written.matcher for written in branch.matchers}
        missing = ",".join(str(matcher) for matcher in matchers if matcher not in present) if marked.scoped else ""
        if marked.written is not None and marked.written in branch.matchers:
            yield from _replace_mark(text, branch, marked.written, missing)
        elif missing and marked.selector.braces is None:
            yield branch.insert_at, branch.insert_at, f"{{{missing}}}"
        elif missing:
            yield branch.insert_at, branch.insert_at, f",{missing}" if branch.matchers else missing


def _replace_mark(text: str, branch: Branch, mark: WrittenMatcher, matchers: str) -> Iterator[Edit]:
    """The mark gives way to `matchers`, or to nothing, and then a comma goes with it; comments between stay."""
    index = branch.matchers.index(mark)
    before = branch.matchers[index - 1].comma if index else None
    if matchers:
        yield mark.start, mark.end, matchers
    elif mark.comma is not None:
        yield from _cut(text, mark.start, mark.end, mark.comma, _blanks_after(text, mark.comma + 1))
    elif before is not None:
        yield from _cut(text, before, before + 1, mark.start, mark.end)
    else:
        yield mark.start, mark.end, ""


def _cut(text: str, first: int, first_end: int, second: int, second_end: int) -> Iterator[Edit]:
    """Removes two spans, and what is between them if it is only white space."""
    if text[first_end:second].strip():
        yield first, first_end, ""
        yield second, second_end, ""
    else:
        yield first, second_end, ""


def _blanks_after(text: str, offset: int) -> int:
    """Past the spaces that a removed comma leaves, unless they end the line."""
    end = offset
    while text[end : end + 1] in (" ", "\t"):
        end += 1
    return offset if text[end : end + 1] in ("\r", "\n") else end


def _apply(text: str, edits: Iterator[Edit]) -> str:
    parts = []
    at = 0
    for start, end, replacement in edits:
        parts += [text[at:start], replacement]
        at = end
    return "".join(parts) + text[at:]
