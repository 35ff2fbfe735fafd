"""For which targets a change makes another rule evaluate an alert."""

from rule_service.domain.model import KeyWorld
from rule_service.domain.winners import ChangedWinner, Side, Winner, changed_winners
from tests.support.worlds import KEY, group, rule, world

GROUPS = (group("env/prod"), group("env/prod/eu"), group("env/dev"))
SERIES = {"a": {"env": "prod"}, "b": {"env": "eu"}, "c": {"env": "dev"}, "d": {}}


def side(*rules: str, disabled: tuple[str, ...] = (), series: dict[str, dict[str, str]] | None = None) -> Side:
    made = [rule(where, enabled=where not in disabled) for where in rules]
    worlds: dict[str, KeyWorld] = {KEY: world(made, GROUPS)}
    return Side(worlds, SERIES if series is None else series)


def test_a_rule_more_takes_what_it_covers() -> None:
    changed = changed_winners(side("global"), side("global", "group:prod"))
    assert [(each.target_id, each.before, each.after) for each in changed] == [
        ("a", Winner("global", True), Winner("group-prod", True)),
        ("b", Winner("global", True), Winner("group-prod", True)),
    ]


def test_the_last_rule_leaves_nothing() -> None:
    (changed,) = changed_winners(side("group:dev"), side())
    assert changed == ChangedWinner("c", KEY, Winner("group-dev", True), None)


def test_an_alert_that_is_switched_off_is_told() -> None:
    changed = list(changed_winners(side("global"), side("global", disabled=("global",))))
    assert [each.after for each in changed] == [Winner("global", False)] * 4


def test_the_same_world_changes_only_for_targets_that_move() -> None:
    rules = ("global", "group:eu")
    moved = {**SERIES, "d": {"env": "eu"}, "e": {}}
    del moved["c"]
    changed = list(changed_winners(side(*rules), side(*rules, series=moved)))
    assert changed == [
        ChangedWinner("c", KEY, Winner("global", True), None),
        ChangedWinner("d", KEY, Winner("global", True), Winner("group-eu", True)),
        ChangedWinner("e", KEY, None, Winner("global", True)),
    ]


def test_another_config_is_no_other_rule() -> None:
    before = Side({KEY: world([rule("global")], GROUPS)}, SERIES)
    after = Side({KEY: world([rule("global", config={"for_duration": "1m"})], GROUPS)}, SERIES)
    assert list(changed_winners(before, after)) == []
