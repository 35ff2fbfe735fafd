"""The worlds of keys: all that decides about them, read in one statement and so in one state of the database."""

from collections.abc import Collection, Iterable, Mapping

from rule_service.domain.model import AlertRule, Group, GroupScope, KeyWorld, Namespace
from rule_service.store.encode import group_of, namespace_of, rule_of, scope_of
from rule_service.store.groups import down, up
from rule_service.store.pool import Row, Session
from rule_service.store.rendered import rendered_rule_of
from rule_service.store.rules import COLUMNS
from rule_service.usecases.ports_rendered import Parts, Placement

_RULED = "ARRAY (SELECT live_group_id FROM chosen WHERE live_group_id IS NOT NULL)"
_AROUND_CHOSEN = f"""
    {up(_RULED)},
    {down(_RULED)}
    SELECT 'rule' AS kind, to_jsonb(chosen) AS value FROM chosen
    UNION ALL
    SELECT 'group', to_jsonb(groups) FROM groups
    WHERE id = ANY (ARRAY (SELECT id FROM up UNION SELECT id FROM down))
    UNION ALL
    SELECT 'namespace', to_jsonb(namespaces) FROM namespaces
"""
_WORLDS = f"""
    WITH RECURSIVE
    chosen AS MATERIALIZED (
        SELECT {COLUMNS}, live_group_id FROM rules WHERE key = ANY ($1::text[]) AND deleted_at IS NULL
    ),
    {_AROUND_CHOSEN}
"""
# `elsewhere`: in another namespace than one of these groups
_PARTS = f"""
    WITH RECURSIVE
    {up("$2::text[]", "over")},
    {down("$2::text[]", "under")},
    elsewhere AS (
        SELECT there.id
        FROM namespaces, LATERAL (SELECT id FROM groups WHERE namespace_id = namespaces.id OFFSET 0) AS there
        WHERE namespaces.id <> ANY (ARRAY (SELECT DISTINCT namespace_id FROM groups WHERE id = ANY ($2::text[])))
    ),
    chosen AS MATERIALIZED (
        SELECT {COLUMNS}, live_group_id FROM rules
        WHERE key = ANY ($1::text[]) AND deleted_at IS NULL AND scope_level = ANY (ARRAY['global', 'namespace'])
        UNION ALL
        SELECT {COLUMNS}, live_group_id FROM rules
        WHERE key = ANY ($1::text[]) AND deleted_at IS NULL AND scope_level = 'group' AND scope_id = ANY (
            ARRAY (SELECT id FROM over UNION SELECT id FROM under UNION SELECT id FROM elsewhere)
        )
    ),
    {_AROUND_CHOSEN}
    UNION ALL
    SELECT 'rendered', to_jsonb(rendered_rules) FROM rendered_rules
    WHERE rule_id = ANY (ARRAY (SELECT id FROM chosen))
    UNION ALL
    SELECT 'rendered', to_jsonb(rendered_rules) FROM rendered_rules
    WHERE key = ANY ($1::text[]) AND scope_level = 'group' AND scope_id = ANY ($2::text[])
"""


async def of_keys(session: Session, keys: Collection[str]) -> dict[str, KeyWorld]:
    """The worlds of these keys, each with all namespaces, and with no more groups than it needs."""
    return _worlds(keys, await session.rows(_WORLDS, list(keys)))


async def parts_of_keys(session: Session, keys: Collection[str], group_ids: Collection[str]) -> Parts:
    """The worlds without the rules of the groups' namespaces at other groups, neither above nor below one of these;
    and what is stored as rendered for their rules, and at the groups.
    """
    rows = await session.rows(_PARTS, list(keys), list(group_ids))
    rendered = (rendered_rule_of(row["value"]) for row in rows if row["kind"] == "rendered")
    return Parts(_worlds(keys, rows), {rule.rule_id: rule for rule in rendered})


async def placements(session: Session, keys: Collection[str] | None) -> tuple[Placement, ...]:
    """Where these keys have live rules or rendered ones, by scope; None is all keys, and all scopes with a file."""
    # a file without rules has to go: it comes with no key
    files = "UNION SELECT scope_level, scope_id, NULL FROM rendered_files" if keys is None else ""
    these = "" if keys is None else "AND key = ANY ($1::text[])"
    rows = await session.rows(
        f"""
        SELECT scope_level, scope_id, coalesce(groups.namespace_id, '') AS namespace_id,
            array_remove(array_agg(key), NULL) AS keys
        FROM (
            SELECT scope_level, scope_id, key FROM rules WHERE deleted_at IS NULL {these}
            UNION
            SELECT scope_level, scope_id, key FROM rendered_rules WHERE true {these}
            {files}
        ) AS placed
        LEFT JOIN groups ON scope_level = 'group' AND groups.id = scope_id
        GROUP BY scope_level, scope_id, groups.namespace_id ORDER BY scope_level, scope_id
        """,
        *(() if keys is None else (list(keys),)),
    )
    return tuple(
        Placement(scope_of(row["scope_level"], row["scope_id"]), row["namespace_id"], frozenset(row["keys"]))
        for row in rows
    )


def _worlds(keys: Collection[str], rows: Iterable[Row]) -> dict[str, KeyWorld]:
    rules: dict[str, list[AlertRule]] = {key: [] for key in keys}
    groups: dict[str, Group] = {}
    namespaces: dict[str, Namespace] = {}
    for row in rows:
        value = row["value"]
        match row["kind"]:
            case "rule":
                rules[value["key"]].append(rule_of(value))
            case "group":
                groups[value["id"]] = group_of(value)
            case "namespace":
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
