"""Which rule evaluates a series, straight from the definition (DESIGN 1.1), with the reasons in words.

Knows nothing of matchers: what `scope.py` builds is checked against this, and both against Prometheus.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple

from rule_service.domain.model import AlertRule, GlobalScope, Group, GroupScope, KeyWorld, Namespace, NamespaceScope


class Level(IntEnum):
    """How specific a rule's scope is. A higher level beats a lower one, whatever the priorities."""

    GLOBAL = 0
    NAMESPACE = 1
    GROUP = 2


class Outcome(StrEnum):
    WON = "won"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rule whose scope holds the series.

    why: one sentence for the person who asks why this rule does, or does not, apply.
    """

    rule: AlertRule
    level: Level
    outcome: Outcome
    why: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """winner: the one rule of the key that evaluates the series; a disabled one means that the alert is off for it.

    None where no scope holds the series. candidates: the winner first, then from the most to the least specific.
    """

    winner: AlertRule | None
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class _Holder:
    """A rule whose scope holds the series. height: steps up from the group that the series itself is in."""

    rule: AlertRule
    level: Level
    namespace: Namespace | None = None
    group: Group | None = None
    height: int = 0


def resolve(world: KeyWorld, labels: Mapping[str, str]) -> Resolution:
    """The rule of this key that evaluates a series with these labels, and why the others do not.

    A label that is missing and one that is empty are the same, as in Prometheus.
    """
    holders = sorted(_holders(world, labels), key=lambda holder: (-holder.level, holder.height))
    if not holders:
        return Resolution(None, ())
    top_level = holders[0].level
    speakers: dict[str, _Holder] = {}
    for holder in holders:
        if holder.level is top_level:
            speakers.setdefault(_rank(holder).namespace_id, holder)
    winner = min(speakers.values(), key=lambda holder: _rank(holder).best_first)
    losers = tuple(
        Candidate(holder.rule, holder.level, Outcome.LOST, _why_lost(holder, winner, speakers))
        for holder in holders
        if holder is not winner
    )
    won = Candidate(winner.rule, winner.level, Outcome.WON, _why_won(winner, len(losers)))
    return Resolution(winner.rule, (won, *losers))


def _holders(world: KeyWorld, labels: Mapping[str, str]) -> Iterator[_Holder]:
    rules = {rule.scope: rule for rule in world.rules}
    groups = {(group.namespace_id, group.label_value): group for group in world.groups.values()}
    if (rule := rules.get(GlobalScope())) is not None:
        yield _Holder(rule, Level.GLOBAL)
    for namespace in sorted(world.namespaces.values(), key=lambda each: each.id):
        value = labels.get(namespace.label, "")
        if not value:
            continue
        if (rule := rules.get(NamespaceScope(namespace.id))) is not None:
            yield _Holder(rule, Level.NAMESPACE, namespace)
        group = groups.get((namespace.id, value))
        height = 0
        while group is not None:
            if (rule := rules.get(GroupScope(group.id))) is not None:
                yield _Holder(rule, Level.GROUP, namespace, group, height)
            group = world.groups[group.parent_id] if group.parent_id is not None else None
            height += 1


class _Rank(NamedTuple):
    """What decides between the candidates that speak for their namespaces."""

    priority: int
    policy_priority: int
    namespace_id: str

    @property
    def best_first(self) -> tuple[int, int, str]:
        return (-self.priority, -self.policy_priority, self.namespace_id)


def _rank(holder: _Holder) -> _Rank:
    if holder.namespace is None:
        return _Rank(holder.rule.priority, 0, "")
    return _Rank(holder.rule.priority, holder.namespace.policy_priority, holder.namespace.id)


_LEVEL_WORDS = {Level.GLOBAL: "the global one", Level.NAMESPACE: "a namespace's", Level.GROUP: "a group's"}


def _why_won(winner: _Holder, losers: int) -> str:
    won = "won: it beats the other candidates" if losers else "won: no other rule of the key holds this series"
    return won if winner.rule.enabled else f"{won}; it is disabled, so the alert is off here"


def _why_lost(loser: _Holder, winner: _Holder, speakers: Mapping[str, _Holder]) -> str:
    if loser.level < winner.level:
        reason = f"{_LEVEL_WORDS[winner.level]} rule beats {_LEVEL_WORDS[loser.level]}"
        return f'lost to rule "{winner.rule.id}": {reason}'
    speaker = speakers[_rank(loser).namespace_id]
    if loser is not speaker:
        return f'lost to rule "{speaker.rule.id}": {_why_deeper(loser, speaker)}'
    return f'lost to rule "{winner.rule.id}": {_why_outranked(loser, winner)}'


def _why_deeper(loser: _Holder, speaker: _Holder) -> str:
    above = loser.group.id if loser.group is not None else ""
    below = speaker.group.id if speaker.group is not None else ""
    return f'its group "{below}" lies below group "{above}", and the deepest group with a rule speaks for a namespace'


def _why_outranked(loser: _Holder, winner: _Holder) -> str:
    lost, won = _rank(loser), _rank(winner)
    if won.priority != lost.priority:
        return f"higher priority {won.priority} > {lost.priority}"
    if won.policy_priority != lost.policy_priority:
        return (
            f"equal priority {won.priority}, and the higher policy_priority {won.policy_priority} of namespace "
            f'"{won.namespace_id}" > {lost.policy_priority} of namespace "{lost.namespace_id}"'
        )
    return (
        f"equal priority {won.priority} and policy_priority {won.policy_priority}, and namespace "
        f'"{won.namespace_id}" comes before "{lost.namespace_id}"'
    )
