"""What the use cases need from outside, as Protocols, and the values that cross the border.

Implemented by `rule_service.store` (PostgreSQL) and `rule_service.changelog`.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from rule_service.domain.layout import RuleFile
from rule_service.domain.model import (
    AlertRule,
    AlertTemplate,
    Group,
    KeyWorld,
    Namespace,
    Scope,
    Target,
)
from rule_service.domain.render import RenderedRule
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
from rule_service.usecases.ports_batch import Batches
from rule_service.usecases.ports_changes import Answered, LoggedChange, Request, ResourceChange, ResourceFilter, Touched
from rule_service.usecases.ports_fates import DeployerFacts
from rule_service.usecases.ports_rendered import (
    FileFacts,
    InFile,
    Ingredients,
    Parts,
    Placement,
    StoredFile,
    StoredRule,
)

T_co = TypeVar("T_co", covariant=True)
Kept = TypeVar("Kept", bound=Namespace | Group | Target | AlertTemplate)
"""What is kept elsewhere once it is deleted."""


@dataclass(frozen=True, slots=True)
class Record(Generic[T_co]):
    """A stored value. `revision` is that of its last change; times are the database's."""

    value: T_co
    revision: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None

    @property
    def etag(self) -> str:
        """Changes with every change of the value."""
        return f"r{self.revision}"


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """One page of a list. `next_after` is the id to go on after; None on the last page."""

    items: tuple[T_co, ...]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class PlacedTarget:
    """A target and where it is: `membership` has the label of each namespace it is in, with its group's value."""

    target: Target
    membership: Mapping[str, str]


class Reads(Protocol):
    """Reading, in or out of a transaction. Each method is one query. owner: of a resource; "" is none, None any."""

    async def revision(self) -> int:
        """The newest revision."""
        ...

    async def resources_by_id(self, kind: type[Kept], ids: Collection[str]) -> dict[str, Record[Kept]]:
        """Those of these that there are, deleted ones too. Everything else reads live ones."""
        ...

    async def namespace(self, id: str) -> Record[Namespace] | None: ...
    async def namespaces(
        self, after: str, limit: int, where: NamespaceFilter = ANY_NAMESPACE
    ) -> Page[Record[Namespace]]: ...
    async def group(self, id: str) -> Record[Group] | None: ...
    async def groups(self, after: str, limit: int, where: GroupFilter = ANY_GROUP) -> Page[Record[Group]]: ...
    async def target(self, id: str) -> Record[Target] | None: ...
    async def targets(self, after: str, limit: int, where: TargetFilter = ANY_TARGET) -> Page[Record[Target]]: ...

    async def placed_targets(self, where: ScrapeFilter) -> tuple[PlacedTarget, ...]:
        """Every target that has an exporter and passes, by id."""
        ...

    async def template(self, id: str) -> Record[AlertTemplate] | None: ...
    async def templates(
        self, after: str, limit: int, where: TemplateFilter = ANY_TEMPLATE
    ) -> Page[Record[AlertTemplate]]: ...
    async def existing_template_ids(self, ids: Collection[str]) -> set[str]: ...

    async def rule(self, id: str) -> Record[AlertRule] | None:
        """A rule, deleted ones too."""
        ...

    async def rules_by_id(self, ids: Collection[str]) -> dict[str, Record[AlertRule]]:
        """Those of these rules that there are, deleted ones too."""
        ...

    async def rules(self, after: str, limit: int, where: RuleFilter) -> Page[Record[AlertRule]]: ...

    async def in_files(self, rule_ids: Collection[str]) -> dict[str, "InFile"]:
        """What is stored as rendered, by rule id; rules that are off have nothing."""
        ...

    async def all_namespaces(self) -> dict[str, Namespace]:
        """Every namespace, by id: they are few."""
        ...

    async def group_with_ancestors(self, ids: Collection[str]) -> dict[str, Group]: ...

    async def groups_by_label_value(self, values: Collection[tuple[str, str]]) -> dict[str, Group]:
        """The groups with these (namespace id, label value), by id."""
        ...

    async def lineage_of_label_values(self, values: Collection[tuple[str, str]]) -> dict[str, Group]:
        """The same with their ancestors."""
        ...

    async def key_worlds(self, keys: Collection[str]) -> dict[str, KeyWorld]:
        """The worlds of these keys, complete as KeyWorld demands; that of a key without live rules has no rules."""
        ...

    async def parts_of_worlds(self, keys: Collection[str], group_ids: Collection[str]) -> "Parts":
        """What the rules of these keys at these groups, and below, render to depends on no more than this."""
        ...

    async def rules_for_series(
        self, group_ids: Collection[str], namespace_ids: Collection[str], key: str | None
    ) -> tuple["StoredRule", ...]:
        """The live rules at the global scope, at these namespaces and at these groups; of this key, or of all."""
        ...

    async def placements(self, keys: Collection[str] | None) -> tuple["Placement", ...]:
        """Where these keys have live rules or rendered ones, by scope; None is all keys, and all scopes with a file."""
        ...

    async def files_of_keys(self, keys: Collection[str]) -> set[str]:
        """The names of the files with a rendered rule of these keys."""
        ...

    async def files(self, after: str, limit: int) -> Page[FileFacts]: ...
    async def file(self, name: str) -> StoredFile | None: ...
    async def deployers(self) -> tuple[DeployerFacts, ...]: ...

    async def changed_files(self, revision: int) -> tuple[LoggedChange, ...]:
        """The files that this revision changed."""
        ...

    async def has_revision(self, revision: int) -> bool:
        """Whether the history still has this revision, and so all that came after it."""
        ...


