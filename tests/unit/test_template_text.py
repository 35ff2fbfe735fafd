"""Annotations and label values: our placeholders are filled in, Prometheus's own actions stay byte for byte."""

import re

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rule_service.domain.model import Parameter, ParameterType, ParameterValue
from rule_service.domain.template_text import render_text, text_placeholders
from rulecast.errors import InvalidInput, Position
from rulecast.reasons import Reason

PARAMETERS = (
    Parameter("threshold", ParameterType.NUMBER),
    Parameter("window", ParameterType.DURATION),
    Parameter("team", ParameterType.STRING),
)
VALUES: dict[str, ParameterValue] = {"threshold": 80.0, "window": "5m", "team": "infra"}
FIELD = "rule.config.annotations[summary]"


def render(text: str, **values: ParameterValue) -> str:
    return render_text(text, PARAMETERS, {**VALUES, **values}, FIELD)


def refusal(text: str, **values: ParameterValue) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        render(text, **values)
    [violation] = refused.value.violations
    assert violation.field == FIELD
    return refused.value


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", ""),
        ("over {{ .threshold }} % for {{.window}}", "over 80 % for 5m"),
        ("{{ .team }}{{ .team }}", "infrainfra"),
        ("a \n {{- .team -}} \t b", "ainfrab"),
        ("a {{- .team }} {{ .team -}} b", "ainfra infrab"),
        ("{{ with $x }}{{ .team }}{{ end }}", "{{ with $x }}infra{{ end }}"),
    ],
)
def test_placeholders_are_filled_in(text: str, rendered: str) -> None:
    assert render(text) == rendered


@pytest.mark.parametrize(
    "text",
    [
        "{{ $labels.instance }} is down",
        "{{$value}}",
        '{{ $value | humanize }} {{ printf "%.2f" $value }}',
        '{{ with query "up{job=\\"x\\"}" }}{{ . | first | value }}{{ end }}',
        '{{ with printf "up{a=\'%s\'}" .Labels.instance | query }}{{ . | first | label "x" }}{{ end }}',
        "{{ .Labels.instance }} {{ .Value }} {{ .ExternalURL }} {{ .ExternalLabels.cluster }}",
        "{{ with .Labels }}{{ .instance }}{{ end }}",
        "{{- range query `up` -}}{{ .Labels.x }}={{ .value }}{{- end -}}",
        "{{ if gt $value 1.5 }}a{{ else }}b{{ end }}",
        "{{ if $x }}{{ with .Labels }}{{ if .a }}{{ .b }}{{ end }}{{ .c }}{{ end }}{{ end }}",
        '{{ define "x" }}{{ .y }}{{ end }}{{ template "x" . }}',
        "{{/* .threshold }} */}} {{- /* a 'comment' of .ours */ -}}",
        "{{ \"}}\" }} {{ `}}` }} {{ '}' }}",
        '{{"{{"}} .x }}',
        "}} {{\n$value\n}} } { {x}",
        "{{ (query `up` | first).value }} {{ $x.threshold }}",
        '{{ reReplaceAll "(.*):.x" "$1" $labels.instance }}',
    ],
)
def test_every_other_action_stays_byte_for_byte(text: str) -> None:
    assert render(text) == text
    assert render(f"{{{{ .team }}}}{text}{{{{ .team }}}}") == f"infra{text}infra"


@pytest.mark.parametrize(
    ("text", "position", "name"),
    [
        ("{{ .treshold }}", Position(1, 1), "treshold"),
        ("a\n  {{ .x }}", Position(2, 3), "x"),
        ("{{ with $x }}{{ .a }}{{ end }}{{ .b }}", Position(1, 31), "b"),
        ("{{ if $x }}{{ .a }}{{ end }}", Position(1, 12), "a"),
        ("{{ .value | humanize }}", Position(1, 4), "value"),
        ("{{ if gt $value .limit }}x{{ end }}", Position(1, 17), "limit"),
        ("{{ with .labels }}{{ end }}", Position(1, 9), "labels"),
        ("{{ $.labels }}", Position(1, 5), "labels"),
    ],
)
def test_a_field_that_prometheus_does_not_have_is_named(text: str, position: Position, name: str) -> None:
    error = refusal(text)
    assert (error.reason, error.violations[0].position) == (Reason.PARAMETER_UNKNOWN, position)
    assert f'"{name}" is not declared' in str(error)
    assert "(threshold, window, team)" in str(error)


@pytest.mark.parametrize(
    "text",
    ["{{ .threshold | humanize }}", "{{ if gt $value .threshold }}x{{ end }}", "{{ printf `%v` .threshold }}"],
)
def test_a_parameter_stands_alone(text: str) -> None:
    error = refusal(text)
    assert error.reason is Reason.TEMPLATE_SYNTAX
    assert "{{ .threshold }}" in str(error)


@pytest.mark.parametrize(
    ("text", "column"),
    [("a {{ .team", 3), ("{{", 1), ("{{ .team }} {{ $labels.a }", 13), ("{{ 'a }}", 1), ("{{/* a }}", 1)],
)
def test_an_action_that_is_never_closed_is_refused(text: str, column: int) -> None:
    error = refusal(text)
    assert (error.reason, error.violations[0].position) == (Reason.TEMPLATE_SYNTAX, Position(1, column))


