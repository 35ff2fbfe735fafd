"""Which files a deployer takes whose Prometheus has only part of the series."""

from collections.abc import Collection, Mapping

from rule_service.domain.model import GlobalScope, Group, GroupScope, NamespaceScope, Scope


def serves(served: Collection[Scope], scope: Scope, groups: Mapping[str, Group]) -> bool:
    """Whether a deployer that serves `served` takes the file of `scope`.

    Nothing in `served` means everything. Otherwise it says which series the Prometheus has:

    - with groups of a namespace, only series of these groups in this namespace: of its other groups, only those above
      and below can evaluate such a series;
    - with namespaces, only series that no other namespace divides: a namespace that is neither named nor has a group
      that is named has nothing to evaluate.

    Every other file is taken, since one of its rules may win such a series. groups: by id, those of `served` and of
    `scope` with all their ancestors.
    """
    namespace_id = _namespace(scope, groups)
    if not served or namespace_id is None:
        return True
    named = [each for each in served if _namespace(each, groups) == namespace_id]
    if not named:
        return not any(isinstance(each, NamespaceScope) for each in served)
    if isinstance(scope, NamespaceScope):
        return True
    return any(isinstance(each, NamespaceScope) or _related(each, scope, groups) for each in named)


def _namespace(scope: Scope, groups: Mapping[str, Group]) -> str | None:
    """The namespace a scope lies in; None for the global scope, and for a group that is no more."""
    match scope:
        case NamespaceScope(namespace_id):
            return namespace_id
        case GroupScope(group_id) if group_id in groups:
            return groups[group_id].namespace_id
        case _:
            return None


def _related(one: Scope, other: Scope, groups: Mapping[str, Group]) -> bool:
    """Whether one group is the other, or above it, or below it."""
    if not isinstance(one, GroupScope) or not isinstance(other, GroupScope):
        return isinstance(one, GlobalScope)
    return one.group_id in _upwards(other.group_id, groups) or other.group_id in _upwards(one.group_id, groups)


def _upwards(group_id: str, groups: Mapping[str, Group]) -> set[str]:
    found = {group_id}
    group = groups.get(group_id)
    while group is not None and group.parent_id is not None and group.parent_id not in found:
        found.add(group.parent_id)
        group = groups.get(group.parent_id)
    return found
