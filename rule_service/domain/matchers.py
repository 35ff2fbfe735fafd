"""Label matchers, and sets of the values of one label, from which they are made (DESIGN 1.1)."""

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from rule_service.domain.promql.strings import quote

_PLAIN_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_META_CHARACTERS = frozenset(r"\.+*?()|[]{}^$")
_META = re.compile(r"[\\.+*?()|\[\]{}^$]")
_PUNCTUATION = frozenset(string.punctuation)


class MatchOp(StrEnum):
    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


def regex_quote(value: str) -> str:
    """The regular expression that matches `value` and nothing else: Go's `regexp.QuoteMeta`."""
    return _META.sub(r"\\\g<0>", value)


def plain_alternatives(regex: str) -> frozenset[str] | None:
    """The strings that an anchored `a|b\\.c` or `(a|b)` matches; None if it is more than alternatives of literals."""
    if regex.startswith("(") and regex.endswith(")"):
        regex = regex[1:-1].removeprefix("?:")
    literals = [""]
    chars = iter(regex)
    for char in chars:
        if char == "|":
            literals.append("")
            continue
        if char == "\\":
            char = next(chars, "")
            if char not in _PUNCTUATION:
                return None
        elif char in _META_CHARACTERS:
            return None
        literals[-1] += char
    return frozenset(literals)


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label matcher. `value` is the plain value, or for `=~` and `!~` the finished regular expression."""

    label: str
    op: MatchOp
    value: str

    def possible_values(self) -> "ValueSet":
        """A set that holds every value this matches: exactly those, where the expression is one of plain literals.

        For other expressions it is as small as can be told without running them: to prove that nothing matches,
        intersect with it; what is not proven may still never match.
        """
        if self.op is MatchOp.EQUAL:
            return ValueSet.of((self.value,))
        if self.op is MatchOp.NOT_EQUAL:
            return ValueSet.of((self.value,)).complement()
        literals = plain_alternatives(self.value)
        if literals is None:
            return ValueSet.present() if (self.op, self.value) == (MatchOp.REGEX, ".+") else ValueSet.all()
        matched = ValueSet(literals)
        return matched if self.op is MatchOp.REGEX else matched.complement()

    def __str__(self) -> str:
        label = self.label if _PLAIN_NAME.fullmatch(self.label) else quote(self.label)
        return f"{label}{self.op}{quote(self.value)}"


@dataclass(frozen=True, slots=True)
class ValueSet:
    """A set of the values of one label; "" is that of a series without the label.

    Finite (`values`), or all values but finitely many (`excluded` and then `values` are those left out).
    """

    values: frozenset[str]
    excluded: bool = False

    @classmethod
    def of(cls, values: Iterable[str]) -> Self:
        return cls(frozenset(values))

    @classmethod
    def all(cls) -> Self:
        return cls(frozenset(), excluded=True)

    @classmethod
    def present(cls) -> Self:
        """Every value but ""."""
        return cls(frozenset({""}), excluded=True)

    @property
    def is_empty(self) -> bool:
        return not self.excluded and not self.values

    def __contains__(self, value: str) -> bool:
        return (value in self.values) != self.excluded

    def complement(self) -> "ValueSet":
        return ValueSet(self.values, not self.excluded)

    def intersect(self, other: "ValueSet") -> "ValueSet":
        if self.excluded and other.excluded:
            return ValueSet(self.values | other.values, excluded=True)
        if self.excluded:
            return ValueSet(other.values - self.values)
        if other.excluded:
            return ValueSet(self.values - other.values)
        return ValueSet(self.values & other.values)

    def minus(self, other: "ValueSet") -> "ValueSet":
        return self.intersect(other.complement())

    def to_matchers(self, label: str) -> tuple[Matcher, ...]:
        """The fewest readable matchers that select exactly this set: none for all values.

        Values are sorted, so the same set gives the same text. Raises ValueError for the empty set, which selects
        no series at all: ask `is_empty` first.
        """
        if self.is_empty:
            raise ValueError(f"no value of {label!r} is left to match")
        if not self.excluded:
            return (_one_or_many(label, self.values, MatchOp.EQUAL, MatchOp.REGEX),)
        # apart from the others: `l!="",l!~"a|b"` reads better than `l!~"|a|b"`
        missing = (Matcher(label, MatchOp.NOT_EQUAL, ""),) if "" in self.values else ()
        named = self.values - {""}
        return (*missing, _one_or_many(label, named, MatchOp.NOT_EQUAL, MatchOp.NOT_REGEX)) if named else missing


def _one_or_many(label: str, values: frozenset[str], one: MatchOp, many: MatchOp) -> Matcher:
    if len(values) == 1:
        return Matcher(label, one, next(iter(values)))
    return Matcher(label, many, "|".join(regex_quote(value) for value in sorted(values)))
