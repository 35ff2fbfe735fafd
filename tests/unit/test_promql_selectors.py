"""Finding the vector selectors of a query."""

import json
from pathlib import Path
from typing import Any

import pytest

from rule_service.domain.matchers import Matcher, MatchOp
from rule_service.domain.promql.selectors import find_selectors, scan
from rule_service.domain.promql.shape import FrameKind
from rulecast.errors import InvalidInput, Position
from rulecast.reasons import Reason

CASES: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "promql_cases.jsonl").read_text(encoding="utf-8").splitlines()
]


def texts(query: str) -> list[str]:
    return [query[selector.start : selector.end] for selector in find_selectors(query)]


@pytest.mark.parametrize("case", [case for case in CASES if case["valid"]], ids=lambda case: case["expr"])
def test_hard_cases(case: dict[str, Any]) -> None:
    assert len(find_selectors(case["expr"])) == case["selectors"]


@pytest.mark.parametrize("case", [case for case in CASES if not case["valid"]], ids=lambda case: case["expr"])
def test_what_is_no_promql_is_refused_with_its_position(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        find_selectors(case["expr"])
    assert caught.value.reason is Reason.QUERY_INVALID
    assert caught.value.violations[0].position is not None


@pytest.mark.parametrize(
    ("query", "selectors"),
    [
        ('sum by (sum) (sum{sum="sum"}) + by', ['sum{sum="sum"}', "by"]),
        ("offset offset 5m and and", ["offset", "and"]),
        ("a * on (x) group_left (y) (b)", ["a", "b"]),
        ("a + fill (0) fill", ["a", "fill"]),
        ('topk(scalar(secret), {"a.b"}[5m:1m] @ end() offset -(1h * 2))', ["secret", '{"a.b"}']),
        ('foo # {x="y"}\n{a="}"} > start', ['foo # {x="y"}\n{a="}"}', "start"]),
        ("max_over_time(foo[5m:step()]) + step", ["foo", "step"]),
    ],
)
def test_spans(query: str, selectors: list[str]) -> None:
    assert texts(query) == selectors


def test_names_and_matchers_are_read() -> None:
    query = """foo { a = "x\\n", 'b.c' !~ `\\d+`, } + {"n.m", __name__!="z"} + {__name__="q"} + {a=~"."}"""
    first, quoted, named, nameless = find_selectors(query)
    assert [written.matcher for written in first.branches[0].matchers] == [
        Matcher("a", MatchOp.EQUAL, "x\n"),
        Matcher("b.c", MatchOp.NOT_REGEX, r"\d+"),
    ]
    assert [selector.metric for selector in (first, quoted, named, nameless)] == ["foo", "n.m", "q", None]
    assert first.braces is not None
    assert query[slice(*first.braces)] == """{ a = "x\\n", 'b.c' !~ `\\d+`, }"""
    assert query[: first.branches[0].insert_at].endswith(r"`\d+`")
    assert [comma and query[comma] for comma in (written.comma for written in first.branches[0].matchers)] == [",", ","]


def test_the_sides_of_an_or_between_braces_are_apart() -> None:
    (selector,) = find_selectors('{a="b" or c="d",e="f"}')
    assert [[each.matcher.label for each in branch.matchers] for branch in selector.branches] == [["a"], ["c", "e"]]
    assert selector.metric is None


@pytest.mark.parametrize(
    ("query", "labels_only"),
    [
        ('info(foo, {a="b"})', [False, True]),
        ('info(info(foo, {a="b"}), {c="d"}) + bar', [False, True, True, False]),
        ('sum(info(foo + bar, {a="b"}))', [False, False, True]),
        ('rate(foo[5m]) + clamp(bar, 1, scalar({a="b"}))', [False, False, False]),
        ('INFO(foo, {a="b"})', [False, False]),
    ],
)
def test_the_second_argument_of_info_is_told_apart(query: str, labels_only: list[bool]) -> None:
    assert [selector.info_labels for selector in find_selectors(query)] == labels_only


@pytest.mark.parametrize(
    ("query", "message", "position"),
    [
        ("sum by (a\n  job) (up)", "unexpected job: , or \\) is expected", Position(2, 3)),
        ("rate(foo[5m]", r"\( has no closing \)", Position(1, 5)),
        ("foo +", "the query ends: a metric", Position(1, 6)),
        ("foo bar", "unexpected bar: an operator is expected", Position(1, 5)),
        ("foo offset bar", "unexpected bar: a duration", Position(1, 12)),
        ('foo{a="b"\n c="d"}', "unexpected c: } is expected", Position(2, 2)),
        ("foo{a=b}", "a label's value is written in quotes", Position(1, 7)),
        ('foo{"bar"}', "the metric name is given twice", Position(1, 5)),
        ("foo @ bar", "a Unix time", Position(1, 7)),
        ("foo[5m", r"\[ has no closing \]", Position(1, 4)),
        ("on + x", r'written {__name__="on"}', Position(1, 1)),
        ("x + by (y)", "by is no function", Position(1, 5)),
        ("x > " + '"' + "y" * 99 + '" z', "unexpected z", Position(1, 107)),
    ],
)
def test_errors_say_what_and_where(query: str, message: str, position: Position) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        find_selectors(query)
    assert caught.value.violations[0].position == position


def test_a_long_word_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidInput) as caught:
        find_selectors("a " + "b" * 1000)
    assert len(str(caught.value)) < 200


def test_frames_and_operators() -> None:
    shape = scan("clamp(a unless on (x) b, 1, 2) > bool topk by (y) (3, c) * on (x) group_right (z) d")
    assert [(frame.kind, frame.name) for frame in shape.frames] == [
        (FrameKind.WHOLE, ""),
        (FrameKind.CALL, "clamp"),
        (FrameKind.AGGREGATION, "topk"),
    ]
    assert [(each.op, each.matching, each.labels, each.grouping, each.frame) for each in shape.operators] == [
        ("unless", "on", ("x",), "", 1),
        (">", "", (), "", 0),
        ("*", "on", ("x",), "group_right", 0),
    ]
    assert [shape.text[slice(*shape.frames[1].argument_span(index))] for index in range(3)] == [
        "a unless on (x) b",
        " 1",
        " 2",
    ]


@pytest.mark.parametrize(("opening", "inside", "closing"), [("(", "foo", ")"), ("abs(", "foo", ")"), ("-", "foo", "")])
def test_depth_needs_no_stack(opening: str, inside: str, closing: str) -> None:
    assert texts(opening * 50_000 + inside + closing * 50_000) == ["foo"]


def test_many_selectors() -> None:
    # quadratic work on 50,000 selectors would run into the time limit
    assert len(find_selectors(" + ".join(['foo{a="b"}[5m]'] * 50_000))) == 50_000
