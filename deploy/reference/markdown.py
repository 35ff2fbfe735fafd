"""Small pieces of Markdown."""

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; empty without rows."""
    lines = [f"| {' | '.join(cell(each) for each in row)} |" for row in rows]
    rule = f"|{'---|' * len(heads)}"
    return "\n".join([f"| {' | '.join(heads)} |", rule, *lines]) + "\n" if lines else ""


def cell(text: str) -> str:
    """One line, with nothing that ends a cell."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def anchor(name: str) -> str:
    """As GitHub makes it of a heading."""
    return "".join(each for each in name.lower() if each.isalnum() or each in "-_ ").replace(" ", "-")
