"""From what a bundle asks for to complete resources, checked as a whole that is to be. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from rule_service.domain.check import (
    check_group,
    check_group_parent,
    check_namespace,
    check_rule,
    check_target,
    check_template,
)
from rule_service.domain.model import (
    AlertRule,
    AlertTemplate,
    GlobalScope,
    Group,
    GroupScope,
    Namespace,
    NamespaceScope,
    Resource,
    Target,
)
from rule_service.domain.wording import shown
from rule_service.usecases.bundle_plan import KINDS, Bundle, Findings, How, located, owned, refuse_theirs, refuse_twice
from rule_service.usecases.namespaces import DEFAULT_NAMESPACE
from rule_service.usecases.rules import RuleDraft, made_directly, made_of
from rulecast.errors import InvalidInput, NotFound
from rulecast.reasons import Reason


@dataclass(frozen=True, slots=True)
class Named:
    """What is there of what a bundle names, by id.

    namespaces: all. groups: with all their ancestors. rules: live ones. owned: all that the owner has, where the bundle
    is to be in sync.
    """

    namespaces: Mapping[str, Namespace]
    groups: Mapping[str, Group]
    targets: Mapping[str, Target]
    templates: Mapping[str, AlertTemplate]
    rules: Mapping[str, AlertRule]
    owned: Sequence[Resource] = ()


@dataclass(slots=True)
class Wanted:
    """Resources as they are to be, each with its place in the bundle. gone: what is to be deleted.

    namespaces_after, groups_after: by id, those that matter, as they will be.
    """

    how: How
    named: Named
    found: Findings = field(default_factory=Findings)
    namespaces: list[tuple[str, Namespace]] = field(default_factory=list)
    groups: list[tuple[str, Group]] = field(default_factory=list)
    targets: list[tuple[str, Target]] = field(default_factory=list)
    templates: list[tuple[str, AlertTemplate]] = field(default_factory=list)
    rules: list[tuple[str, AlertRule]] = field(default_factory=list)
    gone: list[Resource] = field(default_factory=list)
    namespaces_after: dict[str, Namespace] = field(default_factory=dict)
    groups_after: dict[str, Group] = field(default_factory=dict)


def want(bundle: Bundle, how: How, named: Named) -> Wanted:
    """What the bundle asks for. What is wrong with it is in `found`, but for what collides with others."""
    wanted = Wanted(how, named)
    for kind, ids in bundle.ids.items():
        refuse_twice(kind, ids, wanted.found)
    _gone(bundle, wanted)
    _namespaces(bundle, wanted)
    _groups(bundle, wanted)
    _targets(bundle, wanted)
    _templates(bundle, wanted)
    _rules(bundle, wanted)
    return wanted


def _gone(bundle: Bundle, wanted: Wanted) -> None:
    kept = {kind: set(ids) for kind, ids in bundle.ids.items()}
    for each in wanted.named.owned:
        if each.id in kept[KINDS[type(each)]]:
            continue
        if isinstance(each, Namespace) and each.id == DEFAULT_NAMESPACE:
            # it can not be deleted, but it is the bundle's no more
            wanted.namespaces.append(("", replace(each, owner="")))
        else:
            wanted.gone.append(each)


def _namespaces(bundle: Bundle, wanted: Wanted) -> None:
    there, found = wanted.named.namespaces, wanted.found
    for place, asked in located("namespace", bundle.namespaces):
        current = there.get(asked.id)
        namespace = owned(asked, current, wanted.how)
        with found.gathering():
            check_namespace(namespace, (), place)
        refuse_theirs("namespace", place, namespace, current, wanted.how, found)
        wanted.namespaces.append((place, namespace))
    gone = {each.id for each in wanted.gone if isinstance(each, Namespace)}
    after = {id: each for id, each in there.items() if id not in gone}
    after.update((each.id, each) for _, each in wanted.namespaces)
    wanted.namespaces_after = after
    by_label: dict[str, list[Namespace]] = {}
    for each in after.values():
        by_label.setdefault(each.label, []).append(each)
    for place, namespace in wanted.namespaces:
        others = by_label[namespace.label]
        if len(others) > 1 and place:
            with found.gathering():
                check_namespace(namespace, others, place)


def _groups(bundle: Bundle, wanted: Wanted) -> None:
    there, found = wanted.named.groups, wanted.found
    asked_for = {each.id: each for each in bundle.groups}
    for place, asked in located("group", bundle.groups):
        current = there.get(asked.id)
        group = replace(asked, namespace_id=_namespace_of(asked, asked_for, there))
        group = owned(group, current, wanted.how)
        with found.gathering():
            check_group(replace(group, parent_id=None), {}, place)
        if group.namespace_id not in wanted.namespaces_after:
            found.add(_missing("namespace", group.namespace_id, f"{place}.namespace_id"))
        if current is not None and current.namespace_id != group.namespace_id:
            message = f"a group stays in its namespace ({shown(current.namespace_id)}): give the other one another id"
            found.add(InvalidInput.of(f"{place}.namespace_id", Reason.FIELD_IMMUTABLE, message))
        refuse_theirs("group", place, group, current, wanted.how, found)
        wanted.groups.append((place, group))
    gone = {each.id for each in wanted.gone if isinstance(each, Group)}
    after = {id: each for id, each in there.items() if id not in gone}
    after.update((each.id, each) for _, each in wanted.groups)
    wanted.groups_after = after
    _check_trees(wanted)


def _namespace_of(group: Group, asked_for: Mapping[str, Group], there: Mapping[str, Group]) -> str:
    """As it says; else that of the nearest group above that says; else the first one there was."""
    above: Group | None = group
    seen: set[str] = set()
    while above is not None and above.id not in seen:
        if above.namespace_id:
            return above.namespace_id
        seen.add(above.id)
        above = asked_for.get(above.parent_id or "", there.get(above.parent_id or ""))
    return DEFAULT_NAMESPACE


def _check_trees(wanted: Wanted) -> None:
    """That parents are there, of the same namespace, and above nothing that is above them."""
    after = wanted.groups_after
    rooted: set[str] = set()
    circling = {id: circle for circle in _circles(after, rooted) for id in circle}
    for place, group in wanted.groups:
        parent = after.get(group.parent_id or "")
        with wanted.found.gathering():
            if group.id in circling:
                check_group_parent(group, {id: after[id] for id in circling[group.id]}, place)
            elif parent is None or parent.namespace_id != group.namespace_id:
                check_group_parent(group, {}, place)


def _circles(groups: Mapping[str, Group], rooted: set[str]) -> Iterator[tuple[str, ...]]:
    """The groups that are their own ancestors, circle by circle. rooted: gets those that were looked at."""
    for start in groups:
        path: dict[str, None] = {}
        at: str | None = start
        while at is not None and at in groups and at not in rooted and at not in path:
            path[at] = None
            at = groups[at].parent_id
        if at is not None and at in path:
            ids = list(path)
            yield tuple(ids[ids.index(at) :])
        rooted.update(path)


def _targets(bundle: Bundle, wanted: Wanted) -> None:
    there, found, namespaces = wanted.named.targets, wanted.found, wanted.namespaces_after
    placed = {id: each for id, each in wanted.groups_after.items() if each.namespace_id in namespaces}
    # whose namespace is missing: that is told already
    lost = wanted.groups_after.keys() - placed.keys()
    for place, asked in located("target", bundle.targets):
        current = there.get(asked.id)
        target = owned(replace(asked, group_ids=tuple(sorted(asked.group_ids))), current, wanted.how)
        with found.gathering():
            known = tuple(id for id in target.group_ids if id not in lost)
            check_target(replace(target, group_ids=known), placed, namespaces, place)
        refuse_theirs("target", place, target, current, wanted.how, found)
        wanted.targets.append((place, target))


def _templates(bundle: Bundle, wanted: Wanted) -> None:
    there, found = wanted.named.templates, wanted.found
    for place, asked in located("template", bundle.templates):
        current = there.get(asked.id)
        with found.gathering():
            template = _versioned(check_template(owned(asked, current, wanted.how), place), current)
            refuse_theirs("template", place, template, current, wanted.how, found)
            wanted.templates.append((place, template))


def _versioned(template: AlertTemplate, current: AlertTemplate | None) -> AlertTemplate:
    if current is None:
        return replace(template, version=max(template.version, 1))
    return replace(template, version=current.version + (template.spec != current.spec))


def _rules(bundle: Bundle, wanted: Wanted) -> None:
    found = wanted.found
    labels = {namespace.label for namespace in wanted.namespaces_after.values()}
    gone = {each.id for each in wanted.gone if isinstance(each, AlertTemplate)}
    templates = {id: each for id, each in wanted.named.templates.items() if id not in gone}
    templates.update((each.id, each) for _, each in wanted.templates)
    broken = {each.id for each in bundle.templates} - {each.id for _, each in wanted.templates}
    for at, draft in enumerate(bundle.rules):
        place = f"rules[{at}]"
        current = wanted.named.rules.get(draft.id)
        _check_scope(draft, wanted, place)
        if draft.template_id in broken:
            continue
        with found.gathering():
            rule = owned(_made(draft, current, templates, wanted.how, place), current, wanted.how)
            checked = check_rule(rule, labels, place)
            refuse_theirs("rule", place, checked, current, wanted.how, found)
            wanted.rules.append((place, checked))


def _made(
    draft: RuleDraft, current: AlertRule | None, templates: Mapping[str, AlertTemplate], how: How, place: str
) -> AlertRule:
    """The rule that the draft asks for, with its snapshot."""
    if draft.template_id is None:
        return made_directly(draft, place)
    template = templates.get(draft.template_id)
    same = current if current is not None and current.template_id == draft.template_id else None
    key = draft.key or (same.key if same else template.key if template else None)
    if draft.spec is not None:
        if key is None:
            message = "its template is not there to give it a key: say which alert it is, e.g. 'high-cpu'"
            raise InvalidInput.of(f"{place}.key", Reason.FIELD_REQUIRED, message)
        if draft.template_version is None or draft.template_version < 1:
            message = "a rule that has its template's `spec` needs the version that is of: `template_version`"
            raise InvalidInput.of(f"{place}.template_version", Reason.FIELD_REQUIRED, message)
        return made_of(draft, key, draft.spec, draft.template_version)
    if same is not None and key is not None and not (how.rebase and template):
        return made_of(draft, key, same.spec, same.template_version)
    if template is None:
        raise _missing("template", draft.template_id, f"{place}.template_id")
    return made_of(draft, key or template.key, template.spec, template.version)


def _check_scope(draft: RuleDraft, wanted: Wanted, place: str) -> None:
    match draft.scope:
        case NamespaceScope(id) if id not in wanted.namespaces_after:
            wanted.found.add(_missing("namespace", id, f"{place}.scope.namespace_id"))
        case GroupScope(id) if id not in wanted.groups_after:
            wanted.found.add(_missing("group", id, f"{place}.scope.group_id"))
        case NamespaceScope() | GroupScope() | GlobalScope():
            pass


_REASONS = {
    "namespace": Reason.NAMESPACE_NOT_FOUND,
    "group": Reason.GROUP_NOT_FOUND,
    "template": Reason.TEMPLATE_NOT_FOUND,
}


def _missing(kind: str, id: str, place: str) -> NotFound:
    message = f"there is no {kind} {shown(id)}, neither in the bundle nor besides: put it in, or create it first"
    return NotFound.of(place, _REASONS[kind], message, id=id)


def names_of(bundle: Bundle) -> tuple[set[str], set[str]]:
    """The ids of the groups and of the templates that a bundle names anywhere."""
    groups = {
        *(each.id for each in bundle.groups),
        *(each.parent_id for each in bundle.groups if each.parent_id),
        *chain.from_iterable(each.group_ids for each in bundle.targets),
        *(each.scope.group_id for each in bundle.rules if isinstance(each.scope, GroupScope)),
    }
    templates = {each.id for each in bundle.templates}
    templates |= {each.template_id for each in bundle.rules if each.template_id is not None}
    return groups, templates
