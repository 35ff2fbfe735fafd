"""One key's rules, looked up from every side: by scope, up the lineage, down the groups, by label value.

Built once for a KeyWorld and used for all its rules, so that rendering a key costs what its output costs.
Groups may be nested to any depth: nothing here recurses.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import assert_never

from rule_service.domain.matchers import Matcher, ValueSet
from rule_service.domain.model import (
    AlertRule,
    GlobalScope,
    Group,
    GroupScope,
    KeyWorld,
    Namespace,
    NamespaceScope,
    Scope,
)

_NOTHING = ValueSet.of(())


class WorldIndex:
    """A KeyWorld with its lookups. The world must not change while the index is in use."""

    def __init__(self, world: KeyWorld) -> None:
        self.world = world
        self._rules = {rule.scope: rule for rule in world.rules}
        self._from_priority: dict[tuple[str, int], ValueSet] = {}
        self._matchers: dict[tuple[str, ValueSet], tuple[Matcher, ...]] = {}
        self._above: dict[str, tuple[AlertRule, ...]] = {}

    def rule_at(self, scope: Scope) -> AlertRule | None:
        """The key's live rule at exactly this scope, disabled or not."""
        return self._rules.get(scope)

    def namespace_of(self, scope: NamespaceScope | GroupScope) -> Namespace:
        """The namespace a scope below the global one lies in."""
        if isinstance(scope, NamespaceScope):
            return self.world.namespaces[scope.namespace_id]
        return self.world.namespaces[self.world.groups[scope.group_id].namespace_id]

    def ancestors(self, group: Group) -> Iterator[Group]:
        """The group's parent, its parent and so on up to the top."""
        parent_id = group.parent_id
        while parent_id is not None:
            parent = self.world.groups[parent_id]
            yield parent
            parent_id = parent.parent_id

    def lineage(self, scope: Scope) -> tuple[AlertRule, ...]:
        """The rules above a scope whose configs it inherits, the most general first (DESIGN 1.2)."""
        match scope:
            case GlobalScope():
                return ()
            case NamespaceScope():
                return self._rules_at([GlobalScope()])
            case GroupScope(group_id):
                group = self.world.groups[group_id]
                if group.parent_id is None:
                    return self._above_groups(group.namespace_id)
                parents = [GroupScope(parent.id) for parent in reversed(list(self.ancestors(group)))]
                return (*self._above_groups(group.namespace_id), *self._rules_at(parents))
            case _:
                assert_never(scope)

    def _rules_at(self, scopes: Iterable[Scope]) -> tuple[AlertRule, ...]:
        return tuple([rule for scope in scopes if (rule := self.rule_at(scope)) is not None])

    def _above_groups(self, namespace_id: str) -> tuple[AlertRule, ...]:
        """The same for all groups of a namespace."""
        if namespace_id not in self._above:
            self._above[namespace_id] = self._rules_at([GlobalScope(), NamespaceScope(namespace_id)])
        return self._above[namespace_id]

    def has_children(self, group_id: str) -> bool:
        return group_id in self._children

    def covered_values(self, group_id: str) -> frozenset[str]:
        """The label values a group covers: its own and its descendants'."""
        if not self.has_children(group_id):
            return frozenset((self.world.groups[group_id].label_value,))
        values = set()
        open_groups = [self.world.groups[group_id]]
        while open_groups:
            group = open_groups.pop()
            values.add(group.label_value)
            open_groups.extend(self._children.get(group.id, ()))
        return frozenset(values)

    def spoken_by(self, rule: AlertRule) -> ValueSet:
        """The label values a group's rule speaks for: those its group covers, without those of deeper ruled groups."""
        return self._by_speaker.get(rule.id, _NOTHING)

    def spoken_from_priority(self, namespace_id: str, priority: int) -> ValueSet:
        """The values of the namespace's label that a group's rule of at least this priority speaks for."""
        asked = (namespace_id, priority)
        if asked not in self._from_priority:
            speakers = self._speakers.get(namespace_id, {}).items()
            values = (value for value, speaker in speakers if speaker.priority >= priority)
            self._from_priority[asked] = ValueSet.of(values)
        return self._from_priority[asked]

    def unspoken(self, namespace_id: str) -> ValueSet:
        """The values of the namespace's label, "" included, that no group's rule speaks for."""
        return ValueSet.of(self._speakers.get(namespace_id, ())).complement()

    def matchers(self, label: str, values: ValueSet) -> tuple[Matcher, ...]:
        """`ValueSet.to_matchers`, once for all the rules, perhaps thousands, that select the same values."""
        asked = (label, values)
        known = self._matchers.get(asked)
        if known is None:
            known = self._matchers[asked] = values.to_matchers(label)
        return known

    @cached_property
    def labels(self) -> frozenset[str]:
        """Those of the namespaces."""
        return frozenset(namespace.label for namespace in self.world.namespaces.values())

    @cached_property
    def ruled_namespaces(self) -> tuple[Namespace, ...]:
        """The namespaces with a rule of the key, at the namespace or at one of its groups, by id."""
        scopes = (rule.scope for rule in self.world.rules)
        ids = {self.namespace_of(scope).id for scope in scopes if not isinstance(scope, GlobalScope)}
        return tuple(self.world.namespaces[id_] for id_ in sorted(ids))

    @cached_property
    def _children(self) -> Mapping[str, list[Group]]:
        children: dict[str, list[Group]] = {}
        for group in self.world.groups.values():
            if group.parent_id is not None:
                children.setdefault(group.parent_id, []).append(group)
        return children

    @cached_property
    def _tops(self) -> list[Group]:
        return [group for group in self.world.groups.values() if group.parent_id not in self.world.groups]

    @cached_property
    def _speakers(self) -> Mapping[str, Mapping[str, AlertRule]]:
        """By namespace id: the rule that speaks for each covered label value, the deepest group's (DESIGN 1.1)."""
        found: dict[str, dict[str, AlertRule]] = {}
        pending: list[tuple[Group, AlertRule | None]] = [(top, None) for top in self._tops]
        while pending:
            group, inherited = pending.pop()
            speaker = self.rule_at(GroupScope(group.id)) or inherited
            if speaker is not None:
                found.setdefault(group.namespace_id, {})[group.label_value] = speaker
            pending.extend((child, speaker) for child in self._children.get(group.id, ()))
        return found

    @cached_property
    def _by_speaker(self) -> Mapping[str, ValueSet]:
        values: dict[str, set[str]] = {}
        for speakers in self._speakers.values():
            for value, speaker in speakers.items():
                values.setdefault(speaker.id, set()).add(value)
        return {rule_id: ValueSet.of(spoken) for rule_id, spoken in values.items()}
