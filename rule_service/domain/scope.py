"""The matchers that make each rule evaluate exactly the series it wins (DESIGN 1.1).

A rule wins a series when its own scope holds it and no namespace has a better candidate for it. Which candidate a
namespace has depends on the value of that namespace's label alone, so what a rule wins is one set of values for
each label, and all of them together are its matchers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from rule_service.domain.index import WorldIndex
from rule_service.domain.matchers import Matcher, ValueSet
from rule_service.domain.model import AlertRule, GlobalScope, GroupScope, Namespace, NamespaceScope, Scope

_WITHOUT_LABEL = ValueSet.of({""})


@dataclass(frozen=True, slots=True)
class ScopeMatchers:
    """own: of the rule's scope alone. all: of the scope without what other rules win. Both sorted by label."""

    own: tuple[Matcher, ...]
    all: tuple[Matcher, ...]


def scope_matchers(rule: AlertRule, index: WorldIndex) -> ScopeMatchers:
    """The matchers of a rule, disabled or not. Disabled rules win like others (they switch the alert off)."""
    own = own_values(rule, index)
    won = {namespace.label: _won_values(rule, namespace, index) for namespace in index.ruled_namespaces}
    matchers = _matchers(won, index)
    return ScopeMatchers(own=matchers if own == won else _matchers(own, index), all=matchers)


def own_values(rule: AlertRule, index: WorldIndex) -> Mapping[str, ValueSet]:
    """By label: the values that put a series into the rule's scope. Empty for the global scope."""
    match rule.scope:
        case GlobalScope():
            return {}
        case NamespaceScope():
            return {index.namespace_of(rule.scope).label: ValueSet.present()}
        case GroupScope(group_id):
            return {index.namespace_of(rule.scope).label: ValueSet.of(index.covered_values(group_id))}
        case _:
            assert_never(rule.scope)


def in_words(scope: Scope) -> str:
    """A scope as a person says it: `global`, `namespace env`, `group prod`."""
    match scope:
        case GlobalScope():
            return "global"
        case NamespaceScope(namespace_id):
            return f"namespace {namespace_id}"
        case GroupScope(group_id):
            return f"group {group_id}"
        case _:
            assert_never(scope)


def _won_values(rule: AlertRule, namespace: Namespace, index: WorldIndex) -> ValueSet:
    """The values of the namespace's label for which the namespace has no better candidate than the rule."""
    match rule.scope:
        case GlobalScope():
            return _beside_global(namespace, index)
        case NamespaceScope():
            return _beside_namespace(rule, index.namespace_of(rule.scope), namespace, index)
        case GroupScope():
            return _beside_group(rule, index.namespace_of(rule.scope), namespace, index)
        case _:
            assert_never(rule.scope)


def _beside_global(namespace: Namespace, index: WorldIndex) -> ValueSet:
    if index.rule_at(NamespaceScope(namespace.id)) is not None:
        return _WITHOUT_LABEL
    return index.unspoken(namespace.id)


def _beside_namespace(rule: AlertRule, home: Namespace, namespace: Namespace, index: WorldIndex) -> ValueSet:
    if namespace.id == home.id:
        return index.unspoken(namespace.id).intersect(ValueSet.present())
    other = index.rule_at(NamespaceScope(namespace.id))
    if other is not None and other.priority >= _least_winning_priority(namespace, rule, home):
        return _WITHOUT_LABEL
    return index.unspoken(namespace.id)


def _beside_group(rule: AlertRule, home: Namespace, namespace: Namespace, index: WorldIndex) -> ValueSet:
    if namespace.id == home.id:
        return index.spoken_by(rule)
    return index.spoken_from_priority(namespace.id, _least_winning_priority(namespace, rule, home)).complement()


def _least_winning_priority(namespace: Namespace, rule: AlertRule, home: Namespace) -> int:
    """The lowest priority with which a rule of `namespace` wins against `rule`, at the same level, of `home`."""
    wins_ties = (-namespace.policy_priority, namespace.id) < (-home.policy_priority, home.id)
    return rule.priority if wins_ties else rule.priority + 1


def _matchers(values: Mapping[str, ValueSet], index: WorldIndex) -> tuple[Matcher, ...]:
    return tuple([matcher for label in sorted(values) for matcher in index.matchers(label, values[label])])
