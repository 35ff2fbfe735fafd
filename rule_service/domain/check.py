"""Whether a whole value may be saved.

Everything that is wrong with a value is reported at once. What comes back is the value normalised: parameter values
as their declarations write them. What depends on other rules (what a rule inherits, how its query is scoped) is
checked by rendering.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from rule_service.domain.address import check_address
from rule_service.domain.durations import parse_duration
from rule_service.domain.model import (
    AlertRule,
    AlertSpec,
    AlertTemplate,
    Config,
    Exporter,
    Group,
    Namespace,
    Parameter,
    ParameterValue,
    Target,
)
from rule_service.domain.names import (
    MAX_DESCRIPTION,
    check_alert_name,
    check_annotation,
    check_annotation_name,
    check_hostname,
    check_id,
    check_label_value,
    check_metric_name,
    check_namespace_label,
    check_rule_label,
    check_severity,
    check_text,
)
from rule_service.domain.parameters import check_parameters, check_value
from rule_service.domain.settled import RULE_ANNOTATION
from rule_service.domain.template import check_spec_templates
from rule_service.domain.wording import shown
from rulecast.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound, Violation
from rulecast.reasons import Reason

# what the settings of `limits` can allow at most
MAX_LABELS = 1_000
MAX_ANNOTATIONS = 1_000
MAX_EXPORTERS = 1_000
MAX_EXCLUDED_METRICS = 64
MAX_PRIORITY = 1_000_000
"""Of rules and namespaces, either way from 0."""


class _Findings:
    """Collects what is wrong, so that a caller is told everything at once."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    @contextmanager
    def gathering(self) -> Iterator[None]:
        try:
            yield
        except InvalidInput as refused:
            self._violations.extend(refused.violations)

    def add(self, field: str, reason: Reason, message: str) -> None:
        self._violations.append(Violation(field, reason, message))

    def raise_if_any(self) -> None:
        if self._violations:
            raise InvalidInput(tuple(self._violations))


def check_namespace(namespace: Namespace, others: Iterable[Namespace], field: str = "namespace") -> None:
    """A namespace to be saved beside others. Raises InvalidInput; AlreadyExists (LABEL_TAKEN)."""
    found = _Findings()
    with found.gathering():
        check_id(namespace.id, f"{field}.id")
    with found.gathering():
        check_namespace_label(namespace.label, f"{field}.label")
    with found.gathering():
        _check_priority(namespace.policy_priority, f"{field}.policy_priority")
    with found.gathering():
        check_text(namespace.description, f"{field}.description", MAX_DESCRIPTION)
    found.raise_if_any()
    for other in others:
        if other.label == namespace.label and other.id != namespace.id:
            raise AlreadyExists.of(
                f"{field}.label",
                Reason.LABEL_TAKEN,
                f"the label {shown(namespace.label)} already tells the groups of namespace {shown(other.id)}: "
                "use another label",
            )


def check_group(group: Group, groups: Mapping[str, Group], field: str = "group") -> None:
    """A group to be saved. groups: by id, all of its namespace, itself perhaps as it was.

    Raises InvalidInput; AlreadyExists (LABEL_VALUE_TAKEN); and as `check_group_parent` does.
    """
    found = _Findings()
    with found.gathering():
        check_id(group.id, f"{field}.id")
    with found.gathering():
        check_label_value(group.label_value, f"{field}.label_value")
    if not group.label_value:
        found.add(
            f"{field}.label_value", Reason.FIELD_REQUIRED, "a group needs a label value: no series has an empty one"
        )
    with found.gathering():
        check_text(group.description, f"{field}.description", MAX_DESCRIPTION)
    found.raise_if_any()
    check_group_parent(group, groups, field)
    for other in groups.values():
        if other.label_value == group.label_value and other.id != group.id:
            raise AlreadyExists.of(
                f"{field}.label_value",
                Reason.LABEL_VALUE_TAKEN,
                f"the label value {shown(group.label_value)} already stands for group {shown(other.id)}: "
                "use another value",
            )


def check_group_parent(group: Group, groups: Mapping[str, Group], field: str = "group") -> None:
    """A group's place in the tree. groups: by id, all of its namespace, itself perhaps as it was.

    Raises NotFound (GROUP_NOT_FOUND) for a parent that is not in the namespace, and FailedPrecondition (GROUP_CYCLE).
    """
    parent_id = group.parent_id
    if parent_id is None:
        return
    if parent_id not in groups and parent_id != group.id:
        raise NotFound.of(
            f"{field}.parent_id",
            Reason.GROUP_NOT_FOUND,
            f"there is no group {shown(parent_id)} in namespace {shown(group.namespace_id)}: "
            "a parent is a group of the same namespace",
        )
    path = [group.id]
    while parent_id is not None:
        path.append(parent_id)
        if parent_id == group.id:
            raise FailedPrecondition.of(
                f"{field}.parent_id",
                Reason.GROUP_CYCLE,
                f"the group would be its own ancestor ({_shortened(path)}): choose a parent that is not below it",
            )
        parent_id = groups[parent_id].parent_id


