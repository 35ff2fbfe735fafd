"""For which targets a change makes another rule evaluate an alert."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rule_service.domain.model import KeyWorld
from rule_service.domain.resolve import resolve

Series = Mapping[str, str]
"""The labels of a target's series that decide about rules: those of the namespaces."""


@dataclass(frozen=True, slots=True)
class Winner:
    """enabled: False means that the alert is off."""

    rule_id: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class ChangedWinner:
    """The rule of an alert for a target, before and after; None: no rule of the key holds it."""

    target_id: str
    key: str
    before: Winner | None
    after: Winner | None


@dataclass(frozen=True, slots=True)
class Side:
    """worlds: of the same keys on both sides, by key. series: by target."""

    worlds: Mapping[str, KeyWorld]
    series: Mapping[str, Series]


def changed_winners(before: Side, after: Side) -> Iterator[ChangedWinner]:
    """By target and key. Targets with the same labels are looked at once."""
    known: dict[tuple[bool, str, frozenset[tuple[str, str]]], Winner | None] = {}
    same = {key for key in before.worlds if before.worlds[key] == after.worlds[key]}

    def winner(side: Side, key: str, target_id: str) -> Winner | None:
        series = side.series.get(target_id)
        if series is None:
            return None
        asked = (side is after, key, frozenset(series.items()))
        if asked not in known:
            rule = resolve(side.worlds[key], series).winner
            known[asked] = None if rule is None else Winner(rule.id, rule.enabled)
        return known[asked]

    for target_id in sorted({*before.series, *after.series}):
        moved = before.series.get(target_id) != after.series.get(target_id)
        for key in sorted(before.worlds if moved else before.worlds.keys() - same):
            was, now = winner(before, key, target_id), winner(after, key, target_id)
            if was != now:
                yield ChangedWinner(target_id, key, was, now)
