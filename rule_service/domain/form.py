"""Texts that are the same but for a few places."""

from collections.abc import Iterable


class Form:
    """A text with blanks to be filled in."""

    __slots__ = ("_pieces",)

    def __init__(self, parts: Iterable[str | None]) -> None:
        """parts: the text, with None for a blank."""
        pieces = [""]
        for part in parts:
            if part is None:
                pieces.append("")
            else:
                pieces[-1] += part
        self._pieces = tuple(pieces)

    def filled(self, *values: str) -> str:
        """The text with a value in each blank."""
        return "".join([part for pair in zip(self._pieces, (*values, ""), strict=True) for part in pair])
