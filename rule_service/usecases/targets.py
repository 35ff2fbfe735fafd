"""Edits of targets. They change no rule: which rule evaluates a host is decided by its labels in Prometheus."""

from collections.abc import Callable
from dataclasses import replace

from rule_service.domain.check import check_target
from rule_service.domain.model import Target
from rule_service.usecases.change import Change, WriteOptions, Written
from rule_service.usecases.deleted import purge, refuse_deleted, the_deleted
from rule_service.usecases.expect import check_etag, the_kept, the_target
from rule_service.usecases.ports import Record, Transaction
from rule_service.usecases.ports_changes import ResourceChange
from rule_service.usecases.publish import Publisher
from rule_service.usecases.rendering import Edited


class TargetEdits:
    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def create(self, target: Target, options: WriteOptions) -> Written[Record[Target]]:
        """Raises InvalidInput, NotFound for a group, AlreadyExists for the id."""

        async def edit(transaction: Transaction) -> Edited[Record[Target]]:
            await refuse_deleted(transaction, Target, target.id)
            return await _insert(transaction, target)

        return await self._publisher.publish(
            edit, options, lambda transaction, done: the_kept(transaction, Target, done.resource_id)
        )

    async def update(
        self, id: str, etag: str, change: Callable[[Record[Target]], Target], options: WriteOptions
    ) -> Written[Record[Target]]:
        """`change` makes the new value of the current record. Raises NotFound, Conflict, InvalidInput."""

        async def edit(transaction: Transaction) -> Edited[Record[Target]]:
            current = await the_target(transaction, id, "target.id")
            check_etag(current, etag, "target.etag")
            target = replace(change(current), owner=current.value.owner)
            if target == current.value:
                return Edited(current)
            await _check(transaction, target)
            record = await transaction.update_target(target)
            return Edited(record, (ResourceChange("target", id, current.value, target),))

        return await self._publisher.publish(edit, options)

    async def delete(self, id: str, etag: str, options: WriteOptions) -> Written[Record[Target]]:
        """Softly. Raises NotFound, Conflict."""

        async def edit(transaction: Transaction) -> Edited[Record[Target]]:
            current = await the_target(transaction, id, "id")
            check_etag(current, etag, "etag")
            return Edited(await transaction.delete_target(id), (ResourceChange("target", id, current.value, None),))

        return await self._publisher.publish(edit, options)

    async def undelete(self, id: str, etag: str, options: WriteOptions) -> Written[Record[Target]]:
        """Raises NotFound, also for a group of it, Conflict, AlreadyExists for a live one, InvalidInput."""

        async def edit(transaction: Transaction) -> Edited[Record[Target]]:
            deleted = await the_deleted(transaction, Target, id, etag)
            return await _insert(transaction, deleted.value)

        return await self._publisher.publish(edit, options)

    async def purge(self, id: str, etag: str, options: WriteOptions) -> Change:
        """See `deleted.purge`."""
        return await purge(self._publisher, Target, id, etag, options)


async def _insert(transaction: Transaction, target: Target) -> Edited[Record[Target]]:
    await _check(transaction, target)
    record = await transaction.insert_target(target)
    return Edited(record, (ResourceChange("target", target.id, None, target),))


async def _check(transaction: Transaction, target: Target) -> None:
    groups = await transaction.group_with_ancestors(target.group_ids)
    check_target(target, groups, await transaction.all_namespaces())