def test_a_brace_that_trimming_brings_near_is_refused() -> None:
    error = refusal("a { {{- .team }}")
    assert (error.reason, error.violations[0].position) == (Reason.TEMPLATE_SYNTAX, Position(1, 5))


def test_a_missing_value_is_named() -> None:
    with pytest.raises(InvalidInput) as refused:
        render_text("{{ .window }}", PARAMETERS, {"team": "x"}, FIELD)
    assert refused.value.reason is Reason.PARAMETER_MISSING
    assert '"window" has no value' in str(refused.value)


def test_a_value_is_checked_before_it_is_written() -> None:
    assert refusal("{{ .threshold }}", threshold="80").reason is Reason.PARAMETER_TYPE
    assert refusal("{{ .team }}", team="a\0").reason is Reason.PARAMETER_TYPE


@pytest.mark.parametrize(
    ("text", "value", "rendered"),
    [
        ("{{ .team }}", "{{ $value }}", '{{"{{"}} $value }}'),
        ("{{ .team }}", "{{{a}}}", '{{"{{{"}}a}}}'),
        ("{{ .team }}", "a{", "a{"),
        ("{{ .team }}b", "a{", 'a{{"{"}}b'),
        ("{{ .team }}{ $value }}", "{", '{{"{"}}{ $value }}'),
        ("{{ .team }}{{ .team }}", "{", '{{"{"}}{'),
        ("{{ .team }}{{ $value }}", "{", '{{"{"}}{{ $value }}'),
        ("{{ .team }} {{- $value }}", "a \n", 'a{{" \\n"}} {{- $value }}'),
        ("{{ $value -}} {{ .team }}", "\t a", '{{ $value -}} {{"\\t "}}a'),
        ("{{ .team }} {{ $value }}", " a ", " a  {{ $value }}"),
        ("{{ .team }}", "{{ .threshold }}", '{{"{{"}} .threshold }}'),
    ],
)
def test_a_value_is_never_an_action(text: str, value: str, rendered: str) -> None:
    assert render(text, team=value) == rendered
    assert expanded(rendered) == expanded(text, value)


def test_placeholders_come_in_order() -> None:
    found = text_placeholders("{{ .window }} {{ $value }} {{ .team }}{{ .window }}", PARAMETERS, FIELD)
    assert [placeholder.name for placeholder in found] == ["window", "team", "window"]


BLANKS = " \t\r\n"
ACTION = re.compile(r'\{\{(?P<before>-[ ])? ?(?P<code>\.team|\$value|"[^"]*")(?: (?P<after>-)?)?\}\}')

ACTIONS_ONLY = re.compile(rf"(?:{ACTION.pattern.replace('(?P<', '(?P<_')}|(?!\{{\{{).)*", re.DOTALL)


ESCAPES = {r"\n": "\n", r"\t": "\t", r"\r": "\r"}


def expanded(text: str, team: str = "") -> str:
    """What text/template makes of the actions used here: a string, `$value`, and `.team` where it is not filled in."""
    values = {"$value": "42", ".team": team}
    written = ""
    at = 0
    trim = False
    while (start := text.find("{{", at)) >= 0:
        action = ACTION.match(text, start)
        assert action, f"not an action that was put there: {text[start:]!r}"
        between = text[at:start].lstrip(BLANKS) if trim else text[at:start]
        written += between.rstrip(BLANKS) if action["before"] else between
        code = action["code"]
        written += values[code] if code in values else re.sub(r"\\[ntr]", lambda found: ESCAPES[found[0]], code[1:-1])
        trim = action["after"] is not None
        at = action.end()
    return written + (text[at:].lstrip(BLANKS) if trim else text[at:])


PIECES = st.sampled_from(
    [
        *"{}\"`'\\\n\t -a$.\0\u2028\ud800\U0001f600",
        *("{{", "}}", "{{{", "{{- ", " -}}", "/*", "{{/* "),
        "{{ .team }}",
        "{{ $value }}",
    ]
)
TEAMS = st.one_of(st.lists(PIECES, max_size=8).map("".join), st.text(max_size=10), st.just("x" * 4097))
PARTS = ("{{ .team }}", "{{- .team }}", "{{ .team -}}", "{{ $value }}", "{{- $value }}", "{{ $value -}}", '{{"{{"}}')
TEXTS = st.lists(st.sampled_from([*PARTS, *" \na{}", "b c"]), max_size=8).map("".join)


@settings(max_examples=1000, deadline=None)
@given(text=TEXTS, team=TEAMS)
@example(text="{{ .team }}{{ .team }}{{- $value }}", team="{ ")
@example(text="a {{ .team }} {{- $value }}", team="")
@example(text="{{ $value -}}{{ .team }}a", team="\n {")
def test_a_value_arrives_exactly_or_is_refused(text: str, team: str) -> None:
    assume(ACTIONS_ONLY.fullmatch(text))
    try:
        rendered = render(text, team=team)
    except InvalidInput:
        return
    assert expanded(rendered) == expanded(text, team)
