"""What an editor of certain namespaces may change, checked against what an edit really changes.

Within these namespaces: groups, rules at the namespace and at its groups, and targets that are in no other group.
A rule for everything, a template and a namespace concern others too.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import assert_never

from rule_service.domain.model import (
    AlertRule,
    AlertTemplate,
    GlobalScope,
    Group,
    GroupScope,
    Namespace,
    NamespaceScope,
    Resource,
    Target,
)
from rule_service.domain.wording import shown
from rule_service.usecases.ports import Reads
from rule_service.usecases.ports_changes import ResourceChange
from rulecast.errors import PermissionDenied, Violation
from rulecast.reasons import Reason

SHOWN_AT_MOST = 5


async def check_permission(namespaces: frozenset[str] | None, reads: Reads, changes: Sequence[ResourceChange]) -> None:
    """namespaces: that the caller may edit; None means everything. reads: after the changes.

    Raises PermissionDenied with what they may not change.
    """
    if namespaces is None or not changes:
        return
    homes = await _namespaces_of_groups(reads, changes)
    refused = [change for change in changes if not _may_change(change, namespaces, homes)]
    if refused:
        raise PermissionDenied(tuple(_refusal(each, namespaces) for each in refused[:SHOWN_AT_MOST]))


async def _namespaces_of_groups(reads: Reads, changes: Sequence[ResourceChange]) -> dict[str, set[str]]:
    """The namespaces of each group that the changes speak of, by its id: more than one where it has moved."""
    asked = {id for change in changes for side in _sides(change) for id in _groups_of(side)}
    there = await reads.group_with_ancestors(asked) if asked else {}
    homes = {id: {group.namespace_id} for id, group in there.items()}
    # those that the edit itself deletes, too
    for change in changes:
        for side in _sides(change):
            if isinstance(side, Group):
                homes.setdefault(side.id, set()).add(side.namespace_id)
    return homes


def _sides(change: ResourceChange) -> Iterator[Resource]:
    for side in (change.before, change.after):
        if side is not None:
            yield side


def _groups_of(resource: Resource) -> Iterable[str]:
    match resource:
        case AlertRule(scope=GroupScope(id)):
            return (id,)
        case Target():
            return resource.group_ids
        case _:
            return ()


def _may_change(change: ResourceChange, namespaces: frozenset[str], homes: dict[str, set[str]]) -> bool:
    sides = tuple(_sides(change))
    match change.before, change.after:
        case Target() as before, Target() as after if replace(before, group_ids=after.group_ids) == after:
            # only where it is has changed: what it stays in does not matter
            moved = set(before.group_ids) ^ set(after.group_ids)
            return bool(moved) and all(_is_home(id, namespaces, homes) for id in moved)
        case _:
            # where nothing is known of a thing that is gone for good, it may have been anybody's
            return bool(sides) and all(_is_inside(side, namespaces, homes) for side in sides)


def _is_inside(resource: Resource, namespaces: frozenset[str], homes: dict[str, set[str]]) -> bool:
    match resource:
        case Group():
            return resource.namespace_id in namespaces
        case Target():
            return bool(resource.group_ids) and all(_is_home(id, namespaces, homes) for id in resource.group_ids)
        case AlertRule(scope=NamespaceScope(id)):
            return id in namespaces
        case AlertRule(scope=GroupScope(id)):
            return _is_home(id, namespaces, homes)
        case AlertRule(scope=GlobalScope()) | AlertRule() | AlertTemplate() | Namespace():
            return False
        case _:
            assert_never(resource)


def _is_home(group_id: str, namespaces: frozenset[str], homes: dict[str, set[str]]) -> bool:
    """Whether the group is, and was, in one of these namespaces."""
    known = homes.get(group_id, set())
    return bool(known) and known <= namespaces


def _refusal(change: ResourceChange, namespaces: frozenset[str]) -> Violation:
    allowed = ", ".join(sorted(namespaces)[:SHOWN_AT_MOST])
    message = (
        f"this would change {change.kind} {shown(change.id)}, which is not within the namespaces that the token may "
        f"edit ({allowed}): ask somebody who may edit everything"
    )
    return Violation("", Reason.NAMESPACE_NOT_ALLOWED, message)
