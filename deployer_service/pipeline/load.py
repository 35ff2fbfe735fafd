"""Reload and verify together: how Prometheus stands to our files, and whose fault it is where it does not run them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployer_service.pipeline.coverage import is_covered
from deployer_service.pipeline.ports import Parts, PipelinePolicy
from deployer_service.pipeline.reload import Reloader
from deployer_service.pipeline.validate import check_files
from deployer_service.pipeline.verify import verify
from deployer_service.state import Record, Why
from rulecast import tracing
from rulecast.errors import FailedPrecondition, RulecastError
from rulecast.reasons import Reason


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of the files asked about; those in neither map are running.

    faults: the file itself is at fault. deferred: the surroundings are, or nothing can be found out now.
    unexplained: Prometheus refuses to load, and no bad file was found.
    reload_error: why it could not be reloaded.
    prints: see `Loaded`, of the files that are running.
    """

    faults: Mapping[str, Why] = field(default_factory=dict)
    deferred: Mapping[str, Why] = field(default_factory=dict)
    unexplained: bool = False
    reload_error: RulecastError | None = None
    prints: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Diagnosis:
    ours: Mapping[str, Why]
    foreign: str = ""


class Loader:
    def __init__(self, parts: Parts, policy: PipelinePolicy) -> None:
        self._parts = parts
        self._directories = parts.prometheus.directories
        self._reloader = Reloader(parts.prometheus, parts.clock, policy.reload)

    async def load(self, record: Record, names: frozenset[str], *, patient: bool = True) -> Verdict:
        """Reloads and verifies these files."""
        diagnosis: _Diagnosis | None = None

        async def hopeless() -> bool:
            nonlocal diagnosis
            diagnosis = await self._diagnose(record)
            return bool(diagnosis.ours or diagnosis.foreign)

        rules = sum(version.rules for version in record.files.values())
        try:
            with tracing.span("reload"):
                await self._reloader.reload(rules, hopeless, patient=patient)
        except RulecastError as error:
            match error.reason:
                case Reason.RELOAD_FAILED:
                    return _blamed(error, diagnosis or await self._diagnose(record), names)
                case Reason.RELOAD_REFUSED | Reason.RELOAD_DISABLED:
                    # somebody else may have reloaded it
                    return await self.verify(record, names, error)
                case _:
                    return Verdict(deferred=dict.fromkeys(names, Why.of(error)), reload_error=error)
        return await self.verify(record, names)

    async def verify(self, record: Record, names: frozenset[str], error: RulecastError | None = None) -> Verdict:
        """What Prometheus runs now. error: why it could not be reloaded; it then explains what is not running."""
        try:
            with tracing.span("verify", files=len(names)):
                found = await verify(self._parts.directory, self._parts.prometheus, record.files, names)
            wrong = found.wrong
            if error is None and wrong and not await self._is_covered():
                why = Why(
                    Reason.RULE_FILES_NOT_COVERED,
                    f"rule_files in Prometheus's configuration do not cover {self._directories[0]}: "
                    f"add {self._directories[0]}/*.yml",
                )
                return Verdict(deferred=dict.fromkeys(wrong, why))
        except RulecastError as failure:
            return Verdict(deferred=dict.fromkeys(names, Why.of(error or failure)), reload_error=error)
        if error is not None:
            return Verdict(deferred=dict.fromkeys(wrong, Why.of(error)), reload_error=error, prints=found.prints)
        return Verdict(faults=wrong, prints=found.prints)

    async def _is_covered(self) -> bool:
        configuration = await self._parts.prometheus.configuration()
        return is_covered(configuration.rule_globs, self._directories)

    async def _diagnose(self, record: Record) -> _Diagnosis:
        """Which file keeps Prometheus from loading: all of ours are looked at, and all others that it loads."""
        directory, checker = self._parts.directory, self._parts.checker
        try:
            ours = await check_files(
                checker, {name: directory.stored_path(v.sha256) for name, v in record.files.items()}
            )
            if ours:
                return _Diagnosis(
                    {name: Why(Reason.RELOAD_FAILED, w.message, w.group, w.rule) for name, w in ours.items()}
                )
            if self._parts.config_checker is not None:
                try:
                    await self._parts.config_checker.check()
                except FailedPrecondition as error:
                    return _Diagnosis({}, str(error))
            configuration = await self._parts.prometheus.configuration()
            others = await directory.foreign_files(configuration.rule_globs)
            refused = await checker.check(others)
        except RulecastError:
            return _Diagnosis({})
        return _Diagnosis({}, "; ".join(f"{path}: {why.message}" for path, why in sorted(refused.items())))


def _blamed(error: RulecastError, diagnosis: _Diagnosis, names: frozenset[str]) -> Verdict:
    if diagnosis.ours:
        return Verdict(faults=diagnosis.ours, reload_error=error)
    if diagnosis.foreign:
        why = Why(
            Reason.RELOAD_FAILED,
            f"{error}; the fault is in a file that is not ours, which has to be repaired: {diagnosis.foreign}",
        )
        return Verdict(deferred=dict.fromkeys(names, why), reload_error=error)
    return Verdict(faults=dict.fromkeys(names, Why.of(error)), unexplained=True, reload_error=error)
