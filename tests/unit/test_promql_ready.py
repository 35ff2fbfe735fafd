"""A query that is checked once, however many scopes and numbers it has."""

import pytest

from rule_service.domain.matchers import Matcher, MatchOp
from rule_service.domain.model import ScopeMode
from rule_service.domain.promql import ready
from rule_service.domain.promql.check import Verdict
from rule_service.domain.promql.limits import MAX_NESTING
from rule_service.domain.promql.ready import ReadyQuery, ready_query
from rulecast.errors import InvalidInput, Position
from rulecast.reasons import Reason

ENV = (Matcher("env", MatchOp.EQUAL, "a"),)


def query(text: str, outline: str = "") -> ReadyQuery:
    return ready_query(text, outline or text, ScopeMode.AUTO, (), frozenset({"env"}))


def test_queries_that_differ_in_numbers_are_scanned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = query("once > 50", "once > 11")
    monkeypatch.setattr(ready, "scan", lambda text: pytest.fail(f"{text} is scanned again"))
    second = query("once > 60", "once > 11")
    assert [each.scope(ENV, ENV).text for each in (first, second)] == ['once{env="a"} > 50', 'once{env="a"} > 60']


def test_what_is_wrong_is_told_in_the_words_of_the_query() -> None:
    with pytest.raises(InvalidInput) as refused:
        query("cpu > 50 60", "cpu > 11 11")
    [violation] = refused.value.violations
    assert "unexpected 60" in violation.message
    assert violation.position == Position(1, 10)


def test_promql_parser_is_asked_about_the_query_itself() -> None:
    assert query("foo offset 1e50", "foo offset 1111").verdict is Verdict.UNKNOWN
    assert query("foo offset 2000", "foo offset 1111").verdict is Verdict.ACCEPTED


def test_what_matches_everything_comes_before_a_wrong_mark() -> None:
    with pytest.raises(InvalidInput) as refused:
        query('{} + up{__scope__="maybe"}')
    assert "non-empty matcher" in str(refused.value)


def test_with_its_scope_it_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = query('up{job="a"}')
    monkeypatch.setattr(ready, "_check_scoped", lambda *_: pytest.fail("checked again"))
    assert found.scope(ENV, ENV).text == 'up{job="a",env="a"}'
    assert found.scope((), ()).text == 'up{job="a"}'


@pytest.mark.parametrize("text", ['up{env="a"}', 'up{env!="b"}', 'up{__scope__="on",env="a"}'])
def test_unless_it_asks_for_a_label_of_the_scope(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = query(text)
    checked: list[str] = []
    monkeypatch.setattr(ready, "_check_scoped", lambda text, *_: checked.append(text))
    scoped = found.scope((*ENV, Matcher("env", MatchOp.NOT_EQUAL, "c")), ENV)
    assert checked == [scoped.text]


def test_braces_that_nest_too_deep_are_refused_at_each_scope() -> None:
    deepest = query("(" * MAX_NESTING + "up" + ")" * MAX_NESTING)
    for _ in range(2):
        with pytest.raises(InvalidInput) as refused:
            deepest.scope(ENV, ENV)
        assert refused.value.reason is Reason.QUERY_TOO_DEEP
