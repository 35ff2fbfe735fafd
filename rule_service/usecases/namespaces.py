"""Edits of namespaces."""

from collections.abc import Callable
from dataclasses import replace

from rule_service.domain.check import check_namespace
from rule_service.domain.model import Namespace, NamespaceScope
from rule_service.domain.wording import shown
from rule_service.usecases.change import Change, WriteOptions, Written
from rule_service.usecases.deleted import SHOWN_AT_MOST, purge, refuse_deleted, the_deleted
from rule_service.usecases.expect import check_etag, the_kept, the_namespace
from rule_service.usecases.ports import Record, Transaction
from rule_service.usecases.ports_changes import ResourceChange
from rule_service.usecases.publish import Publisher
from rule_service.usecases.rendering import Edited
from rulecast.errors import FailedPrecondition
from rulecast.reasons import Reason

DEFAULT_NAMESPACE = "default"


class NamespaceEdits:
    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def create(self, namespace: Namespace, options: WriteOptions) -> Written[Record[Namespace]]:
        """Raises InvalidInput, and AlreadyExists for the id or the label."""

        async def edit(transaction: Transaction) -> Edited[Record[Namespace]]:
            await refuse_deleted(transaction, Namespace, namespace.id)
            return await _insert(transaction, namespace)

        return await self._publisher.publish(
            edit, options, lambda transaction, done: the_kept(transaction, Namespace, done.resource_id)
        )

    async def update(
        self, id: str, etag: str, change: Callable[[Record[Namespace]], Namespace], options: WriteOptions
    ) -> Written[Record[Namespace]]:
        """`change` makes the new value of the current one. Raises NotFound, Conflict, InvalidInput, AlreadyExists."""

        async def edit(transaction: Transaction) -> Edited[Record[Namespace]]:
            current = await the_namespace(transaction, id, "namespace.id")
            check_etag(current, etag, "namespace.etag")
            namespace = replace(change(current), owner=current.value.owner)
            if namespace == current.value:
                return Edited(current)
            check_namespace(namespace, (await transaction.all_namespaces()).values())
            if namespace.label != current.value.label:
                await _refuse_used_label(transaction, namespace.label)
            record = await transaction.update_namespace(namespace)
            keys = await transaction.keys_of_namespace(id)
            return Edited(record, (ResourceChange("namespace", id, current.value, namespace),), frozenset(keys))

        return await self._publisher.publish(edit, options)

    async def delete(self, id: str, etag: str, options: WriteOptions) -> Written[Record[Namespace]]:
        """Softly. Raises NotFound, Conflict, and FailedPrecondition while something is in it, and for `default`."""

        async def edit(transaction: Transaction) -> Edited[Record[Namespace]]:
            current = await the_namespace(transaction, id, "id")
            check_etag(current, etag, "etag")
            await _refuse_if_needed(transaction, id)
            return Edited(
                await transaction.delete_namespace(id), (ResourceChange("namespace", id, current.value, None),)
            )

        return await self._publisher.publish(edit, options)

    async def undelete(self, id: str, etag: str, options: WriteOptions) -> Written[Record[Namespace]]:
        """Raises NotFound, Conflict, AlreadyExists for a live one and for a label that is taken."""

        async def edit(transaction: Transaction) -> Edited[Record[Namespace]]:
            deleted = await the_deleted(transaction, Namespace, id, etag)
            return await _insert(transaction, deleted.value)

        return await self._publisher.publish(edit, options)

    async def purge(self, id: str, etag: str, options: WriteOptions) -> Change:
        """See `deleted.purge`."""
        return await purge(self._publisher, Namespace, id, etag, options)


async def _insert(transaction: Transaction, namespace: Namespace) -> Edited[Record[Namespace]]:
    check_namespace(namespace, (await transaction.all_namespaces()).values())
    await _refuse_used_label(transaction, namespace.label)
    record = await transaction.insert_namespace(namespace)
    return Edited(record, (ResourceChange("namespace", namespace.id, None, namespace),))


async def _refuse_used_label(transaction: Transaction, label: str) -> None:
    """A rule that sets the label would claim to be of a group, and could not be rendered any more."""
    rules = await transaction.live_rules_with_label(label, SHOWN_AT_MOST)
    if rules:
        raise FailedPrecondition.of(
            "namespace.label",
            Reason.LABEL_TAKEN,
            f"rules set the label {shown(label)} themselves ({', '.join(rules)}): use another one, or remove it there",
        )


async def _refuse_if_needed(transaction: Transaction, id: str) -> None:
    if id == DEFAULT_NAMESPACE:
        raise FailedPrecondition.of("id", Reason.NAMESPACE_PROTECTED, "the namespace 'default' can not be deleted")
    groups = await transaction.groups_of_namespace(id, SHOWN_AT_MOST)
    rules = await transaction.live_rules_at(NamespaceScope(id), SHOWN_AT_MOST)
    if groups or rules:
        names = ", ".join([f"group {group.id}" for group in groups] + [f"rule {rule.id}" for rule in rules])
        raise FailedPrecondition.of(
            "id", Reason.NAMESPACE_NOT_EMPTY, f"the namespace is in use ({names}): delete these first"
        )
