"""The last word on a rule. Implemented by `rule_service.promtool`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rule_service.domain.render import RenderedRule
from rulecast.errors import Position


@dataclass(frozen=True, slots=True)
class CheckFailure:
    """promtool's word on one rule: `message` is its own. position: in the rendered expression, where it says."""

    rule_id: str
    message: str
    position: Position | None = None


class RuleChecker(Protocol):
    """promtool, or nothing where validation is switched off."""

    async def check(self, rules: Sequence[RenderedRule]) -> tuple[CheckFailure, ...]:
        """One run over all of them. Raises Unavailable(PROMTOOL_MISSING / PROMTOOL_TIMEOUT)."""
        ...
