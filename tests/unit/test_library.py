"""The starter library: every template is complete, passes promtool, and reports what it says it reports."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests.support.promtool import promtool

LIBRARY = Path(__file__).parents[2] / "rule_service" / "library"
CASES = Path(__file__).parent / "data" / "library"

TEMPLATE_KEYS = {
    "id",
    "key",
    "alert_name",
    "severity",
    "description",
    "query",
    "scope_mode",
    "scope_exclude_metrics",
    "parameters",
    "default_config",
}
CONFIG_KEYS = {"for_duration", "keep_firing_for", "interval", "labels", "annotations"}
PARAMETER_KEYS = {"name", "type", "default", "minimum", "maximum", "allowed", "description"}
PARAMETER_TYPES = {"number", "duration", "string", "regex", "label_name", "metric_name"}
PLACEHOLDER = re.compile(r"\{\{-?\s*\.([a-z][a-z0-9_]*)\s*-?\}\}")
ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")

Document = Mapping[str, Any]


def load(directory: Path, key: str) -> list[Document]:
    return [item for path in sorted(directory.glob("*.yaml")) for item in yaml.safe_load(path.read_text())[key]]


TEMPLATES = load(LIBRARY, "templates")
BY_ID = {str(template["id"]): template for template in TEMPLATES}
BEHAVIOUR = load(CASES, "cases")


def seconds(duration: str) -> int:
    match = DURATION.fullmatch(duration)
    assert match is not None, f"not a duration: {duration}"
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def written(parameter: Document, in_query: bool) -> str:
    value = str(parameter["default"])
    if in_query and parameter["type"] == "regex":
        return "(?:" + value.replace("\\", "\\\\").replace('"', '\\"') + ")"
    return value


def render(template: Document) -> dict[str, Any]:
    """The template with its defaults, as a rule of a Prometheus rule file, without a scope."""
    parameters = {parameter["name"]: parameter for parameter in template["parameters"]}

    def fill(text: str, in_query: bool) -> str:
        return PLACEHOLDER.sub(lambda match: written(parameters[match[1]], in_query), text)

    config = template["default_config"]
    rule = {
        "alert": template["alert_name"],
        "expr": fill(template["query"], in_query=True),
        "for": config["for_duration"],
        "labels": {"severity": template["severity"], **config.get("labels", {})},
        "annotations": {name: fill(text, in_query=False) for name, text in config["annotations"].items()},
    }
    if "keep_firing_for" in config:
        rule["keep_firing_for"] = config["keep_firing_for"]
    return rule


def texts(template: Document) -> list[str]:
    config = template["default_config"]
    return [template["query"], *config["annotations"].values(), *config.get("labels", {}).values()]


def write_rules(path: Path, rules: Sequence[Document]) -> None:
    path.write_text(yaml.safe_dump({"groups": [{"name": "library", "rules": list(rules)}]}, allow_unicode=True))


each_template = pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template["id"])


def test_the_library_is_worth_starting_with() -> None:
    assert len(TEMPLATES) >= 25


@pytest.mark.parametrize("field", ["id", "key", "alert_name"])
def test_names_are_unique(field: str) -> None:
    names = [template[field] for template in TEMPLATES]
    assert sorted(names) == sorted(set(names))


@each_template
def test_fields_are_known_and_complete(template: Document) -> None:
    config = template["default_config"]
    assert set(template) <= TEMPLATE_KEYS
    assert set(config) <= CONFIG_KEYS
    assert ID.fullmatch(template["id"])
    assert template["key"] == template["id"]
    assert re.fullmatch("[A-Z][A-Za-z0-9]+", template["alert_name"])
    assert template["severity"] in {"critical", "warning", "info"}
    assert template.get("scope_mode", "auto") in {"auto", "manual", "none"}
    assert seconds(config["for_duration"]) >= 0
    assert {"summary", "description"} <= set(config["annotations"])


@each_template
def test_description_is_a_runbook(template: Document) -> None:
    description = template["description"]
    assert len(description) >= 200
    assert description.count(". ") >= 2
    assert "\n" not in description


@each_template
def test_every_parameter_is_used_and_every_placeholder_declared(template: Document) -> None:
    declared = [parameter["name"] for parameter in template["parameters"]]
    used = {name for text in texts(template) for name in PLACEHOLDER.findall(text)}
    in_query = set(PLACEHOLDER.findall(template["query"]))
    assert declared, "a template without a parameter can not differ between groups"
    assert len(declared) == len(set(declared))
    assert used == in_query == set(declared)


@each_template
def test_parameters_have_a_default_within_bounds(template: Document) -> None:
    for parameter in template["parameters"]:
        kind, default = parameter["type"], parameter["default"]
        assert set(parameter) <= PARAMETER_KEYS
        assert kind in PARAMETER_TYPES
        assert parameter["description"].endswith((".", "]"))
        if kind == "number":
            assert parameter["minimum"] <= default <= parameter["maximum"]
        elif kind == "duration":
            assert 0 < seconds(parameter["minimum"]) <= seconds(default) <= seconds(parameter["maximum"])
        elif kind == "regex":
            re.compile(default)


@each_template
def test_query_passes_the_in_process_parser(template: Document) -> None:
    assert isinstance(promql_parser.parse(render(template)["expr"]), promql_parser.Expr)


def test_all_rules_pass_promtool(tmp_path: Path) -> None:
    write_rules(tmp_path / "rules.yml", [render(template) for template in TEMPLATES])
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yml", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(TEMPLATES)} rules found" in result.stdout


def expected_alert(template: Document, alert: Document) -> dict[str, Any]:
    labels = {**alert["labels"], "severity": template["severity"]}
    return {"exp_labels": labels, "exp_annotations": {"summary": alert["summary"]}}


def promtool_test(template: Document, case: Document) -> dict[str, Any]:
    checks = [
        {
            "eval_time": check["at"],
            "alertname": template["alert_name"],
            "exp_alerts": [expected_alert(template, alert) for alert in check["firing"]],
        }
        for check in case["checks"]
    ]
    series = [{"series": name, "values": values} for name, values in case["series"].items()]
    return {"interval": case["interval"], "input_series": series, "alert_rule_test": checks}


@pytest.mark.parametrize("case", BEHAVIOUR, ids=lambda case: f"{case['template']}: {case['name']}")
def test_alert_fires_when_it_should_and_only_then(case: Document, tmp_path: Path) -> None:
    template = BY_ID[case["template"]]
    rule = render(template)
    # promtool compares annotations exactly: the summary stands for all of them, so that cases stay readable
    rule["annotations"] = {"summary": rule["annotations"]["summary"]}
    write_rules(tmp_path / "rules.yml", [rule])
    tests = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [promtool_test(template, case)]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(tests, allow_unicode=True))
    result = promtool("test", "rules", "test.yml", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_template_has_a_case_that_fires() -> None:
    fires = {case["template"] for case in BEHAVIOUR for check in case["checks"] if check["firing"]}
    assert fires == set(BY_ID)
