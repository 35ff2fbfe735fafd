"""The alert templates that come with Rulecast: YAML files beside this one, in the words of the API."""

from importlib import resources
from typing import Any

import yaml
from google.protobuf import json_format

from rule_service.api import decode
from rule_service.domain.model import AlertTemplate
from rulecast.v1 import template_pb2

_OF_SPEC = (
    "alert_name",
    "severity",
    "query",
    "parameters",
    "default_config",
    "scope_mode",
    "scope_exclude_metrics",
)


def load_library() -> tuple[AlertTemplate, ...]:
    """All of them, by id."""
    files = (each for each in resources.files(__package__).iterdir() if each.name.endswith(".yaml"))
    templates = [_template(each) for file in files for each in yaml.safe_load(file.read_text("utf-8"))["templates"]]
    return tuple(sorted(templates, key=lambda template: template.id))


def _template(entry: dict[str, Any]) -> AlertTemplate:
    spec = {name: entry.pop(name) for name in _OF_SPEC if name in entry}
    for parameter in spec.get("parameters", ()):
        parameter["type"] = parameter["type"].upper()
    if "scope_mode" in spec:
        spec["scope_mode"] = f"SCOPE_MODE_{spec['scope_mode'].upper()}"
    message = json_format.ParseDict({**entry, "spec": spec}, template_pb2.AlertTemplate())
    return decode.template(message, version=1)
