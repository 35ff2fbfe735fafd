"""Edits on their way are counted, and whoever asked is told once when there is none."""

import pytest

from rule_service.usecases.underway import Underway


def test_edits_are_on_their_way_until_the_last_has_ended() -> None:
    underway = Underway()
    assert not underway
    with underway.one():
        with underway.one():
            assert underway
        assert underway
    assert not underway


def test_who_asked_is_told_once_and_only_when_there_is_none() -> None:
    underway, told = Underway(), []

    def tell() -> None:
        told.append(bool(underway))

    with underway.one():
        underway.when_none(tell)
        underway.when_none(tell)
        with underway.one():
            pass
        assert told == []
    assert told == [False]
    with underway.one():
        pass
    assert told == [False]


def test_an_edit_that_fails_is_not_on_its_way_any_more() -> None:
    underway, told = Underway(), []
    underway.when_none(lambda: told.append(True))
    with pytest.raises(ValueError, match="refused"), underway.one():
        raise ValueError("refused")
    assert told == [True]
    assert not underway
