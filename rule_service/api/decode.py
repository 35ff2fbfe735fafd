"""Messages to domain values. Raises InvalidInput with the path of the field."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from google.protobuf import struct_pb2

from rule_service.api.calls import new_id
from rule_service.domain.model import (
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
    Scope,
    ScopeMode,
    Target,
)
from rule_service.domain.status import TargetStatus
from rule_service.usecases.rules import RuleDraft
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason
from rulecast.v1 import common_pb2, group_pb2, namespace_pb2, rule_pb2, target_pb2, template_pb2

Number = TypeVar("Number", bound=int)
Choice = TypeVar("Choice")

_SCOPE_MODES = {
    template_pb2.SCOPE_MODE_UNSPECIFIED: ScopeMode.AUTO,
    template_pb2.SCOPE_MODE_AUTO: ScopeMode.AUTO,
    template_pb2.SCOPE_MODE_MANUAL: ScopeMode.MANUAL,
    template_pb2.SCOPE_MODE_NONE: ScopeMode.NONE,
}
_STRATEGIES = {
    rule_pb2.MERGE_STRATEGY_UNSPECIFIED: MergeStrategy.MERGE,
    rule_pb2.MERGE: MergeStrategy.MERGE,
    rule_pb2.OVERRIDE: MergeStrategy.OVERRIDE,
}
_STATUSES = {target_pb2.Target.Status.Value(each.name): each for each in TargetStatus}
_REPORTED: dict[target_pb2.Target.Status.ValueType, TargetStatus | None] = {
    target_pb2.Target.STATUS_UNSPECIFIED: None,
    **{number: each for number, each in _STATUSES.items() if each is not TargetStatus.STALE},
}
_TYPES = {
    template_pb2.Parameter.NUMBER: ParameterType.NUMBER,
    template_pb2.Parameter.DURATION: ParameterType.DURATION,
    template_pb2.Parameter.STRING: ParameterType.STRING,
    template_pb2.Parameter.REGEX: ParameterType.REGEX,
    template_pb2.Parameter.LABEL_NAME: ParameterType.LABEL_NAME,
    template_pb2.Parameter.METRIC_NAME: ParameterType.METRIC_NAME,
}


def namespace(message: namespace_pb2.Namespace) -> Namespace:
    id = message.id or new_id("namespace")
    return Namespace(id, message.label or id.replace("-", "_"), message.policy_priority, message.description)


def group(message: group_pb2.Group, namespace_id: str) -> Group:
    """`namespace_id`: where it is when it does not say."""
    id = message.id or new_id("group")
    return Group(
        id,
        message.namespace_id or namespace_id,
        message.label_value or id,
        message.parent_id or None,
        message.description,
    )


def target(message: target_pb2.Target) -> Target:
    return Target(
        message.id or new_id("target"),
        message.hostname,
        message.address or message.hostname,
        dict(message.labels),
        tuple(
            Exporter(each.name, each.port, each.path or "/metrics", each.scheme or "http") for each in message.exporters
        ),
        tuple(message.group_ids),
    )


def statuses(values: Iterable[target_pb2.Target.Status.ValueType]) -> list[TargetStatus]:
    return [chosen(_STATUSES, target_pb2.Target.Status, each, f"statuses[{at}]") for at, each in enumerate(values)]


def reported_status(value: target_pb2.Target.Status.ValueType, field: str) -> TargetStatus | None:
    """None: not said. Raises InvalidInput for STALE, which only time makes of a target."""
    return chosen(_REPORTED, target_pb2.Target.Status, value, field)


def template(message: template_pb2.AlertTemplate, version: int, field: str = "template") -> AlertTemplate:
    if not message.HasField("spec"):
        raise InvalidInput.of(f"{field}.spec", Reason.FIELD_REQUIRED, "a template needs its alert: `spec`")
    id = message.id or new_id("template")
    return AlertTemplate(id, message.key or id, spec(message.spec, f"{field}.spec"), version, message.description)


def spec(message: template_pb2.AlertSpec, field: str) -> AlertSpec:
    return AlertSpec(
        alert_name=message.alert_name,
        severity=message.severity,
        query=message.query,
        parameters=tuple(_parameter(each, f"{field}.parameters[{at}]") for at, each in enumerate(message.parameters)),
        defaults=config(message.default_config, f"{field}.default_config"),
        scope_mode=chosen(_SCOPE_MODES, template_pb2.ScopeMode, message.scope_mode, f"{field}.scope_mode"),
        scope_exclude_metrics=tuple(message.scope_exclude_metrics),
    )


def config(message: template_pb2.AlertConfig, field: str) -> Config:
    return Config(
        for_duration=message.for_duration or None,
        keep_firing_for=message.keep_firing_for or None,
        interval=message.interval or None,
        labels=dict(message.labels),
        annotations=dict(message.annotations),
        parameters={
            name: _value(value, f"{field}.parameters[{name}]") for name, value in sorted(message.parameters.items())
        },
    )


def scope(message: common_pb2.Scope, field: str) -> Scope:
    match message.WhichOneof("level"):
        case "global":
            return GlobalScope()
        case "namespace_id" if message.namespace_id:
            return NamespaceScope(message.namespace_id)
        case "group_id" if message.group_id:
            return GroupScope(message.group_id)
        case _:
            raise InvalidInput.of(
                field,
                Reason.FIELD_REQUIRED,
                'say where: {"global": {}}, {"namespace_id": "..."} or {"group_id": "..."}',
            )


def merge_strategy(value: rule_pb2.MergeStrategy.ValueType, field: str) -> MergeStrategy:
    return chosen(_STRATEGIES, rule_pb2.MergeStrategy, value, field)


def rule_draft(message: rule_pb2.AlertRule, field: str) -> RuleDraft:
    return RuleDraft(
        id=message.id or new_id("rule"),
        scope=scope(message.scope, f"{field}.scope"),
        key=message.key or None,
        template_id=message.template_id or None,
        template_version=message.template_version or None,
        spec=spec(message.spec, f"{field}.spec") if message.HasField("spec") else None,
        config=config(message.config, f"{field}.config"),
        merge_strategy=merge_strategy(message.merge_strategy, f"{field}.merge_strategy"),
        priority=message.priority,
        enabled=message.enabled if message.HasField("enabled") else True,
        description=message.description,
    )


def _parameter(message: template_pb2.Parameter, field: str) -> Parameter:
    def optional(name: str) -> ParameterValue | None:
        return _value(getattr(message, name), f"{field}.{name}") if message.HasField(name) else None  # type: ignore[arg-type]

    return Parameter(
        name=message.name,
        type=chosen(_TYPES, template_pb2.Parameter.Type, message.type, f"{field}.type"),
        default=optional("default"),
        minimum=optional("minimum"),
        maximum=optional("maximum"),
        allowed=tuple(_value(each, f"{field}.allowed[{at}]") for at, each in enumerate(message.allowed)),
        description=message.description,
    )


def _value(message: struct_pb2.Value, field: str) -> ParameterValue:
    match message.WhichOneof("kind"):
        case "number_value":
            return message.number_value
        case "string_value":
            return message.string_value
        case kind:
            what = (kind or "nothing").removesuffix("_value")
            raise InvalidInput.of(
                field, Reason.PARAMETER_TYPE, f'a value is a number or a text, not a {what}: write 80 or "5m"'
            )


def chosen(choices: Mapping[Number, Choice], names: Any, value: Number, field: str) -> Choice:
    """The meaning of an enum's number. Raises InvalidInput with the names that there are."""
    if value not in choices:
        right = ", ".join(names.Name(each) for each in choices if each)
        what = f"{value} is not one of the values there are" if value else "it is not said"
        raise InvalidInput.of(field, Reason.FIELD_INVALID, f"{what}: use {right}")
    return choices[value]
