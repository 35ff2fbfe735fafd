"""The deployer's process: plan, stage, validate, commit, reload, verify, report, roll back, recover.

    pipeline = Pipeline(Parts(directory, journal, checker, prometheus, clock), PipelinePolicy(...))
    await pipeline.recover()                # once, first: takes the directory's lock, finishes what a crash left
    group.create_task(pipeline.run(), name="pipeline")   # for ever: tries what is deferred again, looks for drift
    result = await pipeline.apply(batch)    # -> BatchResult; no fault of a file, the disk or Prometheus is raised
    result = await pipeline.reload()        # -> ReloadResult; raises when Prometheus can not be reloaded
    reports = await pipeline.validate()     # -> what promtool refuses of our files on disk; raises without promtool
    result = await pipeline.check_drift()   # -> DriftResult; run() does it too, every `drift_interval`
    reports = await pipeline.news()         # waits for what happened to files by itself, also what recover() found
    files = await pipeline.list_files()     # -> tuple[DeployedFile, ...]
    await pipeline.remember(epoch=7, history_id="...")   # kept over restarts, see state().record
    state = pipeline.state()                # PipelineState, without any I/O
    await pipeline.close()                  # releases the lock

All coroutines take turns. What a cancelled one left half done, the next one finishes first.

Whose fault it is decides what becomes of a file. Its own: REJECTED or ROLLED_BACK, and the disk is as it was. That of
the surroundings: DEFERRED, and the pipeline goes on trying until it is ACTIVE. So it is for a Prometheus that is down,
and also for one that nobody may reload (reloading switched off, or refused): the file is in place, and ACTIVE once
Prometheus is seen to run it, whoever reloaded it. A new file that could not be written waits in memory.
"""

import asyncio
import itertools
from collections.abc import Collection
from dataclasses import dataclass, replace

import structlog

from deployer_service.pipeline.deployment import Deployment, Reports
from deployer_service.pipeline.ports import Parts, PipelinePolicy
from deployer_service.pipeline.report import News, news_in, reports_of, with_troubles
from deployer_service.pipeline.validate import check_files
from deployer_service.state import (
    Active,
    Batch,
    BatchResult,
    Deferred,
    DeployedFile,
    FileReport,
    Outcome,
    PipelineState,
    Rejected,
    RolledBack,
    Unchanged,
    Why,
    file_set,
)
from rulecast.errors import RulecastError

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """reports: the files that Prometheus does not run as they are on disk. took: seconds."""

    reports: tuple[FileReport, ...]
    took: float


@dataclass(frozen=True, slots=True)
class DriftResult:
    """drifted: names of the files that somebody else changed, added or removed since the last look.

    reports: what became of them. Active: put right, and Prometheus runs it. Deferred with the reason DRIFT: its content
    is gone here too, so the rule service has to send it again; it sees so by the manifest hash.
    """

    drifted: tuple[str, ...]
    reports: tuple[FileReport, ...]


