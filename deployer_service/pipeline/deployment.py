"""What is deployed here, and how one batch goes: plan, stage, validate, commit, reload, verify, roll back.

Not for two at a time: `run.Pipeline` gives turns.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

import structlog

from deployer_service.pipeline import coverage
from deployer_service.pipeline.commit import commit, settle
from deployer_service.pipeline.drift import find_drift, put_right
from deployer_service.pipeline.load import Loader, Verdict
from deployer_service.pipeline.plan import Plan, make_plan
from deployer_service.pipeline.ports import WORK_DIRECTORY, Parts, PipelinePolicy
from deployer_service.pipeline.recover import adopt, recover
from deployer_service.pipeline.report import reports_of, with_files, with_proven, with_troubles
from deployer_service.pipeline.rollback import can_go_back, gone_back
from deployer_service.pipeline.stage import stage
from deployer_service.pipeline.validate import validate
from deployer_service.state import (
    Active,
    Batch,
    Deferred,
    FileReport,
    Files,
    FileVersion,
    Notice,
    Outcome,
    PrometheusStatus,
    Put,
    Record,
    RolledBack,
    Unchanged,
    Why,
    differing,
    file_set,
)
from rulecast import tracing
from rulecast.errors import RulecastError
from rulecast.reasons import Reason

log = structlog.get_logger(__name__)

Reports = dict[str, FileReport]

_GRAIN = 1.0  # seconds, of the times that Prometheus tells

_NOT_VERIFIED = Deferred(Why(Reason.NOT_LOADED, "it is in place; Prometheus was not yet asked whether it runs it"))
_CHANGED = Deferred(Why(Reason.DRIFT, "somebody else changed it"))
_RUN_OTHERWISE = Deferred(
    Why(
        Reason.DRIFT,
        "Prometheus runs it otherwise than it did after our last load: somebody else edited it, had it loaded, "
        "and put the file back",
    )
)
_LOST = Deferred(
    Why(Reason.DRIFT, "somebody else changed it, and its content is gone here: the rule service has to send it again")
)


class Deployment:
    """record: what is on disk and what Prometheus was last seen to run. seen: Prometheus, as last seen.

    doubtful: files that were good, but that Prometheus has to be asked about again.
    pending: what could not be put in place and waits in memory; None is a deletion.
    drifted: what was found changed by somebody else since `forget_drift`. drifts: how often that was, since the start.
    rollbacks: how often files were put back as Prometheus last ran them, since the start.
    lost: files whose content is gone here, until the rule service says something about them; what is told of each.
    tampered: files put right after somebody else had changed them. Prometheus may have loaded them as they were then,
    or is known to, and an edit by hand keeps the annotation that a rule is known by: only a load after that tells.
    """

    def __init__(self, parts: Parts, policy: PipelinePolicy) -> None:
        self.record = Record()
        self.seen = PrometheusStatus()
        self.doubtful: frozenset[str] = frozenset()
        self.pending: dict[str, Put | None] = {}
        self.drifted: tuple[str, ...] = ()
        self.drifts = 0
        self.rollbacks = 0
        self.lost: Reports = {}
        self.tampered: frozenset[str] = frozenset()
        self._seen_since: PrometheusStatus | None = None  # Prometheus as first seen after the files were put right
        self._left: tuple[PrometheusStatus, float] | None = None  # Prometheus after our last load, and when that was
        self._as_left = False  # whether Prometheus has loaded nothing since then, as far as can be told
        self.notices: tuple[Notice, ...] = ()
        self._directory = parts.directory
        self._journal = parts.journal
        self._prometheus = parts.prometheus
        self._clock = parts.clock
        self._checker = parts.checker if policy.validate else None
        self._config_checker = parts.config_checker
        self._loader = Loader(parts, policy)
        self._recovered = False
        self._settled = True  # whether the record is known to say what is on disk

    @property
    def unproven(self) -> frozenset[str]:
        """The files that Prometheus is not known to run as they are on disk."""
        return differing(self.record.files, self.record.good) | self.doubtful

    def forget_drift(self) -> None:
        self.drifted = ()

    async def carry_out(self, batch: Batch) -> Reports:
        """One report for each file of the batch, and for others whose fate changed with it."""
        plan = make_plan(self.record.files, batch)
        try:
            await self.prepare()
            plan = make_plan(self.record.files, batch)
            with tracing.span("stage", files=len(plan.puts)):
                await stage(self._directory, plan.puts)
            with tracing.span("validate"):
                checked = await validate(self._directory, self._checker, plan.puts)
                if self._config_checker is not None and (checked.versions or plan.deletes):
                    await self._config_checker.check()
            await self._commit(checked.versions, plan.deletes)
        except RulecastError as error:
            log.warning("batch postponed", reason=error.reason, error=str(error))
            return self._reports(batch, {**self._same(plan), **plan.rejected, **self._postpone(plan, error)})
        reports = self._reports(batch, {**self._same(plan), **plan.rejected, **checked.rejected})
        if checked.versions or plan.deletes:
            _, running = await self.make_run(self.unproven | checked.versions.keys() | plan.deletes)
            reports.update(running)
        return reports

    async def prepare(self) -> None:
        """Before anything else: the directory is there and locked, and is as the record says.

        Raises Unavailable with the disk's reason, or FailedPrecondition (DUPLICATE_DEPLOYER).
        """
        await self._directory.open()
        if not self._recovered:
            self.record = await recover(self._directory, self._journal)
            self._recovered = True
            self.lost = {name: each for name, each in self.record.troubles.items() if each.outcome == _LOST}
        elif not self._settled:
            begun = await self._journal.unfinished()
            if begun is not None:
                self.record = await settle(self._directory, self._journal, begun, self.record)
            else:  # who was cancelled did not see the end of it
                self.record = await self._journal.load() or self.record
        self._settled = True
        await self._repair()

    async def look(self) -> None:
        """Sees how Prometheus is. One that was started or reloaded by others has to be asked for all files again."""
        before = self.seen
        try:
            self.seen = await self._prometheus.status()
            if self._was_loaded_again(before):
                self.doubtful |= self.record.files.keys()
            self._watch_for_load()
            await self._take_notice()
        except RulecastError as error:
            log.warning("prometheus does not answer", error=str(error))
            self.seen = replace(self.seen, up=False)

    async def check(self, names: frozenset[str]) -> Reports:
        """Has Prometheus run these files; it is reloaded only if it does not run them already."""
        if not names:
            return {}
        if not self.seen.up:
            why = Why(Reason.PROMETHEUS_UNREACHABLE, f"Prometheus at {self._prometheus.address} does not answer")
            return self._taken_in(Verdict(deferred=dict.fromkeys(names, why)), names)
        verdict = await self._loader.verify(self.record, names)
        self._run_otherwise(self.record.reported.otherwise(self.seen.version, verdict.prints))
        if self._as_left:
            self._take_reported({n: p for n, p in verdict.prints.items() if n not in self.record.reported.prints})
        if verdict.faults or verdict.deferred or self.tampered & names:
            return (await self.make_run(names))[1]
        return self._taken_in(verdict, names)

    async def make_run(self, names: frozenset[str]) -> tuple[Verdict, Reports]:
        """Reload, verify, and roll back what Prometheus does not load through the fault of a file."""
        wanted = {name: version for name, version in self.record.files.items() if name in names}
        verdict = first = await self._loader.load(self.record, names, patient=self.seen.up)
        try:
            for culprits in (first.faults.keys(), names):
                if not verdict.faults or not can_go_back(self.record, culprits):
                    break
                with tracing.span("roll back"):
                    await self._go_back(culprits)
                verdict = await self._loader.load(self.record, names, patient=False)
        except RulecastError as error:
            log.error("could not roll back", reason=error.reason, error=str(error))
            verdict = Verdict(deferred=dict.fromkeys(names, Why.of(error)), reload_error=first.reload_error)
        if verdict.reload_error is None:
            self.tampered = frozenset()
        reports = self._taken_in(verdict, names)
        self._as_left = False
        undone = differing(wanted, {name: v for name, v in self.record.files.items() if name in names})
        if undone and (verdict.faults or (first.unexplained and verdict.deferred)):
            # going back has not helped, or nobody knows whether it has: nothing says that these files are to blame
            fates = await self._wait_for_repair(wanted, undone, first)
        else:
            whole = Why(Reason.RELOAD_FAILED, "it was put in place together with a file that Prometheus does not load")
            fates = {name: RolledBack(first.faults.get(name, whole)) for name in undone}
        await self._see(first.reload_error)
        if verdict.reload_error is None and self.seen.up:
            self._take_reported(verdict.prints)
            self._left = self.seen, self._clock.monotonic()
        return first, {**reports, **reports_of(fates, file_set(wanted), self._clock.now())}

    async def prune(self) -> None:
        """Forgets contents that no kept generation has."""
        kept = [self.record.files, self.record.good]
        kept.extend(generation.files for generation in await self._journal.generations())
        await self._directory.prune(frozenset(version.sha256 for files in kept for version in files.values()))

    async def save(self) -> None:
        """Keeps the record. A disk that is full now costs no more than asking Prometheus again after a restart."""
        if not self._settled:
            return
        try:
            await self._journal.save(self.record)
        except RulecastError as error:
            log.warning("record not saved", reason=error.reason, error=str(error))

    async def _wait_for_repair(self, wanted: Files, undone: Collection[str], first: Verdict) -> dict[str, Outcome]:
        """The files wait in memory until Prometheus loads those from before. first: what was said of them."""
        fates: dict[str, Outcome] = {}
        for name in undone:
            version = wanted.get(name)
            content = await self._directory.content(version.sha256) if version else None
            if version is None:
                self.pending[name] = None
            elif content is not None:
                self.pending[name] = Put(content, version.sha256, version.revision)
            why = first.faults.get(name, next(iter(first.faults.values())))
            words = f"{why.message}; with the files from before it is no better, so the fault is not in this one"
            fates[name] = Deferred(replace(why, message=words))
        return fates

    async def _repair(self) -> None:
        disk = await self._directory.scan()
        drift = find_drift(disk, self.record.files)
        if not drift.names:
            return
        self.drifted = tuple(sorted({*self.drifted, *drift.names}))
        self.drifts += len(drift.names)
        self._trouble(drift.names, _CHANGED)
        self.doubtful |= frozenset(drift.names)
        self.tampered |= frozenset(drift.edited)
        self._seen_since = None
        lost = await put_right(self._directory, drift, self.record.files, disk)
        if lost:
            adopted = await adopt(self._directory, tuple(lost & disk.keys()))
            self.record = replace(
                self.record,
                files={**_without(self.record.files, lost), **adopted},
                good={**_without(self.record.good, lost), **adopted},
                reported=self.record.reported.without(lost),
            )
            hashes = file_set(self.record.files)
            self.lost.update(reports_of(dict.fromkeys(sorted(lost), _LOST), hashes, self._clock.now()))
            self.doubtful -= lost
            self.tampered -= lost
            await self.save()

    async def _commit(self, versions: Files, deletes: Collection[str]) -> None:
        if not versions and not deletes:
            return
        await self._move_to({**_without(self.record.files, deletes), **versions}, (*versions, *deletes))

    async def _go_back(self, culprits: Collection[str]) -> None:
        files = gone_back(self.record, culprits)
        stored = {name: await self._directory.content(files[name].sha256) for name in culprits if name in files}
        gone = [name for name, content in stored.items() if content is None]
        if gone:
            log.error("last good content is gone, removing the files", files=gone)
        await self._move_to(_without(files, gone), culprits)
        self.rollbacks += 1

    async def _move_to(self, files: Files, names: Collection[str]) -> None:
        hashes = {name: files[name].sha256 for name in names if name in files}
        pending = reports_of(dict.fromkeys(names, _NOT_VERIFIED), hashes, self._clock.now())
        target = with_files(self.record, files, pending)
        self._settled = False
        try:
            with tracing.span("commit", generation=target.generation):
                await commit(self._directory, self._journal, self.record, target)
        except RulecastError:
            self._settled = await self._journal.unfinished() is None
            raise
        self._settled = True
        self.record = target

    def _taken_in(self, verdict: Verdict, names: frozenset[str]) -> Reports:
        """Notes what is proven to run; reports on each file as it is on disk."""
        not_running = {**verdict.deferred, **verdict.faults}
        if verdict.reload_error is not None:
            why = Why.of(verdict.reload_error)
            not_running = {**dict.fromkeys(self.tampered & names, why), **not_running}
        proven = names - not_running.keys()
        now = self._clock.now()
        self.record = with_proven(self.record, proven, now)
        self.doubtful = (self.doubtful - proven) | not_running.keys()
        fates: dict[str, Outcome] = {name: Active() for name in sorted(proven)}
        fates.update({name: Deferred(why) for name, why in sorted(not_running.items())})
        return reports_of(fates, file_set(self.record.files), now)

    def _watch_for_load(self) -> None:
        """Files that were put right are loaded as they are once Prometheus was started or reloaded after that."""
        if self.tampered and self._seen_since is None:
            self._seen_since = self.seen
        elif self.tampered and self.seen != self._seen_since and self.seen.last_reload_ok:
            self.tampered = frozenset()

    def _was_loaded_again(self, before: PrometheusStatus) -> bool:
        """Whether Prometheus was started or reloaded by others, perhaps; before: as it was last seen.

        It tells the time of a load in whole seconds, so one right after ours looks like ours.
        """
        self._as_left = False
        if self._left is None or self._clock.monotonic() - self._left[1] < _GRAIN:
            return self.seen != before
        self._as_left = self.seen == self._left[0]
        self._left = None
        return True

    def _run_otherwise(self, names: frozenset[str]) -> None:
        """Prometheus has loaded these files as somebody else made them."""
        found = names - self.tampered
        if not found:
            return
        log.warning("prometheus runs rule files otherwise than they are", files=sorted(found))
        self.drifted = tuple(sorted({*self.drifted, *found}))
        self.drifts += len(found)
        self._trouble(found, _RUN_OTHERWISE)
        self.tampered |= found
        self._seen_since = self.seen

    def _take_reported(self, prints: Mapping[str, bytes]) -> None:
        self.record = replace(self.record, reported=self.record.reported.taking(self.seen.version, prints))

    async def _see(self, error: RulecastError | None) -> None:
        """error: of the reload before. One that does not answer is not waited for once more."""
        if error is not None and error.reason is Reason.PROMETHEUS_UNREACHABLE:
            self.seen = replace(self.seen, up=False)
            return
        try:
            self.seen = await self._prometheus.status()
            if self.notices:  # perhaps they are out of date since the reload
                await self._take_notice()
        except RulecastError:
            self.seen = replace(self.seen, up=False)

    async def _take_notice(self) -> None:
        configuration = await self._prometheus.configuration()
        self.notices = coverage.notices(configuration, self._prometheus.directories, WORK_DIRECTORY)

    def _same(self, plan: Plan) -> dict[str, Outcome]:
        return {name: self.outcome_of(name) for name in plan.same}

    def outcome_of(self, name: str) -> Outcome:
        """How the version on disk is."""
        if name not in self.unproven:
            return Unchanged()
        trouble = self.record.troubles.get(name)
        return trouble.outcome if trouble and isinstance(trouble.outcome, Deferred) else _NOT_VERIFIED

    def _postpone(self, plan: Plan, error: RulecastError) -> dict[str, Outcome]:
        self.pending.update(plan.puts)
        self.pending.update(dict.fromkeys(plan.deletes))
        return dict.fromkeys((*plan.puts, *plan.deletes), Deferred(Why.of(error)))

    def _trouble(self, names: Collection[str], outcome: Deferred) -> None:
        reports = reports_of(dict.fromkeys(names, outcome), file_set(self.record.files), self._clock.now())
        self.record = with_troubles(self.record, reports.values())

    def _reports(self, batch: Batch, fates: Mapping[str, Outcome]) -> Reports:
        return reports_of(fates, {name: put.sha256 for name, put in batch.puts.items()}, self._clock.now())


def _without(files: Files, names: Collection[str]) -> dict[str, FileVersion]:
    return {name: version for name, version in files.items() if name not in names}