def _shortened(path: list[str]) -> str:
    return " > ".join(path if len(path) <= 6 else [*path[:3], "...", *path[-2:]])


def check_target(
    target: Target, groups: Mapping[str, Group], namespaces: Mapping[str, Namespace], field: str = "target"
) -> None:
    """A target to be saved. groups: by id, at least those it names that exist; namespaces: by id, theirs.

    Raises InvalidInput, also TWO_GROUPS_OF_ONE_NAMESPACE and a label that contradicts a group; NotFound
    (GROUP_NOT_FOUND).
    """
    found = _Findings()
    with found.gathering():
        check_id(target.id, f"{field}.id")
    with found.gathering():
        check_hostname(target.hostname, f"{field}.hostname")
    with found.gathering():
        # without one, the hostname is it: that is told once
        if target.address not in ("", target.hostname):
            check_address(target.address, f"{field}.address")
    _check_labels(target.labels, f"{field}.labels", found)
    _check_exporters(target.exporters, f"{field}.exporters", found)
    found.raise_if_any()
    _check_memberships(target, groups, namespaces, field)


def check_template(template: AlertTemplate, field: str = "template") -> AlertTemplate:
    """A template to be saved, normalised. Raises InvalidInput."""
    found = _Findings()
    spec = template.spec
    with found.gathering():
        check_id(template.id, f"{field}.id")
    with found.gathering():
        check_id(template.key, f"{field}.key")
    with found.gathering():
        check_text(template.description, f"{field}.description", MAX_DESCRIPTION)
    with found.gathering():
        spec = check_spec(spec, f"{field}.spec")
    found.raise_if_any()
    return replace(template, spec=spec)


def check_rule(rule: AlertRule, scope_labels: Collection[str], field: str = "rule") -> AlertRule:
    """A rule to be saved, normalised; that its scope exists and renders is checked elsewhere.

    scope_labels: the labels of all namespaces. Raises InvalidInput.
    """
    found = _Findings()
    spec, config = rule.spec, rule.config
    with found.gathering():
        check_id(rule.id, f"{field}.id")
    with found.gathering():
        check_id(rule.key, f"{field}.key")
    with found.gathering():
        _check_priority(rule.priority, f"{field}.priority")
    with found.gathering():
        check_text(rule.description, f"{field}.description", MAX_DESCRIPTION)
    with found.gathering():
        spec = check_spec(spec, f"{field}.spec", scope_labels)
        # by the declarations, once they make sense
        config = check_config(config, spec, scope_labels, f"{field}.config")
    found.raise_if_any()
    return replace(rule, spec=spec, config=config)


def check_spec(spec: AlertSpec, field: str, scope_labels: Collection[str] = ()) -> AlertSpec:
    """An alert as its author wrote it, normalised. Raises InvalidInput."""
    found = _Findings()
    with found.gathering():
        check_alert_name(spec.alert_name, f"{field}.alert_name")
    with found.gathering():
        check_severity(spec.severity, f"{field}.severity")
    if len(spec.scope_exclude_metrics) > MAX_EXCLUDED_METRICS:
        _add_too_many(found, len(spec.scope_exclude_metrics), MAX_EXCLUDED_METRICS, f"{field}.scope_exclude_metrics")
    for pattern in spec.scope_exclude_metrics[:MAX_EXCLUDED_METRICS]:
        with found.gathering():
            check_metric_name(pattern.replace("*", "_"), f"{field}.scope_exclude_metrics")
    with found.gathering():
        spec = replace(spec, parameters=check_parameters(spec.parameters, f"{field}.parameters"))
        spec = replace(spec, defaults=check_config(spec.defaults, spec, scope_labels, f"{field}.default_config"))
        check_spec_templates(spec, field)
    found.raise_if_any()
    return spec


def check_config(config: Config, spec: AlertSpec, scope_labels: Collection[str], field: str) -> Config:
    """A config for an alert, normalised. scope_labels: the labels of the namespaces, which no rule may set.

    Raises InvalidInput with fields such as `rule.config.labels[team]`.
    """
    found = _Findings()
    _check_durations(config, field, found)
    _check_labels(config.labels, f"{field}.labels", found, scope_labels)
    _check_annotations(config.annotations, f"{field}.annotations", found)
    parameters = _checked_parameters(config.parameters, spec.parameters, f"{field}.parameters", found)
    found.raise_if_any()
    return replace(config, parameters=parameters)


def _check_durations(config: Config, field: str, found: _Findings) -> None:
    for name, text in (("for_duration", config.for_duration), ("keep_firing_for", config.keep_firing_for)):
        if text is not None:
            with found.gathering():
                parse_duration(text, f"{field}.{name}")
    if config.interval is not None:
        with found.gathering():
            if parse_duration(config.interval, f"{field}.interval") == 0:
                found.add(
                    f"{field}.interval",
                    Reason.DURATION_INVALID,
                    "an interval is longer than 0, e.g. 1m; or leave it out",
                )


