"""promtool as the pipeline's checker: each file's first failure, with how many more there are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from deployer_service.state import Why
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


def _why(failures: Sequence[PromtoolFailure]) -> Why:
    first = failures[0]
    where = f"line {first.line}: " if first.line else ""
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return Why(Reason.PROMTOOL_CHECK_FAILED, f"{where}{first.message}{more}", first.group, first.rule_name)
