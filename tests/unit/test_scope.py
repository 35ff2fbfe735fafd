"""Which rule applies to a series (DESIGN 1.1): the matchers and the definition."""

from collections.abc import Iterable
from itertools import product

import pytest

from rule_service.domain.index import WorldIndex
from rule_service.domain.matchers import Matcher, MatchOp
from rule_service.domain.model import AlertRule, Group, KeyWorld, Namespace
from rule_service.domain.resolve import Level, Outcome, resolve
from rule_service.domain.scope import scope_matchers
from tests.support.worlds import group, rule, world

ENV = (group("env/prod"), group("env/prod/prod-eu"), group("env/dev"))
CLUSTER = (group("cluster/a"), group("cluster/b"))


def matchers(of: str, rules: Iterable[AlertRule], groups: Iterable[Group] = (), *namespaces: Namespace) -> str:
    index = WorldIndex(world(rules, groups, namespaces))
    [asked] = [each for each in index.world.rules if each.id == of]
    return ",".join(str(matcher) for matcher in scope_matchers(asked, index).all)


class TestMatchers:
    def test_a_global_rule_alone_has_none(self) -> None:
        assert matchers("global", [rule("global")]) == ""

    def test_a_global_rule_leaves_out_the_values_of_ruled_groups(self) -> None:
        rules = [rule("global"), rule("group:prod"), rule("group:dev")]
        assert matchers("global", rules, ENV) == 'env!~"dev|prod|prod-eu"'

    def test_a_global_rule_leaves_out_every_value_of_a_ruled_namespace(self) -> None:
        rules = [rule("global"), rule("namespace:env"), rule("group:dev")]
        assert matchers("global", rules, ENV) == 'env=""'

    def test_a_global_rule_leaves_out_each_namespace_by_its_own_label(self) -> None:
        rules = [rule("global"), rule("group:dev"), rule("group:a"), rule("namespace:team")]
        team = Namespace("team", "squad")
        assert matchers("global", rules, ENV + CLUSTER, team) == 'cluster!="a",env!="dev",squad=""'

    def test_a_namespace_rule_has_every_value_but_those_of_ruled_groups(self) -> None:
        rules = [rule("namespace:env"), rule("group:prod")]
        assert matchers("namespace-env", rules, ENV) == 'env!="",env!~"prod|prod-eu"'

    def test_a_namespace_rule_leaves_out_ruled_groups_of_other_namespaces(self) -> None:
        rules = [rule("namespace:env", priority=9), rule("group:a")]
        assert matchers("namespace-env", rules, ENV + CLUSTER) == 'cluster!="a",env!=""'

    def test_of_two_namespace_rules_the_lower_priority_leaves_the_other_label_out(self) -> None:
        rules = [rule("namespace:env", priority=1), rule("namespace:cluster", priority=2)]
        assert matchers("namespace-env", rules, ENV + CLUSTER) == 'cluster="",env!=""'
        assert matchers("namespace-cluster", rules, ENV + CLUSTER) == 'cluster!=""'

    def test_a_group_rule_has_its_own_value_and_its_descendants(self) -> None:
        assert matchers("group-prod", [rule("group:prod")], ENV) == 'env=~"prod|prod-eu"'

    def test_a_group_rule_leaves_out_deeper_ruled_groups(self) -> None:
        assert matchers("group-prod", [rule("group:prod"), rule("group:prod-eu")], ENV) == 'env="prod"'

    def test_a_group_rule_leaves_out_better_groups_of_other_namespaces(self) -> None:
        rules = [rule("group:dev", priority=1), rule("group:a", priority=2), rule("group:b")]
        assert matchers("group-dev", rules, ENV + CLUSTER) == 'cluster!="a",env="dev"'
        assert matchers("group-a", rules, ENV + CLUSTER) == 'cluster="a"'
        assert matchers("group-b", rules, ENV + CLUSTER) == 'cluster="b",env!="dev"'

    def test_a_shallow_rule_of_high_priority_does_not_speak_for_a_deeper_ruled_group(self) -> None:
        rules = [rule("group:prod", priority=9), rule("group:prod-eu", priority=1), rule("group:a", priority=5)]
        assert matchers("group-a", rules, ENV + CLUSTER) == 'cluster="a",env!="prod"'
        assert matchers("group-prod-eu", rules, ENV + CLUSTER) == 'cluster!="a",env="prod-eu"'

    def test_a_disabled_rule_takes_its_series_from_others(self) -> None:
        assert matchers("global", [rule("global"), rule("group:dev", enabled=False)], ENV) == 'env!="dev"'

    def test_values_are_quoted_for_the_regular_expression_and_the_string(self) -> None:
        groups = (group("env/x", value='a.b|"c"'), group("env/x/y", value="d\\e"))
        assert matchers("group-x", [rule("group:x")], groups) == 'env=~"a\\\\.b\\\\|\\"c\\"|d\\\\\\\\e"'

    def test_own_matchers_know_nothing_of_other_rules(self) -> None:
        index = WorldIndex(world([rule("group:prod"), rule("group:prod-eu"), rule("namespace:cluster")], ENV + CLUSTER))
        own = scope_matchers(index.world.rules[0], index).own
        assert own == (Matcher("env", MatchOp.REGEX, "prod|prod-eu"),)

    def test_nesting_has_no_limit(self) -> None:
        depth = 5_000
        groups = [Group(f"g{at}", "env", f"g{at}", f"g{at - 1}" if at else None) for at in range(depth)]
        index = WorldIndex(world([rule("group:g0"), rule(f"group:g{depth - 1}")], groups))
        [matcher] = scope_matchers(index.world.rules[0], index).all
        assert matcher.value.count("|") == depth - 2
        assert resolve(index.world, {"env": f"g{depth - 2}"}).winner is index.world.rules[0]

    @pytest.mark.parametrize("first", ["policy", "name"])
    def test_equal_priorities_are_decided_by_policy_priority_and_then_by_name(self, first: str) -> None:
        env = Namespace("env", "env", policy_priority=1 if first == "policy" else 0)
        rules = [rule("group:dev"), rule("group:a")]
        winner, loser = ("group-dev", "group-a") if first == "policy" else ("group-a", "group-dev")
        assert "!=" not in matchers(winner, rules, ENV + CLUSTER, env)
        assert "!=" in matchers(loser, rules, ENV + CLUSTER, env)


