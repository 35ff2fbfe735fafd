"""promtool as the pipeline's checkers: each rule file's first failure, and what is wrong with the configuration."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployer_service.pipeline.names import own_name
from deployer_service.state import Why
from rulecast.errors import FailedPrecondition
from rulecast.process.promtool import Promtool, PromtoolFailure
from rulecast.reasons import Reason


class PromtoolChecker:
    """See `pipeline.ports.Checker`."""

    def __init__(self, promtool: Promtool) -> None:
        self._promtool = promtool

    async def check(self, files: Sequence[Path]) -> Mapping[Path, Why]:
        if not files:
            return {}
        by_file: dict[Path, list[PromtoolFailure]] = {}
        for failure in await self._promtool.check_rules(files):
            by_file.setdefault(failure.file, []).append(failure)
        return {file: _why(failures) for file, failures in by_file.items()}


class PromtoolConfigChecker:
    """See `pipeline.ports.ConfigChecker`. config: Prometheus's own configuration. rule_directory: our files in it."""

    def __init__(self, promtool: Promtool, config: Path, rule_directory: Path) -> None:
        self._promtool = promtool
        self._config = config
        self._rule_directory = rule_directory

    async def check(self) -> None:
        failures = await self._promtool.check_config(self._config, tuple(self._rule_directory.glob("*.yml")))
        theirs = [failure for failure in failures if not self._is_ours(failure.file)]
        if not theirs:
            return
        words = "; ".join(f"{failure.file}: {failure.message}" for failure in theirs)
        raise FailedPrecondition.of(
            "",
            Reason.CONFIG_CHECK_FAILED,
            f"promtool check config refuses {self._config}, which Prometheus could not load: repair {words}",
            path=str(self._config),
        )

    def _is_ours(self, file: Path) -> bool:
        """Ours were checked as they are going to be; on disk is what was before."""
        folder = os.path.realpath(file.parent)
        return own_name(file.name) is not None and folder == os.path.realpath(self._rule_directory)


def _why(failures: Sequence[PromtoolFailure]) -> Why:
    first = failures[0]
    where = f"line {first.line}: " if first.line else ""
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return Why(Reason.PROMTOOL_CHECK_FAILED, f"{where}{first.message}{more}", first.group, first.rule_name)
