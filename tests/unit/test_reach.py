"""What an edit of one group's rule can not render differently is left out, and nothing else is."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings

from rule_service.domain.index import WorldIndex
from rule_service.domain.model import AlertRule, GroupScope, KeyWorld
from rule_service.domain.reach import rules_above_groups, rules_at, rules_at_or_below
from rule_service.domain.render import render_rule
from tests.property.worlds import World, worlds
from tests.support.worlds import group, rule, world

TREE = (group("env/top"), group("env/top/middle"), group("env/top/middle/bottom"), group("env/top/side"))
RULES = tuple(rule(each) for each in ("global", "namespace:env", "group:top", "group:middle", "group:bottom"))
ALL = world(RULES, TREE)


def ids(rules: Iterable[AlertRule]) -> list[str]:
    return [each.id for each in rules]


@pytest.mark.parametrize(
    ("at", "found"),
    [
        ("top", ["group-top", "group-middle", "group-bottom"]),
        ("middle", ["group-middle", "group-bottom"]),
        ("bottom", ["group-bottom"]),
        ("side", []),
    ],
)
def test_rules_at_a_group_and_below(at: str, found: list[str]) -> None:
    assert ids(rules_at_or_below(ALL, at)) == found


def test_rules_at_these_very_groups_and_above_all() -> None:
    assert ids(rules_at(ALL, {"top", "side"})) == ["group-top"]
    assert ids(rules_above_groups(ALL)) == ["global", "namespace-env"]


def part_of(whole: KeyWorld, group_id: str) -> KeyWorld:
    """The world without the rules of the group's namespace that are neither above nor below the group."""
    home = whole.groups[group_id].namespace_id

    def counts(each: AlertRule) -> bool:
        if not isinstance(each.scope, GroupScope) or whole.groups[each.scope.group_id].namespace_id != home:
            return True
        return each.scope.group_id in lineage(whole, group_id) or group_id in lineage(whole, each.scope.group_id)

    return KeyWorld(whole.key, whole.namespaces, whole.groups, tuple(filter(counts, whole.rules)))


def lineage(whole: KeyWorld, group_id: str | None) -> list[str]:
    found = []
    while group_id is not None:
        found.append(group_id)
        group_id = whole.groups[group_id].parent_id
    return found


@given(worlds())
@settings(max_examples=60, deadline=None)
def test_a_part_renders_its_rules_as_the_whole_does(drawn: World) -> None:
    for whole in drawn.keys:
        for each in whole.rules:
            if isinstance(each.scope, GroupScope):
                part = part_of(whole, each.scope.group_id)
                for below in rules_at_or_below(part, each.scope.group_id):
                    assert render_rule(below, WorldIndex(part)) == render_rule(below, WorldIndex(whole))


def test_a_setting_of_a_rule_reaches_no_rule_beside_it() -> None:
    before = world([*RULES, rule("group:side")], TREE)
    changed = rule("group:middle", config={"parameters": {"threshold": 7.0}}, enabled=False)
    after = world([changed if each.id == changed.id else each for each in before.rules], TREE)
    reached = {each.id for each in rules_at_or_below(after, "middle")}
    for each in before.rules:
        if each.id not in reached:
            assert render_rule(each, WorldIndex(before)) == render_rule(each, WorldIndex(after))
