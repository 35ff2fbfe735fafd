"""Whether a bundle's resources collide with each other or with others, and what they then change. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from rule_service.domain.model import (
    AlertRule,
    AlertTemplate,
    Group,
    GroupScope,
    Namespace,
    NamespaceScope,
    Resource,
    Scope,
)
from rule_service.domain.render import RenderedRule
from rule_service.domain.sample import sample_of
from rule_service.domain.scope import in_words
from rule_service.domain.wording import shown
from rule_service.usecases.blame import with_fields
from rule_service.usecases.bundle_check import Wanted
from rule_service.usecases.bundle_plan import KINDS, Plan, difference
from rule_service.usecases.ports_batch import Content
from rule_service.usecases.ports_changes import ResourceChange
from rulecast.errors import AlreadyExists, FailedPrecondition, RulecastError
from rulecast.reasons import Reason

R = TypeVar("R", bound=Resource)

SHOWN_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What is there that a bundle may collide with.

    groups: with one of its label values, by id. holders: live rules with one of its keys at the scope.
    contents: of what it deletes. label_setters: by label that a namespace gets, the live rules that set it themselves.
    """

    groups: Mapping[str, Group]
    holders: Sequence[AlertRule]
    contents: Sequence[Content]
    label_setters: Mapping[str, Sequence[str]]


def places_of(wanted: Wanted) -> list[tuple[str, Scope]]:
    return [(rule.key, rule.scope) for _, rule in wanted.rules]


def values_of(wanted: Wanted) -> list[tuple[str, str]]:
    return [(group.namespace_id, group.label_value) for _, group in wanted.groups]


def new_labels_of(wanted: Wanted) -> list[str]:
    """Labels that become those of namespaces."""
    taken = {each.label for each in wanted.named.namespaces.values()}
    return sorted({namespace.label for _, namespace in wanted.namespaces} - taken)


def gone_places(wanted: Wanted) -> tuple[list[str], list[str]]:
    """The namespaces and groups that are to be deleted."""
    namespaces = [each.id for each in wanted.gone if isinstance(each, Namespace)]
    return namespaces, [each.id for each in wanted.gone if isinstance(each, Group)]


def settle(wanted: Wanted, beside: Neighbours) -> Plan:
    """What is to be done. Raises everything that is wrong with the bundle, what `want` found included."""
    _check_label_values(wanted, beside)
    _check_labels(wanted, beside)
    _check_keys(wanted, beside)
    _check_contents(wanted, beside)
    named = wanted.named
    parts = (
        difference("group", _values(wanted.groups), named.groups),
        difference("namespace", _values(wanted.namespaces), named.namespaces),
        difference("rule", _values(wanted.rules), named.rules),
        difference("target", _values(wanted.targets), named.targets),
        difference("template", _values(wanted.templates), named.templates),
    )
    changes = [change for part, _ in parts for change in part]
    samples = _samples(wanted, {change.id for change in changes if change.kind == "template"})
    wanted.found.raise_if_any()
    changes += [ResourceChange(KINDS[type(each)], each.id, each, None) for each in wanted.gone]
    fields = {rule.id: place for place, rule in wanted.rules}
    fields |= {_sample_id(template): place for place, template in wanted.templates}
    return Plan(
        tuple(sorted(changes, key=lambda change: (change.kind, change.id))),
        tuple(sorted(each for _, unchanged in parts for each in unchanged)),
        fields,
        samples,
    )


def _values(resources: Iterable[tuple[str, R]]) -> list[R]:
    return [each for _, each in resources]


def _check_label_values(wanted: Wanted, beside: Neighbours) -> None:
    gone = {each.id for each in wanted.gone if isinstance(each, Group)}
    holders: dict[tuple[str, str], list[str]] = {}
    for group in {**beside.groups, **wanted.groups_after}.values():
        if group.id not in gone:
            holders.setdefault((group.namespace_id, group.label_value), []).append(group.id)
    for place, group in wanted.groups:
        if others := [id for id in holders[group.namespace_id, group.label_value] if id != group.id]:
            message = (
                f"the label value {shown(group.label_value)} stands for group {shown(others[0])} too: "
                "give one of them another value"
            )
            wanted.found.add(AlreadyExists.of(f"{place}.label_value", Reason.LABEL_VALUE_TAKEN, message))


