"""How a metric is declared: name, meaning and labels in one value, from which both it and its reference page are made.

Each service declares its metrics as constants of one module, `metrics.py`; `declared` reads them back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Buckets, in seconds, of what is answered at once, most of the time."""
SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Buckets, in seconds, of what runs a program or waits for another process."""


@dataclass(frozen=True, slots=True)
class Metric:
    """name: as it is exposed. meaning: one sentence, with the unit. labels: of few, known values each."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()

    kind: ClassVar[str]


@dataclass(frozen=True, slots=True)
class CounterOf(Metric):
    """Its name ends in `_total`."""

    kind = "counter"

    def make(self, registry: CollectorRegistry) -> Counter:
        return Counter(self.name, self.meaning, self.labels, registry=registry)

    def family(self, value: float | None = None) -> CounterMetricFamily:
        """For a collector: with the value, or to add one for each set of labels."""
        return CounterMetricFamily(self.name, self.meaning, value=value, labels=self.labels or None)


@dataclass(frozen=True, slots=True)
class GaugeOf(Metric):
    kind = "gauge"

    def make(self, registry: CollectorRegistry) -> Gauge:
        return Gauge(self.name, self.meaning, self.labels, registry=registry)

    def family(self, value: float | None = None) -> GaugeMetricFamily:
        """For a collector: with the value, or to add one for each set of labels."""
        return GaugeMetricFamily(self.name, self.meaning, value=value, labels=self.labels or None)


@dataclass(frozen=True, slots=True)
class HistogramOf(Metric):
    """Of seconds. buckets: their upper bounds."""

    buckets: tuple[float, ...] = SLOW

    kind = "histogram"

    def make(self, registry: CollectorRegistry) -> Histogram:
        return Histogram(self.name, self.meaning, self.labels, registry=registry, buckets=self.buckets)


def declared(*modules: ModuleType) -> tuple[CounterOf | GaugeOf | HistogramOf, ...]:
    """The metrics that these modules declare, each module's in its own order."""
    return tuple(_declared(modules))


def _declared(modules: Iterable[ModuleType]) -> Iterable[CounterOf | GaugeOf | HistogramOf]:
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, CounterOf | GaugeOf | HistogramOf):
                yield value
