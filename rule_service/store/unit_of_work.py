"""The store and its transactions. A transaction takes the revision, which is the commit lock, and then writes.

Whatever is committed holds the lock first. So transactions never wait for each other in a circle, and what one of them
reads after taking the lock stays true until it commits. A dry run without the lock gives way instead of waiting.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime

from rule_service.domain.layout import RuleFile
from rule_service.domain.model import AlertRule, AlertTemplate, Group, Namespace, Scope, Target
from rule_service.domain.render import RenderedRule
from rule_service.store import files as rendered_files
from rule_service.store import (
    groups,
    heartbeats,
    history,
    namespaces,
    rendered,
    resources,
    revisions,
    rules,
    targets,
    templates,
)
from rule_service.store.history import Counter
from rule_service.store.pool import Database, Session
from rule_service.store.reads import PostgresReads
from rule_service.store.records import Stamp
from rule_service.store.tables import table_of
from rule_service.usecases.ports import Kept, Record
from rule_service.usecases.ports_batch import Content
from rule_service.usecases.ports_changes import (
    Answered,
    LoggedChange,
    Request,
    ResourceChange,
    ResourceFilter,
    Touched,
)
from rule_service.usecases.ports_rendered import Ingredients

DRY = 0
"""The revision of a dry run."""

LOCK_FIRST = "take_revision must come before the first write"


class PostgresStore(PostgresReads):
    """Implements `Store`: each read takes a connection of the pool by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _session(self) -> AbstractAsyncContextManager[Session]:
        return self._database.session()

    @asynccontextmanager
    async def transaction(self, *, rollback: bool = False, locked: bool = True) -> AsyncIterator["PostgresTransaction"]:
        async with self._database.transaction(rollback=rollback, patient=locked) as session:
            if not locked:
                yield PostgresTransaction(session, Stamp(DRY, datetime.now(UTC)))
            elif rollback:
                yield PostgresTransaction(session, Stamp(DRY, await history.lock_revision(session)))
            else:
                yield PostgresTransaction(session)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[PostgresReads]:
        async with self._database.snapshot() as session:
            yield _Snapshot(session)


class _Snapshot(PostgresReads):
    def __init__(self, session: Session) -> None:
        self._open = session

    def _session(self) -> AbstractAsyncContextManager[Session]:
        return nullcontext(self._open)


class PostgresTransaction(PostgresReads):
    """Implements `Transaction`.

    stamp: for a dry run, which holds the lock already or does without. Else none until `take_revision`; a write before
    that is a mistake in the code and raises RuntimeError.
    """

    def __init__(self, session: Session, stamp: Stamp | None = None) -> None:
        self._open = session
        self._stamped = stamp
        self._counter: Counter | None = None

    def _session(self) -> AbstractAsyncContextManager[Session]:
        return nullcontext(self._open)

    @property
    def _stamp(self) -> Stamp:
        """Raises RuntimeError where the lock is not held."""
        if self._stamped is None:
            raise RuntimeError(LOCK_FIRST)
        return self._stamped

    def _locked(self) -> Session:
        """The session, for a deletion: it leaves no stamp, but needs the lock as every write does."""
        if self._stamped is None:
            raise RuntimeError(LOCK_FIRST)
        return self._open

    async def take_revision(self) -> int:
        if self._stamped is None:
            self._counter = await history.raise_revision(self._open)
            self._stamped = Stamp(self._counter.revision, self._counter.at)
        return self._stamped.revision

    async def log(
        self,
        author: str,
        method: str,
        resources: Sequence[ResourceChange],
        files: Sequence[LoggedChange],
        *,
        reason: str = "",
        request: Request | None = None,
    ) -> None:
        session = self._locked()
        # a dry run has none, and so no history
        if self._counter is not None:
            await history.append(session, self._counter, author, method, resources, files, reason, request)

    async def answered(self, request_id: str) -> Answered | None:
        return await history.answered(self._open, request_id)

    async def changed_by(self, revision: int) -> tuple[ResourceChange, ...]:
        return (await revisions.changed(self._open, revision, 0, revisions.NO_LIMIT)).items

    async def touched(self, after: int, before: int) -> tuple[Touched, ...] | None:
        return await revisions.touched(self._open, after, before)

    async def insert_namespace(self, namespace: Namespace) -> Record[Namespace]:
        stamp = await resources.take_back(self._open, self._stamp, namespaces.TABLE, namespace.id)
        return await namespaces.insert(self._open, stamp, namespace)

    async def update_namespace(self, namespace: Namespace) -> Record[Namespace]:
        return await namespaces.update(self._open, self._stamp, namespace)

    async def delete_namespace(self, id: str) -> Record[Namespace]:
        return await resources.delete(self._open, self._stamp, namespaces.TABLE, id)

    async def insert_group(self, group: Group) -> Record[Group]:
        stamp = await resources.take_back(self._open, self._stamp, groups.TABLE, group.id)
        return await groups.insert(self._open, stamp, group)

    async def update_group(self, group: Group) -> Record[Group]:
        return await groups.update(self._open, self._stamp, group)

    async def delete_group(self, id: str) -> Record[Group]:
        return await resources.delete(self._open, self._stamp, groups.TABLE, id)

    async def insert_target(self, target: Target) -> Record[Target]:
        stamp = await resources.take_back(self._open, self._stamp, targets.TABLE, target.id)
        return await targets.insert(self._open, stamp, target)

    async def update_target(self, target: Target) -> Record[Target]:
        return await targets.update(self._open, self._stamp, target)

    async def delete_target(self, id: str) -> Record[Target]:
        return await resources.delete(self._open, self._stamp, targets.TABLE, id)

    async def insert_template(self, template: AlertTemplate) -> Record[AlertTemplate]:
        stamp = await resources.take_back(self._open, self._stamp, templates.TABLE, template.id)
        return await templates.insert(self._open, stamp, template)

    async def update_template(self, template: AlertTemplate) -> Record[AlertTemplate]:
        return await templates.update(self._open, self._stamp, template)

    async def delete_template(self, id: str) -> Record[AlertTemplate]:
        return await resources.delete(self._open, self._stamp, templates.TABLE, id)

    async def purge(self, kind: type[Kept], id: str) -> None:
        await resources.purge(self._locked(), table_of(kind), id)
        if kind is Target:
            await heartbeats.forget(self._locked(), id)

    async def deleted_that_refer_to(self, kind: type[Namespace] | type[Group], id: str, limit: int) -> tuple[str, ...]:
        return await resources.deleted_that_refer_to(self._open, kind.__name__.lower(), id, limit)

    async def insert_rule(self, rule: AlertRule) -> Record[AlertRule]:
        return await rules.insert(self._open, self._stamp, rule)

    async def update_rule(self, rule: AlertRule) -> Record[AlertRule]:
        return await rules.update(self._open, self._stamp, rule)

    async def delete_rule(self, id: str) -> Record[AlertRule]:
        return await rules.delete(self._open, self._stamp, id)

    async def purge_rule(self, id: str) -> None:
        await rules.purge(self._locked(), id)

    async def put_namespaces(self, values: Sequence[Namespace]) -> None:
        if values:
            ages = await resources.take_back_all(self._open, namespaces.TABLE, [each.id for each in values])
            await namespaces.put(self._open, self._stamp, values)
            await resources.keep_age(self._open, namespaces.TABLE, ages)

    async def put_groups(self, values: Sequence[Group]) -> None:
        if values:
            ages = await resources.take_back_all(self._open, groups.TABLE, [each.id for each in values])
            await groups.put(self._open, self._stamp, values)
            await resources.keep_age(self._open, groups.TABLE, ages)

    async def put_targets(self, values: Sequence[Target]) -> None:
        if values:
            ages = await resources.take_back_all(self._open, targets.TABLE, [each.id for each in values])
            await targets.put(self._open, self._stamp, values)
            await resources.keep_age(self._open, targets.TABLE, ages)

    async def put_templates(self, values: Sequence[AlertTemplate]) -> None:
        if values:
            ages = await resources.take_back_all(self._open, templates.TABLE, [each.id for each in values])
            await templates.put(self._open, self._stamp, values)
            await resources.keep_age(self._open, templates.TABLE, ages)

    async def put_rules(self, values: Sequence[AlertRule]) -> None:
        if values:
            await rules.put(self._open, self._stamp, values)

    async def park(
        self, namespace_ids: Collection[str], group_ids: Collection[str], target_ids: Collection[str]
    ) -> None:
        session = self._locked()
        if target_ids:
            await targets.park(session, target_ids)
        if group_ids:
            await groups.park(session, group_ids)
        if namespace_ids:
            await namespaces.park(session, namespace_ids)

    async def delete_rules(self, ids: Collection[str]) -> None:
        if ids:
            await rules.delete_all(self._open, self._stamp, ids)

    async def remove_groups(self, ids: Collection[str]) -> None:
        if ids:
            await resources.delete_all(self._open, self._stamp, groups.TABLE, ids)

    async def remove_namespaces(self, ids: Collection[str]) -> None:
        if ids:
            await resources.delete_all(self._open, self._stamp, namespaces.TABLE, ids)

    async def remove_targets(self, ids: Collection[str]) -> None:
        if ids:
            await resources.delete_all(self._open, self._stamp, targets.TABLE, ids)

    async def remove_templates(self, ids: Collection[str]) -> None:
        if ids:
            await resources.delete_all(self._open, self._stamp, templates.TABLE, ids)

    async def live_rules_in_places(self, places: Collection[tuple[str, Scope]]) -> tuple[AlertRule, ...]:
        return await rules.live_in_places(self._open, places) if places else ()

    async def contents(self, namespace_ids: Collection[str], group_ids: Collection[str]) -> tuple[Content, ...]:
        return await groups.contents(self._open, namespace_ids, group_ids) if namespace_ids or group_ids else ()

    async def child_groups(self, id: str) -> tuple[Group, ...]:
        return await groups.children(self._open, id)

    async def groups_of_namespace(self, id: str, limit: int) -> tuple[Group, ...]:
        return await groups.of_namespace(self._open, id, limit)

    async def live_rules_at(self, scope: Scope, limit: int) -> tuple[AlertRule, ...]:
        return await rules.live_at(self._open, scope, limit)

    async def live_rules_with_label(self, label: str, limit: int) -> tuple[str, ...]:
        return await rules.live_with_label(self._open, label, limit)

    async def targets_in_group(self, id: str, limit: int) -> tuple[Target, ...]:
        return await targets.in_group(self._open, id, limit)

    async def remove_group_from_targets(self, id: str) -> None:
        await targets.leave_group(self._open, self._stamp, id)

    async def keys_around_groups(self, group_ids: Collection[str]) -> set[str]:
        return await rules.keys_around_groups(self._open, group_ids)

    async def keys_of_namespace(self, namespace_id: str) -> set[str]:
        return await rules.keys_of_namespace(self._open, namespace_id)

    async def rendered_of_keys(self, keys: Collection[str]) -> dict[str, RenderedRule]:
        return await rendered.of_keys(self._open, keys)

    async def rendered_of_files(self, names: Collection[str]) -> tuple[RenderedRule, ...]:
        return await rendered.of_files(self._open, names)

    async def series_of_targets(self) -> dict[str, Mapping[str, str]]:
        return await targets.series(self._open)

    async def changes_after(self, revision: int, which: ResourceFilter) -> tuple[ResourceChange, ...]:
        return await revisions.changes_after(self._open, revision, which)

    async def put_rendered(self, rules: Sequence[RenderedRule]) -> None:
        await rendered.put(self._open, self._stamp, rules)

    async def delete_rendered(self, rule_ids: Collection[str]) -> None:
        await rendered.delete(self._locked(), rule_ids)

    async def ingredients(self, file_names: Collection[str]) -> dict[str, Ingredients]:
        return await rendered.ingredients(self._open, file_names)

    async def put_files(self, files: Sequence[tuple[Scope, RuleFile]]) -> None:
        await rendered_files.put(self._open, self._stamp, files)

    async def delete_files(self, names: Collection[str]) -> None:
        await rendered_files.delete(self._locked(), names)
