"""The way back: a rule, a group's rules, or everything as it was at a revision. Itself a new revision."""

from dataclasses import dataclass

from rule_service.usecases.change import WriteOptions, Written
from rule_service.usecases.expect import found, the_group
from rule_service.usecases.history import need_revision, reversed_change
from rule_service.usecases.ports import Transaction
from rule_service.usecases.ports_changes import ResourceChange, ResourceFilter
from rule_service.usecases.publish import Publisher
from rule_service.usecases.rendering import Edited
from rule_service.usecases.restore import keys_of_changes, restore


@dataclass(frozen=True, slots=True)
class OneRule:
    """A rule, by its id."""

    id: str


@dataclass(frozen=True, slots=True)
class RulesOfGroup:
    """All rules whose scope is this very group."""

    id: str


@dataclass(frozen=True, slots=True)
class Everything:
    """All resources."""


Subject = OneRule | RulesOfGroup | Everything


class Rollback:
    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def roll_back(
        self, revision: int, subject: Subject, options: WriteOptions
    ) -> Written[tuple[ResourceChange, ...]]:
        """Answers what was put back. Raises NotFound for the revision, the rule, the group, and for the scope of a
        rule; AlreadyExists where a key is taken; InvalidInput for what can not be rendered any more.
        """

        async def edit(transaction: Transaction) -> Edited[tuple[ResourceChange, ...]]:
            await need_revision(transaction, revision, "revision")
            since = await _since(transaction, revision, subject)
            back = tuple(reversed_change(each) for each in since)
            keys = await keys_of_changes(transaction, back)
            await restore(transaction, back)
            keys |= await keys_of_changes(transaction, back)
            return Edited(back, back, frozenset(keys))

        return await self._publisher.publish(edit, options)


async def _since(transaction: Transaction, revision: int, subject: Subject) -> tuple[ResourceChange, ...]:
    match subject:
        case OneRule(id):
            changes = await transaction.changes_after(revision, ResourceFilter(kind="rule", id=id))
            if not changes:
                found(await transaction.rule(id), "rule", id, "rule_id")
            return changes
        case RulesOfGroup(id):
            await the_group(transaction, id, "group_id")
            return await transaction.changes_after(revision, ResourceFilter(group_id=id))
        case Everything():
            return await transaction.changes_after(revision, ResourceFilter())
