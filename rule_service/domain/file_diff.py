"""How two versions of a rule file differ, in time that is linear in their size however much differs.

A rule is compared with the rule of the same id. Comparing all lines with all others, as difflib would, takes minutes
on a file of ten thousand rules of which each is another.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rule_service.domain.settled import RULE_ANNOTATION

CONTEXT = 3
"""Lines shown around each difference."""

_BEGINS = ("  - name: ", "      - alert: ")
_RULE = re.compile(rf"\s*{RULE_ANNOTATION}: [\"']?([a-z0-9-]+)@")


@dataclass(frozen=True, slots=True)
class FileDiff:
    """text: a unified diff, complete lines. left_out: how many lines more it would have."""

    text: str
    left_out: int


_Opcode: TypeAlias = tuple[Literal["replace", "delete", "insert", "equal"], int, int, int, int]


class _Matched(difflib.SequenceMatcher[str]):
    """For its way of putting differences into groups: what differs is known already."""

    def __init__(self, opcodes: list[_Opcode]) -> None:
        super().__init__(None, (), ())
        self._known = opcodes

    def get_opcodes(self) -> list[_Opcode]:
        return self._known


def diff_files(name: str, before: bytes | None, after: bytes | None, max_lines: int) -> FileDiff:
    """None: there is no such file."""
    old, new = ((content or b"").decode().splitlines() for content in (before, after))
    heads = [name if content is not None else "/dev/null" for content in (before, after)]
    lines = [f"--- {heads[0]}", f"+++ {heads[1]}", *_hunks(old, new)]
    shown = lines[:max_lines]
    return FileDiff("".join(f"{line}\n" for line in shown), len(lines) - len(shown))


def _hunks(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    for group in _Matched(list(_joined(_opcodes(old, new)))).get_grouped_opcodes(CONTEXT):
        first, last = group[0], group[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (f" {line}" for line in old[i1:i2])
            else:
                yield from (f"-{line}" for line in old[i1:i2])
                yield from (f"+{line}" for line in new[j1:j2])


def _range(start: int, stop: int) -> str:
    """As `diff -u` writes it."""
    length = stop - start
    begin = start + 1 if length else start
    return f"{begin}" if length == 1 else f"{begin},{length}"


def _opcodes(old: Sequence[str], new: Sequence[str]) -> Iterator[_Opcode]:
    """Of lines: part by part, those of one name with each other."""
    parts_of_old, parts_of_new = _parts(old), _parts(new)
    places = {name: at for at, (name, _, _) in enumerate(parts_of_new)}
    at, line = 0, 0
    for name, i1, i2 in parts_of_old:
        there = places.get(name, -1)
        if there < at:
            # gone, or moved up, which is told as gone here and new there
            yield "delete", i1, i2, line, line
            continue
        j1, j2 = parts_of_new[there][1:]
        if line < j1:
            yield "insert", i1, i1, line, j1
        yield from _within(old, new, i1, i2, j1, j2)
        at, line = there + 1, j2
    if line < len(new):
        yield "insert", len(old), len(old), line, len(new)


def _within(old: Sequence[str], new: Sequence[str], i1: int, i2: int, j1: int, j2: int) -> Iterator[_Opcode]:
    if old[i1:i2] == new[j1:j2]:
        yield "equal", i1, i2, j1, j2
        return
    matcher = difflib.SequenceMatcher(None, old[i1:i2], new[j1:j2], autojunk=False)
    for tag, a1, a2, b1, b2 in matcher.get_opcodes():
        yield tag, i1 + a1, i1 + a2, j1 + b1, j1 + b2


def _parts(lines: Sequence[str]) -> list[tuple[str, int, int]]:
    """The head, the beginnings of groups, and the rules, by name; where each begins and ends."""
    starts = [0, *(at for at, line in enumerate(lines) if at and line.startswith(_BEGINS))]
    ends = [*starts[1:], len(lines)]
    return [(_name(lines[start:end]), start, end) for start, end in zip(starts, ends, strict=True) if start < end]


def _name(part: Sequence[str]) -> str:
    for line in reversed(part):
        if found := _RULE.match(line):
            return found[1]
    return part[0]


def _joined(opcodes: Iterable[_Opcode]) -> Iterator[_Opcode]:
    """Neighbours of one kind as one, or the context of one would end where the other begins."""
    last: _Opcode | None = None
    for each in opcodes:
        if last is not None and (last[0] == "equal") == (each[0] == "equal"):
            last = ("equal" if last[0] == "equal" else "replace", last[1], each[2], last[3], each[4])
            continue
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield last
