"""promtool's word on rendered rules, before they are saved."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rule_service.domain.render import RenderedRule
from rule_service.domain.rule_yaml import GroupText, rule_file
from rule_service.usecases.ports import CheckFailure
from rulecast.process.promtool import Promtool, PromtoolFailure


class PromtoolChecker:
    """One process for one call. At most `at_once` run at a time: each takes a core."""

    def __init__(self, promtool: Promtool, at_once: int) -> None:
        self._promtool = promtool
        self._slots = asyncio.Semaphore(at_once)

    async def check(self, rules: Sequence[RenderedRule]) -> tuple[CheckFailure, ...]:
        """Raises Unavailable (PROMTOOL_MISSING, PROMTOOL_TIMEOUT)."""
        async with self._slots:
            with tempfile.TemporaryDirectory(prefix="rulecast-check-") as folder:
                # one group for each rule, so that what promtool says of a group is of that rule
                names = {f"{at}": rule.rule_id for at, rule in enumerate(rules)}
                texts = (GroupText(f"{at}", rule.interval, [rule.text]) for at, rule in enumerate(rules))
                file = Path(folder, "rules.yml")
                await asyncio.to_thread(file.write_text, rule_file((), texts), encoding="utf-8")
                failures = await self._promtool.check_rules([file])
        return tuple(_failure(failure, names) for failure in failures)


class NoChecker:
    """Validation is switched off by setting: the deployer's promtool has the only word."""

    async def check(self, rules: Sequence[RenderedRule]) -> tuple[CheckFailure, ...]:
        return ()


def _failure(failure: PromtoolFailure, names: dict[str, str]) -> CheckFailure:
    return CheckFailure(names.get(failure.group or "", ""), failure.message, failure.query_position)
