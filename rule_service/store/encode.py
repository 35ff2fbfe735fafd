"""Domain values as JSON, and back. What is read equals what was written.

A value that says nothing (None, an empty map) is left out. A number is written as JSON number; the few that JSON or
PostgreSQL would change are written `{"number": "-0.0"}`.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, assert_never

from rule_service.domain.model import (
    AlertRule,
    AlertSpec,
    AlertTemplate,
    Config,
    Exporter,
    GlobalScope,
    Group,
    GroupScope,
    MergeStrategy,
    Namespace,
    NamespaceScope,
    Parameter,
    ParameterType,
    ParameterValue,
    Resource,
    Scope,
    ScopeMode,
    Target,
)
from rule_service.domain.remembered import remembered
from rule_service.domain.warning import RuleWarning
from rulecast.errors import Position

Json = dict[str, Any]

_DECODER = json.JSONDecoder()


class Columns(Protocol):
    """A row of a table, or its JSON: the names are the same."""

    def __getitem__(self, name: str, /) -> Any: ...
    def get(self, name: str, default: Any, /) -> Any: ...


def dump(value: object) -> str:
    """JSON as PostgreSQL reads it. Raises ValueError for infinite numbers, which have no JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def load(text: str) -> Any:
    """JSON as PostgreSQL writes it, with nothing around: half the time of `json.loads` for the many short ones."""
    return _DECODER.raw_decode(text)[0]


def scope_columns(scope: Scope) -> tuple[str, str]:
    """A scope as the columns `scope_level` and `scope_id`."""
    match scope:
        case GlobalScope():
            return "global", ""
        case NamespaceScope(id):
            return "namespace", id
        case GroupScope(id):
            return "group", id
        case _:
            assert_never(scope)


def scope_of(level: str, id: str) -> Scope:
    """The reverse of `scope_columns`."""
    match level:
        case "global":
            return GlobalScope()
        case "namespace":
            return NamespaceScope(id)
        case "group":
            return GroupScope(id)
        case _:
            raise ValueError(f"not a level of scope: {level}")


def scopes_json(scopes: Sequence[Scope]) -> list[list[str]]:
    return [list(scope_columns(scope)) for scope in scopes]


def scopes_of(value: Sequence[Sequence[str]]) -> tuple[Scope, ...]:
    return tuple(scope_of(level, id) for level, id in value)


def spec_json(spec: AlertSpec) -> Json:
    return {
        "alert_name": spec.alert_name,
        "severity": spec.severity,
        "query": spec.query,
        "parameters": [_parameter_json(parameter) for parameter in spec.parameters],
        "defaults": config_json(spec.defaults),
        "scope_mode": spec.scope_mode.value,
        "scope_exclude_metrics": list(spec.scope_exclude_metrics),
    }


def spec_of(value: str | Mapping[str, Any]) -> AlertSpec:
    """value: JSON, read or as text. Rules of one template share what is read of it."""
    return _spec_of_text(value) if isinstance(value, str) else _spec_of(value)


@remembered(1_024, longest=16_384)
def _spec_of_text(text: str) -> AlertSpec:
    return _spec_of(load(text))


def _spec_of(value: Mapping[str, Any]) -> AlertSpec:
    return AlertSpec(
        alert_name=value["alert_name"],
        severity=value["severity"],
        query=value["query"],
        parameters=tuple(_parameter_of(each) for each in value["parameters"]),
        defaults=config_of(value["defaults"]),
        scope_mode=ScopeMode(value["scope_mode"]),
        scope_exclude_metrics=tuple(value["scope_exclude_metrics"]),
    )


def config_json(config: Config) -> Json:
    return _said(
        for_duration=config.for_duration,
        keep_firing_for=config.keep_firing_for,
        interval=config.interval,
        labels=dict(config.labels) or None,
        annotations=dict(config.annotations) or None,
        parameters={name: _value_json(value) for name, value in config.parameters.items()} or None,
    )


def config_of(value: Mapping[str, Any]) -> Config:
    return Config(
        for_duration=value.get("for_duration"),
        keep_firing_for=value.get("keep_firing_for"),
        interval=value.get("interval"),
        labels=value.get("labels", {}),
        annotations=value.get("annotations", {}),
        parameters={name: _value_of(each) for name, each in value.get("parameters", {}).items()},
    )


def exporters_json(exporters: Sequence[Exporter]) -> list[Json]:
    return [
        {"name": exporter.name, "port": exporter.port, "path": exporter.path, "scheme": exporter.scheme}
        for exporter in exporters
    ]


def exporters_of(value: Sequence[Mapping[str, Any]]) -> tuple[Exporter, ...]:
    return tuple(Exporter(each["name"], each["port"], each["path"], each["scheme"]) for each in value)


def warnings_json(warnings: Sequence[RuleWarning]) -> list[Json]:
    return [
        _said(
            code=str(warning.code),
            message=warning.message,
            position=[warning.position.line, warning.position.column] if warning.position else None,
        )
        for warning in warnings
    ]


def warnings_of(value: Sequence[Mapping[str, Any]]) -> tuple[RuleWarning, ...]:
    return tuple(
        RuleWarning(each["code"], each["message"], Position(*each["position"]) if "position" in each else None)
        for each in value
    )