def _check_labels(wanted: Wanted, beside: Neighbours) -> None:
    """A rule that sets a namespace's label would claim to be of a group. Those of the bundle are checked already."""
    replaced = {rule.id for _, rule in wanted.rules} | {each.id for each in wanted.gone if isinstance(each, AlertRule)}
    for place, namespace in wanted.namespaces:
        setters = [id for id in beside.label_setters.get(namespace.label, ()) if id not in replaced]
        if setters:
            message = (
                f"rules set the label {shown(namespace.label)} themselves ({_some(setters)}): "
                "use another one, or remove it there"
            )
            wanted.found.add(FailedPrecondition.of(f"{place}.label", Reason.LABEL_TAKEN, message))


def _check_keys(wanted: Wanted, beside: Neighbours) -> None:
    moved = {rule.id for _, rule in wanted.rules} | {each.id for each in wanted.gone if isinstance(each, AlertRule)}
    holders = {(rule.key, rule.scope): rule.id for rule in beside.holders if rule.id not in moved}
    for place, rule in wanted.rules:
        holder = holders.setdefault((rule.key, rule.scope), rule.id)
        if holder != rule.id:
            message = (
                f"rule {shown(holder)} has the key {shown(rule.key)} at the scope {in_words(rule.scope)} too: "
                "one key has one rule at a scope"
            )
            wanted.found.add(AlreadyExists.of(f"{place}.key", Reason.KEY_TAKEN, message, id=holder))


def _check_contents(wanted: Wanted, beside: Neighbours) -> None:
    """A namespace or group that is to be deleted has to be empty then."""
    gone = {(KINDS[type(each)], each.id) for each in wanted.gone}
    inside: dict[tuple[str, str], list[str]] = {}
    after: dict[tuple[str, str], Sequence[Scope]] = {
        **{("group", each.id): _places_of_group(each) for _, each in wanted.groups},
        **{("rule", each.id): [each.scope] for _, each in wanted.rules},
        **{("target", each.id): [GroupScope(id) for id in each.group_ids] for _, each in wanted.targets},
    }
    for content in beside.contents:
        thing = (content.kind, content.id)
        place: Scope = (
            NamespaceScope(content.place_id) if content.place == "namespace" else GroupScope(content.place_id)
        )
        if thing not in gone and place in after.get(thing, [place]):
            inside.setdefault((content.place, content.place_id), []).append(f"{content.kind} {content.id}")
    for (kind, id), things in inside.items():
        reason = Reason.NAMESPACE_NOT_EMPTY if kind == "namespace" else Reason.GROUP_NOT_EMPTY
        message = (
            f"the {kind} {shown(id)} is not in the bundle any more, but something is in it that would stay "
            f"({_some(things)}): keep it, or move or delete these"
        )
        wanted.found.add(FailedPrecondition.of(f"{kind}s[{id}]", reason, message, id=id))


def _places_of_group(group: Group) -> list[Scope]:
    above: list[Scope] = [GroupScope(group.parent_id)] if group.parent_id else []
    return [NamespaceScope(group.namespace_id), *above]


def _some(ids: Sequence[str]) -> str:
    more = ", ..." if len(ids) > SHOWN_AT_MOST else ""
    return ", ".join(ids[:SHOWN_AT_MOST]) + more


def _samples(wanted: Wanted, changed: set[str]) -> tuple[RenderedRule, ...]:
    """No rule need be rendered from a new template, so samples stand in: promtool has the last word on them too."""
    samples = []
    for place, template in wanted.templates:
        if template.id in changed:
            try:
                samples.append(replace(sample_of(template), rule_id=_sample_id(template)))
            except RulecastError as error:
                wanted.found.add(with_fields(error, template.id, {template.id: place}))
    return tuple(samples)


def _sample_id(template: AlertTemplate) -> str:
    """Like that of no rule: a rule may have the same id as a template."""
    return f"template {template.id}"
