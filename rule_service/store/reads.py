"""Reading, for the store and for a transaction alike: they differ in where their session comes from."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager

from rule_service.domain.model import AlertRule, AlertTemplate, Group, KeyWorld, Namespace, Target
from rule_service.store import (
    deployers,
    files,
    groups,
    history,
    namespaces,
    rendered,
    resources,
    revisions,
    rules,
    targets,
    templates,
    worlds,
)
from rule_service.store.pool import Session
from rule_service.store.tables import table_of
from rule_service.usecases.filters import (
    ANY_GROUP,
    ANY_NAMESPACE,
    ANY_TARGET,
    ANY_TEMPLATE,
    GroupFilter,
    NamespaceFilter,
    RuleFilter,
    ScrapeFilter,
    TargetFilter,
    TemplateFilter,
)
from rule_service.usecases.ports import Kept, Page, PlacedTarget, Record
from rule_service.usecases.ports_changes import LoggedChange
from rule_service.usecases.ports_fates import DeployerFacts
from rule_service.usecases.ports_rendered import FileFacts, InFile, Parts, Placement, StoredFile, StoredRule


class PostgresReads(ABC):
    """Implements `Reads`."""

    @abstractmethod
    def _session(self) -> AbstractAsyncContextManager[Session]:
        """The session to read in."""

    async def revision(self) -> int:
        async with self._session() as session:
            return await history.revision(session)

    async def resources_by_id(self, kind: type[Kept], ids: Collection[str]) -> dict[str, Record[Kept]]:
        async with self._session() as session:
            return await resources.by_id(session, table_of(kind), ids)

    async def namespace(self, id: str) -> Record[Namespace] | None:
        async with self._session() as session:
            return await resources.get(session, namespaces.TABLE, id)

    async def namespaces(
        self, after: str, limit: int, where: NamespaceFilter = ANY_NAMESPACE
    ) -> Page[Record[Namespace]]:
        async with self._session() as session:
            return await namespaces.page(session, after, limit, where)

    async def all_namespaces(self) -> dict[str, Namespace]:
        async with self._session() as session:
            return await namespaces.every(session)

    async def group(self, id: str) -> Record[Group] | None:
        async with self._session() as session:
            return await resources.get(session, groups.TABLE, id)

    async def groups(self, after: str, limit: int, where: GroupFilter = ANY_GROUP) -> Page[Record[Group]]:
        async with self._session() as session:
            return await groups.page(session, after, limit, where)

    async def group_with_ancestors(self, ids: Collection[str]) -> dict[str, Group]:
        async with self._session() as session:
            return await groups.with_ancestors(session, ids)

    async def groups_by_label_value(self, values: Collection[tuple[str, str]]) -> dict[str, Group]:
        async with self._session() as session:
            return await groups.by_label_value(session, values)

    async def lineage_of_label_values(self, values: Collection[tuple[str, str]]) -> dict[str, Group]:
        async with self._session() as session:
            return await groups.lineage_of_label_values(session, values)

    async def target(self, id: str) -> Record[Target] | None:
        async with self._session() as session:
            return await resources.get(session, targets.TABLE, id)

    async def targets(self, after: str, limit: int, where: TargetFilter = ANY_TARGET) -> Page[Record[Target]]:
        async with self._session() as session:
            return await targets.page(session, after, limit, where)

    async def placed_targets(self, where: ScrapeFilter) -> tuple[PlacedTarget, ...]:
        async with self._session() as session:
            return await targets.placed(session, where)

    async def template(self, id: str) -> Record[AlertTemplate] | None:
        async with self._session() as session:
            return await resources.get(session, templates.TABLE, id)

    async def templates(
        self, after: str, limit: int, where: TemplateFilter = ANY_TEMPLATE
    ) -> Page[Record[AlertTemplate]]:
        async with self._session() as session:
            return await templates.page(session, after, limit, where)

    async def existing_template_ids(self, ids: Collection[str]) -> set[str]:
        async with self._session() as session:
            return await templates.existing(session, ids)

    async def rule(self, id: str) -> Record[AlertRule] | None:
        async with self._session() as session:
            return await rules.get(session, id)

    async def rules_by_id(self, ids: Collection[str]) -> dict[str, Record[AlertRule]]:
        async with self._session() as session:
            return await rules.by_id(session, ids)

    async def rules(self, after: str, limit: int, where: RuleFilter) -> Page[Record[AlertRule]]:
        async with self._session() as session:
            return await rules.page(session, after, limit, where)

    async def key_worlds(self, keys: Collection[str]) -> dict[str, KeyWorld]:
        async with self._session() as session:
            return await worlds.of_keys(session, keys)

    async def parts_of_worlds(self, keys: Collection[str], group_ids: Collection[str]) -> Parts:
        async with self._session() as session:
            return await worlds.parts_of_keys(session, keys, group_ids)

    async def rules_for_series(
        self, group_ids: Collection[str], namespace_ids: Collection[str], key: str | None
    ) -> tuple[StoredRule, ...]:
        async with self._session() as session:
            return await rules.for_series(session, group_ids, namespace_ids, key)

    async def placements(self, keys: Collection[str] | None) -> tuple[Placement, ...]:
        async with self._session() as session:
            return await worlds.placements(session, keys)

    async def in_files(self, rule_ids: Collection[str]) -> dict[str, InFile]:
        async with self._session() as session:
            return await rendered.in_files(session, rule_ids)

    async def files_of_keys(self, keys: Collection[str]) -> set[str]:
        async with self._session() as session:
            return await rendered.files_of_keys(session, keys)

    async def files(self, after: str, limit: int) -> Page[FileFacts]:
        async with self._session() as session:
            return await files.page(session, after, limit)

    async def file(self, name: str) -> StoredFile | None:
        async with self._session() as session:
            return await files.get(session, name)

    async def deployers(self) -> tuple[DeployerFacts, ...]:
        async with self._session() as session:
            return await deployers.every(session)

    async def changed_files(self, revision: int) -> tuple[LoggedChange, ...]:
        async with self._session() as session:
            return await history.changed_files(session, revision)

    async def has_revision(self, revision: int) -> bool:
        async with self._session() as session:
            return await revisions.exists(session, revision)
