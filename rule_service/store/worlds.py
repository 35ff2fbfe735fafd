"""The worlds of keys: all that decides about them, read in one statement and so in one state of the database."""

from collections.abc import Collection, Iterable, Mapping

from rule_service.domain.model import AlertRule, Group, GroupScope, KeyWorld, Namespace
from rule_service.store.encode import group_of, namespace_of, rule_of
from rule_service.store.groups import down, up
from rule_service.store.pool import Session

_RULED = "ARRAY (SELECT live_group_id FROM chosen WHERE live_group_id IS NOT NULL)"
_WORLDS = f"""
    WITH RECURSIVE
    chosen AS MATERIALIZED (SELECT * FROM rules WHERE key = ANY ($1::text[]) AND deleted_at IS NULL),
    {up(_RULED)},
    {down(_RULED)}
    SELECT 'rule' AS kind, to_jsonb(chosen) AS value FROM chosen
    UNION ALL
    SELECT 'group', to_jsonb(groups) FROM groups
    WHERE id = ANY (ARRAY (SELECT id FROM up UNION SELECT id FROM down))
    UNION ALL
    SELECT 'namespace', to_jsonb(namespaces) FROM namespaces
"""


async def of_keys(session: Session, keys: Collection[str]) -> dict[str, KeyWorld]:
    """The worlds of these keys, each with all namespaces, and with no more groups than it needs."""
    rules: dict[str, list[AlertRule]] = {key: [] for key in keys}
    groups: dict[str, Group] = {}
    namespaces: dict[str, Namespace] = {}
    for row in await session.rows(_WORLDS, list(keys)):
        value = row["value"]
        match row["kind"]:
            case "rule":
                rules[value["key"]].append(rule_of(value))
            case "group":
                groups[value["id"]] = group_of(value)
            case _:
                namespaces[value["id"]] = namespace_of(value)
    children = _children(groups.values())
    return {
        key: KeyWorld(
            key, namespaces, _around(of_key, groups, children), tuple(sorted(of_key, key=lambda each: each.id))
        )
        for key, of_key in rules.items()
    }


def _around(
    rules: Iterable[AlertRule], groups: Mapping[str, Group], children: Mapping[str, list[str]]
) -> dict[str, Group]:
    """The groups with one of these rules, their ancestors and their descendants."""
    ruled = [rule.scope.group_id for rule in rules if isinstance(rule.scope, GroupScope)]
    found: dict[str, Group] = {}
    below = list(ruled)
    while below:
        id = below.pop()
        if id not in found:
            found[id] = groups[id]
            below.extend(children.get(id, ()))
    for id in ruled:
        above = groups[id].parent_id
        while above is not None and above not in found:
            found[above] = groups[above]
            above = groups[above].parent_id
    return found


def _children(groups: Iterable[Group]) -> dict[str, list[str]]:
    children: dict[str, list[str]] = {}
    for group in groups:
        if group.parent_id is not None:
            children.setdefault(group.parent_id, []).append(group.id)
    return children
