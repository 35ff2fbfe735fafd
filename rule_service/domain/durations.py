"""Durations as Prometheus writes them: `1h30m`, `90s`, `0s`."""

import re

from rule_service.domain.wording import shown
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason

_MILLISECONDS = {
    "y": 365 * 24 * 60 * 60 * 1000,
    "w": 7 * 24 * 60 * 60 * 1000,
    "d": 24 * 60 * 60 * 1000,
    "h": 60 * 60 * 1000,
    "m": 60 * 1000,
    "s": 1000,
    "ms": 1,
}
_DURATION = re.compile(
    r"(?:([0-9]+)y)?(?:([0-9]+)w)?(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?"
)
# Prometheus counts nanoseconds in an int64: about 292 years
_LONGEST = (2**63 - 1) // 1_000_000
_LONGEST_DIGITS = len(str(_LONGEST))

_EXPECTED = "a duration is written as Prometheus does: whole numbers with y, w, d, h, m, s, ms in this order"
_WORDS = {
    "y": ("y", "yr", "yrs", "year", "years"),
    "w": ("w", "wk", "wks", "week", "weeks"),
    "d": ("d", "day", "days"),
    "h": ("h", "hr", "hrs", "hour", "hours"),
    "m": ("m", "min", "mins", "minute", "minutes"),
    "s": ("s", "sec", "secs", "second", "seconds"),
    "ms": ("ms", "msec", "msecs", "millisecond", "milliseconds"),
}
_UNIT_OF_WORD = {word: unit for unit, words in _WORDS.items() for word in words}
_AMOUNT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]+)[\s,]*(?:and\b\s*)?", re.ASCII)
_HINTED_LENGTH = 64


def parse_duration(text: str, field: str = "") -> int:
    """Milliseconds, by the rules of Prometheus's `model.ParseDuration`.

    Each unit of y w d h m s ms at most once, in this order, with a whole number; `0` needs no unit.
    Raises InvalidInput (DURATION_INVALID) for `field`, with what would be right where the meaning is plain.
    """
    if text == "0":
        return 0
    parts = _DURATION.fullmatch(text)
    if not text or parts is None:
        raise _invalid(field, f"{shown(text)} is not a duration: {_EXPECTED}, e.g. {_suggestion(text)}")
    total = 0
    for digits, milliseconds in zip(parts.groups(), _MILLISECONDS.values(), strict=True):
        significant = (digits or "").lstrip("0")
        # int() itself refuses very long numbers
        if len(significant) > _LONGEST_DIGITS:
            total = _LONGEST + 1
            break
        total += int(significant or "0") * milliseconds
    if total > _LONGEST:
        raise _invalid(field, f"{shown(text)} is longer than Prometheus can count: at most {format_duration(_LONGEST)}")
    return total


def format_duration(milliseconds: int) -> str:
    """The text Prometheus itself shows for a duration of 0 or more; `parse_duration` reads it back.

    Years and weeks are used only where nothing is left over: 90d, not 12w6d.
    """
    if milliseconds == 0:
        return "0s"
    written = ""
    for unit, size in _MILLISECONDS.items():
        if unit in ("y", "w") and milliseconds % size:
            continue
        count, milliseconds = divmod(milliseconds, size)
        if count:
            written += f"{count}{unit}"
    return written


def _invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput.of(field, Reason.DURATION_INVALID, message)


def _suggestion(text: str) -> str:
    """The duration the author most likely means, or a general example."""
    text = text.strip().lower()
    if len(text) > _HINTED_LENGTH:
        return "5m"
    if re.fullmatch(r"[0-9]+", text):
        return f"{text}s or {text}m"
    total = 0.0
    at = 0
    while at < len(text):
        amount = _AMOUNT.match(text, at)
        unit = _UNIT_OF_WORD.get(amount[2]) if amount else None
        if amount is None or unit is None:
            return "5m"
        total += float(amount[1]) * _MILLISECONDS[unit]
        at = amount.end()
    fits = 0 < round(total) <= _LONGEST
    return format_duration(round(total)) if fits else "5m"
