"""Durations: what Prometheus's model.ParseDuration takes, and what a person is told otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rule_service.domain.durations import format_duration, parse_duration
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason

LONGEST = 9_223_372_036_854
YEAR = 365 * 24 * 60 * 60 * 1000


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("0y0ms", 0),
        ("1ms", 1),
        ("5m", 300_000),
        ("05m", 300_000),
        ("1h30m", 5_400_000),
        ("90m", 5_400_000),
        ("1000ms", 1000),
        ("1w", 7 * 24 * 3_600_000),
        ("1y1w1d1h1m1s1ms", YEAR + 7 * 24 * 3_600_000 + 24 * 3_600_000 + 3_600_000 + 60_000 + 1000 + 1),
        ("292y", 292 * YEAR),
        ("9223372036854ms", LONGEST),
        ("0" * 5000 + "1s", 1000),
    ],
)
def test_a_duration_is_read_as_prometheus_reads_it(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("5 minutes", "5m"),
        ("5 min", "5m"),
        ("5M", "5m"),
        (" 5m", "5m"),
        ("5m\n", "5m"),
        ("1.5h", "1h30m"),
        ("30m1h", "1h30m"),
        ("1m1m", "2m"),
        ("1 hour, 5 minutes", "1h5m"),
        ("1 hour and 5 minutes", "1h5m"),
        ("0.5s", "500ms"),
        ("5", "5s or 5m"),
        ("", "5m"),
        ("-5m", "5m"),
        ("+5m", "5m"),
        ("soon", "5m"),
        ("5µs", "5m"),
        ("٥m", "5m"),
        ("5m;drop", "5m"),
        ("x" * 100_000, "5m"),
    ],
)
def test_another_spelling_is_refused_with_the_right_one(text: str, right: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_duration(text, "rule.config.for_duration")
    [violation] = refused.value.violations
    assert (violation.field, violation.reason) == ("rule.config.for_duration", Reason.DURATION_INVALID)
    assert violation.message.endswith(f"e.g. {right}")
    assert len(violation.message) < 400


@pytest.mark.parametrize("text", ["293y", "9223372036855ms", "292y52w", "9" * 30 + "s", "1" * 5000 + "y"])
def test_what_overflows_prometheuss_nanoseconds_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="longer than Prometheus can count") as refused:
        parse_duration(text)
    assert refused.value.reason is Reason.DURATION_INVALID


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (90_000, "1m30s"),
        (5_400_000, "1h30m"),
        (7 * 24 * 3_600_000, "1w"),
        (90 * 24 * 3_600_000, "90d"),
        (YEAR, "1y"),
        (YEAR + 1, "365d1ms"),
    ],
)
def test_a_duration_is_written_as_prometheus_writes_it(milliseconds: int, text: str) -> None:
    assert format_duration(milliseconds) == text


@given(st.integers(0, LONGEST))
def test_what_is_written_reads_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds
