"""Query templates: the place of a placeholder decides how its value is written, and nothing breaks out of it."""

import re
from typing import Any

import promql_parser
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rule_service.domain.matchers import regex_quote
from rule_service.domain.model import Parameter, ParameterType, ParameterValue
from rule_service.domain.promql.strings import unquote
from rule_service.domain.promql.tokens import TokenKind, tokenize
from rule_service.domain.template_query import query_placeholders, render_query
from rulecast.errors import InvalidInput, LimitExceeded, Position
from rulecast.reasons import Reason

PARAMETERS = (
    Parameter("n", ParameterType.NUMBER),
    Parameter("d", ParameterType.DURATION),
    Parameter("s", ParameterType.STRING),
    Parameter("r", ParameterType.REGEX),
    Parameter("l", ParameterType.LABEL_NAME),
    Parameter("m", ParameterType.METRIC_NAME),
)
VALUES: dict[str, ParameterValue] = {
    "n": 80.0,
    "d": "5m",
    "s": "a.b",
    "r": "a|b",
    "l": "instance",
    "m": "node_load1",
}


def render(query: str, **values: ParameterValue) -> str:
    return render_query(query, PARAMETERS, {**VALUES, **values}, "spec.query").text


def refusal(query: str, **values: ParameterValue) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        render(query, **values)
    [violation] = refused.value.violations
    assert violation.field == "spec.query"
    return refused.value


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        ("up", "up"),
        ("", ""),
        ("m > {{ .n }}", "m > 80"),
        ("m>{{.n}}", "m>80"),
        ("m > {{\t.n\n}}", "m > 80"),
        ("m > {{- .n -}} or x", None),
        ("m >= {{- .n -}} + x", "m >=80+ x"),
        ("rate(m[{{ .d }}]) offset {{ .d }}", "rate(m[5m]) offset 5m"),
        ("max_over_time(m[1h:{{ .d }}])", "max_over_time(m[1h:5m])"),
        ("sum by ({{ .l }}, x_{{ .l }}) (m)", "sum by (instance, x_instance) (m)"),
        ("a * ON({{ .l }}) group_left({{ .l }}) b", "a * ON(instance) group_left(instance) b"),
        ('m{ {{ .l }}="x"}', 'm{ instance="x"}'),
        ("{{ .m }}_total / {{ .m }}", "node_load1_total / node_load1"),
        ('{{ .m }}{a="b"}', 'node_load1{a="b"}'),
        ('m{a="{{ .s }}",b!="{{ .n }}",c="{{ .d }}-{{ .m }}"}', 'm{a="a.b",b!="80",c="5m-node_load1"}'),
        ('m{a=~"{{ .s }}"}', 'm{a=~"a\\\\.b"}'),
        ("m{a=~'{{ .s }}',b!~`{{ .s }}`}", "m{a=~'a\\\\.b',b!~`a\\.b`}"),
        ('m{a=~"x{{ .r }}y"}', 'm{a=~"x(?:a|b)y"}'),
        ('m{a=~"{{ .r }}*"}', 'm{a=~"(?:a|b)*"}'),
        ('m{a=~ # why\n "{{ .s }}"}', 'm{a=~ # why\n "a\\\\.b"}'),
        ('label_replace(m, "{{ .l }}", "$1", "x", "{{ .r }}")', 'label_replace(m, "instance", "$1", "x", "a|b")'),
        ('m{a="\\\\{{ .s }}\\x41"}', 'm{a="\\\\a.b\\x41"}'),
        ("m # {{ .n }} {{ .unknown }} {{ if }} '\n> {{ .n }}", "m # {{ .n }} {{ .unknown }} {{ if }} '\n> 80"),
        ('m{a="#"} > {{ .n }} # "', 'm{a="#"} > 80 # "'),
        ('m{a="}}"} > {{ .n }}', 'm{a="}}"} > 80'),
        ("({{ .n }}) ^ 2", "(80) ^ 2"),
    ],
)
def test_each_place_has_its_way_of_writing(template: str, rendered: str | None) -> None:
    if rendered is None:
        assert refusal(template).reason is Reason.QUERY_INVALID
    else:
        assert render(template) == rendered


@pytest.mark.parametrize(
    ("template", "value", "rendered"),
    [
        ("m > {{ .n }}", -3.0, "m > -3"),
        ("m -{{ .n }}", -3.0, "m --3"),
        ("2 ^ {{ .n }}", -3.0, "2 ^ -3"),
        ("({{ .n }}) ^ 2", -3.0, "(-3) ^ 2"),
        ('m{a="{{ .n }}"}', -0.5, 'm{a="-0.5"}'),
        ('m{a=~"{{ .n }}"}', 0.5, 'm{a=~"0\\\\.5"}'),
        ("m > {{ .n }}", 1e21, "m > 1e+21"),
        ("m > {{ .n }}", 90, "m > 90"),
    ],
)
def test_numbers_are_written_exactly(template: str, value: float, rendered: str) -> None:
    assert render(template, n=value) == rendered
    assert promql_parser.parse(rendered) is not None


