"""`python -m tests.benchmarks.picture`: the figures of `docs/*/performance.md`, and their picture of how cost grows.

They are from `bench/results.json`.

Both axes are logarithmic: a cost that does not grow is a level line, one that is linear rises by one decade in one.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploy.local.process import REPOSITORY
from tests.benchmarks.__main__ import RESULTS

PAGES = tuple(REPOSITORY / "docs" / language / "performance.md" for language in ("en", "kr"))
PICTURE = REPOSITORY / "docs" / "en" / "performance.svg"
WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 230, 30, 50
SIZES = {"100": 100, "1k": 1_000, "10k": 10_000, "100k": 100_000}
FIRST, LAST = 0.001, 100.0
"""Seconds at the bottom and at the top."""

FACTS = (
    "reloads",
    "per_second",
    "bare_per_second",
    "rendered_per_second",
    "stored_per_second",
    "memory_mb",
    "memory_when_staged_mb",
    "database_mb",
    "kb_per_stream",
)
STAGES = {
    "stage_rule_service": "rule service",
    "stage_validate": "promtool at the deployer",
    "stage_reload": "reload",
    "stage_verify": "reading the rules back",
    "stage_rest_of_deployer": "rest of the deployer",
}

CURVES: Sequence[tuple[str, str, str, str]] = (
    ("edit to ACTIVE", "edit_to_active_{}", "median", "#c0392b"),
    ("the same by hand", "edit_to_active_{}", "floor", "#e6a79f"),
    ("an edit's RPC", "edit_rpc_{}", "median", "#1f618d"),
    ("one promtool", "edit_rpc_{}", "floor", "#a9cce3"),
    ("its RPC, no promtool", "edit_rpc_{}_unchecked", "median", "#1e8449"),
    ("PostgreSQL alone", "edit_rpc_{}_unchecked", "floor", "#a9dfbf"),
    ("RegenerateAll", "full_{}", "median", "#6c3483"),
)


def main() -> None:
    results = json.loads(RESULTS.read_text())
    PICTURE.write_text("\n".join(_picture(results)) + "\n")
    tables = {"figures": list(_figures(results)), "stages": list(_stages(results))}
    for page in PAGES:
        text = page.read_text()
        for mark, lines in tables.items():
            before, rest = text.split(f"<!-- {mark} -->\n")
            after = rest.split(f"<!-- end of {mark} -->\n")[1]
            text = f"{before}<!-- {mark} -->\n" + "\n".join(lines) + f"\n<!-- end of {mark} -->\n{after}"
        page.write_text(text)


def _picture(results: Mapping[str, Any]) -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
    yield ' font-family="sans-serif" font-size="12">'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    yield from _axes()
    ends: list[tuple[float, str, str]] = []
    for words, pattern, what, colour in CURVES:
        points = [
            (size, float(results[name][what]))
            for label, size in SIZES.items()
            if (name := pattern.format(label)) in results and results[name][what]
        ]
        if not points:
            continue
        path = " ".join(f"{_x(size):.1f},{_y(seconds):.1f}" for size, seconds in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{_x(s):.1f}" cy="{_y(t):.1f}" r="3" fill="{colour}"/>' for s, t in points)
        ends.append((_y(points[-1][1]), words, colour))
    yield from _legend(ends)
    yield "</svg>"


def _figures(results: Mapping[str, Any]) -> Iterator[str]:
    yield "| name | median | p99 | floor | ratio | to reach | load |"
    yield "|---|---|---|---|---|---|---|"
    for name, each in results.items():
        ratio = f"{each['ratio']:.2f}" if each["ratio"] else ""
        kept = "" if each["reached"] else " **missed**"
        facts = "".join(f"; {fact} {each[fact]:,.4g}" for fact in FACTS if fact in each)
        cells = (
            name,
            words(each["median"]),
            words(each["p99"]),
            words(each["floor"]),
            ratio,
            f"{each['bound']}{facts}{kept}",
        )
        load = f"{each['load']:.1f}" if "load" in each else ""
        yield f"| {' | '.join(cells)} | {load} |"


def _stages(results: Mapping[str, Any]) -> Iterator[str]:
    yield "| edit to ACTIVE | whole | " + " | ".join(STAGES.values()) + " |"
    yield "|---|---|" + "---|" * len(STAGES)
    for name, each in results.items():
        if "stage_reload" in each:
            yield f"| {name} | {words(each['median'])} | " + " | ".join(words(each[stage]) for stage in STAGES) + " |"


def words(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def _axes() -> Iterator[str]:
    for exponent in range(round(math.log10(FIRST)), round(math.log10(LAST)) + 1):
        seconds = 10.0**exponent
        y = _y(seconds)
        words = f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"
        yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{words}</text>'
    for size in SIZES.values():
        x = _x(size)
        yield f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{size:,}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text x="{middle:.1f}" y="{HEIGHT - 12}" text-anchor="middle">rules in the database, 100 in a group</text>'


def _legend(ends: Sequence[tuple[float, str, str]]) -> Iterator[str]:
    """Beside the last point of each curve, and not over one another."""
    at = float(TOP)
    for y, words, colour in sorted(ends):
        at = max(at + 16, y + 4)
        yield f'<text x="{WIDTH - RIGHT + 14}" y="{at:.1f}" fill="{colour}">{words}</text>'


def _x(size: float) -> float:
    share = (math.log10(size) - 2) / 3
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(seconds: float) -> float:
    share = (math.log10(seconds) - math.log10(FIRST)) / (math.log10(LAST) - math.log10(FIRST))
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


if __name__ == "__main__":
    main()
