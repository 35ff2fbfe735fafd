"""Texts that are the same but for a few places."""

BLANK = "\0"
"""Marks such a place. Neither JSON nor YAML has this character as itself."""


class Form:
    """A text with blanks to be filled in."""

    __slots__ = ("_pieces",)

    def __init__(self, text: str) -> None:
        self._pieces = text.split(BLANK)

    def filled(self, *values: str) -> str:
        """The text with a value in each blank."""
        return "".join([part for pair in zip(self._pieces, (*values, ""), strict=True) for part in pair])