NASTY = "a\"b'c\\d\ne\tf{{ .n }}#\u2028\ufffd\U0001f600"


@pytest.mark.parametrize("mark", ['"', "'"])
def test_a_string_holds_any_value(mark: str) -> None:
    rendered = render(f"m{{a={mark}{{{{ .s }}}}{mark}}}", s=NASTY)
    [literal] = [rendered[start:end] for kind, start, end in tokenize(rendered) if kind is TokenKind.STRING]
    assert literal[0] == literal[-1] == mark
    assert unquote(literal) == NASTY


@pytest.mark.parametrize("value", ["a`b", "a\ufffdb"])
def test_a_raw_string_cannot_hold_everything(value: str) -> None:
    error = refusal("m{a=`{{ .s }}`}", s=value)
    assert error.reason is Reason.PARAMETER_MISPLACED
    assert "double quotes" in str(error)


@pytest.mark.parametrize(
    ("template", "column", "right"),
    [
        ("m > {{ .s }}", 5, "a string stands in quotes"),
        ("m > {{ .r }}", 5, "in quotes, after =~"),
        ("m > {{ .l }}", 5, "a label name stands"),
        ("m[{{ .s }}]", 3, "in quotes"),
        ("m[{{ .m }}]", 3, "where a metric is selected"),
        ("sum by ({{ .m }}) (m)", 9, "where a metric is selected"),
        ("sum by ({{ .n }}) (m)", 9, "a number stands"),
        ('m{ {{ .s }}="x"}', 4, "in quotes"),
        ('m{a="{{ .r }}"}', 6, "after =~ or !~"),
        ("m[{{ .n }}m]", 3, "declare a duration"),
        ("m > 5{{ .n }}", 6, "a word of its own"),
        ("m > {{ .n }}{{ .n }}", 5, "a word of its own"),
        ("m > bool {{- .n }}", 10, "a word of its own"),
        ('m{a=~"[{{ .s }}]"}', 8, "not within [ ]"),
        ('m{a=~"[^a{{ .r }}]"}', 10, "not within [ ]"),
        ('m{a=~"\\\\Q{{ .s }}\\\\E"}', 10, "not within [ ]"),
        ('m{a=~"x{2,{{ .n }}}"}', 11, "{ }"),
        ('m{a=~"x{2{{ .s }}}"}', 10, "{ }"),
        ('m{a=~"{{ .s }}+"}', 7, "+ repeats its last character"),
        ('m{a=~"\\\\01{{ .n }}"}', 11, "octal escape"),
        ("m > 0x{{ .m }}", 7, "does not continue a number"),
        ('m{a="\\{{ .s }}"}', 7, "unfinished escape"),
        ('m{a="\\{{ .n }}"}', 7, "unfinished escape"),
        ('m{a="b{{ .s }}\\x4{{ .n }}"}', 18, "unfinished escape"),
        ('m{a="\\12{{ .n }}"}', 9, "unfinished escape"),
    ],
)
def test_a_placeholder_at_the_wrong_place_is_refused(template: str, column: int, right: str) -> None:
    error = refusal(template)
    [violation] = error.violations
    assert violation.position == Position(1, column)
    assert error.reason is Reason.PARAMETER_MISPLACED
    assert right in violation.message


@pytest.mark.parametrize("word", ["bool", "sum", "by", "OR", "offset", "start"])
def test_a_metric_is_no_keyword(word: str) -> None:
    error = refusal("m > {{ .m }} - 1", m=word)
    assert error.reason is Reason.PARAMETER_MISPLACED
    assert f'{{__name__="{word}"}}' in str(error)
    assert render('m > {__name__="{{ .m }}"} - 1', m=word) == f'm > {{__name__="{word}"}} - 1'
    assert render("sum by ({{ .l }}) (m)", l=word) == f"sum by ({word}) (m)"


@pytest.mark.parametrize("word", ["NaN", "Inf", "inf"])
@pytest.mark.parametrize("template", ["{{ .m }} > 1", "sum by ({{ .l }}) (m)", 'm{ {{ .l }}="x"}'])
def test_a_name_is_no_number(template: str, word: str) -> None:
    error = refusal(template, m=word, l=word)
    assert error.reason is Reason.PARAMETER_MISPLACED
    assert f"{word} is a number to PromQL" in str(error)


def test_a_keyword_may_be_part_of_a_longer_metric_name() -> None:
    assert render("{{ .m }}_total", m="sum") == "sum_total"
    assert refusal("b{{ .m }}", m="ool").reason is Reason.PARAMETER_MISPLACED


