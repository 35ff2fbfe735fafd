"""The deployer's process: plan, stage, validate, commit, reload, verify, report, roll back, recover.

Public interface (all coroutines take turns; a cancelled one leaves nothing half done that the next does not finish):

    pipeline = Pipeline(Parts(directory, journal, checker, prometheus, clock), PipelinePolicy(...))
    reports = await pipeline.recover()      # once, first: takes the directory's lock, finishes what a crash left
    async with TaskGroup: pipeline.run()    # for ever: tries what is deferred again, looks for drift
    result = await pipeline.apply(batch)    # -> BatchResult; raises nothing for a fault of one file or the machine
    result = await pipeline.reload()        # -> ReloadResult: reloads whatever changed, verifies all files
    reports = await pipeline.validate()     # -> tuple[FileReport, ...]: what promtool refuses of our files on disk
    report = await pipeline.check_drift()   # -> DriftResult; run() does it too, every `drift_interval`
    reports = await pipeline.news()         # waits for files that became Active or got into trouble by themselves
    files = await pipeline.list_files()     # -> tuple[DeployedFile, ...]
    await pipeline.remember(epoch=7, history_id="...")   # persisted, see state().record
    state = pipeline.state()                # PipelineState, no I/O
    await pipeline.close()                  # releases the lock
"""

from dataclasses import dataclass

from deployer_service.pipeline.ports import Parts, PipelinePolicy
from deployer_service.state import Batch, BatchResult, DeployedFile, FileReport, PipelineState


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """reports: the files that Prometheus does not run as they are on disk. took: seconds."""

    reports: tuple[FileReport, ...]
    took: float


@dataclass(frozen=True, slots=True)
class DriftResult:
    """drifted: names of the files that somebody else changed, added or removed since the last look.

    reports: what became of them; Active means put right. lost: files whose content is gone here too; the rule service
    has to send them again (the manifest hash says so).
    """

    drifted: tuple[str, ...]
    reports: tuple[FileReport, ...]
    lost: tuple[str, ...] = ()


class Pipeline:
    """All that is done to the rule directory and to Prometheus, one thing at a time."""

    def __init__(self, parts: Parts, policy: PipelinePolicy) -> None: ...

    async def recover(self) -> tuple[FileReport, ...]: ...

    async def run(self) -> None: ...

    async def apply(self, batch: Batch) -> BatchResult: ...

    async def reload(self) -> ReloadResult: ...

    async def validate(self) -> tuple[FileReport, ...]: ...

    async def check_drift(self) -> DriftResult: ...

    async def news(self) -> tuple[FileReport, ...]: ...

    async def list_files(self) -> tuple[DeployedFile, ...]: ...

    async def remember(self, *, epoch: int | None = None, history_id: str | None = None) -> None: ...

    def state(self) -> PipelineState: ...

    async def close(self) -> None: ...
