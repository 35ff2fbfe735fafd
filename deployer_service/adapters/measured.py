"""The pipeline's ports with a stopwatch around what takes time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from deployer_service.pipeline.ports import Checker, Clock, Configuration, Loaded, Prometheus
from deployer_service.state import PrometheusStatus, Why
from rulecast.errors import RulecastError
from rulecast.reasons import Reason


class StepMetrics(Protocol):
    """Where the measurements go. Seconds; the steps are `validate`, `reload` and `verify`."""

    def step(self, name: str, seconds: float) -> None: ...

    def reload_failed(self, reason: Reason) -> None: ...


@contextmanager
def _timed(clock: Clock, report: Callable[[float], None]) -> Iterator[None]:
    start = clock.monotonic()
    try:
        yield
    finally:
        report(clock.monotonic() - start)


class MeasuredChecker:
    def __init__(self, inner: Checker, metrics: StepMetrics, clock: Clock) -> None:
        self._inner = inner
        self._metrics = metrics
        self._clock = clock

    async def check(self, files: Sequence[Path]) -> Mapping[Path, Why]:
        with _timed(self._clock, lambda seconds: self._metrics.step("validate", seconds)):
            return await self._inner.check(files)


class MeasuredPrometheus:
    """ask_ready: False where `/-/ready` is not to be asked."""

    def __init__(self, inner: Prometheus, metrics: StepMetrics, clock: Clock, *, ask_ready: bool = True) -> None:
        self._inner = inner
        self._metrics = metrics
        self._clock = clock
        self._ask_ready = ask_ready

    @property
    def address(self) -> str:
        return self._inner.address

    @property
    def directories(self) -> tuple[str, ...]:
        return self._inner.directories

    async def check_ready(self) -> None:
        if self._ask_ready:
            await self._inner.check_ready()

    async def reload(self, timeout: float) -> None:
        with _timed(self._clock, lambda seconds: self._metrics.step("reload", seconds)):
            try:
                await self._inner.reload(timeout)
            except RulecastError as error:
                self._metrics.reload_failed(error.reason)
                raise

    async def status(self) -> PrometheusStatus:
        return await self._inner.status()

    async def loaded(self, names: frozenset[str] | None = None) -> Loaded:
        with _timed(self._clock, lambda seconds: self._metrics.step("verify", seconds)):
            return await self._inner.loaded(names)

    async def configuration(self) -> Configuration:
        return await self._inner.configuration()
