"""A query checked once and then scoped for each scope that has it: what repeats is remembered (DESIGN 1.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

from rule_service.domain.matchers import Matcher, MatchOp
from rule_service.domain.model import ScopeMode
from rule_service.domain.promql.check import Verdict, ask_parser, check_query, check_with_matchers
from rule_service.domain.promql.limits import MAX_BYTES, check_limits
from rule_service.domain.promql.scoping import Scopable, Scoped, mark_selectors, scopable
from rule_service.domain.promql.scoping_lint import ScopingWarning, lint_scoping
from rule_service.domain.promql.selectors import find_selectors, scan
from rule_service.domain.promql.tokens import FIELD
from rule_service.domain.remembered import remembered
from rulecast.errors import InvalidInput, LimitExceeded, RulecastError
from rulecast.reasons import Reason

MAX_SCOPED_BYTES = 1024 * 1024
"""Of one expression with its scope matchers."""

_MATCHES_EVERYTHING = "at least one non-empty matcher"
"""In promql-parser's words for `{}` and `{job=~".*"}`, which Prometheus refuses until a scope is added."""

_ANY = str(Matcher("any", MatchOp.EQUAL, "value"))


@dataclass(frozen=True, slots=True)
class Outline:
    """All that the words of a query tell but for its numbers and durations, so the same for every query that has it.

    operators: how many there are, signs included. risks: of giving it matchers at all.
    takes_any: it has been read with matchers of no scope in particular. Those of a scope differ from them in no more
    than names and quoted values, so where the author asks for none of their labels, they need no check of their own.
    """

    query: Scopable
    operators: int
    risks: tuple[ScopingWarning, ...]
    takes_any: bool


@dataclass(frozen=True, slots=True)
class ReadyQuery:
    """A checked query that may be scoped. message: promql-parser's, where it does not accept the query."""

    query: Scopable
    outline: Outline
    verdict: Verdict
    message: str

    @property
    def text(self) -> str:
        return self.query.text

    def scope(self, matchers: Sequence[Matcher], own_scope: Sequence[Matcher]) -> Scoped:
        """What `scope_query` returns. Raises as it and `check_query`, and LimitExceeded for what becomes too long."""
        query = self.query
        scoped = query.scope(matchers, own_scope)
        size = len(scoped.text.encode())
        if size > MAX_SCOPED_BYTES:
            raise _too_long(size)
        known = matchers and self.outline.takes_any and not query.asks_for(matchers)
        if not known and scoped.text != query.text:
            _check_scoped(scoped.text, size, self.verdict)
        return scoped


# not what queries are with their scopes: those are all different
@remembered(8_192)
def ready_query(
    text: str, outline: str, mode: ScopeMode, exclude_metrics: tuple[str, ...], scope_labels: frozenset[str]
) -> ReadyQuery:
    """outline: as `RenderedQuery` says. scope_labels: the labels of the namespaces.

    Raises as `check_query` and `mark_selectors`.
    """
    try:
        known = _outline(outline, mode, exclude_metrics, scope_labels)
    except RulecastError:
        # told in the query's own words; and what promql-parser is asked about comes first
        _check_not_everything(check_query(text).message)
        known = _outline(text, mode, exclude_metrics, scope_labels)
    verdict, message = ask_parser(text, known.operators)
    _check_not_everything(message)
    return ReadyQuery(known.query.of(text), known, verdict, message)


@remembered(8_192)
def _outline(text: str, mode: ScopeMode, exclude_metrics: tuple[str, ...], scope_labels: frozenset[str]) -> Outline:
    check_limits(text)
    shape = scan(text)
    marked = mark_selectors(text, shape.selectors, mode=mode, exclude_metrics=exclude_metrics)
    query = scopable(text, marked, mode)
    risks = lint_scoping(shape, marked, mode=mode, scope_labels=scope_labels)
    takes_any = _is_query(_ANY.join(query.pieces))
    return Outline(query, len(shape.operators) + shape.signs, tuple(risks), takes_any)


def _is_query(text: str) -> bool:
    try:
        check_limits(text)
        find_selectors(text)
    except RulecastError:
        return False
    return True


def _check_not_everything(message: str) -> None:
    """The one mistake that scoping would hide, even from promtool, which is asked about the result."""
    if _MATCHES_EVERYTHING in message:
        message = f"{message}: give each selector a metric name, or a matcher that an empty value does not pass"
        raise InvalidInput.of(FIELD, Reason.QUERY_INVALID, message)


def _check_scoped(text: str, size: int, before: Verdict) -> None:
    # the limit on what an author writes is not one on what many groups add to it
    if size <= MAX_BYTES:
        check_with_matchers(text, before)
    else:
        find_selectors(text)


def _too_long(size: int) -> LimitExceeded:
    message = (
        f"with the matchers of its scope the query has {size} bytes: at most {MAX_SCOPED_BYTES} are allowed; "
        "use fewer selectors, or fewer groups with rules of their own"
    )
    return LimitExceeded.of(FIELD, Reason.TOO_LARGE, message, limit=str(MAX_SCOPED_BYTES))
