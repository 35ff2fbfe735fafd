"""What watches Rulecast itself: dashboard and alerts ask for metrics that there are, and promtool takes them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import alerts
from deploy.metrics import names
from rule_service.domain.promql.selectors import find_selectors
from tests.support.promtool import promtool
from tests.unit.test_library import BEHAVIOUR, BY_ID, promtool_test, write_rules

DASHBOARD = alerts.FILE.parents[1] / "dashboards" / "rulecast.json"
RULES = yaml.safe_load(alerts.FILE.read_text())["groups"][0]["rules"]
RUNBOOK = "docs/en/operations.md"
INTERVAL = "$__rate_interval"
"""Grafana's word for a range that fits the scrape interval."""


def expressions(board: Any) -> Iterator[str]:
    """Every `expr`, wherever it stands."""
    if isinstance(board, Mapping):
        if "expr" in board:
            yield board["expr"].replace(INTERVAL, "5m")
        for value in board.values():
            yield from expressions(value)
    elif isinstance(board, list):
        for value in board:
            yield from expressions(value)


BOARD = sorted(set(expressions(json.loads(DASHBOARD.read_text()))))


def metrics_in(query: str) -> set[str]:
    found = {selector.metric for selector in find_selectors(query)}
    return {name for name in found if name is not None}


@pytest.mark.parametrize("query", [*BOARD, *(rule["expr"] for rule in RULES)])
def test_every_metric_that_is_asked_for_exists(query: str) -> None:
    asked = metrics_in(query)
    assert asked
    assert asked <= names()


def test_promtool_parses_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"expression:{at}", "expr": query} for at, query in enumerate(BOARD)]
    write_rules(tmp_path / "rules.yml", rules)
    checked = promtool("check", "rules", "rules.yml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_panels_have_an_id_and_a_place_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [cell for panel in panels for cell in _cells(panel["gridPos"])]
    assert len(set(cells)) == len(cells)
    assert all(x < 24 for x, _ in cells)


def _cells(place: Mapping[str, int]) -> Iterable[tuple[int, int]]:
    return (
        (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
    )


def test_the_rule_file_is_what_the_templates_give() -> None:
    assert alerts.FILE.read_text() == alerts.text()
    assert [rule["alert"] for rule in RULES] == [template.spec.alert_name for template in alerts.own_templates()]


def test_promtool_takes_the_rule_file() -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", alerts.FILE.name, cwd=alerts.FILE.parent)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_says_what_to_do(rule: Mapping[str, Any]) -> None:
    assert rule["annotations"]["runbook_url"] == f"{RUNBOOK}#{rule['alert'].lower()}"
    assert {"summary", "description"} <= rule["annotations"].keys()
    assert rule["labels"] == {"severity": BY_ID[_id_of(rule)]["severity"]}


def _id_of(rule: Mapping[str, Any]) -> str:
    return next(id for id, template in BY_ID.items() if template["alert_name"] == rule["alert"])


def test_the_rules_of_the_file_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """The cases of the templates, on the file as it is shipped; each case has a Prometheus of its own."""
    # promtool compares annotations exactly: the summary stands for all of them, so that cases stay readable
    shipped = [{**rule, "annotations": {"summary": rule["annotations"]["summary"]}} for rule in RULES]
    write_rules(tmp_path / "rules.yml", shipped)
    cases = [case for case in BEHAVIOUR if case["template"].startswith(alerts.PREFIX)]
    tests = [promtool_test(BY_ID[case["template"]], case) for case in cases]
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(document, allow_unicode=True))
    assert {case["template"] for case in cases} == {template.id for template in alerts.own_templates()}
    tested = promtool("test", "rules", "test.yml", cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr
