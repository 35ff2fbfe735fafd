"""The table at the end: which rule applies to which group, and what Prometheus itself says fires."""

from collections.abc import Collection, Mapping, Sequence

import aiohttp

from deploy.local.demo import ALERT, Applied
from deploy.local.exporter import BUSY

_HEAD = ("group", "hosts", "rule that applies", "threshold", "fires in Prometheus")
_TIMEOUT = aiohttp.ClientTimeout(total=10)


def table(applied: Sequence[Applied], firing: Mapping[str, Collection[str]]) -> str:
    """firing: the hosts whose alert fires, by group."""
    rows = [_HEAD, *(_row(each, firing.get(each.group, ())) for each in applied)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def expected(applied: Sequence[Applied]) -> dict[str, frozenset[str]]:
    """The hosts that should fire, by group: all of them are busy for the same part of the time."""
    busy = 100 * BUSY
    return {each.group: frozenset(each.hosts if each.enabled and each.threshold < busy else ()) for each in applied}


async def firing_in(prometheus: str) -> dict[str, frozenset[str]]:
    """The hosts whose alert fires, by group, as Prometheus tells. prometheus: its URL."""
    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT) as session,
        session.get(f"{prometheus}/api/v1/alerts") as answer,
    ):
        alerts = (await answer.json())["data"]["alerts"]
    found: dict[str, set[str]] = {}
    for alert in alerts:
        labels = alert["labels"]
        if labels["alertname"] == ALERT and alert["state"] == "firing":
            found.setdefault(labels["group_id"], set()).add(labels["instance"])
    return {group: frozenset(hosts) for group, hosts in found.items()}


def _row(applied: Applied, firing: Collection[str]) -> tuple[str, ...]:
    fires = f"yes: {', '.join(sorted(firing))}" if firing else "no"
    threshold = f"{applied.threshold:g} %" if applied.enabled else "off"
    return applied.group, ", ".join(applied.hosts), applied.rule_id, threshold, fires