class Transaction(Reads, Batches, Protocol):
    """An open transaction. What is written is seen by its own reads; all of it or nothing is committed.

    Uniqueness is the database's word: a put that collides raises AlreadyExists with ID_TAKEN, KEY_TAKEN, LABEL_TAKEN or
    LABEL_VALUE_TAKEN. The put methods insert or update, and stamp the row with the transaction's revision.

    Deleting is soft: what was deleted is kept until it is purged, and inserting one of its id takes its place.
    """

    async def take_revision(self) -> int:
        """Raises the revision counter and holds its row until commit: this is the commit lock."""
        ...

    async def insert_namespace(self, namespace: Namespace) -> Record[Namespace]: ...
    async def update_namespace(self, namespace: Namespace) -> Record[Namespace]: ...
    async def delete_namespace(self, id: str) -> Record[Namespace]: ...
    async def insert_group(self, group: Group) -> Record[Group]: ...
    async def update_group(self, group: Group) -> Record[Group]: ...
    async def delete_group(self, id: str) -> Record[Group]: ...
    async def insert_target(self, target: Target) -> Record[Target]: ...
    async def update_target(self, target: Target) -> Record[Target]: ...
    async def delete_target(self, id: str) -> Record[Target]: ...
    async def insert_template(self, template: AlertTemplate) -> Record[AlertTemplate]: ...
    async def update_template(self, template: AlertTemplate) -> Record[AlertTemplate]: ...
    async def delete_template(self, id: str) -> Record[AlertTemplate]: ...

    async def purge(self, kind: type[Kept], id: str) -> None:
        """Removes a deleted one for good."""
        ...

    async def deleted_that_refer_to(self, kind: type[Namespace] | type[Group], id: str, limit: int) -> tuple[str, ...]:
        """What was deleted and can not come back without this one, as `group prod`."""
        ...

    async def insert_rule(self, rule: AlertRule) -> Record[AlertRule]: ...
    async def update_rule(self, rule: AlertRule) -> Record[AlertRule]: ...

    async def delete_rule(self, id: str) -> Record[AlertRule]:
        """Softly: the row stays, with its time of deletion."""
        ...

    async def purge_rule(self, id: str) -> None:
        """Removes the row of a deleted rule."""
        ...

    async def child_groups(self, id: str) -> tuple[Group, ...]: ...
    async def groups_of_namespace(self, id: str, limit: int) -> tuple[Group, ...]: ...
    async def live_rules_at(self, scope: Scope, limit: int) -> tuple[AlertRule, ...]: ...
    async def live_rules_with_label(self, label: str, limit: int) -> tuple[str, ...]:
        """The ids of live rules that set this label, in their config or their defaults."""
        ...

    async def targets_in_group(self, id: str, limit: int) -> tuple[Target, ...]: ...
    async def remove_group_from_targets(self, id: str) -> None: ...

    async def keys_around_groups(self, group_ids: Collection[str]) -> set[str]:
        """Keys that have a live rule at one of the groups, an ancestor or a descendant of one."""
        ...

    async def keys_of_namespace(self, namespace_id: str) -> set[str]:
        """Keys that have a live rule at the namespace or at a group of it."""
        ...

    async def rendered_of_keys(self, keys: Collection[str]) -> dict[str, RenderedRule]:
        """What is stored as rendered for these keys, by rule id."""
        ...

    async def rendered_of_files(self, names: Collection[str]) -> tuple[RenderedRule, ...]:
        """What is stored as rendered for these files."""
        ...

    async def series_of_targets(self) -> dict[str, Mapping[str, str]]:
        """Of every target the labels that decide about rules: those of the namespaces."""
        ...

    async def changes_after(self, revision: int, which: "ResourceFilter") -> tuple["ResourceChange", ...]:
        """Each resource that is not what it was at this revision: as it was then, and as it is now."""
        ...

    async def put_rendered(self, rules: Sequence[RenderedRule]) -> None: ...
    async def delete_rendered(self, rule_ids: Collection[str]) -> None: ...

    async def ingredients(self, file_names: Collection[str]) -> dict[str, Ingredients]:
        """What each of these files is made of, by file name."""
        ...

    async def put_files(self, files: Sequence[tuple[Scope, RuleFile]]) -> None: ...
    async def delete_files(self, names: Collection[str]) -> None: ...

    async def log(
        self,
        author: str,
        method: str,
        resources: Sequence["ResourceChange"],
        files: Sequence[LoggedChange],
        *,
        reason: str = "",
        request: "Request | None" = None,
    ) -> None:
        """Appends the revision to the history and its files to the change log; wakes the replicas on commit."""
        ...

    async def answered(self, request_id: str) -> "Answered | None":
        """What a request of this id has done already."""
        ...

    async def changed_by(self, revision: int) -> tuple["ResourceChange", ...]:
        """What a revision changed."""
        ...

    async def touched(self, after: int, before: int) -> tuple["Touched", ...] | None:
        """What the revisions between these two have changed; None where the history does not have all of them."""
        ...


class Store(Reads, Protocol):
    """The database. As Reads, each call takes a connection of the pool by itself."""

    def transaction(self, *, rollback: bool = False, locked: bool = True) -> AbstractAsyncContextManager[Transaction]:
        """A transaction: committed at the end of the block, rolled back on an exception.

        With `rollback` it is rolled back in any case: that is a dry run, and its rows are stamped with revision 0.
        Not `locked`, a dry run does not take the commit lock. It reads one state of the database throughout, and gives
        way: Conflict where it would have to wait for a row, or another transaction has changed it since.
        Raises Unavailable(DATABASE_UNAVAILABLE) when the database can not be reached.
        """
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Reads]:
        """Reads of one state of the database. Raises Unavailable(DATABASE_UNAVAILABLE)."""
        ...


class Wakeup(Protocol):
    async def wait(self, timeout: float) -> None:
        """Returns at the next change since it was armed (at once if there was one), or after `timeout` seconds."""
        ...


class Wakeups(Protocol):
    """Tells when a revision or an outcome has changed, on whichever replica."""

    def armed(self) -> Wakeup: ...