class Pipeline:
    """All that is done to the rule directory and to Prometheus, one thing at a time."""

    def __init__(self, parts: Parts, policy: PipelinePolicy) -> None:
        self._parts = parts
        self._policy = policy
        self._here = Deployment(parts, policy)
        self._turn = asyncio.Lock()
        self._news = News()
        self._unfinished = asyncio.Event()
        self._pruned_at = -1

    async def recover(self) -> None:
        """Raises FailedPrecondition (DUPLICATE_DEPLOYER), or Unavailable when the disk does not allow it."""
        async with self._turn:
            here = self._here
            await here.prepare()
            await here.look()
            here.doubtful = frozenset(here.record.files)
            await self._publish(await here.check(here.unproven))

    async def run(self) -> None:
        """For ever: tries what is deferred again, and looks for drift."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_trying(), name="pipeline: deferred files")
            group.create_task(self._keep_watching(), name="pipeline: drift")

    async def apply(self, batch: Batch) -> BatchResult:
        """Does what the batch says. The result has one report for each file it names; news() has the others."""
        async with self._turn:
            here = self._here
            asked = batch.puts.keys() | batch.deletes
            for name in asked:
                here.pending.pop(name, None)
            reports = await here.carry_out(batch)
            here.record = replace(here.record, revision=batch.to_revision, commit_id=batch.commit_id)
            await self._publish(reports, asked)
            outcomes = {name: reports[name] for name in sorted(asked)}
            return BatchResult(outcomes, batch.to_revision, file_set(here.record.files))

    async def reload(self) -> ReloadResult:
        """Reloads whatever changed, and verifies all files.

        Raises what `Prometheus.reload` does, FailedPrecondition (RELOAD_DISABLED), or Unavailable with the disk's
        reason.
        """
        async with self._turn:
            here = self._here
            began = self._parts.clock.monotonic()
            await here.prepare()
            verdict, reports = await here.make_run(here.unproven | here.record.files.keys())
            await self._publish(reports)
            if verdict.reload_error is not None:
                raise verdict.reload_error
            not_running = tuple(report for report in reports.values() if not isinstance(report.outcome, Active))
            return ReloadResult(not_running, self._parts.clock.monotonic() - began)

    async def validate(self) -> tuple[FileReport, ...]:
        """Runs promtool over all files of ours as they are on disk.

        Raises FailedPrecondition (CONFIG_CHECK_FAILED) where Prometheus's configuration is checked too, and Unavailable
        when it can not tell.
        """
        async with self._turn:
            directory, hashes = self._parts.directory, await self._parts.directory.scan()
            refused = await check_files(self._parts.checker, {name: directory.path / name for name in hashes})
            if self._parts.config_checker is not None:
                await self._parts.config_checker.check()
            fates: dict[str, Outcome] = {name: Rejected(why) for name, why in sorted(refused.items())}
            return tuple(reports_of(fates, hashes, self._parts.clock.now()).values())

    async def check_drift(self) -> DriftResult:
        """Compares disk and Prometheus with the record, and puts right what somebody else changed."""
        async with self._turn:
            here = self._here
            here.forget_drift()
            try:
                await here.prepare()
            except RulecastError as error:
                log.warning("drift can not be put right", reason=error.reason, error=str(error))
                fates: dict[str, Outcome] = dict.fromkeys(here.drifted, Deferred(Why.of(error)))
                reports = reports_of(fates, file_set(here.record.files), self._parts.clock.now())
            else:
                await here.look()
                reports = await here.check(here.unproven)
            await self._publish(reports)
            return DriftResult(here.drifted, tuple(reports[name] for name in here.drifted if name in reports))

    async def news(self) -> tuple[FileReport, ...]:
        """The newest report of each file whose fate changed without being asked; waits until there is one.

        What was fetched is not told again; `state().record.troubles` has all that are not active.
        """
        return await self._news.get()

    async def list_files(self) -> tuple[DeployedFile, ...]:
        """The files of ours on disk, by name."""
        files = self._here.record.files
        found = await self._parts.directory.stat(tuple(files))
        return tuple(
            DeployedFile(
                name,
                str(self._parts.directory.path / name),
                files[name],
                found[name].size_bytes,
                found[name].modified_at,
                self._outcome(name),
            )
            for name in sorted(found)
        )

    async def remember(self, *, epoch: int | None = None, history_id: str | None = None) -> None:
        """Keeps them over restarts; None leaves one as it is. A revision is one of its history: another begins at 0."""
        async with self._turn:
            record = self._here.record
            if epoch is not None:
                record = replace(record, epoch=epoch)
            if history_id is not None and history_id != record.history_id:
                record = replace(record, history_id=history_id, revision=0, commit_id="")
            self._here.record = record
            await self._here.save()

    async def forget_lost(self) -> None:
        """The files on disk are all that there should be: those that are gone are not missed any more."""
        async with self._turn:
            gone = dict.fromkeys(sorted(self._here.lost), Active())
            await self._publish(reports_of(gone, file_set(self._here.record.files), self._parts.clock.now()))

    def state(self) -> PipelineState:
        here = self._here
        return PipelineState(
            here.record,
            here.seen,
            here.drifted,
            here.notices,
            frozenset(here.lost),
            here.drifts,
            here.unproven,
            here.rollbacks,
        )

    async def close(self) -> None:
        async with self._turn:
            await self._parts.directory.close()

    def _outcome(self, name: str) -> Outcome:
        outcome = self._here.outcome_of(name)
        return Active() if isinstance(outcome, Unchanged) else outcome

    async def _publish(self, reports: Reports, asked: Collection[str] = ()) -> None:
        here = self._here
        here.lost = {name: report for name, report in here.lost.items() if name not in reports}
        reports = {**reports, **here.lost}
        for report in reports.values():
            if isinstance(report.outcome, Rejected | RolledBack | Deferred):
                why = report.outcome.why
                log.warning("file not active", file=report.file_name, reason=why.reason, error=why.message)
        news = news_in(here.record, (report for name, report in reports.items() if name not in asked))
        here.record = with_troubles(here.record, reports.values())
        await here.save()
        if here.record.generation != self._pruned_at:
            await self._prune()
        self._news.put(news)
        if here.unproven or here.pending:
            self._unfinished.set()
        else:
            self._unfinished.clear()

    async def _prune(self) -> None:
        try:
            await self._here.prune()
        except RulecastError as error:
            log.warning("old contents not removed", reason=error.reason, error=str(error))
        else:
            self._pruned_at = self._here.record.generation

    async def _keep_trying(self) -> None:
        while True:
            await self._unfinished.wait()
            for delay in itertools.chain(
                self._policy.deferred_delays, itertools.repeat(self._policy.deferred_delays[-1])
            ):
                await self._parts.clock.sleep(delay)
                await self._try_again()
                if not self._unfinished.is_set():
                    break

    async def _keep_watching(self) -> None:
        while True:
            await self._parts.clock.sleep(self._policy.drift_interval)
            await self.check_drift()

    async def _try_again(self) -> None:
        async with self._turn:
            here = self._here
            try:
                await here.prepare()
            except RulecastError as error:
                log.warning("still deferred", reason=error.reason, error=str(error))
                return
            await here.look()
            reports = await here.check(here.unproven)
            loading = True
            if here.pending and here.seen.up and not here.seen.last_reload_ok:
                # nothing is put in place that might be to blame while what is there does not load
                verdict, more = await here.make_run(here.unproven | here.record.files.keys())
                reports.update(more)
                loading = verdict.reload_error is None
            if here.pending and loading:
                puts = {name: put for name, put in here.pending.items() if put is not None}
                deletes = frozenset(here.pending.keys() - puts.keys())
                here.pending.clear()
                # it was asked for when the deletions were first carried out
                batch = Batch(puts, deletes, here.record.revision, mass_deletion_allowed=True)
                reports.update(await here.carry_out(batch))
            await self._publish(reports)