def test_a_sign_is_not_pulled_out_of_a_power() -> None:
    error = refusal("{{ .n }} # two\n ^ 2", n=-3.0)
    assert error.reason is Reason.PARAMETER_MISPLACED
    assert "({{ .n }}) ^" in str(error)


@pytest.mark.parametrize("template", ["m[{{ .d }}]", "m[1h:{{ .d }}]", "m[(1h + {{ .d }})]", "m offset {{ .d }}"])
@pytest.mark.parametrize("zero", ["0", "0s", "0h0m"])
def test_a_range_or_offset_is_longer_than_nothing(template: str, zero: str) -> None:
    assert refusal(template, d=zero).reason is Reason.PARAMETER_OUT_OF_BOUNDS
    assert render('m{a="{{ .d }}"}', d="0h0m") == 'm{a="0h0m"}'


@pytest.mark.parametrize(
    ("template", "line", "column"),
    [
        ("m > {{ .Threshold }}", 1, 5),
        ("m > {{ .n | humanize }}", 1, 5),
        ("m >\n  {{ $value }}", 2, 3),
        ("m > {{ if }} {{ .n }}", 1, 5),
        ("m > {{ n }}", 1, 5),
        ("m > {{ .n", 1, 5),
        ("m > {{-.n}}", 1, 5),
        ("m > {{ .n-}}", 1, 5),
        ("m > {{ .n.d }}", 1, 5),
        ('m{a="x{{ $labels.b }}"}', 1, 7),
        ("m # c\n {{- .n }}", 2, 2),
    ],
)
def test_nothing_else_is_a_template(template: str, line: int, column: int) -> None:
    error = refusal(template)
    assert error.reason is Reason.TEMPLATE_SYNTAX
    assert error.violations[0].position == Position(line, column)


def test_words_that_are_none_are_refused_at_their_place() -> None:
    error = refusal("m > {{ .n }} # {{ x }}\n > $x")
    assert (error.reason, error.violations[0].position) == (Reason.QUERY_INVALID, Position(2, 4))


def test_an_unknown_parameter_is_named_with_those_there_are() -> None:
    error = refusal("m >\n {{ .treshold }}")
    assert (error.reason, error.violations[0].position) == (Reason.PARAMETER_UNKNOWN, Position(2, 2))
    assert '"treshold" is not declared' in str(error)
    assert "(n, d, s, r, l, m)" in str(error)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(InvalidInput) as refused:
        render_query("m > {{ .n }}", PARAMETERS, {"d": "5m"}, "spec.query")
    assert refused.value.reason is Reason.PARAMETER_MISSING
    assert '"n" has no value' in str(refused.value)


def test_values_that_are_not_asked_for_may_be_missing_or_undeclared() -> None:
    assert render_query("m > {{ .n }}", PARAMETERS, {"n": 1.0, "other": "x"}, "q").text == "m > 1"


def test_a_value_is_checked_before_it_is_written() -> None:
    assert refusal("m > {{ .n }}", n="1").reason is Reason.PARAMETER_TYPE
    assert refusal('m{a=~"{{ .r }}"}', r="a)|(b").reason is Reason.PARAMETER_TYPE


def test_a_class_left_open_by_the_author_is_not_closed_by_a_value() -> None:
    error = refusal('m{a=~"([{{ .r }}]"}', r="x](y)")
    assert error.reason is Reason.QUERY_INVALID
    assert "around its placeholders" in str(error)


def test_a_result_is_no_longer_than_a_query_may_be() -> None:
    with pytest.raises(LimitExceeded) as refused:
        render(" or ".join(['m{a="{{ .s }}"}'] * 5), s="x" * 4096)
    assert refused.value.violations[0].field == "spec.query"


def test_placeholders_come_in_order_without_those_in_comments() -> None:
    found = query_placeholders('m{a="{{ .s }}"} # {{ .d }}\n> {{ .n }}', PARAMETERS, "q")
    assert [placeholder.name for placeholder in found] == ["s", "n"]


# each has all quotes and match operators, text before and after, and bare values beside
TEMPLATES = [
    'm{a="{{ .s }}"}',
    'm{a!="x{{ .s }}y",b=~"{{ .s }}"} > {{ .n }}',
    "m{a='{{ .s }}',b!~'x{{ .s }}y',c=~'{{ .r }}|z'} > {{ .n }} # {{ .s }}",
    "m{a=`{{ .s }}`,b=~`{{ .s }}`,c!~`{{ .r }}`} offset {{ .d }}",
    'sum by ({{ .l }}) (rate({{ .m }}{ {{ .l }}="{{ .s }}"}[{{ .d }}])) > {{ .n }}',
    'label_replace(m, "a", "{{ .s }}", "b", "{{ .r }}")',
]
PIECES = st.sampled_from(
    [
        *"\"'`\\{}#\n\r\0\ud800()[]|,:^*? \ufffd\u2028é\x7f\ufeff\U0001f600",
        *("\\\\", "{{", "}}", "{{ .n }}", "{{ .s }}", ".*", "=~", "b=", " or ", "up", "0", "-1", "5m", "\\Q", "\\E"),
        *("\\x41", "\\u0041", "$1", "bool", "nan", "x" * 300),
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=8).map("".join), st.text(max_size=20), st.just("y" * 4097))
NUMBERS = st.one_of(st.floats(), st.integers(), st.booleans(), TEXTS)
HOLE = re.compile(r"\{\{ \.([a-z]) \}\}")


