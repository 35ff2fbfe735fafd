"""Applies bundles and exports them: whole sets of resources at once."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rule_service.domain.model import AlertTemplate, Resource, Target
from rule_service.domain.names import check_id
from rule_service.usecases.bundle_check import Named, Wanted, names_of, want
from rule_service.usecases.bundle_plan import Bundle, How, Mode, Plan
from rule_service.usecases.bundle_settle import Neighbours, gone_places, new_labels_of, places_of, settle, values_of
from rule_service.usecases.change import WriteOptions, Written
from rule_service.usecases.filters import GroupFilter, NamespaceFilter, RuleFilter, TargetFilter, TemplateFilter
from rule_service.usecases.off import samples_of_off
from rule_service.usecases.ports import Kept, Transaction
from rule_service.usecases.ports_changes import Answered, ResourceChange
from rule_service.usecases.publish import Publisher
from rule_service.usecases.rendering import Edited
from rule_service.usecases.restore import carry_out, keys_of_changes
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason

NO_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of the resources of a bundle. changes: deletions too. unchanged: kind and id of those that stay."""

    changes: tuple[ResourceChange, ...]
    unchanged: tuple[tuple[str, str], ...]


class Bundles:
    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def apply(self, bundle: Bundle, how: How, options: WriteOptions) -> Written[Applied]:
        """All of it, or nothing. Raises everything that is wrong with it, as far as it can be told at once.

        Of one sort it is that sort: AlreadyExists, NotFound, FailedPrecondition; else InvalidInput.
        """
        if how.owner:
            check_id(how.owner, "owner")
        elif how.mode is Mode.SYNC:
            message = "what is missing in the bundle is deleted where it belongs to the bundle's owner: say which"
            raise InvalidInput.of("owner", Reason.FIELD_REQUIRED, message)
        planned = _Planned(bundle, how)

        async def edit(transaction: Transaction) -> Edited[Applied]:
            plan = await planned.against(transaction)
            keys = await keys_of_changes(transaction, plan.changes)
            await carry_out(transaction, plan.changes)
            keys |= await keys_of_changes(transaction, plan.changes)
            samples = (*plan.samples, *await samples_of_off(transaction, plan.changes, plan.fields))
            applied = Applied(plan.changes, plan.unchanged)
            return Edited(applied, plan.changes, frozenset(keys), samples=samples, fields=plan.fields)

        async def first(transaction: Transaction, done: Answered) -> Applied:
            changes = await transaction.changed_by(done.revision)
            changed = {(each.kind, each.id) for each in changes}
            ids = [(kind, id) for kind, of_kind in bundle.ids.items() for id in of_kind]
            return Applied(changes, tuple(sorted({*ids} - changed)))

        return await self._publisher.publish(edit, options, first)


class _Planned:
    """A bundle's plan. An edit runs twice; what takes long is done again only where what it meets has changed."""

    def __init__(self, bundle: Bundle, how: How) -> None:
        self._bundle = bundle
        self._how = how
        self._wanted: Wanted | None = None
        self._plan: tuple[Neighbours, Plan] | None = None

    async def against(self, transaction: Transaction) -> Plan:
        named = await _named(transaction, self._bundle, self._how)
        if self._wanted is None or self._wanted.named != named:
            # takes a while for a large one: about half a millisecond for each rule
            self._wanted, self._plan = await asyncio.to_thread(want, self._bundle, self._how, named), None
        beside = await _neighbours(transaction, self._wanted)
        if self._plan is None or self._plan[0] != beside:
            self._plan = (beside, await asyncio.to_thread(settle, self._wanted, beside))
        return self._plan[1]


async def _named(transaction: Transaction, bundle: Bundle, how: How) -> Named:
    group_ids, template_ids = names_of(bundle)
    owned = await _owned(transaction, how.owner) if how.mode is Mode.SYNC else ()
    records = await transaction.rules_by_id([each.id for each in bundle.rules])
    groups = await transaction.group_with_ancestors(group_ids)
    return Named(
        namespaces=await transaction.all_namespaces(),
        groups=groups,
        targets=await _live(transaction, Target, [each.id for each in bundle.targets]),
        templates=await _live(transaction, AlertTemplate, template_ids),
        rules={id: record.value for id, record in records.items() if record.deleted_at is None},
        owned=owned,
    )


async def _live(transaction: Transaction, kind: type[Kept], ids: Collection[str]) -> dict[str, Kept]:
    records = await transaction.resources_by_id(kind, ids)
    return {id: record.value for id, record in records.items() if record.deleted_at is None}


async def _owned(transaction: Transaction, owner: str) -> Sequence[Resource]:
    pages = (
        await transaction.namespaces("", NO_LIMIT, NamespaceFilter(owner=owner)),
        await transaction.groups("", NO_LIMIT, GroupFilter(owner=owner)),
        await transaction.targets("", NO_LIMIT, TargetFilter(owner=owner)),
        await transaction.templates("", NO_LIMIT, TemplateFilter(owner=owner)),
        await transaction.rules("", NO_LIMIT, RuleFilter(owner=owner)),
    )
    return [record.value for page in pages for record in page.items]


async def _neighbours(transaction: Transaction, wanted: Wanted) -> Neighbours:
    return Neighbours(
        groups=await transaction.groups_by_label_value(values_of(wanted)),
        holders=await transaction.live_rules_in_places(places_of(wanted)),
        contents=await transaction.contents(*gone_places(wanted)),
        label_setters={
            label: await transaction.live_rules_with_label(label, NO_LIMIT) for label in new_labels_of(wanted)
        },
    )
