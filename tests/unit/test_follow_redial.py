"""When to connect again, and where to."""

import random

import pytest

from deployer_service.follow.redial import CAP, DATABASE_CAP, FLOOR, REFUSED_CAP, Drained, Lost, Redial
from rulecast.errors import FailedPrecondition, RulecastError, Unavailable
from rulecast.reasons import Reason
from tests.support.follow import Latest

AWAY: RulecastError = Unavailable.of("", Reason.STREAM_LOST, "away")
REFUSED: RulecastError = FailedPrecondition.of("", Reason.PROTOCOL_UNSUPPORTED, "too old")


def lost(error: RulecastError = AWAY, lived: float = 0.0) -> Lost:
    return Lost(error, lived)


def test_one_address_is_tried_again_with_growing_delays_up_to_the_cap() -> None:
    redial = Redial(["a"], Latest())

    assert [redial.after(lost()) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, CAP, CAP, CAP]
    assert redial.address == "a"


def test_every_other_address_is_tried_at_once_before_anything_is_waited_for() -> None:
    redial = Redial(["a", "b", "c"], Latest())

    went = [(redial.after(lost()), redial.address) for _ in range(4)]

    assert went == [(0.0, "b"), (0.0, "c"), (0.5, "a"), (1.0, "b")]


def test_a_rule_service_without_its_database_is_asked_again_soon() -> None:
    redial = Redial(["a", "b"], Latest())
    without = Unavailable.of("", Reason.DATABASE_UNAVAILABLE, "away")

    assert [redial.after(lost(without)) for _ in range(9)] == [0.0, *[DATABASE_CAP] * 8]


def test_a_stream_that_lived_long_clears_the_delays() -> None:
    redial = Redial(["a"], Latest())
    for _ in range(5):
        redial.after(lost())

    assert redial.after(lost(lived=59.9)) == 16
    assert redial.after(lost(lived=60.0)) == 0.5


def test_a_short_stream_that_was_of_use_makes_the_delays_begin_anew_with_a_floor() -> None:
    redial = Redial(["a"], Latest())
    for _ in range(5):
        redial.after(lost())

    assert redial.after(lost(lived=2.0)) == 16
    assert [redial.after(Lost(AWAY, 2.0, useful=True)) for _ in range(3)] == [FLOOR + 0.5] * 3
    assert [redial.after(lost()) for _ in range(2)] == [1, 2]


def test_a_service_that_welcomes_and_dies_is_not_hammered() -> None:
    """However many addresses there are: each is tried at once only as often as a stream has lived for long."""
    redial = Redial(["a", "b", "c"], random.Random(1))

    delays = [redial.after(Lost(AWAY, 0.1, useful=True)) for _ in range(20)]

    assert delays[:2] == [0.0, 0.0]
    assert all(FLOOR <= delay <= FLOOR + 0.5 for delay in delays[2:])
    assert len(set(delays[2:])) == 18


def test_who_is_refused_waits_for_minutes() -> None:
    redial = Redial(["a"], Latest())

    delays = [redial.after(lost(REFUSED)) for _ in range(9)]

    assert delays[0] == 5
    assert delays[-1] == REFUSED_CAP


def test_who_is_told_when_to_come_again_comes_then() -> None:
    second = FailedPrecondition.of("", Reason.DUPLICATE_DEPLOYER, "another one is there", retry_after="12.5")

    for _ in range(20):
        assert 12.5 <= Redial(["a"], random.Random()).after(lost(second)) <= 13.5


def test_who_is_drained_goes_elsewhere_at_the_moment_drawn() -> None:
    redial = Redial(["a", "b"], Latest())
    redial.after(lost())

    assert redial.after(Drained(1.25)) == 1.25
    assert redial.address == "a"
    assert redial.after(lost()) == 0.0


@pytest.mark.parametrize("error", [AWAY, REFUSED])
def test_delays_are_spread(error: RulecastError) -> None:
    firsts = set()
    for seed in range(50):
        redial = Redial(["a"], random.Random(seed))
        for _ in range(10):
            delay = redial.after(lost(error))
        firsts.add(round(delay))

    assert len(firsts) > 10


def test_deployers_begin_with_different_addresses() -> None:
    assert {Redial(["a", "b", "c"], random.Random(seed)).address for seed in range(50)} == {"a", "b", "c"}