def selects(matcher_list: Iterable[Matcher], labels: dict[str, str]) -> bool:
    """Whether the matchers select a series; the values here need no quoting in a regular expression."""

    def holds(matcher: Matcher) -> bool:
        value = labels.get(matcher.label, "")
        many = matcher.op in (MatchOp.REGEX, MatchOp.NOT_REGEX)
        matched = value in matcher.value.split("|") if many else value == matcher.value
        return matched is (matcher.op in (MatchOp.EQUAL, MatchOp.REGEX))

    return all(holds(matcher) for matcher in matcher_list)


def big_world() -> KeyWorld:
    groups = [
        *(group("env/prod"), group("env/prod/eu"), group("env/eu/eu1"), group("env/eu/eu2"), group("env/dev")),
        *(group("cluster/a"), group("cluster/a/a1"), group("cluster/b"), group("team/t"), group("team/t/t1")),
    ]
    rules = [
        rule("global", priority=50),
        *(rule("namespace:cluster", priority=3), rule("namespace:env", priority=3), rule("group:prod", priority=4)),
        *(rule("group:eu1", enabled=False), rule("group:a", priority=4), rule("group:b"), rule("group:t1", priority=1)),
        rule("group:eu", priority=2),
    ]
    return world(rules, groups, [Namespace("env", "env", policy_priority=7)])


