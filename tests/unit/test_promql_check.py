"""Limits, and what promql-parser says."""

import promql_parser
import pytest

from rule_service.domain.promql.check import MAX_OPERATORS_PARSED, Verdict, check_query
from rule_service.domain.promql.limits import MAX_BYTES, MAX_NESTING, check_limits
from rulecast.errors import InvalidInput, LimitExceeded, Position
from rulecast.reasons import Reason


def test_a_query_may_have_16_kib_of_utf_8() -> None:
    check_limits('"' + "é" * (MAX_BYTES // 2 - 1) + '"')
    for text in ('"' + "é" * (MAX_BYTES // 2 - 1) + '" ', "a" * (MAX_BYTES + 1), "é" * 10_000_000):
        with pytest.raises(LimitExceeded) as caught:
            check_limits(text)
        assert caught.value.reason is Reason.TOO_LARGE
        assert caught.value.metadata == {"limit": "16384"}


@pytest.mark.parametrize("pair", ["()", "[]", "{}"])
def test_a_query_may_have_100_levels(pair: str) -> None:
    check_limits(pair[0] * MAX_NESTING + pair[1] * MAX_NESTING + pair[0] * MAX_NESTING)
    with pytest.raises(InvalidInput) as caught:
        check_limits("\n" + pair[0] * (MAX_NESTING + 1))
    assert caught.value.reason is Reason.QUERY_TOO_DEEP
    assert caught.value.violations[0].position == Position(2, MAX_NESTING + 1)


@pytest.mark.parametrize(
    "hidden", ['"{}"', "'{}'", "`{}`", "# {}\n", '"\\"{}"', "'\\'{}'", '"unclosed {}', "# {}\r", "`\n{}\n`"]
)
def test_brackets_in_strings_and_comments_do_not_nest(hidden: str) -> None:
    check_limits(hidden.format("(" * 1000))
    with pytest.raises(InvalidInput, match="levels"):
        check_limits(hidden.format("(" * 1000).replace('"unclosed', "").replace("`\n", "") + "\n" + "(" * 101)


@pytest.mark.parametrize(
    ("text", "position"),
    [("a\0", Position(1, 2)), ('"\0"', Position(1, 2)), ("\n'\ud800'", Position(2, 2)), ("# \udfff", Position(1, 3))],
)
def test_nul_and_lone_surrogates_are_refused(text: str, position: Position) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_limits(text)
    assert caught.value.reason is Reason.QUERY_INVALID
    assert caught.value.violations[0].position == position


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("sum(rate(foo[5m])) > 1", Verdict.ACCEPTED),
        ("rate(foo)", Verdict.REJECTED),
        ("unknown(foo)", Verdict.REJECTED),
        ('foo{a=~"["}', Verdict.REJECTED),
        # right for Prometheus: the opinion is no more than that
        ("foo </ 1", Verdict.REJECTED),
        (r"foo{a=~`\d+`}", Verdict.REJECTED),
        # panics in promql-parser, which is no Exception in Python
        ("foo offset 9.5e50", Verdict.UNKNOWN),
        ("foo offset Inf", Verdict.UNKNOWN),
    ],
)
def test_the_opinion_of_promql_parser(text: str, verdict: Verdict) -> None:
    checked = check_query(text)
    assert checked.verdict is verdict
    assert bool(checked.message) == (verdict is not Verdict.ACCEPTED)
    assert len(checked.shape.selectors) == 1


@pytest.mark.parametrize(
    "text",
    [
        "1" + "+1" * 8000,
        "1" + "^1" * 8000,
        "-" * 16_000 + "a",
        "- " * 8000 + "a",
        "(" * 100 + "a" + "^-a" * 129 + ")" * 100,
    ],
)
def test_what_would_kill_the_process_is_not_parsed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promql_parser, "parse", lambda _: pytest.fail("this ends in a segmentation fault"))
    assert check_query(text).verdict is Verdict.UNKNOWN


def test_the_most_that_is_parsed_is_parsed() -> None:
    text = "abs(" * MAX_NESTING + "a" + " + a" * MAX_OPERATORS_PARSED + ")" * MAX_NESTING
    assert check_query(text).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("text", ["(" * 10_000 + "a" + ")" * 10_000, "a" * 20_000, "foo{", "\0", "foo bar"])
def test_limits_and_shape_come_first(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promql_parser, "parse", lambda _: pytest.fail("not yet"))
    with pytest.raises((InvalidInput, LimitExceeded)):
        check_query(text)
