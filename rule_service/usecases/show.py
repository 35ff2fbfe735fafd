"""Rules as people see them: with what they are rendered to, and where."""

from collections.abc import Sequence
from dataclasses import dataclass

from rule_service.domain.layout import group_name
from rule_service.domain.model import AlertRule
from rule_service.domain.render import RenderedRule
from rule_service.usecases.change import Placed
from rule_service.usecases.ports import Reads, Record


@dataclass(frozen=True, slots=True)
class ShownRule:
    """A rule with what it is rendered to; None while it is disabled or deleted."""

    record: Record[AlertRule]
    placed: Placed | None


async def placed_rules(reads: Reads, ids: Sequence[str]) -> dict[str, Placed]:
    """What is stored as rendered for these rules, by id; rules that are off have nothing."""
    stored = await reads.in_files(ids)
    return {id: _placed(each.rule, each.beside) for id, each in stored.items()}


def _placed(rule: RenderedRule, beside: int) -> Placed:
    return Placed(rule, group_name(rule.scope, rule.key, rule.interval, beside))


async def shown_rules(reads: Reads, records: Sequence[Record[AlertRule]]) -> tuple[ShownRule, ...]:
    """The records with what they are rendered to, in the same order."""
    placed = await placed_rules(reads, [record.value.id for record in records])
    return tuple(ShownRule(record, placed.get(record.value.id)) for record in records)
