"""Edits of groups. A group's label value and place in the tree decide which series rules cover."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from rule_service.domain.check import check_group
from rule_service.domain.model import AlertRule, Group, GroupScope, Target
from rule_service.domain.wording import shown
from rule_service.usecases.change import Change, WriteOptions, Written
from rule_service.usecases.deleted import SHOWN_AT_MOST, purge, refuse_deleted, the_deleted
from rule_service.usecases.expect import check_etag, the_group, the_kept, the_namespace
from rule_service.usecases.ports import Record, Transaction
from rule_service.usecases.ports_changes import ResourceChange
from rule_service.usecases.publish import Publisher
from rule_service.usecases.rendering import Edited
from rulecast.errors import FailedPrecondition, InvalidInput
from rulecast.reasons import Reason

NO_LIMIT = 2**31 - 1


class GroupEdits:
    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def create(self, group: Group, options: WriteOptions) -> Written[Record[Group]]:
        """Raises InvalidInput, NotFound for the namespace or parent, AlreadyExists for the id or the label value."""

        async def edit(transaction: Transaction) -> Edited[Record[Group]]:
            await refuse_deleted(transaction, Group, group.id)
            return await _insert(transaction, group)

        return await self._publisher.publish(
            edit, options, lambda transaction, done: the_kept(transaction, Group, done.resource_id)
        )

    async def update(
        self, id: str, etag: str, change: Callable[[Record[Group]], Group], options: WriteOptions
    ) -> Written[Record[Group]]:
        """`change` makes the new value of the current one. Raises NotFound, Conflict, InvalidInput, AlreadyExists."""

        async def edit(transaction: Transaction) -> Edited[Record[Group]]:
            current = await the_group(transaction, id, "group.id")
            check_etag(current, etag, "group.etag")
            group = replace(change(current), owner=current.value.owner)
            if group == current.value:
                return Edited(current)
            _refuse_move(current.value, group)
            await _check(transaction, group)
            # a move leaves one set of ancestors and joins another: both cover other values than before
            keys = await transaction.keys_around_groups([id])
            record = await transaction.update_group(group)
            keys |= await transaction.keys_around_groups([id])
            return Edited(record, (ResourceChange("group", id, current.value, group),), frozenset(keys))

        return await self._publisher.publish(edit, options)

    async def delete(self, id: str, etag: str, force: bool, options: WriteOptions) -> Written[Record[Group]]:
        """Softly. Raises NotFound, Conflict, and FailedPrecondition while something is in it, unless `force`.

        With `force` its rules are deleted, each to be undeleted by itself; its targets leave it, and its children move
        to its parent.
        """

        async def edit(transaction: Transaction) -> Edited[Record[Group]]:
            current = await the_group(transaction, id, "id")
            check_etag(current, etag, "etag")
            contents = await _contents(transaction, id, NO_LIMIT if force else SHOWN_AT_MOST)
            if contents.any and not force:
                raise FailedPrecondition.of("id", Reason.GROUP_NOT_EMPTY, _what_would_happen(contents, current.value))
            keys = await transaction.keys_around_groups([id])
            resources = [
                *await _empty(transaction, current.value, contents),
                ResourceChange("group", id, current.value, None),
            ]
            return Edited(await transaction.delete_group(id), tuple(resources), frozenset(keys))

        return await self._publisher.publish(edit, options)

    async def undelete(self, id: str, etag: str, options: WriteOptions) -> Written[Record[Group]]:
        """Raises NotFound, also for its namespace or parent, Conflict, and AlreadyExists for a live one and for a label
        value that is taken.
        """

        async def edit(transaction: Transaction) -> Edited[Record[Group]]:
            deleted = await the_deleted(transaction, Group, id, etag)
            return await _insert(transaction, deleted.value)

        return await self._publisher.publish(edit, options)

    async def purge(self, id: str, etag: str, options: WriteOptions) -> Change:
        """See `deleted.purge`."""
        return await purge(self._publisher, Group, id, etag, options)


async def _insert(transaction: Transaction, group: Group) -> Edited[Record[Group]]:
    await the_namespace(transaction, group.namespace_id, "group.namespace_id")
    if group.parent_id is not None and group.parent_id != group.id:
        await the_group(transaction, group.parent_id, "group.parent_id")
    await _check(transaction, group)
    record = await transaction.insert_group(group)
    keys = await transaction.keys_around_groups([group.id])
    return Edited(record, (ResourceChange("group", group.id, None, group),), frozenset(keys))


@dataclass(frozen=True, slots=True)
class _Contents:
    children: tuple[Group, ...]
    rules: tuple[AlertRule, ...]
    targets: tuple[Target, ...]

    @property
    def any(self) -> bool:
        return bool(self.children or self.rules or self.targets)


async def _contents(transaction: Transaction, id: str, limit: int) -> _Contents:
    return _Contents(
        await transaction.child_groups(id),
        await transaction.live_rules_at(GroupScope(id), limit),
        await transaction.targets_in_group(id, limit),
    )


def _what_would_happen(contents: _Contents, group: Group) -> str:
    parts = []
    if contents.rules:
        parts.append(f"its rules would be deleted ({_named(contents.rules)})")
    if contents.targets:
        parts.append(f"its targets would leave it ({_named(contents.targets)})")
    if contents.children:
        to = f"its parent {group.parent_id}" if group.parent_id else "the top of the namespace"
        parts.append(f"its child groups would move to {to} ({_named(contents.children)})")
    return f"the group is not empty: {'; '.join(parts)}. Say `force` if that is what you want"


def _named(things: tuple[Group, ...] | tuple[AlertRule, ...] | tuple[Target, ...]) -> str:
    ids = [thing.id for thing in things]
    more = ", ..." if len(ids) >= SHOWN_AT_MOST else ""
    return ", ".join(ids[:SHOWN_AT_MOST]) + more


async def _empty(transaction: Transaction, group: Group, contents: _Contents) -> list[ResourceChange]:
    resources = []
    for child in contents.children:
        moved = replace(child, parent_id=group.parent_id)
        await transaction.update_group(moved)
        resources.append(ResourceChange("group", child.id, child, moved))
    for rule in contents.rules:
        await transaction.delete_rule(rule.id)
        resources.append(ResourceChange("rule", rule.id, rule, None))
    await transaction.remove_group_from_targets(group.id)
    for target in contents.targets:
        left = replace(target, group_ids=tuple(each for each in target.group_ids if each != group.id))
        resources.append(ResourceChange("target", target.id, target, left))
    return resources


async def _check(transaction: Transaction, group: Group) -> None:
    """Against the groups that it may collide with: those above it, and the one with its label value."""
    above = await transaction.group_with_ancestors([group.parent_id] if group.parent_id else [])
    same = await transaction.groups_by_label_value([(group.namespace_id, group.label_value)])
    check_group(group, {id: each for id, each in (above | same).items() if each.namespace_id == group.namespace_id})


def _refuse_move(before: Group, after: Group) -> None:
    if before.namespace_id != after.namespace_id:
        raise InvalidInput.of(
            "group.namespace_id",
            Reason.FIELD_IMMUTABLE,
            f"a group stays in its namespace ({shown(before.namespace_id)}): create another one there",
        )
