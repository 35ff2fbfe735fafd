"""Which rules apply to a series, and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from rule_service.domain.explain import Explanation, effective_rules, explain_rule
from rule_service.domain.index import WorldIndex
from rule_service.domain.merge import Merged
from rule_service.domain.model import AlertRule, Group, GroupScope, KeyWorld, Namespace, NamespaceScope, Scope, Target
from rule_service.domain.resolve import resolve
from rule_service.usecases.expect import found, the_live_rule
from rule_service.usecases.ports import Reads
from rule_service.usecases.ports_rendered import RenderedTexts
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason


@dataclass(frozen=True, slots=True)
class EffectiveRule:
    """A rule that won, with its whole config. rendered: as its file has it; None while the alert is off."""

    rule: AlertRule
    merged: Merged
    rendered: RenderedTexts | None


@dataclass(frozen=True, slots=True)
class Effective:
    """The winner of each alert for one series, by key."""

    target_id: str
    labels: Mapping[str, str]
    rules: tuple[EffectiveRule, ...]


@dataclass(frozen=True, slots=True)
class Explained:
    """Why one alert is evaluated as it is for one series, or how one rule is configured.

    shown: the winner, or the rule asked about; None where no rule of the key applies.
    candidates: all live rules of the key, the shown one first, then those that lost, then those out of scope.
    group: the Prometheus group of the shown rule; None while it is off.
    """

    key: str
    labels: Mapping[str, str]
    shown: Explanation | None
    candidates: tuple[Explanation, ...]
    group: str | None


class Understanding:
    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def effective_for_target(self, target_id: str, key: str | None) -> Effective:
        """Raises NotFound."""
        namespaces = await self._reads.all_namespaces()
        target, labels = await self._series_of(target_id, namespaces)
        return Effective(target.id, labels, await self._effective(labels, key, namespaces))

    async def effective_for_labels(self, labels: Mapping[str, str], key: str | None) -> Effective:
        return Effective("", labels, await self._effective(labels, key, await self._reads.all_namespaces()))

    async def explain_for_target(self, target_id: str, key: str) -> Explained:
        """Raises NotFound, and InvalidInput for a missing key."""
        _, labels = await self._series_of(target_id, await self._reads.all_namespaces())
        return await self.explain_for_labels(labels, key)

    async def explain_for_labels(self, labels: Mapping[str, str], key: str) -> Explained:
        """Raises InvalidInput for a missing key."""
        if not key:
            raise InvalidInput.of("key", Reason.FIELD_REQUIRED, "say which alert, e.g. 'high-cpu'")
        world = (await self._reads.key_worlds([key]))[key]
        return await self._explained(world, resolve(world, labels).winner, labels)

    async def explain_rule(self, rule_id: str) -> Explained:
        """Raises NotFound."""
        rule = (await the_live_rule(self._reads, rule_id, "rule_id")).value
        world = (await self._reads.key_worlds([rule.key]))[rule.key]
        return await self._explained(world, rule, None)

    async def _explained(self, world: KeyWorld, rule: AlertRule | None, labels: Mapping[str, str] | None) -> Explained:
        index = WorldIndex(world)
        explanations = {each.id: explain_rule(each, index, labels) for each in world.rules}
        shown = explanations.get(rule.id) if rule is not None else None
        group = None
        if rule is not None and shown is not None:
            stored = (await self._reads.in_files([rule.id])).get(rule.id)
            group = shown.group_name(1 if stored is None else stored.beside)
        return Explained(world.key, labels or {}, shown, _in_order(explanations, shown), group)

    async def _effective(
        self, labels: Mapping[str, str], key: str | None, namespaces: Mapping[str, Namespace]
    ) -> tuple[EffectiveRule, ...]:
        """Nothing of the database is looked at but the rules whose scope holds the series."""
        present = [each for each in namespaces.values() if labels.get(each.label)]
        lineage = await self._reads.lineage_of_label_values([(each.id, labels[each.label]) for each in present])
        held = await self._reads.rules_for_series(list(lineage), [each.id for each in present], key)
        rendered = {each.rule.id: each.rendered for each in held}
        of_key: dict[str, list[AlertRule]] = {}
        for each in held:
            of_key.setdefault(each.rule.key, []).append(each.rule)
        worlds = (KeyWorld(name, namespaces, lineage, tuple(rules)) for name, rules in of_key.items())
        return tuple(EffectiveRule(rule, merged, rendered[rule.id]) for rule, merged in effective_rules(worlds, labels))

    async def _series_of(self, target_id: str, namespaces: Mapping[str, Namespace]) -> tuple[Target, Mapping[str, str]]:
        """The target, and the labels of its series that decide about rules."""
        target = found(await self._reads.target(target_id), "target", target_id, "target_id").value
        groups = await self._reads.group_with_ancestors(target.group_ids)
        return target, labels_of(target, {id: groups[id] for id in target.group_ids}, namespaces)


def _in_order(explanations: Mapping[str, Explanation], shown: Explanation | None) -> tuple[Explanation, ...]:
    if shown is None:
        return tuple(explanations[rule_id] for rule_id in sorted(explanations))
    held = [each.rule.id for each in shown.resolution.candidates] if shown.resolution is not None else []
    order = dict.fromkeys([shown.rule.id, *held, *sorted(explanations)])
    return tuple(explanations[rule_id] for rule_id in order)


def labels_of(target: Target, groups: Mapping[str, Group], namespaces: Mapping[str, Namespace]) -> dict[str, str]:
    """The target's own labels, and for each group it is in the label of the namespace. `groups`: by id."""
    membership = {namespaces[group.namespace_id].label: group.label_value for group in groups.values()}
    return {**target.labels, **membership}


def source_of(scope: Scope) -> tuple[str, str]:
    """The level of a scope and what it is at: `("group", "prod")`."""
    match scope:
        case GroupScope(group_id):
            return "group", group_id
        case NamespaceScope(namespace_id):
            return "namespace", namespace_id
        case _:
            return "global", ""
