"""What reading the history needs from outside. Implemented by `rule_service.store.revisions`."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from rule_service.usecases.ports import Page
from rule_service.usecases.ports_changes import ResourceChange, ResourceFilter


@dataclass(frozen=True, slots=True)
class RevisionFilter:
    """Which revisions to list; None means any. kind, id: those that changed such a resource; an id has its kind."""

    kind: str | None = None
    id: str | None = None
    author: str | None = None


@dataclass(frozen=True, slots=True)
class ResourceRef:
    """A resource that a revision changed. existed: before it; exists: after it."""

    kind: str
    id: str
    existed: bool
    exists: bool


@dataclass(frozen=True, slots=True)
class RevisionFacts:
    """A revision without what it changed. at: by the database's clock. method: the RPC that made it."""

    revision: int
    at: datetime
    author: str
    method: str
    resource_count: int
    file_count: int
    reason: str
    request_id: str


class HistoryReads(Protocol):
    """Each method is one query."""

    async def revisions(self, before: int | None, limit: int, where: RevisionFilter) -> Page[RevisionFacts]:
        """Revisions before this one, the newest first. None: from the newest on."""
        ...

    async def facts(self, revision: int) -> RevisionFacts | None: ...

    async def first_changed(self, revisions: Collection[int], limit: int) -> dict[int, tuple[ResourceRef, ...]]:
        """The first resources that each of these revisions changed, at most `limit` of each, by revision."""
        ...

    async def changed(self, revision: int, after: int, limit: int) -> Page[ResourceChange]:
        """What a revision changed, in its own order. after: how many come before the page."""
        ...

    async def between(
        self, older: int, newer: int, after: tuple[str, str], limit: int, which: ResourceFilter
    ) -> Page[ResourceChange]:
        """The resources that are not the same at two revisions, by kind and id.

        before and after: as they were at the older one and at the newer one. after: the last of the page before.
        """
        ...
