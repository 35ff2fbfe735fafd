"""How far a revision has come, computed from what deployers reported."""

from datetime import UTC, datetime

import pytest

from rule_service.domain.model import GlobalScope, Group, GroupScope, NamespaceScope, Scope
from rule_service.domain.serving import serves
from rule_service.usecases.ports_fates import DeployerFacts, FateState, FileFate
from rule_service.usecases.rollout import Until, rollout_of, worst

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GROUPS = {
    "eu": Group("eu", "region", "eu"),
    "de": Group("de", "region", "de", "eu"),
    "us": Group("us", "region", "us"),
}


def deployer(
    id: str = "one",
    revision: int = 5,
    connected: bool = True,
    fates: tuple[FileFate, ...] = (),
    serves: tuple[Scope, ...] = (),
) -> DeployerFacts:
    return DeployerFacts(id, connected, 1, revision, b"", fates, "", "", "", True, (), serves, NOW)


def fate(state: FateState, name: str = "group-de.yml") -> FileFate:
    return FileFate(name, b"", state)


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (deployer(revision=4), FateState.PENDING),
        (deployer(revision=4, connected=False), FateState.UNREACHABLE),
        (deployer(), FateState.ACTIVE),
        (deployer(connected=False), FateState.ACTIVE),
        (deployer(revision=9), FateState.ACTIVE),
        (deployer(fates=(fate(FateState.REJECTED),)), FateState.REJECTED),
        (deployer(fates=(fate(FateState.ROLLED_BACK),)), FateState.ROLLED_BACK),
        (deployer(fates=(fate(FateState.DEFERRED),)), FateState.DEFERRED),
        (deployer(fates=(fate(FateState.DEFERRED),), connected=False), FateState.UNREACHABLE),
        (deployer(fates=(fate(FateState.REJECTED),), connected=False), FateState.REJECTED),
        (deployer(fates=(fate(FateState.REJECTED, "group-us.yml"),)), FateState.ACTIVE),
    ],
)
def test_the_state_at_one_deployer(facts: DeployerFacts, state: FateState) -> None:
    rollout = rollout_of(5, ["group-de.yml"], [facts], {})
    assert [each.state for each in rollout.deployers] == [state]
    assert rollout.has_come(Until.KNOWN) == (state is not FateState.PENDING)
    assert rollout.has_come(Until.FINAL) == (state in (FateState.ACTIVE, FateState.REJECTED, FateState.ROLLED_BACK))


def test_the_whole_is_as_bad_as_its_worst_part() -> None:
    facts = [deployer("a"), deployer("b", fates=(fate(FateState.REJECTED),)), deployer("c", revision=1)]
    rollout = rollout_of(5, ["group-de.yml"], facts, {})
    assert rollout.state is FateState.REJECTED
    assert not rollout.has_come(Until.KNOWN)
    # one has refused it, but the fate of another one may still become better
    facts = [deployer("a", fates=(fate(FateState.DEFERRED),)), deployer("b", fates=(fate(FateState.REJECTED),))]
    rollout = rollout_of(5, ["group-de.yml"], facts, {})
    assert rollout.has_come(Until.KNOWN)
    assert not rollout.has_come(Until.FINAL)


def test_nothing_to_deliver_is_delivered() -> None:
    assert rollout_of(5, [], [deployer(revision=1)], {}).state is FateState.ACTIVE
    assert rollout_of(5, ["group-de.yml"], [], {}).has_come(Until.FINAL)


def test_only_deployers_that_take_a_changed_file_have_a_part() -> None:
    facts = [deployer("de", serves=(GroupScope("de"),)), deployer("us", serves=(GroupScope("us"),)), deployer("all")]
    assert [each.deployer_id for each in rollout_of(5, ["group-de.yml"], facts, GROUPS).deployers] == ["de", "all"]


def test_worst_of_all_and_of_none() -> None:
    assert worst(FateState) is FateState.REJECTED
    assert worst([]) is FateState.ACTIVE


GROUPS_OF_TWO = {**GROUPS, "prod": Group("prod", "env", "prod"), "dev": Group("dev", "env", "dev")}


@pytest.mark.parametrize(
    ("served", "scope", "taken"),
    [
        ((), GroupScope("us"), True),
        ((GroupScope("de"),), GlobalScope(), True),
        ((GroupScope("de"),), NamespaceScope("region"), True),
        ((GroupScope("de"),), GroupScope("de"), True),
        ((GroupScope("de"),), GroupScope("eu"), True),
        ((GroupScope("eu"),), GroupScope("de"), True),
        ((GroupScope("de"),), GroupScope("us"), False),
        ((GroupScope("de"), GroupScope("us")), GroupScope("us"), True),
        # a rule of another namespace may win a series of the group
        ((GroupScope("de"),), NamespaceScope("env"), True),
        ((GroupScope("de"),), GroupScope("prod"), True),
        ((NamespaceScope("region"),), GroupScope("us"), True),
        ((NamespaceScope("region"),), NamespaceScope("env"), False),
        ((NamespaceScope("region"),), GroupScope("prod"), False),
        ((NamespaceScope("region"),), GlobalScope(), True),
        ((NamespaceScope("region"), GroupScope("prod")), GroupScope("prod"), True),
        ((NamespaceScope("region"), GroupScope("prod")), NamespaceScope("env"), True),
        ((NamespaceScope("region"), GroupScope("prod")), GroupScope("dev"), False),
        ((NamespaceScope("env"), GroupScope("prod")), GroupScope("dev"), True),
    ],
)
def test_which_files_a_deployer_takes(served: tuple[Scope, ...], scope: Scope, taken: bool) -> None:
    assert serves(served, scope, GROUPS_OF_TWO) is taken
