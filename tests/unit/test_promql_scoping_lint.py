"""Warnings where scoping every selector is valid, but seldom what the author wants."""

import pytest

from rule_service.domain.model import ScopeMode
from rule_service.domain.promql.scoping import mark_selectors
from rule_service.domain.promql.scoping_lint import ScopingWarning, lint_scoping
from rule_service.domain.promql.selectors import scan
from rulecast.errors import Position


def lint(query: str, *, mode: ScopeMode = ScopeMode.AUTO, labels: tuple[str, ...] = ()) -> list[ScopingWarning]:
    shape = scan(query)
    marked = mark_selectors(query, shape.selectors, mode=mode, exclude_metrics=["kube_*_labels"])
    return lint_scoping(shape, marked, mode=mode, scope_labels=labels)


@pytest.mark.parametrize(
    ("query", "risk", "position"),
    [
        ("absent(gpu_temp)", "ABSENT", Position(1, 1)),
        ("up or\n absent_over_time(gpu_temp[5m])", "ABSENT", Position(2, 2)),
        ("load * on (instance) group_left (team) labels", "JOIN", Position(1, 40)),
        ("labels * on (instance) group_right (team) load", "JOIN", Position(1, 1)),
        ("load * on (instance) group_left (team) (1 + labels)", "JOIN", Position(1, 45)),
        ("load and on (instance) labels", "SET_FILTER", Position(1, 24)),
        ("load unless on (instance) maintenance", "SET_FILTER", Position(1, 27)),
        ("clamp(1 + load and on (a) b + c > 1, 0, 1)", "SET_FILTER", Position(1, 27)),
        ("vector(1)", "NO_SELECTOR", Position(1, 1)),
        ("hour() > 22", "NO_SELECTOR", Position(1, 1)),
        ("sum(x) or vector(0) == 0", "OR_WITHOUT_SELECTOR", Position(1, 8)),
        ("(vector(0) or a or b) > 1", "OR_WITHOUT_SELECTOR", Position(1, 12)),
        ("x > scalar(cfg)", "SCALAR", Position(1, 5)),
        ("topk(1, load)", "TOP_OF_SCOPE", Position(1, 1)),
        ("BOTTOMK by (a) (1, load)", "TOP_OF_SCOPE", Position(1, 1)),
        ("job:load:avg5m > 1", "RECORDED_METRIC", Position(1, 1)),
        ('1 < {"job:load:avg5m"}', "RECORDED_METRIC", Position(1, 5)),
    ],
)
def test_each_risk_is_named_with_its_place(query: str, risk: str, position: Position) -> None:
    assert [(str(warning.risk), warning.position) for warning in lint(query)] == [(risk, position)]


@pytest.mark.parametrize(
    "query",
    [
        "up == 0",
        "rate(a[5m]) / rate(b[5m]) > 0.1",
        "load * on (instance) group_left (team) kube_node_labels",
        "kube_node_labels * on (instance) group_right (team) load",
        'load unless on (instance) maintenance{__scope__="off"}',
        'x > scalar(cfg{__scope__="off"})',
        "load unless maintenance",
        "load and ignoring (x) other",
        "load * ignoring (x) group_left other",
        "load unless on (group_id) maintenance",
        'load unless on ("group_id", instance) maintenance',
        "a or b",
        "a or b and on (x) kube_x_labels",
        "sum by (a) (load)",
        'info(up, {a="job:b:c"})',
    ],
)
def test_what_is_right_is_not_warned_of(query: str) -> None:
    assert lint(query, labels=("group_id",)) == []


def test_ignoring_the_label_of_the_scope_is_matching_without_it() -> None:
    assert [str(warning.risk) for warning in lint("a unless ignoring (group_id) b", labels=("group_id",))] == [
        "SET_FILTER"
    ]


def test_only_scoped_selectors_are_judged() -> None:
    query = 'absent(a) or topk(1, b:c{__scope__="on"})'
    assert [str(warning.risk) for warning in lint(query, mode=ScopeMode.MANUAL)] == ["TOP_OF_SCOPE", "RECORDED_METRIC"]
    assert lint("absent(a) or vector(1)", mode=ScopeMode.NONE) == []


def test_warnings_come_in_the_order_of_the_text() -> None:
    warnings = lint("b:c and on (x) absent(a) or vector(0)")
    assert [str(warning.risk) for warning in warnings] == [
        "RECORDED_METRIC",
        "ABSENT",
        "SET_FILTER",
        "OR_WITHOUT_SELECTOR",
    ]
    assert [warning.position.column for warning in warnings] == [1, 16, 23, 26]


def test_a_warning_reads_as_a_sentence_with_a_place() -> None:
    (warning,) = lint("topk(1, load)")
    assert str(warning) == "TOP_OF_SCOPE: topk picks within each scope, not among all series (line 1, column 1)"


@pytest.mark.parametrize("operator", ["or", "and on (x)", "unless on (x) ", "+ on (x) group_left", "+ a or"])
def test_long_chains_take_linear_time(operator: str) -> None:
    # quadratic work on 20,000 operators would run into the time limit
    assert len(lint(f" {operator} ".join(["a"] * 20_000))) in (0, 19_999)
