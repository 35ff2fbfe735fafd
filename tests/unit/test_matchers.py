"""Sets of label values, and the matchers that select exactly such a set."""

import re

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rule_service.domain.matchers import Matcher, MatchOp, ValueSet, plain_alternatives, regex_quote
from rule_service.domain.promql.selectors import find_selectors
from rulecast.errors import InvalidInput

NASTY = st.text(st.sampled_from("ab\"\\'`|.*+?()[]{}^$-#&~,= \t\n\r\x01\x7f\x85é�\u2028😀"), max_size=4)
# few values, so that sets overlap
VALUES = st.sampled_from(["", "a", "b", "c", "a.b", "a|b", "a\nb", 'q"', "\\"])
SETS = st.builds(ValueSet, st.frozensets(VALUES), st.booleans())
UNIVERSE = ["", "a", "b", "c", "a.b", "a|b", "a\nb", 'q"', "\\", "axb", "other"]


def selects(matchers: tuple[Matcher, ...], value: str) -> bool:
    """As Prometheus decides it: all matchers hold, regular expressions match the whole value."""
    return all(holds(matcher, value) for matcher in matchers)


def holds(matcher: Matcher, value: str) -> bool:
    match matcher.op:
        case MatchOp.EQUAL:
            return value == matcher.value
        case MatchOp.NOT_EQUAL:
            return value != matcher.value
        case MatchOp.REGEX:
            return re.fullmatch(matcher.value, value) is not None
        case MatchOp.NOT_REGEX:
            return re.fullmatch(matcher.value, value) is None


def parsed_value(matcher: Matcher) -> str:
    """The value as another parser reads it."""
    selector = promql_parser.parse(f"up{{{matcher}}}")
    assert isinstance(selector, promql_parser.VectorSelector)
    (parsed,) = selector.matchers.matchers
    assert parsed.name == matcher.label
    return str(parsed.value)


@pytest.mark.parametrize(
    ("values", "written"),
    [
        (ValueSet.all(), ""),
        (ValueSet.present(), 'env!=""'),
        (ValueSet.of(["a"]), 'env="a"'),
        (ValueSet.of(["b", "a"]), 'env=~"a|b"'),
        (ValueSet.of([""]), 'env=""'),
        (ValueSet.of(["", "a"]), 'env=~"|a"'),
        (ValueSet.of(["a.b", "c"]), r'env=~"a\\.b|c"'),
        (ValueSet.all().minus(ValueSet.of(["a"])), 'env!="a"'),
        (ValueSet.all().minus(ValueSet.of(["b", "a"])), 'env!~"a|b"'),
        (ValueSet.present().minus(ValueSet.of(["a"])), 'env!="",env!="a"'),
        (ValueSet.present().minus(ValueSet.of(["b", "a"])), 'env!="",env!~"a|b"'),
        (ValueSet.of(["a", "b", "c"]).minus(ValueSet.of(["b"])), 'env=~"a|c"'),
    ],
)
def test_a_set_is_written_as_few_readable_matchers(values: ValueSet, written: str) -> None:
    assert ",".join(map(str, values.to_matchers("env"))) == written


def test_the_empty_set_has_no_matchers() -> None:
    nothing = ValueSet.of(["a"]).minus(ValueSet.of(["a"]))
    assert nothing.is_empty
    with pytest.raises(ValueError, match="no value of 'env'"):
        nothing.to_matchers("env")


@given(SETS, SETS)
def test_set_operations_are_those_of_the_values(left: ValueSet, right: ValueSet) -> None:
    for value in UNIVERSE:
        assert (value in left.intersect(right)) == (value in left and value in right)
        assert (value in left.minus(right)) == (value in left and value not in right)
        assert (value in left.complement()) == (value not in left)


@given(SETS)
def test_matchers_select_exactly_the_set(values: ValueSet) -> None:
    if values.is_empty:
        return
    matchers = values.to_matchers("env")
    assert {value for value in UNIVERSE if selects(matchers, value)} == {value for value in UNIVERSE if value in values}


