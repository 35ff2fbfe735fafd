"""What a change does to alerts that are pending or firing now.

Prometheus keeps an alert's state under its file, group, alert name and labels. Where one of these changes, the alert
starts anew: a pending one waits again, a firing one is reported resolved and comes back after its `for`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from rule_service.domain.layout import file_name, group_names
from rule_service.domain.model import Scope
from rule_service.domain.render import RenderedRule


@dataclass(frozen=True, slots=True)
class Identity:
    """What Prometheus keys alert state by. labels: those of the rule as written, before its templates run."""

    file_name: str
    group_name: str
    alert_name: str
    labels: Mapping[str, str]


class Loss(StrEnum):
    """RESET: the rule goes on under another identity. REMOVED: the rule is gone, its alerts end."""

    RESET = "reset"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class LostState:
    """A rule whose alerts lose their state. rule_id: that of the rule before the change; after: None if removed."""

    rule_id: str
    key: str
    scope: Scope
    loss: Loss
    before: Identity
    after: Identity | None


def identities(rules: Iterable[RenderedRule]) -> dict[tuple[Scope, str], Identity]:
    """The identity of each rule by scope and key. `rules` must hold all the rules of each file they are in."""
    by_scope: dict[Scope, list[RenderedRule]] = {}
    for rule in rules:
        by_scope.setdefault(rule.scope, []).append(rule)
    found = {}
    for scope, members in by_scope.items():
        groups = group_names(scope, members)
        for rule in members:
            labels = MappingProxyType(dict(rule.labels))
            found[scope, rule.key] = Identity(file_name(scope), groups[rule.key], rule.alert_name, labels)
    return found


def changed_identities(before: Iterable[RenderedRule], after: Iterable[RenderedRule]) -> tuple[LostState, ...]:
    """Which rules' alerts lose state, by file and key.

    Both sides must hold all the rules of each file that the change touches: a rule more can move others to another
    group (`layout.py`).
    """
    before = tuple(before)
    old, new = identities(before), identities(after)
    lost = [
        LostState(rule.rule_id, rule.key, rule.scope, Loss.RESET if now else Loss.REMOVED, was, now)
        for rule in before
        if (was := old[rule.scope, rule.key]) != (now := new.get((rule.scope, rule.key)))
    ]
    return tuple(sorted(lost, key=lambda each: (each.before.file_name, each.key)))
