"""Short texts are looked at once, long ones and mistakes each time."""

import pytest

from rule_service.domain.remembered import LONGEST, Same, remembered, remembered_of_shared


def test_a_short_text_is_looked_at_once_for_each_way_of_asking() -> None:
    asked: list[tuple[str, int]] = []

    @remembered(2)
    def length(text: str, times: int) -> int:
        asked.append((text, times))
        return len(text) * times

    assert [length("ab", 1), length("ab", 1), length("ab", 2)] == [2, 2, 4]
    assert asked == [("ab", 1), ("ab", 2)]


def test_a_long_text_takes_no_memory() -> None:
    asked: list[str] = []

    @remembered(2)
    def length(text: str) -> int:
        asked.append(text)
        return len(text)

    long = "x" * (LONGEST + 1)
    assert [length(long), length(long)] == [len(long)] * 2
    assert asked == [long, long]


def test_what_is_raised_is_raised_again() -> None:
    asked: list[str] = []

    @remembered(2)
    def refuse(text: str) -> int:
        asked.append(text)
        raise ValueError(text)

    for _ in range(2):
        with pytest.raises(ValueError, match="ab"):
            refuse("ab")
    assert asked == ["ab", "ab"]


def test_same_is_what_is_the_very_same() -> None:
    one, other = [1], [1]
    assert Same(one) == Same(one)
    assert hash(Same(one)) == hash(Same(one))
    assert Same(one) != Same(other)
    assert Same(one) != one


def test_a_shared_value_is_looked_at_once_and_an_equal_one_again() -> None:
    looked: list[list[int]] = []

    @remembered_of_shared(2)
    def total(values: list[int]) -> int:
        looked.append(values)
        return sum(values)

    shared, equal = [1, 2], [1, 2]
    assert [total(each) for each in (shared, shared, equal)] == [3, 3, 3]
    assert [each is shared for each in looked] == [True, False]
