"""What a bundle changes, from what there is: pure, and with everything that is wrong with it told at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from rule_service.domain.model import (
    AlertRule,
    AlertTemplate,
    Group,
    Namespace,
    Resource,
    Target,
)
from rule_service.domain.render import RenderedRule
from rule_service.domain.wording import shown
from rule_service.usecases.blame import together
from rule_service.usecases.ports_changes import ResourceChange
from rule_service.usecases.rules import RuleDraft
from rulecast.errors import AlreadyExists, FailedPrecondition, InvalidInput, RulecastError
from rulecast.reasons import Reason

R = TypeVar("R", bound=Resource)

KINDS: Mapping[type[Resource], str] = {
    Group: "group",
    Namespace: "namespace",
    AlertRule: "rule",
    Target: "target",
    AlertTemplate: "template",
}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A whole set of resources as asked for.

    groups: with an empty namespace where it is not said. templates: with version 0 where it is not said.
    """

    namespaces: tuple[Namespace, ...] = ()
    groups: tuple[Group, ...] = ()
    targets: tuple[Target, ...] = ()
    templates: tuple[AlertTemplate, ...] = ()
    rules: tuple[RuleDraft, ...] = ()

    @property
    def ids(self) -> dict[str, tuple[str, ...]]:
        """The ids of all resources, by kind."""
        return {
            "namespace": tuple(each.id for each in self.namespaces),
            "group": tuple(each.id for each in self.groups),
            "target": tuple(each.id for each in self.targets),
            "template": tuple(each.id for each in self.templates),
            "rule": tuple(each.id for each in self.rules),
        }


class Mode(StrEnum):
    CREATE_ONLY = "create only"
    UPSERT = "upsert"
    SYNC = "sync"


@dataclass(frozen=True, slots=True)
class How:
    """How a bundle is applied. owner: "" leaves owners as they are. rebase: rules onto their templates' newest."""

    mode: Mode = Mode.UPSERT
    owner: str = ""
    take_over: bool = False
    rebase: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """changes: by kind and id. unchanged: kind and id of what stays. fields: where rules stand in the bundle, by id.

    samples: of templates that are new or have another spec.
    """

    changes: tuple[ResourceChange, ...]
    unchanged: tuple[tuple[str, str], ...]
    fields: Mapping[str, str]
    samples: tuple[RenderedRule, ...]


@dataclass(slots=True)
class Findings:
    """Collects what is wrong."""

    errors: list[RulecastError] = field(default_factory=list)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        try:
            yield
        except RulecastError as error:
            self.errors.append(error)

    def add(self, error: RulecastError) -> None:
        self.errors.append(error)

    def raise_if_any(self) -> None:
        if self.errors:
            raise together(self.errors)


def located(kind: str, resources: Sequence[R]) -> list[tuple[str, R]]:
    """Each with where it stands in the bundle: `groups[2]`."""
    return [(f"{kind}s[{at}]", each) for at, each in enumerate(resources)]


def refuse_twice(kind: str, ids: Iterable[str], found: Findings) -> None:
    """An id that stands in the bundle more than once."""
    first: dict[str, int] = {}
    for at, id in enumerate(ids):
        if first.setdefault(id, at) != at:
            message = f"the {kind} {shown(id)} stands in the bundle twice, at {kind}s[{first[id]}] too: once is enough"
            found.add(InvalidInput.of(f"{kind}s[{at}].id", Reason.ID_TAKEN, message))


def owned(wanted: R, current: R | None, how: How) -> R:
    """The resource with the owner that it will have."""
    return replace(wanted, owner=how.owner or (current.owner if current is not None else ""))


def refuse_theirs(kind: str, place: str, wanted: R, current: R | None, how: How, found: Findings) -> None:
    """What may not be touched: what is there already, or is another's."""
    if current is None:
        return
    if how.mode is Mode.CREATE_ONLY and not _always_there(wanted, current):
        message = f"there is a {kind} {shown(wanted.id)} already: apply with UPSERT to change it, or leave it out"
        found.add(AlreadyExists.of(f"{place}.id", Reason.ID_TAKEN, message, id=wanted.id))
        return
    claimed = how.owner != current.owner if how.owner else wanted != current
    if current.owner and claimed and not how.take_over:
        message = f"the {kind} {shown(wanted.id)} belongs to {shown(current.owner)}: leave it there, or say `take_over`"
        found.add(FailedPrecondition.of(place, Reason.OWNED_BY_ANOTHER, message, owner=current.owner))


def _always_there(wanted: Resource, current: Resource) -> bool:
    """The first namespace is in every database, so an export of one that is as it began can be created anywhere."""
    return isinstance(wanted, Namespace) and wanted.id == "default" and replace(wanted, owner=current.owner) == current


def difference(
    kind: str, wanted: Iterable[R], there: Mapping[str, R]
) -> tuple[list[ResourceChange], list[tuple[str, str]]]:
    """What changes, and what stays."""
    changes, unchanged = [], []
    for each in wanted:
        current = there.get(each.id)
        if each == current:
            unchanged.append((kind, each.id))
        else:
            changes.append(ResourceChange(kind, each.id, current, each))
    return changes, unchanged
