"""What an edit changes, and what the history keeps of it."""

from dataclasses import dataclass

from rule_service.domain.model import Resource, Scope


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """One file changed by a revision. `sha256` is None for a deletion."""

    file_name: str
    sha256: bytes | None


@dataclass(frozen=True, slots=True)
class Touched:
    """Something that revisions have changed: a resource as it was or as it became, a file, or nothing in particular.

    kind: as in `ResourceChange`, or `file`; empty for a revision that says of no resource what it changed.
    key, scope, namespace_id: of a rule; the namespace is that of its group.
    """

    kind: str
    id: str = ""
    key: str = ""
    scope: Scope | None = None
    namespace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What tells a repeated call (AIP-155). digest: of all of it, since an id can be used for another by mistake."""

    id: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was done: the revision it made, and the first resource it changed."""

    revision: int
    method: str
    digest: bytes
    resource_id: str


@dataclass(frozen=True, slots=True)
class ResourceFilter:
    """Which resources of the history; None means any. id: with its kind. group_id: the rules at this very group."""

    kind: str | None = None
    id: str | None = None
    group_id: str | None = None


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """For the history: what a resource was and what it became; None where there was or is nothing.

    kind: `namespace`, `group`, `target`, `template` or `rule`.
    """

    kind: str
    id: str
    before: Resource | None
    after: Resource | None
