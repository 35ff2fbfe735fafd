"""A figure: what was measured, the floor that was measured beside it, and whether the bound is kept."""

import json
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Figure:
    """median, p99, floor, floor_p99: seconds. floor: what the same takes without Rulecast; None where there is no such.

    bound: in words. facts: what else was counted, by name.
    """

    name: str
    median: float
    p99: float
    samples: int
    bound: str
    reached: bool
    floor: float | None = None
    floor_p99: float | None = None
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        return self.median / self.floor if self.floor else None

    def as_json(self) -> dict[str, object]:
        return {
            "median": self.median,
            "p99": self.p99,
            "samples": self.samples,
            "floor": self.floor,
            "floor_p99": self.floor_p99,
            "ratio": self.ratio,
            "bound": self.bound,
            "reached": self.reached,
            **self.facts,
        }


@dataclass(slots=True)
class Beside:
    """Seconds of the same thing, by Rulecast and by hand, taken in turns so that whatever disturbs hits both."""

    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)

    def figure(self, name: str, bound: str, reached: bool, **facts: float) -> Figure:
        return Figure(
            name,
            median(self.ours),
            p99(self.ours),
            len(self.ours),
            bound,
            reached,
            median(self.floor) if self.floor else None,
            p99(self.floor) if self.floor else None,
            facts,
        )

    @property
    def ratio(self) -> float:
        return median(self.ours) / median(self.floor)

    @property
    def above(self) -> float:
        """Seconds above the floor, in the median."""
        return median(self.ours) - median(self.floor)


async def beside(ours: Step, floor: Step, times: int, *, uncounted: int = 1) -> Beside:
    """Does both so many times in turns, after a few times that do not count."""
    found = Beside()
    for at in range(uncounted + times):
        took = await timed(ours), await timed(floor)
        if at >= uncounted:
            found.ours.append(took[0])
            found.floor.append(took[1])
    return found


async def timed(step: Step) -> float:
    """Seconds."""
    began = time.perf_counter()
    await step()
    return time.perf_counter() - began


def p99(values: Sequence[float]) -> float:
    """The value that 99 of 100 do not exceed; the greatest of fewer than 100."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)) - 1)]


def table(figures: Iterable[Figure]) -> str:
    rows = [("", "median", "p99", "floor", "ratio", "n", "", "bound")]
    rows += [
        (
            each.name,
            _seconds(each.median),
            _seconds(each.p99),
            _seconds(each.floor),
            f"{each.ratio:.2f}" if each.ratio else "",
            str(each.samples),
            "ok" if each.reached else "MISSED",
            "; ".join([each.bound, *(f"{name} {value:,.4g}" for name, value in each.facts.items())]),
        )
        for each in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(7)]
    return "\n".join(
        "  ".join(
            (row[0].ljust(widths[0]), *(row[column].rjust(widths[column]) for column in range(1, 7)), row[7])
        ).rstrip()
        for row in rows
    )


def save(figures: Iterable[Figure], path: Path) -> None:
    """Adds them to those that are in the file, in place of those of the same name; with the load of the machine, which
    tells whether others were at work.
    """
    known = json.loads(path.read_text()) if path.exists() else {}
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    known.update({each.name: {**each.as_json(), **machine} for each in figures})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=2) + "\n")


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
