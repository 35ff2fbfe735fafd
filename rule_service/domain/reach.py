"""How far a change reaches: which rules of its key may be rendered differently (DESIGN 1.1, 1.2).

Which series a rule wins depends on where the rules of its key stand and on their priorities; what it is configured
with, on the rules above it. So most edits of a group's rule reach that one alone, however many share its key.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from rule_service.domain.layout import file_name
from rule_service.domain.model import AlertRule, GroupScope, KeyWorld


@dataclass(frozen=True, slots=True)
class Everything:
    """Any rule of the key."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a group's rule have changed, whether it is enabled among them: the rules at the group and below.

    Not its priority: that decides about rules elsewhere.
    """

    group_id: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A group's rule has come, gone, or got another priority: also the rules above, and those of other namespaces."""

    group_id: str


@dataclass(frozen=True, slots=True)
class AtGroups:
    """The rules at these very groups are to be rendered anew."""

    group_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class AboveGroups:
    """The rules at the global scope and at namespaces are to be rendered anew."""


Reach = Everything | Settings | Standing | AtGroups | AboveGroups


def rules_at(world: KeyWorld, group_ids: Collection[str]) -> tuple[AlertRule, ...]:
    """The rules at these very groups."""
    return tuple(
        rule for rule in world.rules if isinstance(rule.scope, GroupScope) and rule.scope.group_id in group_ids
    )


def rules_at_or_below(world: KeyWorld, group_id: str) -> tuple[AlertRule, ...]:
    """The rules at a group and at its descendants."""
    return tuple(
        rule
        for rule in world.rules
        if isinstance(rule.scope, GroupScope) and group_id in _lineage(world, rule.scope.group_id)
    )


def rules_above_groups(world: KeyWorld) -> tuple[AlertRule, ...]:
    """The rules at the global scope and at namespaces."""
    return tuple(rule for rule in world.rules if not isinstance(rule.scope, GroupScope))


def files_of_groups(group_ids: Collection[str]) -> set[str]:
    """The files with the rules at these very groups."""
    return {file_name(GroupScope(id)) for id in group_ids}


def _lineage(world: KeyWorld, group_id: str) -> Iterator[str]:
    """The group, its parent and so on."""
    id: str | None = group_id
    while id is not None:
        yield id
        id = world.groups[id].parent_id