def wanted_texts(template: str, values: dict[str, Any]) -> list[str]:
    """The value of each string of the result: what the author wrote around the holes, and the values in them."""
    wanted = []
    before = ""
    for kind, start, end in tokenize(HOLE.sub(lambda hole: f"{hole[1]}_______", template)):
        literal = template[start:end]
        if kind is TokenKind.STRING:
            is_regex = before in ("=~", "!~")

            def filled(hole: re.Match[str], is_regex: bool = is_regex) -> str:
                value = values[hole[1]]
                if not is_regex:
                    return str(value)
                return f"(?:{value})" if hole[1] == "r" else regex_quote(value)

            # the authors' own parts hold no escapes
            wanted.append(HOLE.sub(filled, literal[1:-1]))
        before = literal
    return wanted


@settings(max_examples=600, deadline=None)
@given(
    template=st.sampled_from(TEMPLATES),
    s=TEXTS,
    r=TEXTS,
    names=st.one_of(st.just(("instance", "m")), st.tuples(TEXTS, TEXTS)),
    d=st.one_of(st.just("5m"), TEXTS),
    n=st.one_of(st.just(1.5), NUMBERS),
)
@example(template=TEMPLATES[0], s='"} or up{a="', r="", names=("a", "b"), d="5m", n=1.0)
@example(template=TEMPLATES[1], s='\\"} or up{a="', r="", names=("a", "b"), d="5m", n=-1.0)
@example(template=TEMPLATES[2], s="{{ .n }}", r="(?i)a", names=("a", "b"), d="5m", n=1e300)
@example(template=TEMPLATES[4], s="x", r="", names=("by", "group"), d="0", n=0.0)
def test_a_value_arrives_exactly_or_is_refused(
    template: str, s: str, r: str, names: tuple[str, str], d: str, n: Any
) -> None:
    values = {"s": s, "r": r, "l": names[0], "m": names[1], "d": d, "n": n}
    try:
        rendered = render_query(template, PARAMETERS, values, "spec.query").text
    except (InvalidInput, LimitExceeded):
        return
    strings = [rendered[start:end] for kind, start, end in tokenize(rendered) if kind is TokenKind.STRING]
    wanted = wanted_texts(template, values)
    assert [unquote(literal) for literal in strings] == wanted
    if n != 0 and "{{ .n }}" in template and template.rstrip().endswith("{{ .n }}"):
        assert float(rendered.rpartition("> ")[2]) == n
    # promql-parser takes the escapes in raw strings for escapes
    if "`" in template or template.startswith("label_replace"):
        return
    try:
        tree = promql_parser.parse(rendered)
    except ValueError:
        return
    assert matcher_values(tree) == wanted


def matcher_values(tree: Any) -> list[str]:
    found: list[str] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.extend(matcher.value for matcher in node.matchers.matchers if matcher.name != "__name__")
        return True

    promql_parser.walk(tree, visit, lambda node: True)
    return found


def test_the_fuzzed_templates_render_with_harmless_values() -> None:
    for template in TEMPLATES:
        rendered = render(template, s="ok", r="a")
        if not template.startswith("label_replace"):
            assert matcher_values(promql_parser.parse(rendered)) == wanted_texts(
                template, {**VALUES, "s": "ok", "r": "a"}
            )


@pytest.mark.parametrize(
    ("template", "values", "outline"),
    [
        ("m > {{ .n }}", {"n": 90.5}, "m > 1111"),
        ("m > {{ .n }}", {"n": -90.0}, "m > -11"),
        ("rate(m[{{ .d }}]) > {{ .n }}", {"d": "1h30m", "n": 7.0}, "rate(m[1111m]) > 1"),
        ('m{a="{{ .n }}"}', {"n": 90.0}, 'm{a="90"}'),
    ],
)
def test_the_outline_has_another_number_or_duration_of_the_same_length(
    template: str, values: dict[str, ParameterValue], outline: str
) -> None:
    rendered = render_query(template, PARAMETERS, values, "q")
    assert rendered.outline == outline
    assert len(rendered.text) == len(outline)
