"""Which files a deployer takes that serves only some namespaces or groups."""

from collections.abc import Collection, Mapping

from rule_service.domain.model import GlobalScope, Group, GroupScope, NamespaceScope, Scope


def serves(served: Collection[Scope], scope: Scope, groups: Mapping[str, Group]) -> bool:
    """Whether a deployer that serves `served` takes the file of `scope`.

    It takes every file whose rules may evaluate a series of what it serves: the global file always, a namespace's
    with the namespace or any of its groups, and a group's with the namespace, an ancestor or a descendant.
    Nothing in `served` means everything. `groups`: by id, those of `served` and of `scope` with all their ancestors.
    """
    return not served or GlobalScope() in served or any(_meets(each, scope, groups) for each in served)


def _meets(served: Scope, scope: Scope, groups: Mapping[str, Group]) -> bool:
    if isinstance(served, GlobalScope) or isinstance(scope, GlobalScope):
        return True
    if isinstance(served, NamespaceScope) or isinstance(scope, NamespaceScope):
        return _namespace(served, groups) == _namespace(scope, groups)
    mine, other = served.group_id, scope.group_id
    return mine in _with_ancestors(other, groups) or other in _with_ancestors(mine, groups)


def _namespace(scope: NamespaceScope | GroupScope, groups: Mapping[str, Group]) -> str | None:
    if isinstance(scope, NamespaceScope):
        return scope.namespace_id
    group = groups.get(scope.group_id)
    return group.namespace_id if group is not None else None


def _with_ancestors(id: str, groups: Mapping[str, Group]) -> set[str]:
    found = {id}
    group = groups.get(id)
    while group is not None and group.parent_id is not None and group.parent_id not in found:
        found.add(group.parent_id)
        group = groups.get(group.parent_id)
    return found
