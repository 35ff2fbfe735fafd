"""Reading the history: what was done, and what differs between two revisions."""

from collections.abc import Mapping
from dataclasses import dataclass

from rule_service.usecases.ports import Page, Reads
from rule_service.usecases.ports_changes import LoggedChange, ResourceChange, ResourceFilter
from rule_service.usecases.ports_history import HistoryReads, ResourceRef, RevisionFacts, RevisionFilter
from rulecast.errors import InvalidInput, NotFound
from rulecast.reasons import Reason

REFS = 20
"""So many of the resources that a revision changed are named in a list of revisions."""


@dataclass(frozen=True, slots=True)
class Revisions:
    """A page of revisions, and the first resources that each of them changed, by revision."""

    page: Page[RevisionFacts]
    first: Mapping[int, tuple[ResourceRef, ...]]


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision with a page of what it changed, and the files it changed."""

    facts: RevisionFacts
    changed: Page[ResourceChange]
    files: tuple[LoggedChange, ...]


@dataclass(frozen=True, slots=True)
class Differences:
    """What differs between two revisions: `before` is as of the first, `after` as of the second."""

    from_revision: int
    to_revision: int
    page: Page[ResourceChange]


class History:
    def __init__(self, history: HistoryReads, reads: Reads) -> None:
        self._history = history
        self._reads = reads

    async def list(self, before: int | None, limit: int, where: RevisionFilter) -> Revisions:
        """Revisions before this one, the newest first. Raises InvalidInput."""
        _need_kind(where.kind, where.id)
        page = await self._history.revisions(before, limit, where)
        return Revisions(page, await self._history.first_changed([each.revision for each in page.items], REFS))

    async def get(self, revision: int, after: int, limit: int) -> Revision:
        """after: how many of its resources come before the page. Raises NotFound."""
        facts = await self._history.facts(revision)
        if facts is None:
            raise no_revision(revision, "revision")
        changed = await self._history.changed(revision, after, limit)
        return Revision(facts, changed, await self._reads.changed_files(revision))

    async def diff(
        self, start: int, end: int | None, after: tuple[str, str], limit: int, which: ResourceFilter
    ) -> Differences:
        """From `start` to `end`, which may be older; None: the newest. after: the last of the page before.

        Raises NotFound for a revision, InvalidInput.
        """
        _need_kind(which.kind, which.id)
        end = await self._reads.revision() if end is None else end
        for revision, field in ((start, "from_revision"), (end, "to_revision")):
            await need_revision(self._reads, revision, field)
        page = await self._history.between(min(start, end), max(start, end), after, limit, which)
        if start > end:
            page = Page(tuple(reversed_change(each) for each in page.items), page.next_after)
        return Differences(start, end, page)


async def need_revision(reads: Reads, revision: int, field: str) -> None:
    """Raises NotFound for a revision that never was, or is forgotten."""
    if not await reads.has_revision(revision):
        raise no_revision(revision, field)


def no_revision(revision: int, field: str) -> NotFound:
    message = f"there is no revision {revision}, or it is so old that it was forgotten: list those that there are"
    return NotFound.of(field, Reason.REVISION_NOT_FOUND, message)


def reversed_change(change: ResourceChange) -> ResourceChange:
    """The way back."""
    return ResourceChange(change.kind, change.id, change.after, change.before)


def _need_kind(kind: str | None, id: str | None) -> None:
    if id is not None and kind is None:
        raise InvalidInput.of(
            "kind", Reason.FIELD_REQUIRED, "ids are unique among resources of one kind only: say the kind too"
        )