def test_matchers_and_definition_agree_on_every_series() -> None:
    index = WorldIndex(big_world())
    matchers_of = {each.id: scope_matchers(each, index).all for each in index.world.rules}
    values = [
        *product(["", "prod", "eu", "eu1", "eu2", "dev", "else"], ["", "a", "a1", "b", "else"], ["", "t", "t1", "else"])
    ]
    assert len(values) == 140
    for env, cluster, team in values:
        labels = {"env": env, "cluster": cluster, "team": team}
        winner = resolve(index.world, labels).winner
        selecting = [id_ for id_, those in matchers_of.items() if selects(those, labels)]
        assert winner is not None
        assert selecting == [winner.id], labels


class TestResolution:
    def test_no_rule_no_winner(self) -> None:
        found = resolve(world([rule("group:dev")], ENV), {"env": "prod"})
        assert found.winner is None
        assert found.candidates == ()

    def test_an_empty_label_is_no_label(self) -> None:
        assert resolve(world([rule("namespace:env")], ENV), {"env": ""}).winner is None

    def test_a_value_of_no_group_is_still_in_the_namespace(self) -> None:
        found = resolve(world([rule("namespace:env"), rule("group:dev")], ENV), {"env": "nowhere"})
        assert found.winner is not None
        assert found.winner.id == "namespace-env"

    def test_reasons_name_the_rule_that_won_and_why(self) -> None:
        found = resolve(big_world(), {"env": "eu2", "cluster": "b", "team": "t1"})
        assert [(each.rule.id, each.level, each.outcome) for each in found.candidates] == [
            ("group-eu", Level.GROUP, Outcome.WON),
            ("group-b", Level.GROUP, Outcome.LOST),
            ("group-t1", Level.GROUP, Outcome.LOST),
            ("group-prod", Level.GROUP, Outcome.LOST),
            ("namespace-cluster", Level.NAMESPACE, Outcome.LOST),
            ("namespace-env", Level.NAMESPACE, Outcome.LOST),
            ("global", Level.GLOBAL, Outcome.LOST),
        ]
        assert [each.why for each in found.candidates] == [
            "won: it beats the other candidates",
            'lost to rule "group-eu": higher priority 2 > 0',
            'lost to rule "group-eu": higher priority 2 > 1',
            'lost to rule "group-eu": its group "eu" lies below group "prod", and the deepest group with a rule '
            "speaks for a namespace",
            "lost to rule \"group-eu\": a group's rule beats a namespace's",
            "lost to rule \"group-eu\": a group's rule beats a namespace's",
            'lost to rule "group-eu": a group\'s rule beats the global one',
        ]

    def test_ties_say_what_broke_them(self) -> None:
        by_policy = resolve(big_world(), {"env": "prod", "cluster": "a"}).candidates[1].why
        assert by_policy == (
            'lost to rule "group-prod": equal priority 4, and the higher policy_priority 7 of namespace "env" > 0 '
            'of namespace "cluster"'
        )
        by_name = resolve(world([rule("group:dev"), rule("group:a")], ENV + CLUSTER), {"env": "dev", "cluster": "a"})
        assert by_name.candidates[1].why == (
            'lost to rule "group-a": equal priority 0 and policy_priority 0, and namespace "cluster" comes before "env"'
        )

    def test_a_disabled_winner_says_that_the_alert_is_off(self) -> None:
        found = resolve(world([rule("group:dev", enabled=False)], ENV), {"env": "dev"})
        assert [each.why for each in found.candidates] == [
            "won: no other rule of the key holds this series; it is disabled, so the alert is off here"
        ]


class TestLineage:
    def test_the_rules_above_from_the_top(self) -> None:
        rules = [rule("group:prod-eu"), rule("group:prod"), rule("namespace:env"), rule("global"), rule("group:dev")]
        index = WorldIndex(world(rules, ENV))
        assert [each.id for each in index.lineage(rules[0].scope)] == ["global", "namespace-env", "group-prod"]
        assert [each.id for each in index.lineage(rules[2].scope)] == ["global"]
        assert index.lineage(rules[3].scope) == ()
