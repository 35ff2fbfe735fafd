"""The regular expressions Prometheus takes: Go's RE2 syntax, cut into its words.

Python's `re` is another language (it has lookaround and backreferences, RE2 has neither), so it cannot judge.
What passes here and still is none of Go's is found by promtool, whose word is final.
"""

import re
from collections.abc import Iterable
from enum import Enum, auto
from typing import NamedTuple

from rule_service.domain.wording import shown

MAX_REPEAT = 1_000
MAX_NESTING = 100


class ItemKind(Enum):
    CHARACTER = auto()
    ESCAPE = auto()
    QUOTED = auto()
    CLASS = auto()
    FLAGS = auto()
    OPEN = auto()
    CLOSE = auto()
    ALTERNATE = auto()
    REPEAT = auto()


class Item(NamedTuple):
    """One word of a regular expression: `pattern[start:end]`, offsets in characters. QUOTED is `\\Q...\\E`."""

    kind: ItemKind
    start: int
    end: int


class BadRegex(ValueError):
    """Not an expression of RE2. `offset` is where it breaks, in characters."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


_ESCAPED_CHARACTER = (
    r"\\(?:0[0-7]{0,2}|[1-7][0-7]{1,2}|x[0-9A-Fa-f]{2}|x\{(?:0*(?:10|[0-9A-Fa-f])?[0-9A-Fa-f]{1,4})\}"
    r"|[afnrtv]|[\x00-/:-@\[-`{-\x7f])"
)
_ESCAPED_SET = (
    r"\\(?:[dDsSwW]|[pP](?:[LMNPSZC]|\{\^?(?:[LMNPSZC]|L[ulmto]|M[nce]|N[dlo]|P[cdseifo]|S[mcko]|Z[slp]|C[cfos]"
    r"|Yi|[A-Z][a-z]{2}[A-Za-z_]*)\}))"
)
_WORD = re.compile(
    rf"""
      (?P<QUOTED> \\Q(?!\\E).+?\\E )
    | (?P<ESCAPE> {_ESCAPED_CHARACTER} | {_ESCAPED_SET} | \\[AbBz] )
    | (?P<OPEN> \((?!\?) | \(\?[imsU]*(?:-[imsU]+)?: | \(\?P<(?P<name>[A-Za-z0-9_]+)> )
    | (?P<FLAGS> \(\?[imsU]*(?:-[imsU]+)?\) )
    | (?P<CLOSE> \) )
    | (?P<REPEAT> (?:[*+?] | \{{[0-9]+(?:,[0-9]*)?\}})\?? )
    | (?P<ALTERNATE> \| )
    | (?P<CHARACTER> [^\\(\[] )
    """,
    re.VERBOSE | re.DOTALL,
)
_COUNTS = re.compile(r"\{([0-9]+),?([0-9]*)\}")
_CLASS_SET = re.compile(
    rf"\[:\^?(?:alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]|{_ESCAPED_SET}"
)
_CLASS_CHARACTER = re.compile(rf"{_ESCAPED_CHARACTER}|[^\\]", re.DOTALL)


def scan_regex(pattern: str) -> list[Item]:
    """All words of `pattern`, in order and without gaps. Raises BadRegex."""
    items: list[Item] = []
    names: set[str] = set()
    at = 0
    while at < len(pattern):
        if pattern[at] == "[":
            items.append(Item(ItemKind.CLASS, at, _class_end(pattern, at)))
        else:
            word = _WORD.match(pattern, at)
            if word is None:
                raise BadRegex(at, _why_not(pattern, at))
            if (name := word["name"]) in names:
                raise BadRegex(at, f"two groups are named {shown(name)}")
            if name:
                names.add(name)
            # lastgroup would be the group's name where there is one
            kind = ItemKind.OPEN if name else ItemKind[word.lastgroup or ""]
            items.append(Item(kind, at, word.end()))
        at = items[-1].end
    _check_structure(pattern, items)
    return items


def _class_end(pattern: str, start: int) -> int:
    at = start + 1
    if pattern[at : at + 1] == "^":
        at += 1
    first = True
    while first or pattern[at : at + 1] != "]":
        if at >= len(pattern):
            raise BadRegex(start, "this [ is never closed")
        first = False
        if whole_set := _CLASS_SET.match(pattern, at):
            at = whole_set.end()
            continue
        low = _class_character(pattern, at)
        at = low.end()
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] not in ("]", ""):
            high = _class_character(pattern, at + 1)
            if _code(high[0]) < _code(low[0]):
                raise BadRegex(low.start(), f"the range {shown(pattern[low.start() : high.end()])} runs backwards")
            at = high.end()
    return at + 1


def _class_character(pattern: str, at: int) -> re.Match[str]:
    character = _CLASS_CHARACTER.match(pattern, at)
    if character is None or pattern.startswith("[:", at):
        raise BadRegex(at, _why_not(pattern, at))
    return character


_CODES = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}


def _code(written: str) -> int:
    if len(written) == 1:
        return ord(written)
    body = written[1:]
    if body[0] == "x":
        return int(body[1:].strip("{}"), 16)
    if body[0].isdigit():
        return int(body, 8)
    return _CODES.get(body, ord(body[0]))


def _check_structure(pattern: str, items: Iterable[Item]) -> None:
    """Brackets balanced, something before each repetition, and no more repetitions than Go multiplies out."""
    opened: list[int] = []
    # per open bracket: how often its most repeated part is multiplied out
    most = [1]
    last = 0
    repeatable = False
    for item in items:
        if item.kind is ItemKind.REPEAT:
            if not repeatable:
                raise BadRegex(
                    item.start, f"nothing stands before {shown(pattern[item.start : item.end])} to be repeated"
                )
            last *= _times(pattern, item)
            if last > MAX_REPEAT:
                raise BadRegex(item.start, f"this is repeated more than {MAX_REPEAT} times")
        elif item.kind is ItemKind.OPEN:
            opened.append(item.start)
            most.append(1)
            if len(opened) > MAX_NESTING:
                raise BadRegex(item.start, f"brackets are nested more than {MAX_NESTING} deep")
        elif item.kind is ItemKind.CLOSE:
            if not opened:
                raise BadRegex(item.start, "this ) was never opened")
            opened.pop()
            last = most.pop()
        else:
            last = 1
        most[-1] = max(most[-1], last)
        repeatable = item.kind in _REPEATABLE
    if opened:
        raise BadRegex(opened[-1], "this ( is never closed")


_REPEATABLE = {ItemKind.CHARACTER, ItemKind.ESCAPE, ItemKind.CLASS, ItemKind.QUOTED, ItemKind.CLOSE}


def _times(pattern: str, item: Item) -> int:
    counts = _COUNTS.match(pattern, item.start, item.end)
    if counts is None:
        return 1
    least, most = counts.groups()
    # longer ones are too many anyway, and int() refuses very long ones
    if max(len(least), len(most)) > len(str(MAX_REPEAT)):
        return MAX_REPEAT + 1
    if most and int(most) < int(least):
        raise BadRegex(item.start, f"the counts of {shown(pattern[item.start : item.end])} run backwards")
    return max(int(most or least), 1)


def _why_not(pattern: str, at: int) -> str:
    if pattern.startswith(("(?=", "(?!", "(?<=", "(?<!"), at):
        return "RE2 has no lookahead and no lookbehind"
    if pattern.startswith("(?", at):
        return "RE2 does not know this kind of group"
    if pattern.startswith("[:", at):
        return "RE2 does not know this kind of class; a [ that stands for itself is written \\["
    if at + 1 == len(pattern):
        return "nothing follows the backslash; one that stands for itself is written \\\\"
    if pattern[at + 1] in "123456789":
        return "RE2 has no backreferences"
    if pattern.startswith("\\Q", at):
        return "\\Q is followed by nothing, or has no \\E"
    if pattern.startswith("\\E", at):
        return "this \\E ends no \\Q"
    return f"RE2 does not know the escape {shown(pattern[at : at + 2])}"