def _check_labels(labels: Mapping[str, str], field: str, found: _Findings, scope_labels: Collection[str] = ()) -> None:
    if len(labels) > MAX_LABELS:
        _add_too_many(found, len(labels), MAX_LABELS, field)
        return
    for name, value in labels.items():
        with found.gathering():
            check_rule_label(name, f"{field}[{name}]", scope_labels)
        with found.gathering():
            check_label_value(value, f"{field}[{name}]")


def _check_annotations(annotations: Mapping[str, str], field: str, found: _Findings) -> None:
    if len(annotations) > MAX_ANNOTATIONS:
        _add_too_many(found, len(annotations), MAX_ANNOTATIONS, field)
        return
    for name, value in annotations.items():
        with found.gathering():
            check_annotation_name(name, f"{field}[{name}]")
        with found.gathering():
            check_annotation(value, f"{field}[{name}]")
        if name == RULE_ANNOTATION:
            message = f"the annotation {name!r} is set by Rulecast, to prove what Prometheus runs: use another name"
            found.add(f"{field}[{name}]", Reason.LABEL_RESERVED, message)


def _checked_parameters(
    values: Mapping[str, ParameterValue], parameters: Iterable[Parameter], field: str, found: _Findings
) -> dict[str, ParameterValue]:
    declared = {parameter.name: parameter for parameter in parameters}
    checked: dict[str, ParameterValue] = {}
    for name, value in values.items():
        if name not in declared:
            known = ", ".join(sorted(declared)) or "it has none"
            message = f"the template declares no parameter {shown(name)}: remove it, or use one it declares ({known})"
            found.add(f"{field}[{name}]", Reason.PARAMETER_UNKNOWN, message)
            continue
        with found.gathering():
            checked[name] = check_value(declared[name], value, f"{field}[{name}]")
    return checked


def _check_exporters(exporters: Collection[Exporter], field: str, found: _Findings) -> None:
    if len(exporters) > MAX_EXPORTERS:
        _add_too_many(found, len(exporters), MAX_EXPORTERS, field)
        return
    for at, exporter in enumerate(exporters):
        place = f"{field}[{at}]"
        with found.gathering():
            check_id(exporter.name, f"{place}.name")
        if not 1 <= exporter.port <= 65_535:
            found.add(f"{place}.port", Reason.FIELD_INVALID, f"{exporter.port} is not a port: use 1 to 65535")
        if exporter.scheme not in ("http", "https"):
            message = f"{shown(exporter.scheme)} is not a scheme: use 'http' or 'https'"
            found.add(f"{place}.scheme", Reason.FIELD_INVALID, message)
        with found.gathering():
            check_text(exporter.path, f"{place}.path", MAX_DESCRIPTION)
        if not exporter.path.startswith("/"):
            message = f"{shown(exporter.path)} is not a path: begin it with '/', e.g. '/metrics'"
            found.add(f"{place}.path", Reason.FIELD_INVALID, message)
    for (name, port), count in Counter((each.name, each.port) for each in exporters).items():
        if count > 1:
            message = f"the exporter {shown(name)} is listed {count} times at port {port}: once is enough"
            found.add(field, Reason.FIELD_INVALID, message)


def _check_memberships(
    target: Target, groups: Mapping[str, Group], namespaces: Mapping[str, Namespace], field: str
) -> None:
    twice = [id for id, count in Counter(target.group_ids).items() if count > 1]
    if twice:
        message = f"the group {shown(twice[0])} is named twice: once is enough"
        raise InvalidInput.of(f"{field}.group_ids", Reason.FIELD_INVALID, message)
    joined: dict[str, Group] = {}
    for group_id in target.group_ids:
        group = groups.get(group_id)
        if group is None:
            raise NotFound.of(
                f"{field}.group_ids",
                Reason.GROUP_NOT_FOUND,
                f"there is no group {shown(group_id)}: create it first, or use one of those that exist",
            )
        other = joined.setdefault(group.namespace_id, group)
        if other is not group:
            raise InvalidInput.of(
                f"{field}.group_ids",
                Reason.TWO_GROUPS_OF_ONE_NAMESPACE,
                f"the groups {shown(other.id)} and {shown(group.id)} are both of namespace "
                f"{shown(group.namespace_id)}: a target is in one group of a namespace at most",
            )
        label = namespaces[group.namespace_id].label
        if target.labels.get(label, group.label_value) != group.label_value:
            raise InvalidInput.of(
                f"{field}.labels[{label}]",
                Reason.LABEL_RESERVED,
                f"the label says {shown(target.labels[label])}, but group {shown(group.id)} "
                f"says {shown(group.label_value)}: remove the label, or choose the group it means",
            )


def _check_priority(priority: int, field: str) -> None:
    if abs(priority) > MAX_PRIORITY:
        message = f"{priority} is out of range: use -{MAX_PRIORITY} to {MAX_PRIORITY}"
        raise InvalidInput.of(field, Reason.FIELD_INVALID, message)


def _add_too_many(found: _Findings, count: int, limit: int, field: str) -> None:
    found.add(field, Reason.TOO_LARGE, f"there are {count} entries: at most {limit} are allowed")
