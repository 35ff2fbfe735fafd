"""promtool's word on rendered rules, before they are saved."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rule_service.domain.render import RenderedRule
from rule_service.domain.rule_yaml import GroupText, recording_fragment, rule_file
from rule_service.usecases.ports_check import CheckFailure
from rulecast.process.promtool import Promtool


class PromtoolChecker:
    """One process for one call. At most `at_once` run at a time: each takes a core.

    folder: for temporary files; None is the system's.
    """

    def __init__(self, promtool: Promtool, at_once: int, folder: Path | None = None) -> None:
        self._promtool = promtool
        self._folder = folder
        self._slots = asyncio.Semaphore(at_once)

    async def check(self, rules: Sequence[RenderedRule]) -> tuple[CheckFailure, ...]:
        """At most one failure for each rule. Raises Unavailable (PROMTOOL_MISSING, PROMTOOL_TIMEOUT)."""
        async with self._slots:
            with tempfile.TemporaryDirectory(prefix="check-", dir=self._folder) as folder:
                file = Path(folder, "rules.yml")
                await asyncio.to_thread(file.write_text, _as_file(rules), encoding="utf-8")
                failures = await self._promtool.check_rules([file])
        first: dict[str, CheckFailure] = {}
        for failure in failures:
            if failure.group is None:
                raise AssertionError(f"promtool refuses the file as a whole: {failure.message}")
            rule = rules[int(failure.group)]
            first.setdefault(rule.rule_id, CheckFailure(rule.rule_id, failure.message, failure.query_position))
        return tuple(first.values())


def _as_file(rules: Sequence[RenderedRule]) -> str:
    """One group for each rule, named by its number, so that what promtool says of a group is of that rule.

    In front of the rule stands its query before scoping: matchers make `{}` valid, which Prometheus refuses.
    """
    groups = (
        GroupText(f"{at}", rule.interval, [recording_fragment("unscoped", rule.source_query), rule.text])
        for at, rule in enumerate(rules)
    )
    return rule_file((), groups)
