"""One edit goes at once; a burst is gathered, for a time that is bounded by what the last Update took."""

import pytest

from rule_service.stream.pace import LONGEST_PATIENCE, LONGEST_QUIET, PATIENCE, QUIET, Pace


def test_edits_one_after_the_other_are_never_held_back() -> None:
    pace = Pace()
    for revision in range(1, 5):
        now = float(revision)
        pace.saw(revision, now)
        assert pace.held_until(now, more_coming=False) is None
        pace.answered(revision, 0.9, now + 0.9)
        assert pace.held_until(now + 0.9, more_coming=False) is None


def test_what_comes_while_an_update_is_applied_waits_for_a_pause_between_edits() -> None:
    pace = Pace()
    pace.saw(1, 0.0)
    pace.saw(2, 0.9)
    pace.answered(1, 1.0, 1.0)
    assert pace.held_until(1.0, more_coming=False) == pytest.approx(0.9 + QUIET)
    pace.saw(3, 1.1)
    assert pace.held_until(1.1, more_coming=False) == pytest.approx(1.1 + QUIET)
    assert pace.held_until(1.1 + QUIET, more_coming=False) is None


def test_a_pause_that_has_been_is_not_waited_for_again() -> None:
    pace = Pace()
    pace.saw(1, 0.0)
    pace.saw(2, 0.1)
    pace.answered(1, 1.0, 1.0)
    assert pace.held_until(1.0, more_coming=False) is None


def test_edits_without_end_are_not_held_back_without_end() -> None:
    pace = Pace()
    pace.saw(1, 0.0)
    pace.saw(2, 1.0)
    pace.answered(1, 1.0, 1.0)
    now, revision = 1.0, 2
    while pace.held_until(now, more_coming=False) is not None:
        now += 0.1
        revision += 1
        pace.saw(revision, now)
    assert now == pytest.approx(1.0 + PATIENCE, abs=0.11)


def test_a_slow_prometheus_is_waited_for_no_longer_than_a_few_seconds() -> None:
    pace = Pace()
    pace.saw(1, 0.0)
    pace.saw(2, 100.0)
    pace.answered(1, 100.0, 100.0)
    assert pace.held_until(100.0, more_coming=False) == pytest.approx(100.0 + LONGEST_QUIET)
    pace.saw(3, 100.0 + LONGEST_PATIENCE)
    assert pace.held_until(100.0 + LONGEST_PATIENCE - 0.1, more_coming=False) == pytest.approx(100.0 + LONGEST_PATIENCE)


def test_an_update_that_leads_to_the_newest_revision_ends_the_burst() -> None:
    pace = Pace()
    pace.saw(1, 0.0)
    pace.saw(2, 0.9)
    pace.answered(1, 1.0, 1.0)
    pace.answered(2, 1.0, 3.0)
    pace.saw(3, 3.1)
    assert pace.held_until(3.1, more_coming=False) is None


def test_edits_on_their_way_are_waited_for_even_by_the_first() -> None:
    pace = Pace()
    pace.answered(0, 1.0, 1.0)
    pace.saw(1, 2.0)
    assert pace.held_until(2.0, more_coming=True) == pytest.approx(2.0 + PATIENCE)
    pace.saw(2, 2.5)
    assert pace.held_until(2.5, more_coming=True) == pytest.approx(2.0 + PATIENCE)
    assert pace.held_until(2.6, more_coming=False) is None


def test_edits_on_their_way_are_not_waited_for_without_end() -> None:
    pace = Pace()
    pace.answered(0, 1.0, 1.0)
    pace.saw(1, 2.0)
    assert pace.held_until(2.0 + PATIENCE, more_coming=True) is None


def test_waiting_counts_from_an_edit_and_not_from_what_nobody_waits_for() -> None:
    pace = Pace()
    pace.answered(0, 1.0, 1.0)
    assert pace.held_until(5.0, more_coming=True) is None
    pace.saw(1, 9.0)
    assert pace.held_until(9.0, more_coming=True) == pytest.approx(9.0 + PATIENCE)


def test_nothing_is_held_back_before_it_is_known_how_long_an_update_takes() -> None:
    pace = Pace()
    pace.saw(1, 2.0)
    assert pace.held_until(2.0, more_coming=True) is None
