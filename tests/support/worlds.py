"""Short ways to write down namespaces, groups and rules."""

from collections.abc import Iterable, Mapping
from typing import Any

from rule_service.domain.model import (
    AlertRule,
    AlertSpec,
    Config,
    GlobalScope,
    Group,
    GroupScope,
    KeyWorld,
    Namespace,
    NamespaceScope,
    Parameter,
    ParameterType,
    Scope,
)

KEY = "high-cpu"
THRESHOLD = Parameter("threshold", ParameterType.NUMBER, default=90.0, minimum=0.0, maximum=100.0)
SPEC = AlertSpec(
    alert_name="HighCPU",
    severity="warning",
    query="cpu > {{ .threshold }}",
    parameters=(THRESHOLD,),
)


def scope(text: str) -> Scope:
    """`global`, `namespace:env` or `group:prod`."""
    kind, _, id_ = text.partition(":")
    match kind:
        case "global":
            return GlobalScope()
        case "namespace":
            return NamespaceScope(id_)
        case "group":
            return GroupScope(id_)
    raise ValueError(text)


def rule(where: str, *, spec: AlertSpec = SPEC, config: Mapping[str, Any] | None = None, **facts: Any) -> AlertRule:
    """A rule at a scope; its id is that of its scope unless given."""
    facts.setdefault("id", where.replace(":", "-"))
    facts.setdefault("key", KEY)
    return AlertRule(scope=scope(where), spec=spec, config=Config(**(config or {})), **facts)


def group(path: str, *, value: str | None = None) -> Group:
    """A group written as `namespace/parent/id` or `namespace/id`; its label value is its id unless given."""
    namespace_id, *above, id_ = path.split("/")
    return Group(id_, namespace_id, id_ if value is None else value, above[-1] if above else None)


def world(
    rules: Iterable[AlertRule], groups: Iterable[Group] = (), namespaces: Iterable[Namespace] = (), key: str = KEY
) -> KeyWorld:
    """A KeyWorld. A namespace that no one names is made for each group, with its id as the label."""
    groups = tuple(groups)
    made = {each.namespace_id: Namespace(each.namespace_id, label=each.namespace_id) for each in groups}
    made.update({each.id: each for each in namespaces})
    return KeyWorld(key, made, {each.id: each for each in groups}, tuple(rules))
