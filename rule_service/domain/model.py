"""The nouns of the domain, as plain values (DESIGN 1).

A value here is complete and already checked; the checks are in `check.py`. Revisions, etags and times belong
to the store (`Record` in `usecases/ports.py`), since no decision here depends on them.

The `owner` of a resource is the bundle that it belongs to; empty: none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

ParameterValue = str | float
"""A number is a float; every other type is written as a string."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """One way of dividing targets. `label` is the Prometheus label that tells a series' group in it.

    policy_priority: between namespaces with equal rule priority, the higher one wins.
    """

    id: str
    label: str
    policy_priority: int = 0
    description: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """One part of a namespace: the series whose namespace label is `label_value`, or that of a descendant."""

    id: str
    namespace_id: str
    label_value: str
    parent_id: str | None = None
    description: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Exporter:
    """Something on a target that Prometheus scrapes. `name` is the kind, e.g. `node`; `port` 1 to 65535."""

    name: str
    port: int
    path: str = "/metrics"
    scheme: str = "http"


@dataclass(frozen=True, slots=True)
class Target:
    """A monitored host. At most one group in each namespace."""

    id: str
    hostname: str
    address: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exporters: tuple[Exporter, ...] = ()
    group_ids: tuple[str, ...] = ()
    owner: str = ""


@dataclass(frozen=True, slots=True)
class GlobalScope:
    """Every series."""


@dataclass(frozen=True, slots=True)
class NamespaceScope:
    """Every series that has the namespace's label, not empty."""

    namespace_id: str


@dataclass(frozen=True, slots=True)
class GroupScope:
    """Every series whose value of the namespace's label is that of the group or of a descendant."""

    group_id: str


Scope = GlobalScope | NamespaceScope | GroupScope


class ParameterType(StrEnum):
    NUMBER = "number"
    DURATION = "duration"
    STRING = "string"
    REGEX = "regex"
    LABEL_NAME = "label_name"
    METRIC_NAME = "metric_name"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A typed hole of a template.

    default: its value where no config sets one; None means that a config must.
    minimum, maximum: inclusive; for a number a float, for a duration a Prometheus duration; None is no bound.
    allowed: the only values there are; empty means any.
    """

    name: str
    type: ParameterType
    default: ParameterValue | None = None
    minimum: ParameterValue | None = None
    maximum: ParameterValue | None = None
    allowed: tuple[ParameterValue, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """What a rule is configured with. None, or a missing key, means: not set here, so inherited.

    Durations are as Prometheus writes them (`1h30m`); `0s` switches `for_duration` and `keep_firing_for` off.
    A label or annotation with an empty value removes an inherited one (Prometheus treats both the same).
    """

    for_duration: str | None = None
    keep_firing_for: str | None = None
    interval: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)


class ScopeMode(StrEnum):
    """auto: every selector; manual: only those that say `__scope__="on"`; none: no selector."""

    AUTO = "auto"
    MANUAL = "manual"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class AlertSpec:
    """An alert as its author wrote it: what a template holds, and what a rule keeps a snapshot of.

    severity: the value of the `severity` label, unless a config's labels say otherwise.
    scope_exclude_metrics: metric names whose selectors are left alone in the mode auto.
    """

    alert_name: str
    severity: str
    query: str
    parameters: tuple[Parameter, ...] = ()
    defaults: Config = field(default_factory=Config)
    scope_mode: ScopeMode = ScopeMode.AUTO
    scope_exclude_metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AlertTemplate:
    """A reusable alert. `version` starts at 1 and counts the edits of `spec`."""

    id: str
    key: str
    spec: AlertSpec
    version: int = 1
    description: str = ""
    owner: str = ""


class MergeStrategy(StrEnum):
    MERGE = "merge"
    OVERRIDE = "override"


@dataclass(frozen=True, slots=True)
class AlertRule:
    """An alert at a scope. Rules with one `key` at different scopes are one alert with different settings.

    spec: the snapshot; edits of the template it came from do not reach it.
    priority: between namespaces that each have a candidate at the same level, the higher one wins.
    """

    id: str
    key: str
    scope: Scope
    spec: AlertSpec
    config: Config = field(default_factory=Config)
    template_id: str | None = None
    template_version: int | None = None
    merge_strategy: MergeStrategy = MergeStrategy.MERGE
    priority: int = 0
    enabled: bool = True
    description: str = ""
    owner: str = ""


Resource = Namespace | Group | Target | AlertTemplate | AlertRule
"""Everything that people create, change and delete."""


@dataclass(frozen=True, slots=True)
class KeyWorld:
    """All that decides about one key: its live rules, and the namespaces and groups these depend on.

    namespaces: at least those of every rule's scope; by id.
    groups: at least every group with a rule of the key, all its ancestors and all its descendants; by id.
    rules: the live rules of the key, disabled ones included, at most one for each scope.
    """

    key: str
    namespaces: Mapping[str, Namespace]
    groups: Mapping[str, Group]
    rules: tuple[AlertRule, ...]