@given(st.permutations(UNIVERSE[1:]))
def test_the_order_of_the_values_does_not_show(values: list[str]) -> None:
    assert ValueSet.of(values).to_matchers("env") == ValueSet.of(sorted(values)).to_matchers("env")


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("", ""),
        ("web-1_a:b/c,d#e&f~g=h<i>@%'\"`! é", "web-1_a:b/c,d#e&f~g=h<i>@%'\"`! é"),
        (r"\.+*?()|[]{}^$", r"\\\.\+\*\?\(\)\|\[\]\{\}\^\$"),
        ("a\n\tb", "a\n\tb"),
    ],
)
def test_regex_quote_escapes_what_go_escapes(value: str, quoted: str) -> None:
    assert regex_quote(value) == quoted


@given(NASTY, st.sampled_from([MatchOp.EQUAL, MatchOp.NOT_EQUAL]))
def test_a_written_matcher_reads_back_as_itself(value: str, op: MatchOp) -> None:
    matcher = Matcher("group_id", op, value)
    (selector,) = find_selectors(f"up{{{matcher}}}")
    assert [written.matcher for written in selector.branches[0].matchers] == [matcher]
    assert parsed_value(matcher) == value


@given(st.lists(NASTY, min_size=2, max_size=4, unique=True))
def test_many_values_read_back_as_the_expression_that_was_meant(values: list[str]) -> None:
    (matcher,) = ValueSet.of(values).to_matchers("group_id")
    assert parsed_value(matcher) == matcher.value == "|".join(regex_quote(value) for value in sorted(values))


def test_a_label_that_needs_quotes_gets_them() -> None:
    assert str(Matcher("k8s.cluster", MatchOp.EQUAL, "a")) == '"k8s.cluster"="a"'


@pytest.mark.parametrize(
    ("regex", "literals"),
    [
        ("", {""}),
        ("a", {"a"}),
        ("a|b", {"a", "b"}),
        ("|a", {"", "a"}),
        (r"a\.b|c\-d", {"a.b", "c-d"}),
        ("(a|b)", {"a", "b"}),
        ("(?:a|b)", {"a", "b"}),
        (r"a\|b", {"a|b"}),
    ],
)
def test_alternatives_of_literals_are_understood(regex: str, literals: set[str]) -> None:
    assert plain_alternatives(regex) == frozenset(literals)


@pytest.mark.parametrize(
    "regex", ["a.", "a*", "(a)|(b)", "(?i)a", "(?i:a)", r"\d", r"(a\)", "a\\", "[ab]", "^a$", "a{2}"]
)
def test_everything_else_is_not(regex: str) -> None:
    assert plain_alternatives(regex) is None


@pytest.mark.parametrize(
    ("op", "value", "values"),
    [
        (MatchOp.EQUAL, "a", ValueSet.of(["a"])),
        (MatchOp.NOT_EQUAL, "a", ValueSet.all().minus(ValueSet.of(["a"]))),
        (MatchOp.REGEX, "a|b", ValueSet.of(["a", "b"])),
        (MatchOp.NOT_REGEX, "a|b", ValueSet.all().minus(ValueSet.of(["a", "b"]))),
        (MatchOp.REGEX, ".+", ValueSet.present()),
        (MatchOp.NOT_REGEX, ".+", ValueSet.all()),
        (MatchOp.REGEX, "a.*", ValueSet.all()),
    ],
)
def test_possible_values_are_exact_or_too_many(op: MatchOp, value: str, values: ValueSet) -> None:
    assert Matcher("env", op, value).possible_values() == values


def test_a_lone_quote_does_not_close_the_string() -> None:
    with pytest.raises(InvalidInput):
        find_selectors('up{a="b"c"}')
    (selector,) = find_selectors(f"up{{{Matcher('a', MatchOp.EQUAL, 'b' + chr(34) + 'c')}}}")
    assert selector.branches[0].matchers[0].matcher.value == 'b"c'
