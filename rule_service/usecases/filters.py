"""Which resources a list is to show. None means any, and what is set must all hold.

text: somewhere in the id, the names or the description, in any case. show_deleted: deleted ones too. owner: the bundle
that it belongs to; "": none.
"""

from dataclasses import dataclass
from datetime import timedelta

from rule_service.domain.model import Scope
from rule_service.domain.status import TargetStatus


@dataclass(frozen=True, slots=True)
class StatusFilter:
    """Targets with one of these statuses. stale_after: for how long nobody has heard of a stale one."""

    statuses: frozenset[TargetStatus]
    stale_after: timedelta


@dataclass(frozen=True, slots=True)
class RuleFilter:
    """Which rules to list; None means any. `scope` is that very scope, not what it covers.

    severity: of the spec. namespace_id: at this namespace or a group of it. text: somewhere in it, in any case.
    outdated: not on the newest version of its template. owner: "" is none.
    """

    scope: Scope | None = None
    key: str | None = None
    template_id: str | None = None
    enabled: bool | None = None
    severity: str | None = None
    namespace_id: str | None = None
    text: str | None = None
    owner: str | None = None
    outdated: bool = False
    show_deleted: bool = False


@dataclass(frozen=True, slots=True)
class ScrapeFilter:
    """Which targets to scrape; None means any, and what is set must all hold.

    group_id: in this group or a descendant. namespace_id: in a group of it. exporter: with an exporter of this name.
    status: with one of these.
    """

    group_id: str | None = None
    namespace_id: str | None = None
    exporter: str | None = None
    status: StatusFilter | None = None


@dataclass(frozen=True, slots=True)
class NamespaceFilter:
    text: str | None = None
    show_deleted: bool = False
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class GroupFilter:
    """parent_id: right below this group."""

    namespace_id: str | None = None
    parent_id: str | None = None
    text: str | None = None
    show_deleted: bool = False
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class TargetFilter:
    """group_id: in this very group. namespace_id: in a group of it."""

    group_id: str | None = None
    namespace_id: str | None = None
    hostname: str | None = None
    status: StatusFilter | None = None
    text: str | None = None
    show_deleted: bool = False
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class TemplateFilter:
    severity: str | None = None
    text: str | None = None
    show_deleted: bool = False
    owner: str | None = None


ANY_NAMESPACE = NamespaceFilter()
ANY_GROUP = GroupFilter()
ANY_TARGET = TargetFilter()
ANY_TEMPLATE = TemplateFilter()
