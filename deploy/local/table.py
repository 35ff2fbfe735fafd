"""The table at the end: which rule applies to which hosts, and what Prometheus itself says fires."""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import Final

import aiohttp

from deploy.local.demo import ALERT, Applied
from deploy.local.exporter import BUSY

_HEAD: Final = ("group", "hosts", "rule that applies", "threshold", "fires in Prometheus")
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


def table(applied: Sequence[Applied], firing: Collection[str]) -> str:
    """One row for the hosts of a group that share a rule and fire alike. firing: hosts."""
    rows = [_HEAD, *_rows(applied, firing)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def expected(applied: Sequence[Applied]) -> frozenset[str]:
    """The hosts whose alert has to fire: all of them are busy for the same part of the time."""
    return frozenset(each.host for each in applied if each.enabled and each.threshold < 100 * BUSY)


def judged(firing: frozenset[str], should: frozenset[str]) -> str:
    """Whether Prometheus does what the rules say, and where not."""
    if firing == should:
        return "the alerts in Prometheus are as the rules say they should be"
    missing = [f"{host} should fire and does not" for host in sorted(should - firing)]
    surplus = [f"{host} fires and should not" for host in sorted(firing - should)]
    return f"the alerts in Prometheus are NOT as the rules say: {', '.join(missing + surplus)}"


async def firing_in(prometheus: str) -> frozenset[str]:
    """The hosts whose alert fires, as Prometheus tells. prometheus: its URL."""
    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT) as session,
        session.get(f"{prometheus}/api/v1/alerts", raise_for_status=True) as answer,
    ):
        alerts = (await answer.json())["data"]["alerts"]
    return frozenset(
        alert["labels"]["instance"]
        for alert in alerts
        if alert["labels"]["alertname"] == ALERT and alert["state"] == "firing" and "instance" in alert["labels"]
    )


def _rows(applied: Sequence[Applied], firing: Collection[str]) -> Iterator[tuple[str, ...]]:
    def alike(each: Applied) -> tuple[str, str, str, str]:
        threshold = f"{each.threshold:g} %" if each.enabled else "off" if each.rule_id else "-"
        return each.group, each.rule_id or "none", threshold, "yes" if each.host in firing else "no"

    for (group, rule, threshold, fires), some in groupby(applied, alike):
        yield group, " ".join(each.host for each in some), rule, threshold, fires
