"""Adding a scope's matchers to a query, and the marks that say where."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rule_service.domain.matchers import Matcher, MatchOp, ValueSet
from rule_service.domain.model import ScopeMode
from rule_service.domain.promql.scoping import Scoped, scope_query
from rulecast.errors import InvalidInput, Position
from rulecast.reasons import Reason
from tests.corpus import SCOPES, Expression, wrong_with
from tests.unit.test_promql_selectors import CASES

GROUP = Matcher("group_id", MatchOp.EQUAL, "g1")
NOT_OTHERS = Matcher("group_id", MatchOp.NOT_REGEX, "g2|g3")
ENV = Matcher("env", MatchOp.NOT_EQUAL, "")


def scope(
    query: str,
    matchers: Sequence[Matcher] = (GROUP,),
    *,
    mode: ScopeMode = ScopeMode.AUTO,
    exclude_metrics: Sequence[str] = (),
    own_scope: Sequence[Matcher] = (),
) -> Scoped:
    return scope_query(query, matchers, mode=mode, exclude_metrics=exclude_metrics, own_scope=own_scope)


@pytest.mark.parametrize(
    ("query", "scoped"),
    [
        ("up", 'up{group_id="g1"}'),
        ("up{}", 'up{group_id="g1"}'),
        ("up{ }", 'up{group_id="g1" }'),
        ('up{job="a"}', 'up{job="a",group_id="g1"}'),
        ('up{job="a",}', 'up{job="a",group_id="g1",}'),
        (
            'up{\n  job="a", # of the job\n  # and no more\n}',
            'up{\n  job="a",group_id="g1", # of the job\n  # and no more\n}',
        ),
        ("up{ # none yet\n}", 'up{group_id="g1" # none yet\n}'),
        ("up # c\n[5m]", 'up{group_id="g1"} # c\n[5m]'),
        ('{"a.b"}', '{"a.b",group_id="g1"}'),
        ('{__name__=~"a|b"}', '{__name__=~"a|b",group_id="g1"}'),
        ("sum by (sum) (sum)", 'sum by (sum) (sum{group_id="g1"})'),
        ('info(up, {a="b"})', 'info(up{group_id="g1"}, {a="b"})'),
        ("topk(scalar(a), b)", 'topk(scalar(a{group_id="g1"}), b{group_id="g1"})'),
        ('{a="b" or c="d"}', '{a="b",group_id="g1" or c="d",group_id="g1"}'),
    ],
)
def test_every_selector_gets_the_matchers_and_nothing_else_changes(query: str, scoped: str) -> None:
    assert scope(query).text == scoped


def test_two_matchers_may_name_one_label() -> None:
    assert scope("up", (GROUP, NOT_OTHERS, ENV)).text == 'up{group_id="g1",group_id!~"g2|g3",env!=""}'


def test_values_are_escaped() -> None:
    (matcher,) = ValueSet.of(['a"b', "c.d\n"]).to_matchers("group_id")
    assert scope("up", (matcher,)).text == r'up{group_id=~"a\"b|c\\.d\n"}'


@pytest.mark.parametrize("case", [case for case in CASES if case["valid"]], ids=lambda case: case["expr"])
def test_hard_cases(case: dict[str, str]) -> None:
    assert wrong_with(Expression(case["expr"], valid=True)) == []


def test_what_is_there_is_not_written_again() -> None:
    once = scope("up", (GROUP, NOT_OTHERS)).text
    assert scope(once, (GROUP, NOT_OTHERS)) == Scoped(once, 1, 1, ())
    assert scope("up{group_id='g1'}", (GROUP, NOT_OTHERS)).text == "up{group_id='g1',group_id!~\"g2|g3\"}"


def test_no_matchers_change_nothing() -> None:
    assert scope('up + {a="b"}', ()) == Scoped('up + {a="b"}', 2, 2, ())


def test_selectors_are_counted() -> None:
    result = scope("a + kube_b * on (x) group_left c", exclude_metrics=["kube_*"])
    assert (result.selectors_total, result.selectors_scoped) == (3, 2)
    result = scope('info(a, {b="c"})')
    assert (result.selectors_total, result.selectors_scoped) == (1, 1)


@pytest.mark.parametrize(
    ("pattern", "left_alone"),
    [
        ("kube_node_labels", True),
        ("kube_node", False),
        ("node_labels", False),
        ("*_labels", True),
        ("kube_*", True),
        ("kube_*_labels", True),
        ("*", True),
        ("kube.node.labels", False),
        ("", False),
    ],
)
@pytest.mark.parametrize(
    "query",
    ["kube_node_labels", '{"kube_node_labels"}', '{a="b",__name__="kube_node_labels"}', 'kube_node_labels{a="b"}'],
)
def test_excluded_metrics_are_left_alone(query: str, pattern: str, left_alone: bool) -> None:
    assert (scope(query, exclude_metrics=["other", pattern]).text == query) == left_alone


def test_an_open_metric_name_is_never_excluded() -> None:
    assert scope('{__name__=~"kube_.*"}', exclude_metrics=["kube_*"]).selectors_scoped == 1


@pytest.mark.parametrize(
    ("query", "scoped"),
    [
        ('a{__scope__="off"}', "a{}"),
        ('a{__scope__="off",}', "a{}"),
        ('a{__scope__="off",b="c"}', 'a{b="c"}'),
        ('a{__scope__="off", b="c"}', 'a{b="c"}'),
        ('a{b="c",__scope__="off"}', 'a{b="c"}'),
        ('a{b="c" , __scope__="off" }', 'a{b="c"  }'),
        ('a{b="c", __scope__="off", d="e"}', 'a{b="c", d="e"}'),
        ('a{b="c",__scope__="off",}', 'a{b="c",}'),
        ('a{"__scope__"="off",b="c"}', 'a{b="c"}'),
        ("a{__scope__=`off`}", "a{}"),
        ('a{b="c", # why\n __scope__="off" # no scope\n}', 'a{b="c" # why\n  # no scope\n}'),
        ('a{\n  __scope__="off", # why\n  b="c"\n}', 'a{\n  # why\n  b="c"\n}'),
        ('a{__scope__="off" # why\n, b="c"}', 'a{ # why\nb="c"}'),
        ('{"a.b",__scope__="off"}', '{"a.b"}'),
    ],
)
def test_a_mark_off_goes_and_its_comma_with_it(query: str, scoped: str) -> None:
    assert scope(query).text == scoped
    assert scope(query).selectors_scoped == 0


@pytest.mark.parametrize(
    ("query", "scoped"),
    [
        ('a{__scope__="on"}', 'a{group_id="g1",group_id!~"g2|g3"}'),
        ('a{b="c", __scope__="on", d="e"}', 'a{b="c", group_id="g1",group_id!~"g2|g3", d="e"}'),
        ('a{__scope__="on" # here\n}', 'a{group_id="g1",group_id!~"g2|g3" # here\n}'),
        ('a{group_id="g1",__scope__="on"}', 'a{group_id="g1",group_id!~"g2|g3"}'),
        ('a{group_id="g1",__scope__="on",group_id!~"g2|g3"}', 'a{group_id="g1",group_id!~"g2|g3"}'),
    ],
)
@pytest.mark.parametrize("mode", [ScopeMode.AUTO, ScopeMode.MANUAL])
def test_a_mark_on_gives_way_to_the_matchers(query: str, scoped: str, mode: ScopeMode) -> None:
    assert scope(query, (GROUP, NOT_OTHERS), mode=mode).text == scoped


def test_a_mark_on_with_nothing_to_add_goes() -> None:
    assert scope('a{__scope__="on",b="c"}', ()).text == 'a{b="c"}'


def test_a_mark_overrides_what_is_excluded() -> None:
    assert scope('a{__scope__="on"}', exclude_metrics=["a"]).text == 'a{group_id="g1"}'
    assert scope('info(a, {__scope__="on"})').text == 'info(a{group_id="g1"}, {group_id="g1"})'


def test_manual_scopes_what_is_marked() -> None:
    query = 'a{__scope__="on"} * on (x) group_left b + c{__scope__="off"}'
    result = scope(query, mode=ScopeMode.MANUAL)
    assert result.text == 'a{group_id="g1"} * on (x) group_left b + c{}'
    assert (result.selectors_total, result.selectors_scoped) == (3, 1)


def test_none_scopes_nothing_and_removes_marks() -> None:
    result = scope('a + b{__scope__="off"}', mode=ScopeMode.NONE, own_scope=(GROUP,))
    assert result == Scoped("a + b{}", 2, 0, ())


@pytest.mark.parametrize(
    ("query", "mode", "message", "position"),
    [
        ('a{__scope__="yes"}', ScopeMode.AUTO, 'says __scope__="on" or __scope__="off"', Position(1, 3)),
        ('a{__scope__=""}', ScopeMode.NONE, 'says __scope__="on"', Position(1, 3)),
        ('a{\n __scope__!="on"}', ScopeMode.AUTO, 'says __scope__="on"', Position(2, 2)),
        ('a{__scope__=~"on"}', ScopeMode.MANUAL, 'says __scope__="on"', Position(1, 3)),
        ('a{__scope__="on",__scope__="on"}', ScopeMode.AUTO, "takes one __scope__", Position(1, 18)),
        ('a + b{__scope__="on"}', ScopeMode.NONE, 'the scope mode "none" scopes no selector', Position(1, 7)),
    ],
)
def test_a_wrong_mark_is_refused(query: str, mode: ScopeMode, message: str, position: Position) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        scope(query, mode=mode)
    assert caught.value.reason is Reason.QUERY_INVALID
    assert caught.value.violations[0].position == position


@pytest.mark.parametrize(
    ("query", "mode", "own_scope"),
    [
        ("up", ScopeMode.MANUAL, ()),
        ('up{__scope__="off"}', ScopeMode.MANUAL, (GROUP,)),
        ("vector(1)", ScopeMode.AUTO, (GROUP,)),
        ("excluded", ScopeMode.AUTO, (GROUP,)),
    ],
)
def test_nothing_left_to_scope_is_refused(query: str, mode: ScopeMode, own_scope: Sequence[Matcher]) -> None:
    with pytest.raises(InvalidInput) as caught:
        scope(query, mode=mode, exclude_metrics=["excluded"], own_scope=own_scope)
    assert caught.value.reason is Reason.QUERY_NOT_SCOPED


def test_the_global_scope_may_have_no_selector() -> None:
    assert scope("vector(1)", (NOT_OTHERS,)).text == "vector(1)"


@pytest.mark.parametrize(
    ("author", "own"),
    [
        ('group_id="a"', (Matcher("group_id", MatchOp.EQUAL, "b"),)),
        ('group_id=~"a|c"', (Matcher("group_id", MatchOp.EQUAL, "b"),)),
        ('group_id=~"(?:a|c)"', (Matcher("group_id", MatchOp.REGEX, r"b|d\.e"),)),
        ('group_id!="b"', (Matcher("group_id", MatchOp.EQUAL, "b"),)),
        ('group_id!~"b|c"', (Matcher("group_id", MatchOp.REGEX, "b|c"),)),
        ('group_id=""', (Matcher("group_id", MatchOp.NOT_EQUAL, ""),)),
        ('group_id=~".+"', (Matcher("group_id", MatchOp.EQUAL, ""),)),
        ('group_id!="b",group_id!="c"', (Matcher("group_id", MatchOp.REGEX, "b|c"),)),
    ],
)
def test_matchers_that_exclude_each_other_are_refused(author: str, own: Sequence[Matcher]) -> None:
    query = f'up + \n  x{{{author},job="a"}}'
    with pytest.raises(InvalidInput, match="never matches in the scope") as caught:
        scope(query, own, own_scope=own)
    assert caught.value.reason is Reason.QUERY_NEVER_MATCHES
    position = caught.value.violations[0].position
    assert position is not None
    assert position.line == 2
    assert position.column >= 5


@pytest.mark.parametrize(
    "author",
    [
        'group_id="b"',
        'group_id=~"a|b"',
        'group_id=~"b.*"',
        'group_id=~"x.*"',
        'group_id!="a"',
        'group_id=~"[b]"',
        'a="b"',
    ],
)
def test_what_is_not_proven_is_accepted(author: str) -> None:
    own = (Matcher("group_id", MatchOp.EQUAL, "b"),)
    assert scope(f"up{{{author}}}", own, own_scope=own).selectors_scoped == 1


def test_exclusions_and_unscoped_selectors_are_not_judged() -> None:
    assert scope('up{group_id="g2"}', (GROUP, NOT_OTHERS), own_scope=()).selectors_scoped == 1
    query = 'up + x{group_id="g2",__scope__="off"}'
    assert scope(query, own_scope=(GROUP,)).text == 'up{group_id="g1"} + x{group_id="g2"}'


def test_conflicts_name_the_authors_matchers() -> None:
    result = scope('up +\n x{group_id=~"g1|g2", job="a"} + y{group_id="g1"}', (GROUP,), own_scope=(GROUP,))
    assert [(str(each.matcher), each.position) for each in result.conflicts] == [('group_id=~"g1|g2"', Position(2, 4))]


COMMENTS = st.sampled_from(["", " ", "\n", " # c {\n", "#)\n", "\t\r\n"])
MATCHERS = st.sampled_from(
    ['a="}"', 'b!~"(,"', "c=`#`", "\"d.e\"='x'", 'group_id!=""', '__scope__="on"', '__scope__="off"', 'or="or"']
)


@st.composite
def selectors(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(["foo", "sum", "offset", ":a", ""]))
    inside = draw(st.lists(MATCHERS, max_size=4, unique_by=lambda each: each.partition("=")[0]))
    parts = [draw(COMMENTS) + each + draw(COMMENTS) for each in inside]
    comma = draw(st.sampled_from(["", ","])) if parts else ""
    braces = "{" + ",".join(parts) + comma + draw(COMMENTS) + "}"
    return name + draw(COMMENTS) + braces if inside or not name else name


@st.composite
def queries(draw: st.DrawFn) -> str:
    template = draw(
        st.sampled_from(
            [
                "{}",
                "sum({}) by (sum)",
                "rate({}[5m])",
                "{} * on (x) group_left (y) {}",
                "info({}, {{a='b'}})",
                "-{} offset 5m",
            ]
        )
    )
    return template.format(*(draw(selectors()) for _ in range(template.count("{}"))))


@given(queries(), st.sampled_from(SCOPES))
def test_scoping_leaves_valid_promql_with_the_scope_where_it_belongs(query: str, matchers: tuple[Matcher, ...]) -> None:
    result = scope(query, matchers)
    added = ",".join(map(str, matchers))
    assert result.text.count(added) == result.selectors_scoped
    assert "__scope__" not in result.text
    if "__scope__" not in query:
        assert wrong_with(Expression(query, valid=True)) == []
    else:
        # each mark decides: without marks nothing is left to do but the selectors that said off
        off = query.count('__scope__="off"')
        assert result.selectors_total - result.selectors_scoped == off
        assert scope(result.text, matchers).selectors_scoped == result.selectors_total


def test_many_selectors() -> None:
    # quadratic work on 20,000 selectors would run into the time limit
    query = " + ".join(['foo{group_id!="x"}', 'bar{__scope__="off", a="b"}', 'baz{__scope__="on"}', "qux"] * 5_000)
    result = scope(query, (GROUP, NOT_OTHERS), exclude_metrics=["kube_*_labels"], own_scope=(GROUP,))
    assert (result.selectors_total, result.selectors_scoped, len(result.conflicts)) == (20_000, 15_000, 5_000)
