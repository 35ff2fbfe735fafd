"""Domain values and records to messages.

Messages in messages are copied in and maps are filled item by item: by the constructor it takes several times as long,
and most of a page of rules is this.
"""

from collections.abc import Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import assert_never

from google.protobuf import struct_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from rule_service.domain.model import (
    AlertRule,
    AlertSpec,
    AlertTemplate,
    Config,
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
from rule_service.domain.remembered import remembered_of_shared
from rule_service.domain.render import RenderedRule
from rule_service.domain.warning import RuleWarning
from rule_service.usecases.change import Change
from rule_service.usecases.heartbeats import ShownTarget
from rule_service.usecases.ports import Record
from rule_service.usecases.ports_fates import FileFate
from rule_service.usecases.rollout import Rollout
from rule_service.usecases.show import ShownRule
from rulecast.v1 import common_pb2, group_pb2, namespace_pb2, rule_pb2, target_pb2, template_pb2

_TYPES = {each: template_pb2.Parameter.Type.Value(each.name) for each in ParameterType}
_SCOPE_MODES = {each: template_pb2.ScopeMode.Value(f"SCOPE_MODE_{each.name}") for each in ScopeMode}
_STRATEGIES = {each: rule_pb2.MergeStrategy.Value(each.name) for each in MergeStrategy}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def namespace(record: Record[Namespace]) -> namespace_pb2.Namespace:
    message = namespace_fields(record.value)
    message.etag = record.etag
    message.metadata.CopyFrom(metadata(record))
    return message


def namespace_fields(value: Namespace) -> namespace_pb2.Namespace:
    return namespace_pb2.Namespace(
        id=value.id,
        label=value.label,
        policy_priority=value.policy_priority,
        description=value.description,
        owner=value.owner,
    )


def group(record: Record[Group]) -> group_pb2.Group:
    message = group_fields(record.value)
    message.etag = record.etag
    message.metadata.CopyFrom(metadata(record))
    return message


def group_fields(value: Group) -> group_pb2.Group:
    return group_pb2.Group(
        id=value.id,
        namespace_id=value.namespace_id,
        label_value=value.label_value,
        parent_id=value.parent_id or "",
        description=value.description,
        owner=value.owner,
    )


def target(shown: ShownTarget) -> target_pb2.Target:
    message = stored_target(shown.record)
    message.status = target_pb2.Target.Status.Value(shown.heard.status.name)
    if shown.heard.seen_at is not None:
        message.last_seen_time.CopyFrom(timestamp(shown.heard.seen_at))
    return message


def stored_target(record: Record[Target]) -> target_pb2.Target:
    message = target_fields(record.value)
    message.etag = record.etag
    message.metadata.CopyFrom(metadata(record))
    return message


def target_fields(value: Target) -> target_pb2.Target:
    return target_pb2.Target(
        id=value.id,
        hostname=value.hostname,
        address=value.address,
        labels=value.labels,
        exporters=[
            target_pb2.Exporter(name=each.name, port=each.port, path=each.path, scheme=each.scheme)
            for each in value.exporters
        ],
        group_ids=value.group_ids,
        owner=value.owner,
    )


def template(record: Record[AlertTemplate]) -> template_pb2.AlertTemplate:
    message = template_fields(record.value)
    message.etag = record.etag
    message.metadata.CopyFrom(metadata(record))
    return message


def template_fields(value: AlertTemplate) -> template_pb2.AlertTemplate:
    return template_pb2.AlertTemplate(
        id=value.id,
        key=value.key,
        description=value.description,
        spec=spec(value.spec),
        version=value.version,
        owner=value.owner,
    )


@remembered_of_shared(1_024)
def spec(value: AlertSpec) -> template_pb2.AlertSpec:
    """To be copied, not to be changed: the rules of one template share it."""
    return template_pb2.AlertSpec(
        alert_name=value.alert_name,
        severity=value.severity,
        query=value.query,
        parameters=[_parameter(each) for each in value.parameters],
        default_config=config(value.defaults),
        scope_mode=_SCOPE_MODES[value.scope_mode],
        scope_exclude_metrics=value.scope_exclude_metrics,
    )


def config(value: Config) -> template_pb2.AlertConfig:
    message = template_pb2.AlertConfig(
        for_duration=value.for_duration or "",
        keep_firing_for=value.keep_firing_for or "",
        interval=value.interval or "",
    )
    fill(message.labels, value.labels)
    fill(message.annotations, value.annotations)
    for name, each in value.parameters.items():
        message.parameters[name].CopyFrom(parameter_value(each))
    return message


def rule_fields(value: AlertRule) -> rule_pb2.AlertRule:
    """What a caller can set of a rule, and what goes with it; an update is merged into this."""
    message = rule_pb2.AlertRule(
        id=value.id,
        key=value.key,
        template_id=value.template_id or "",
        template_version=value.template_version or 0,
        merge_strategy=_STRATEGIES[value.merge_strategy],
        priority=value.priority,
        enabled=value.enabled,
        description=value.description,
        owner=value.owner,
    )
    message.scope.CopyFrom(scope(value.scope))
    message.spec.CopyFrom(spec(value.spec))
    message.config.CopyFrom(config(value.config))
    return message


def rule(shown: ShownRule) -> rule_pb2.AlertRule:
    message = rule_fields(shown.record.value)
    message.etag = shown.record.etag
    message.metadata.CopyFrom(metadata(shown.record))
    if shown.placed is not None:
        message.rendered.CopyFrom(rendered(shown.placed.rule, shown.placed.group))
        message.warnings.extend(warning(each, shown.record.value.id) for each in shown.placed.rule.warnings)
    return message


def rendered(value: RenderedRule, group_name: str) -> rule_pb2.RenderedRule:
    message = rule_pb2.RenderedRule(
        file_name=value.file_name,
        group=group_name,
        query=value.source_query,
        expr=value.expr,
        for_duration=value.for_duration or "",
        keep_firing_for=value.keep_firing_for or "",
        interval=value.interval or "",
    )
    fill(message.labels, value.labels)
    fill(message.annotations, value.annotations)
    return message


def scope(value: Scope) -> common_pb2.Scope:
    message = common_pb2.Scope()
    match value:
        case GlobalScope():
            getattr(message, "global").SetInParent()
        case NamespaceScope(namespace_id):
            message.namespace_id = namespace_id
        case GroupScope(group_id):
            message.group_id = group_id
        case _:
            assert_never(value)
    return message


def warning(value: RuleWarning, rule_id: str) -> common_pb2.Warning:
    return common_pb2.Warning(code=value.code, message=value.message, rule_id=rule_id)


def change(value: Change) -> common_pb2.Change:
    return common_pb2.Change(
        revision=value.revision,
        files=[
            common_pb2.FileChange(
                file_name=each.name,
                kind=common_pb2.FileChange.Kind.Value(each.kind.name),
                rule_count=each.rule_count,
            )
            for each in value.files
        ],
        warnings=[warning(each.warning, each.rule_id) for each in value.warnings],
        rollout=rollout(value.rollout) if value.rollout is not None else None,
    )


def rollout(value: Rollout) -> common_pb2.Rollout:
    return common_pb2.Rollout(
        revision=value.revision,
        state=common_pb2.Rollout.State.Value(value.state.name),
        deployers=[
            common_pb2.DeployerRollout(
                deployer_id=each.deployer_id,
                state=common_pb2.Rollout.State.Value(each.state.name),
                revision=each.revision,
                files=fates(each.fates),
                update_time=timestamp(each.seen_at),
            )
            for each in value.deployers
        ],
    )


def fates(values: Iterable[FileFate]) -> list[common_pb2.FileOutcome]:
    return [
        common_pb2.FileOutcome(
            file_name=each.file_name,
            sha256=each.sha256,
            state=common_pb2.Rollout.State.Value(each.state.name),
            reason=each.reason,
            message=each.message,
            group=each.group,
            rule=each.rule,
            time=timestamp(each.at) if each.at is not None else None,
        )
        for each in values
    ]


def metadata(record: Record[object]) -> common_pb2.Metadata:
    message = common_pb2.Metadata(revision=record.revision)
    message.create_time.CopyFrom(timestamp(record.created_at))
    message.update_time.CopyFrom(timestamp(record.updated_at))
    if record.deleted_at is not None:
        message.delete_time.CopyFrom(timestamp(record.deleted_at))
    return message


def fill(field: MutableMapping[str, str], values: Mapping[str, str]) -> None:
    for name, text in values.items():
        field[name] = text


def timestamp(value: datetime) -> Timestamp:
    """value: with its time zone. As `FromDatetime`, which takes ten times as long."""
    since = value - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def parameter_value(value: ParameterValue) -> struct_pb2.Value:
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    return struct_pb2.Value(number_value=value)


def _parameter(value: Parameter) -> template_pb2.Parameter:
    def optional(each: ParameterValue | None) -> struct_pb2.Value | None:
        return None if each is None else parameter_value(each)

    return template_pb2.Parameter(
        name=value.name,
        type=_TYPES[value.type],
        default=optional(value.default),
        minimum=optional(value.minimum),
        maximum=optional(value.maximum),
        allowed=[parameter_value(each) for each in value.allowed],
        description=value.description,
    )
