"""What there is, as a bundle that would make it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from rule_service.domain.model import AlertRule, AlertTemplate, Group, GroupScope, Namespace, NamespaceScope, Target
from rule_service.usecases.expect import the_namespace
from rule_service.usecases.filters import GroupFilter, NamespaceFilter, RuleFilter, TargetFilter, TemplateFilter
from rule_service.usecases.ports import Page, Reads, Record, Store
from rulecast.errors import LimitExceeded
from rulecast.reasons import Reason

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Exported:
    """Of each kind those that pass, by id."""

    namespaces: Sequence[Namespace]
    groups: Sequence[Group]
    targets: Sequence[Target]
    templates: Sequence[AlertTemplate]
    rules: Sequence[AlertRule]

    @property
    def count(self) -> int:
        return sum(map(len, (self.namespaces, self.groups, self.targets, self.templates, self.rules)))


class Exports:
    """max_resources: of one export."""

    def __init__(self, store: Store, max_resources: int) -> None:
        self._store = store
        self._max = max_resources

    async def export(self, owner: str | None, namespace_id: str | None) -> Exported:
        """Everything, or what has this owner ("" is none), or what is about this namespace.

        Raises NotFound for the namespace, and LimitExceeded.
        """
        async with self._store.snapshot() as reads:
            exported = await self._all(reads, owner)
            if namespace_id is not None:
                await the_namespace(reads, namespace_id, "namespace_id")
                groups = {
                    each.value.id for each in (await reads.groups("", self._max, GroupFilter(namespace_id))).items
                }
                exported = _about(exported, namespace_id, groups)
        if exported.count > self._max:
            raise self._too_many()
        return exported

    async def _all(self, reads: Reads, owner: str | None) -> Exported:
        return Exported(
            self._values(await reads.namespaces("", self._max, NamespaceFilter(owner=owner))),
            self._values(await reads.groups("", self._max, GroupFilter(owner=owner))),
            self._values(await reads.targets("", self._max, TargetFilter(owner=owner))),
            self._values(await reads.templates("", self._max, TemplateFilter(owner=owner))),
            self._values(await reads.rules("", self._max, RuleFilter(owner=owner))),
        )

    def _values(self, page: Page[Record[T]]) -> Sequence[T]:
        if page.next_after is not None:
            raise self._too_many()
        return [record.value for record in page.items]

    def _too_many(self) -> LimitExceeded:
        message = f"there are more than {self._max} resources: export one owner's, or one namespace"
        return LimitExceeded.of("", Reason.TOO_LARGE, message, limit=str(self._max))


def _about(exported: Exported, namespace_id: str, group_ids: set[str]) -> Exported:
    rules = [
        rule
        for rule in exported.rules
        if rule.scope == NamespaceScope(namespace_id)
        or (isinstance(rule.scope, GroupScope) and rule.scope.group_id in group_ids)
    ]
    used = {rule.template_id for rule in rules}
    return Exported(
        [each for each in exported.namespaces if each.id == namespace_id],
        [each for each in exported.groups if each.namespace_id == namespace_id],
        [each for each in exported.targets if not group_ids.isdisjoint(each.group_ids)],
        [each for each in exported.templates if each.id in used],
        rules,
    )