def resource_json(value: Resource) -> Json:
    """A resource for the history: complete, in words of its own."""
    match value:
        case Namespace():
            return {
                "id": value.id,
                "label": value.label,
                "policy_priority": value.policy_priority,
                "description": value.description,
                **_said(owner=value.owner or None),
            }
        case Group():
            return {
                "id": value.id,
                "namespace_id": value.namespace_id,
                "label_value": value.label_value,
                "parent_id": value.parent_id,
                "description": value.description,
                **_said(owner=value.owner or None),
            }
        case Target():
            return {
                "id": value.id,
                "hostname": value.hostname,
                "address": value.address,
                "labels": dict(value.labels),
                "exporters": exporters_json(value.exporters),
                "group_ids": sorted(value.group_ids),
                **_said(owner=value.owner or None),
            }
        case AlertTemplate():
            return {
                "id": value.id,
                "key": value.key,
                "spec": spec_json(value.spec),
                "version": value.version,
                "description": value.description,
                **_said(owner=value.owner or None),
            }
        case AlertRule():
            level, scope_id = scope_columns(value.scope)
            return {
                "id": value.id,
                "key": value.key,
                "scope_level": level,
                "scope_id": scope_id,
                "spec": spec_json(value.spec),
                "config": config_json(value.config),
                "template_id": value.template_id,
                "template_version": value.template_version,
                "merge_strategy": value.merge_strategy.value,
                "priority": value.priority,
                "enabled": value.enabled,
                "description": value.description,
                **_said(owner=value.owner or None),
            }
        case _:
            assert_never(value)


def resource_of(kind: str, value: Columns) -> Resource:
    """The reverse of `resource_json`. kind: as in `ResourceChange`."""
    return _RESOURCES[kind](value)


def rule_of(row: Columns) -> AlertRule:
    """A rule from its row."""
    return AlertRule(
        id=row["id"],
        key=row["key"],
        scope=scope_of(row["scope_level"], row["scope_id"]),
        spec=spec_of(row["spec"]),
        config=config_of(row["config"]),
        template_id=row["template_id"],
        template_version=row["template_version"],
        merge_strategy=MergeStrategy(row["merge_strategy"]),
        priority=row["priority"],
        enabled=row["enabled"],
        description=row["description"],
        owner=_owner(row),
    )


def group_of(row: Columns) -> Group:
    """A group from its row."""
    return Group(row["id"], row["namespace_id"], row["label_value"], row["parent_id"], row["description"], _owner(row))


def namespace_of(row: Columns) -> Namespace:
    """A namespace from its row."""
    return Namespace(row["id"], row["label"], row["policy_priority"], row["description"], _owner(row))


def target_of(row: Columns) -> Target:
    """A target from its row."""
    return Target(
        id=row["id"],
        hostname=row["hostname"],
        address=row["address"],
        labels=row["labels"],
        exporters=exporters_of(row["exporters"]),
        group_ids=tuple(row["group_ids"]),
        owner=_owner(row),
    )


def template_of(row: Columns) -> AlertTemplate:
    """A template from its row."""
    return AlertTemplate(row["id"], row["key"], spec_of(row["spec"]), row["version"], row["description"], _owner(row))


_RESOURCES: Mapping[str, Callable[[Columns], Resource]] = {
    "namespace": namespace_of,
    "group": group_of,
    "target": target_of,
    "template": template_of,
    "rule": rule_of,
}


def _owner(row: Columns) -> str:
    """Missing in what the history remembers of resources without one."""
    owner: str = row.get("owner", "")
    return owner


def _parameter_json(parameter: Parameter) -> Json:
    return _said(
        name=parameter.name,
        type=parameter.type.value,
        default=_optional_json(parameter.default),
        minimum=_optional_json(parameter.minimum),
        maximum=_optional_json(parameter.maximum),
        allowed=[_value_json(value) for value in parameter.allowed] or None,
        description=parameter.description or None,
    )


def _parameter_of(value: Mapping[str, Any]) -> Parameter:
    return Parameter(
        name=value["name"],
        type=ParameterType(value["type"]),
        default=_optional_of(value.get("default")),
        minimum=_optional_of(value.get("minimum")),
        maximum=_optional_of(value.get("maximum")),
        allowed=tuple(_value_of(each) for each in value.get("allowed", ())),
        description=value.get("description", ""),
    )


def _optional_json(value: ParameterValue | None) -> str | float | Json | None:
    return None if value is None else _value_json(value)


def _optional_of(value: Any) -> ParameterValue | None:
    return None if value is None else _value_of(value)


def _value_json(value: ParameterValue) -> str | float | Json:
    if isinstance(value, str):
        return value
    number = float(value)
    # `numeric` has no negative zero, JSON has no infinity
    if not math.isfinite(number) or (number == 0 and math.copysign(1, number) < 0):
        return {"number": repr(number)}
    return number


def _value_of(value: Any) -> ParameterValue:
    if isinstance(value, str):
        return value
    # PostgreSQL writes 1e300 with all its digits, which Python reads as an int
    return float(value["number"] if isinstance(value, dict) else value)


def _said(**values: Any) -> Json:
    return {name: value for name, value in values.items() if value is not None}
