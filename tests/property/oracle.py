"""DESIGN 1.1 and 1.2 a second time, as plainly as it can be said, to judge the first.

Shares nothing with `rule_service.domain` but the nouns. Slow and obvious on purpose.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rule_service.domain.model import (
    AlertRule,
    Config,
    GlobalScope,
    Group,
    GroupScope,
    KeyWorld,
    MergeStrategy,
    NamespaceScope,
    ParameterValue,
)


def winner(world: KeyWorld, labels: Mapping[str, str]) -> AlertRule | None:
    """The rule that evaluates a series: found by asking of each rule whether any other one beats it."""
    holding = [rule for rule in world.rules if holds(rule, world, labels)]
    unbeaten = [rule for rule in holding if not any(_beats(other, rule, holding, world) for other in holding)]
    assert len(unbeaten) <= 1, "two winners"
    return unbeaten[0] if unbeaten else None


def holds(rule: AlertRule, world: KeyWorld, labels: Mapping[str, str]) -> bool:
    """Whether a series is in the scope of a rule."""
    if isinstance(rule.scope, GlobalScope):
        return True
    value = labels.get(world.namespaces[_namespace_id(rule, world)].label, "")
    if isinstance(rule.scope, NamespaceScope):
        return value != ""
    return any(
        group.label_value == value and rule.scope.group_id in [each.id for each in _upwards(group, world)]
        for group in world.groups.values()
        if group.namespace_id == _namespace_id(rule, world)
    )


def _beats(other: AlertRule, rule: AlertRule, holding: list[AlertRule], world: KeyWorld) -> bool:
    """Whether `other` takes the series from `rule`. A rule that does not speak for its namespace is beaten by the
    one that does, and beats nobody of another namespace."""
    if other is rule or _level(other) < _level(rule):
        return False
    if _level(other) > _level(rule):
        return True
    if _namespace_id(other, world) == _namespace_id(rule, world):
        return _depth(other, world) > _depth(rule, world)
    speaks = not any(
        _namespace_id(third, world) == _namespace_id(other, world)
        and _level(third) == _level(other)
        and _depth(third, world) > _depth(other, world)
        for third in holding
    )
    if not speaks:
        return False
    if other.priority != rule.priority:
        return other.priority > rule.priority
    theirs, ours = (world.namespaces[_namespace_id(each, world)] for each in (other, rule))
    if theirs.policy_priority != ours.policy_priority:
        return theirs.policy_priority > ours.policy_priority
    return theirs.id < ours.id


def _level(rule: AlertRule) -> int:
    return [GlobalScope, NamespaceScope, GroupScope].index(type(rule.scope))


def _namespace_id(rule: AlertRule, world: KeyWorld) -> str:
    if isinstance(rule.scope, GroupScope):
        return world.groups[rule.scope.group_id].namespace_id
    return rule.scope.namespace_id if isinstance(rule.scope, NamespaceScope) else ""


def _depth(rule: AlertRule, world: KeyWorld) -> int:
    return len(_upwards(world.groups[rule.scope.group_id], world)) if isinstance(rule.scope, GroupScope) else 0


def _upwards(group: Group, world: KeyWorld) -> list[Group]:
    """The group, its parent, and so on to the top."""
    path = [group]
    while path[-1].parent_id is not None:
        path.append(world.groups[path[-1].parent_id])
    return path


@dataclass
class Expected:
    """The merged config of a rule, without the durations."""

    labels: dict[str, str]
    annotations: dict[str, str]
    parameters: dict[str, ParameterValue]


def merged(rule: AlertRule, world: KeyWorld) -> Expected:
    """What a rule is configured with: every config from the top, forgetting all before one that overrides."""
    defaults = {each.name: each.default for each in rule.spec.parameters if each.default is not None}
    configs: list[Config] = []
    for above in [*_above(rule, world), rule]:
        if above.merge_strategy is MergeStrategy.OVERRIDE:
            configs = []
        configs.append(above.config)
    result = Expected({"severity": rule.spec.severity}, {}, dict(defaults))
    for config in (rule.spec.defaults, *configs):
        result.labels |= config.labels
        result.annotations |= config.annotations
        result.parameters |= {name: value for name, value in config.parameters.items() if name in defaults}
    return result


def _above(rule: AlertRule, world: KeyWorld) -> list[AlertRule]:
    """The rules at wider scopes on the way down to this one, from the top."""
    if isinstance(rule.scope, GroupScope):
        path = _upwards(world.groups[rule.scope.group_id], world)[1:]
        wider = [
            GlobalScope(),
            NamespaceScope(_namespace_id(rule, world)),
            *(GroupScope(each.id) for each in path[::-1]),
        ]
    else:
        wider = [GlobalScope()] if isinstance(rule.scope, NamespaceScope) else []
    return [each for scope in wider for each in world.rules if each.scope == scope]
