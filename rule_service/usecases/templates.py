"""Edits of alert templates. No rule changes by them: rules keep snapshots."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rule_service.domain.check import check_template
from rule_service.domain.model import AlertTemplate
from rule_service.domain.sample import sample_of
from rule_service.domain.wording import shown
from rule_service.usecases.blame import with_fields
from rule_service.usecases.change import Change, WriteOptions, Written
from rule_service.usecases.deleted import purge, refuse_deleted, the_deleted
from rule_service.usecases.expect import check_etag, the_kept, the_template
from rule_service.usecases.ports import Record, Transaction
from rule_service.usecases.ports_changes import ResourceChange
from rule_service.usecases.publish import Publisher
from rule_service.usecases.rendering import Edited
from rulecast.errors import NotFound, RulecastError
from rulecast.reasons import Reason


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of the library's templates, by id."""

    created: tuple[str, ...]
    existing: tuple[str, ...]


class TemplateEdits:
    """library: the templates that come with Rulecast."""

    def __init__(self, publisher: Publisher, library: Sequence[AlertTemplate]) -> None:
        self._publisher = publisher
        self._library = library

    async def create(self, template: AlertTemplate, options: WriteOptions) -> Written[Record[AlertTemplate]]:
        """Raises InvalidInput with field and position, AlreadyExists for the id."""
        checked = check_template(template)

        async def edit(transaction: Transaction) -> Edited[Record[AlertTemplate]]:
            await refuse_deleted(transaction, AlertTemplate, checked.id)
            return await _insert(transaction, checked)

        return await self._publisher.publish(
            edit, options, lambda transaction, done: the_kept(transaction, AlertTemplate, done.resource_id)
        )

    async def update(
        self, id: str, etag: str, change: Callable[[Record[AlertTemplate]], AlertTemplate], options: WriteOptions
    ) -> Written[Record[AlertTemplate]]:
        """`change` makes the new value of the current record; another spec raises the version.

        Raises NotFound, Conflict, InvalidInput.
        """

        async def edit(transaction: Transaction) -> Edited[Record[AlertTemplate]]:
            current = await the_template(transaction, id, "template.id")
            check_etag(current, etag, "template.etag")
            template = check_template(replace(change(current), owner=current.value.owner))
            if template == current.value:
                return Edited(current)
            if template.spec != current.value.spec:
                template = replace(template, version=current.value.version + 1)
            return _edited(await transaction.update_template(template), current.value, template)

        return await self._publisher.publish(edit, options)

    async def delete(self, id: str, etag: str, options: WriteOptions) -> Written[Record[AlertTemplate]]:
        """Softly. Raises NotFound, Conflict."""

        async def edit(transaction: Transaction) -> Edited[Record[AlertTemplate]]:
            current = await the_template(transaction, id, "id")
            check_etag(current, etag, "etag")
            return Edited(await transaction.delete_template(id), (ResourceChange("template", id, current.value, None),))

        return await self._publisher.publish(edit, options)

    async def undelete(self, id: str, etag: str, options: WriteOptions) -> Written[Record[AlertTemplate]]:
        """Raises NotFound, Conflict, AlreadyExists for a live one."""

        async def edit(transaction: Transaction) -> Edited[Record[AlertTemplate]]:
            deleted = await the_deleted(transaction, AlertTemplate, id, etag)
            return await _insert(transaction, check_template(deleted.value))

        return await self._publisher.publish(edit, options)

    async def purge(self, id: str, etag: str, options: WriteOptions) -> Change:
        """See `deleted.purge`."""
        return await purge(self._publisher, AlertTemplate, id, etag, options)

    async def load_library(self, ids: Sequence[str], options: WriteOptions) -> Written[Loaded]:
        """Creates those of the library that are not there, or not any more.

        Raises NotFound for an id that it does not hold.
        """
        wanted = self._wanted(ids)

        async def edit(transaction: Transaction) -> Edited[Loaded]:
            existing = await transaction.existing_template_ids([template.id for template in wanted])
            new = [template for template in wanted if template.id not in existing]
            for template in new:
                await transaction.insert_template(template)
            loaded = Loaded(tuple(template.id for template in new), tuple(sorted(existing)))
            resources = tuple(ResourceChange("template", each.id, None, each) for each in new)
            return Edited(loaded, resources, samples=tuple(sample_of(each) for each in new))

        return await self._publisher.publish(edit, options)

    def _wanted(self, ids: Sequence[str]) -> list[AlertTemplate]:
        held = {template.id: template for template in self._library}
        for at, id in enumerate(ids):
            if id not in held:
                message = f"the library has no template {shown(id)}; it has {', '.join(sorted(held))}"
                raise NotFound.of(f"ids[{at}]", Reason.TEMPLATE_NOT_FOUND, message, id=id)
        return [held[id] for id in ids] if ids else list(self._library)


async def _insert(transaction: Transaction, template: AlertTemplate) -> Edited[Record[AlertTemplate]]:
    return _edited(await transaction.insert_template(template), None, template)


def _edited(
    record: Record[AlertTemplate], before: AlertTemplate | None, after: AlertTemplate
) -> Edited[Record[AlertTemplate]]:
    """No rule is rendered by it, so a sample stands in: promtool has the last word on templates too."""
    fields = {after.id: "template"}
    try:
        sample = sample_of(after)
    except RulecastError as error:
        raise with_fields(error, after.id, fields) from error
    return Edited(record, (ResourceChange("template", after.id, before, after),), samples=(sample,), fields=fields)
