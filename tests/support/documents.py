"""The documents as data: headings, fenced blocks, tables and links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.local.process import REPOSITORY

DOCS = REPOSITORY / "docs"
TRANSLATED = sorted(path.name for path in (DOCS / "en").glob("*.md"))
"""The documents that exist in every language. Generated reference pages lie in a folder of their own."""

_FENCE = re.compile(r"^```(.*)$")
_HEADING = re.compile(r"^(#{1,6}) (.+)$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. info: the words after the fence, for example `sh`. line: its first line in the file, from 1."""

    info: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """rows: with the head. columns: of the head."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Document:
    path: Path
    parts: tuple[Block | Heading | Table, ...]
    links: tuple[str, ...]

    @property
    def blocks(self) -> list[Block]:
        return [part for part in self.parts if isinstance(part, Block)]

    @property
    def headings(self) -> list[Heading]:
        return [part for part in self.parts if isinstance(part, Heading)]


def read_document(path: Path) -> Document:
    """Raises ValueError for a fence that is not closed."""
    lines = path.read_text().splitlines()
    prose = list(_outside(lines))
    return Document(path, tuple(_parts(path, lines)), tuple(link for line in prose for link in _LINK.findall(line)))


def anchors(document: Document) -> set[str]:
    """What a link can name after `#`: as GitHub makes it of a heading."""
    return {re.sub(r"[^\w\- ]", "", heading.text.lower()).replace(" ", "-") for heading in document.headings}


def _parts(path: Path, lines: list[str]) -> Iterator[Block | Heading | Table]:
    at = 0
    while at < len(lines):
        if fence := _FENCE.match(lines[at]):
            end = next((n for n in range(at + 1, len(lines)) if lines[n] == "```"), None)
            if end is None:
                raise ValueError(f"{path}:{at + 1}: this fence is not closed")
            yield Block(fence[1].strip(), "\n".join(lines[at + 1 : end]), at + 2)
            at = end
        elif heading := _HEADING.match(lines[at]):
            yield Heading(len(heading[1]), heading[2])
        elif lines[at].startswith("|"):
            end = next((n for n in range(at, len(lines)) if not lines[n].startswith("|")), len(lines))
            # the line below the head is no row
            yield Table(end - at - 1, len(re.findall(r"(?<!\\)\|", lines[at])) - 1)
            at = end - 1
        at += 1


def _outside(lines: list[str]) -> Iterator[str]:
    """The lines that are in no fenced block."""
    inside = False
    for line in lines:
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            yield line
