"""Puts resources back to what they were, in an order in which the database takes every step."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar, assert_never

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
from rule_service.usecases.ports import Record, ResourceChange, RuleFilter, Transaction
from rulecast.errors import AlreadyExists, NotFound
from rulecast.reasons import Reason

R = TypeVar("R", bound=Resource)


async def restore(transaction: Transaction, changes: Sequence[ResourceChange]) -> None:
    """Makes `after` of each `before`; the changes lead from the state as it is to another that was valid as a whole.

    Raises NotFound for a rule whose scope is not there, and AlreadyExists where its key is taken.
    """
    rules = _of(changes, AlertRule)
    for was, wanted in rules:
        if was is not None and wanted is None:
            await transaction.delete_rule(was.id)
    namespaces, groups, targets = _of(changes, Namespace), _of(changes, Group), _of(changes, Target)
    templates = _of(changes, AlertTemplate)
    await _make_way(transaction, namespaces, groups, targets)
    to = transaction
    await _put(namespaces, to.insert_namespace, to.update_namespace)
    await _put_groups(transaction, groups)
    await _put(targets, to.insert_target, to.update_target)
    await _delete(templates, to.delete_template)
    await _put(templates, to.insert_template, to.update_template)
    for _, wanted in rules:
        if wanted is not None:
            await put_rule(transaction, wanted, f"rules[{wanted.id}]")


async def put_rule(transaction: Transaction, rule: AlertRule, field: str) -> Record[AlertRule]:
    """A rule as it is to be, whether it is there, deleted, or gone. field: where it stands in the request.

    Raises NotFound for a scope that is not there, AlreadyExists for a key that is taken, InvalidInput.
    """
    await _need_scope(transaction, rule, field)
    await _need_free_key(transaction, rule, field)
    namespaces = await transaction.all_namespaces()
    checked = check_rule(rule, {namespace.label for namespace in namespaces.values()}, field)
    current = await transaction.rule(rule.id)
    if current is None:
        return await transaction.insert_rule(checked)
    if current.deleted_at is not None:
        return await transaction.undelete_rule(checked)
    return await transaction.update_rule(checked)


async def _need_free_key(transaction: Transaction, rule: AlertRule, field: str) -> None:
    """Raises AlreadyExists where another live rule has the key at the scope."""
    for other in (await transaction.rules("", 2, RuleFilter(scope=rule.scope, key=rule.key))).items:
        if other.value.id != rule.id:
            raise AlreadyExists.of(
                f"{field}.key",
                Reason.KEY_TAKEN,
                f"rule {shown(rule.id)} can not be restored: rule {shown(other.value.id)} has its key "
                f"{shown(rule.key)} at its scope now; delete that one first",
                id=other.value.id,
            )


async def _need_scope(transaction: Transaction, rule: AlertRule, field: str) -> None:
    match rule.scope:
        case NamespaceScope(id):
            there = await transaction.namespace(id) is not None
            kind, reason = "namespace", Reason.NAMESPACE_NOT_FOUND
        case GroupScope(id):
            there = await transaction.group(id) is not None
            kind, reason = "group", Reason.GROUP_NOT_FOUND
        case GlobalScope():
            return
        case _:
            assert_never(rule.scope)
    if not there:
        message = (
            f"rule {shown(rule.id)} can not be restored: its {kind} {shown(id)} is gone; "
            "undelete that first, or create it again"
        )
        raise NotFound.of(f"{field}.scope", reason, message, id=id)


async def _make_way(
    transaction: Transaction,
    namespaces: Sequence[tuple[Namespace | None, Namespace | None]],
    groups: Sequence[tuple[Group | None, Group | None]],
    targets: Sequence[tuple[Target | None, Target | None]],
) -> None:
    """Takes apart what changes: no label, value or place in a tree is then in the way of another that comes back.

    What is to be deleted is deleted as it is, since that is what can be brought back.
    """
    await _delete(targets, transaction.delete_target)
    for target, wanted in targets:
        if target is not None and wanted is not None:
            await transaction.update_target(replace(target, group_ids=()))
    leaving = []
    for group, into in groups:
        if group is not None and into is not None:
            await transaction.update_group(replace(group, parent_id=None, label_value=_parked(group.id)))
        if group is not None and (into is None or into.namespace_id != group.namespace_id):
            leaving.append(group)
    for group in _children_first(leaving):
        await transaction.delete_group(group.id)
    await _delete(namespaces, transaction.delete_namespace)
    for namespace, to_be in namespaces:
        if namespace is not None and to_be is not None:
            await transaction.update_namespace(replace(namespace, label=_parked(namespace.id)))


def _children_first(groups: Sequence[Group]) -> list[Group]:
    waiting = {group.id: group for group in groups}
    ordered: list[Group] = []
    while waiting:
        parents = {group.parent_id for group in waiting.values()}
        free = [group for group in waiting.values() if group.id not in parents]
        for group in free:
            del waiting[group.id]
        ordered += free
    return ordered


def _parked(id: str) -> str:
    """Like no label and no value that anybody may have: gone before anyone sees it."""
    return f"rollback {id}"


async def _put_groups(transaction: Transaction, groups: Sequence[tuple[Group | None, Group | None]]) -> None:
    wanted = [(was, group) for was, group in groups if group is not None]
    for was, group in wanted:
        if was is None or was.namespace_id != group.namespace_id:
            await transaction.insert_group(replace(group, parent_id=None))
    # now that all are there, in whatever order
    for _, group in wanted:
        await transaction.update_group(group)


async def _put(
    pairs: Iterable[tuple[R | None, R | None]],
    insert: Callable[[R], Awaitable[object]],
    update: Callable[[R], Awaitable[object]],
) -> None:
    for was, wanted in pairs:
        if was is None and wanted is not None:
            await insert(wanted)
        elif wanted is not None:
            await update(wanted)


async def _delete(pairs: Iterable[tuple[R | None, R | None]], delete: Callable[[str], Awaitable[object]]) -> None:
    for was, wanted in pairs:
        if was is not None and wanted is None:
            await delete(was.id)


def _of(changes: Sequence[ResourceChange], kind: type[R]) -> list[tuple[R | None, R | None]]:
    """Before and after of those of this kind."""
    pairs: list[tuple[R | None, R | None]] = []
    for change in changes:
        before, after = change.before, change.after
        if isinstance(before, kind) or isinstance(after, kind):
            pairs.append((before if isinstance(before, kind) else None, after if isinstance(after, kind) else None))
    return pairs
