"""The pipeline's real parts, together, for tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from deployer_service.adapters.clock import SystemClock
from deployer_service.adapters.disk import Disk, DiskThread
from deployer_service.adapters.journal import FileJournal
from deployer_service.adapters.prometheus import PrometheusHttp, directories_of
from deployer_service.adapters.promtool import PromtoolChecker
from deployer_service.adapters.rule_directory import LocalRuleDirectory
from deployer_service.pipeline.ports import Parts, PipelinePolicy, ReloadPolicy
from deployer_service.pipeline.run import Pipeline
from rulecast.process.promtool import Promtool
from tests.support.ordinary import heed_permissions

QUICK = PipelinePolicy(
    reload=ReloadPolicy(timeout=20.0, retry_delays=(0.05, 0.1, 0.2), min_interval=0.0),
    deferred_delays=(0.05, 0.1, 0.2),
    drift_interval=0.2,
)
"""As in production, but for the waiting."""


@dataclass(frozen=True)
class Deployer:
    """A pipeline on real parts, and what it works on."""

    pipeline: Pipeline
    rules: Path
    prometheus: PrometheusHttp

    def on_disk(self) -> dict[str, bytes]:
        """What a glob `*.yml` or `*.yaml` finds, dotfiles included, as Prometheus's does."""
        return files_matched(self.rules)


def files_matched(rules: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in rules.iterdir() if path.suffix in (".yml", ".yaml")}


@asynccontextmanager
async def deployer(
    rules: Path,
    url: str,
    promtool: Path,
    *,
    policy: PipelinePolicy = QUICK,
    disk: Disk | None = None,
    ordinary: bool = False,
    hang_up: Callable[[], int | None] = lambda: None,
    quick: float = 5.0,
    slow: float = 20.0,
    promtool_timeout: float = 30.0,
) -> AsyncIterator[Deployer]:
    """Not yet recovered. Leaving it closes it, as the end of a process does.

    ordinary: permissions stop it, whoever runs it.
    """
    disk = disk or Disk()
    thread = DiskThread()
    if ordinary:
        await thread.run(heed_permissions)
    async with aiohttp.ClientSession() as session:
        prometheus = PrometheusHttp(session, url, directories_of(rules), hang_up, quick=quick, slow=slow)
        parts = Parts(
            LocalRuleDirectory(rules, thread, disk),
            FileJournal(rules, thread, disk),
            PromtoolChecker(Promtool(promtool, promtool_timeout)),
            prometheus,
            SystemClock(),
        )
        pipeline = Pipeline(parts, policy)
        try:
            yield Deployer(pipeline, rules, prometheus)
        finally:
            await pipeline.close()
            thread.close()
