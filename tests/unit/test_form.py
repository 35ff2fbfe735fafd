"""Texts with blanks."""

import pytest

from rule_service.domain.form import BLANK, Form


def test_each_blank_is_filled_in_order() -> None:
    assert Form(f"a{BLANK}b{BLANK}").filled("1", "2") == "a1b2"
    assert Form("a").filled() == "a"


def test_a_value_is_no_form() -> None:
    assert Form(f"<{BLANK}{BLANK}>").filled(BLANK, "") == f"<{BLANK}>"


@pytest.mark.parametrize("values", [(), ("1", "2")])
def test_all_blanks_are_filled_and_no_more(values: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="zip"):
        Form(f"a{BLANK}").filled(*values)
