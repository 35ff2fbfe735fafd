"""Makes resources what they are to be, many at once, in an order in which the database takes every step."""

from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

from rule_service.domain.check import check_rule
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
from rule_service.usecases.expect import found
from rule_service.usecases.ports import Record, Transaction
from rule_service.usecases.ports_changes import ResourceChange
from rulecast.errors import AlreadyExists, NotFound
from rulecast.reasons import Reason

R = TypeVar("R", bound=Resource)


async def carry_out(transaction: Transaction, changes: Sequence[ResourceChange]) -> None:
    """Makes `after` of each `before`; the changes lead from the state as it is to another that is valid as a whole.

    Labels, label values, places in a tree, keys and scopes may change hands among them. Raises FailedPrecondition
    where something is in a namespace or group that goes.
    """
    await _carry_out_around(transaction, changes)
    await transaction.put_rules(_after(changes, AlertRule))


async def restore(transaction: Transaction, changes: Sequence[ResourceChange]) -> None:
    """As `carry_out`, back to an earlier state of some rules, or of everything.

    Raises NotFound for a rule whose scope is not there, and AlreadyExists where its key is taken.
    """
    await _carry_out_around(transaction, changes)
    rules = _after(changes, AlertRule)
    checked = await _restorable(transaction, [(rule, f"rules[{rule.id}]") for rule in rules])
    await transaction.put_rules(checked)


async def restore_rule(transaction: Transaction, rule: AlertRule, field: str) -> Record[AlertRule]:
    """A rule as it is to be, whether it is there, deleted, or gone. field: where it stands in the request.

    Raises NotFound for a scope that is not there, AlreadyExists for a key that is taken, InvalidInput.
    """
    await transaction.put_rules(await _restorable(transaction, [(rule, field)]))
    return found(await transaction.rule(rule.id), "rule", rule.id, field)


async def keys_of_changes(transaction: Transaction, changes: Iterable[ResourceChange]) -> set[str]:
    """The alerts that these changes can render differently, as the scopes are now."""
    keys: set[str] = set()
    groups = []
    for change in changes:
        match change.kind:
            case "rule":
                keys |= {each.key for each in (change.before, change.after) if isinstance(each, AlertRule)}
            case "group":
                groups.append(change.id)
            case "namespace":
                keys |= await transaction.keys_of_namespace(change.id)
    return keys | (await transaction.keys_around_groups(groups) if groups else set())


async def _carry_out_around(transaction: Transaction, changes: Sequence[ResourceChange]) -> None:
    """All but putting rules: those that go or leave their place are deleted, all else is as it is to be.

    What goes does so first, and as it is: that is what can be undeleted.
    """
    await transaction.delete_rules(_ids(_leaving(changes)))
    await transaction.remove_targets(_gone(changes, Target))
    # one that is of another namespace now is another group, which happens to have its id
    groups = [(was, now is not None and now.namespace_id == was.namespace_id) for was, now in _there(changes, Group)]
    staying = _ids(group for group, stays in groups if stays)
    await transaction.park(_staying(changes, Namespace), staying, _staying(changes, Target))
    await transaction.remove_groups(_ids(group for group, stays in groups if not stays))
    await transaction.remove_namespaces(_gone(changes, Namespace))
    await transaction.put_namespaces(_after(changes, Namespace))
    await transaction.put_groups(_after(changes, Group))
    await transaction.put_targets(_after(changes, Target))
    await transaction.remove_templates(_gone(changes, AlertTemplate))
    await transaction.put_templates(_after(changes, AlertTemplate))


def _leaving(changes: Sequence[ResourceChange]) -> list[AlertRule]:
    return [
        was
        for was, now in _pairs(changes, AlertRule)
        if was is not None and (now is None or (now.key, now.scope) != (was.key, was.scope))
    ]


async def _restorable(transaction: Transaction, rules: Sequence[tuple[AlertRule, str]]) -> list[AlertRule]:
    """The rules, normalised. Each with the field where it stands in the request."""
    namespaces = await transaction.all_namespaces()
    groups = await transaction.group_with_ancestors(
        {rule.scope.group_id for rule, _ in rules if isinstance(rule.scope, GroupScope)}
    )
    holders = {
        (each.key, each.scope): each
        for each in await transaction.live_rules_in_places([(rule.key, rule.scope) for rule, _ in rules])
    }
    labels = {namespace.label for namespace in namespaces.values()}
    checked = []
    for rule, field in rules:
        _need_scope(rule, namespaces, groups, field)
        holder = holders.get((rule.key, rule.scope))
        if holder is not None and holder.id != rule.id:
            raise AlreadyExists.of(
                f"{field}.key",
                Reason.KEY_TAKEN,
                f"rule {shown(rule.id)} can not be restored: rule {shown(holder.id)} has its key "
                f"{shown(rule.key)} at its scope now; delete that one first",
                id=holder.id,
            )
        checked.append(check_rule(rule, labels, field))
    return checked


def _need_scope(rule: AlertRule, namespaces: Collection[str], groups: Collection[str], field: str) -> None:
    match rule.scope:
        case NamespaceScope(id) if id not in namespaces:
            kind, reason = "namespace", Reason.NAMESPACE_NOT_FOUND
        case GroupScope(id) if id not in groups:
            kind, reason = "group", Reason.GROUP_NOT_FOUND
        case NamespaceScope() | GroupScope() | GlobalScope():
            return
    message = (
        f"rule {shown(rule.id)} can not be restored: its {kind} {shown(id)} is gone; "
        "undelete that first, or create it again"
    )
    raise NotFound.of(f"{field}.scope", reason, message, id=id)


def _pairs(changes: Sequence[ResourceChange], kind: type[R]) -> list[tuple[R | None, R | None]]:
    """Before and after of those of this kind."""
    pairs: list[tuple[R | None, R | None]] = []
    for change in changes:
        before, after = change.before, change.after
        if isinstance(before, kind) or isinstance(after, kind):
            pairs.append((before if isinstance(before, kind) else None, after if isinstance(after, kind) else None))
    return pairs


def _after(changes: Sequence[ResourceChange], kind: type[R]) -> list[R]:
    return [now for _, now in _pairs(changes, kind) if now is not None]


def _there(changes: Sequence[ResourceChange], kind: type[R]) -> list[tuple[R, R | None]]:
    """Those of this kind that are there, each with what it is to be."""
    return [(was, now) for was, now in _pairs(changes, kind) if was is not None]


def _staying(changes: Sequence[ResourceChange], kind: type[R]) -> list[str]:
    return _ids(was for was, now in _there(changes, kind) if now is not None)


def _gone(changes: Sequence[ResourceChange], kind: type[R]) -> list[str]:
    return _ids(was for was, now in _there(changes, kind) if now is None)


def _ids(resources: Iterable[Resource]) -> list[str]:
    return [each.id for each in resources]
