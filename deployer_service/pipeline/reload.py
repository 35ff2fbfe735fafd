"""Reload: Prometheus is made to load its files, patiently, but never more often than needed."""

from collections.abc import Awaitable, Callable

import structlog

from deployer_service.pipeline.ports import Clock, Prometheus, ReloadPolicy
from rulecast.errors import FailedPrecondition, RulecastError
from rulecast.reasons import Reason

log = structlog.get_logger(__name__)

# Nothing changes by asking again: it was refused for good, or may still be at work.
_FINAL = (Reason.RELOAD_REFUSED, Reason.RELOAD_DISABLED, Reason.RELOAD_TIMEOUT)


class Reloader:
    def __init__(self, prometheus: Prometheus, clock: Clock, policy: ReloadPolicy) -> None:
        self._prometheus = prometheus
        self._clock = clock
        self._policy = policy
        self._last = float("-inf")

    async def reload(self, rules: int, hopeless: Callable[[], Awaitable[bool]], *, patient: bool) -> None:
        """Raises what `Prometheus.reload` does, or FailedPrecondition (RELOAD_DISABLED).

        rules: how many of ours there are. hopeless: asked once a reload has failed, whether the fault was found and
        trying again is in vain. patient: waits for a Prometheus that does not answer, too.
        """
        if not self._policy.enabled:
            raise FailedPrecondition.of(
                "", Reason.RELOAD_DISABLED, "the deployer was told not to reload Prometheus: somebody else has to"
            )
        took = 0.0
        for delay in self._policy.retry_delays:
            began = self._clock.monotonic()
            try:
                await self._once(rules)
                return
            except RulecastError as error:
                log.warning("reload failed", reason=error.reason, error=str(error))
                took += self._clock.monotonic() - began
                if not await self._is_worth_a_retry(error, took, hopeless, patient):
                    raise
            await self._clock.sleep(delay)
        await self._once(rules)

    async def _is_worth_a_retry(
        self, error: RulecastError, took: float, hopeless: Callable[[], Awaitable[bool]], patient: bool
    ) -> bool:
        """took: seconds that the tries have taken, without what was done between them."""
        # one that hangs has used up the time that the delays would take: it is tried twice, so that one that stalls for
        # a few seconds under load is not taken for it
        if error.reason in _FINAL or took > sum(self._policy.retry_delays):
            return False
        if error.reason is Reason.RELOAD_FAILED:
            return not await hopeless()
        return patient

    async def _once(self, rules: int) -> None:
        await self._clock.sleep(max(0.0, self._last + self._policy.min_interval - self._clock.monotonic()))
        # while Prometheus starts, a reload would hang until it has read its log
        await self._prometheus.check_ready()
        self._last = self._clock.monotonic()
        await self._prometheus.reload(max(self._policy.timeout, self._policy.timeout_per_rule * rules))
        log.info("prometheus reloaded", seconds=round(self._clock.monotonic() - self._last, 3))
        status = await self._prometheus.status()
        if not status.last_reload_ok:
            raise FailedPrecondition.of(
                "", Reason.RELOAD_FAILED, "Prometheus took the reload, but says that its last one failed"
            )
