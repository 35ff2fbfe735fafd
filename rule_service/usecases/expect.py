"""The steps that every edit shares: find it, or say what is missing; see that nobody was faster."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rule_service.domain.model import (
    AlertRule,
    AlertTemplate,
    Group,
    GroupScope,
    Namespace,
    NamespaceScope,
    Scope,
    Target,
)
from rule_service.domain.wording import shown
from rule_service.usecases.ports import Kept, Reads, Record
from rulecast.errors import Conflict, NotFound, Violation
from rulecast.reasons import Reason

T = TypeVar("T")

KINDS: dict[type, str] = {Namespace: "namespace", Group: "group", Target: "target", AlertTemplate: "template"}
_MISSING = {
    "namespace": Reason.NAMESPACE_NOT_FOUND,
    "group": Reason.GROUP_NOT_FOUND,
    "target": Reason.TARGET_NOT_FOUND,
    "template": Reason.TEMPLATE_NOT_FOUND,
    "rule": Reason.RULE_NOT_FOUND,
}


@dataclass(eq=False)
class EtagMismatch(Conflict):
    """record: as it is now."""

    record: Record[Any] = field(kw_only=True)


def found(record: T | None, kind: str, id: str, field: str) -> T:
    """The record, or NotFound naming what is not there."""
    if record is None:
        raise NotFound.of(field, _MISSING[kind], f"there is no {kind} {shown(id)}", id=id)
    return record


def check_etag(record: Record[T], etag: str, field: str) -> None:
    """Raises EtagMismatch when the caller has seen another state than the current one. Without an etag: nothing."""
    if etag and etag != record.etag:
        message = f"it has changed since: the current etag is {record.etag}, not {shown(etag)}; read it again"
        violation = Violation(field, Reason.ETAG_MISMATCH, message)
        raise EtagMismatch((violation,), {"current_etag": record.etag}, record=record)


async def the_namespace(reads: Reads, id: str, field: str) -> Record[Namespace]:
    return await _live(reads, await reads.namespace(id), Namespace, id, field)


async def the_group(reads: Reads, id: str, field: str) -> Record[Group]:
    return await _live(reads, await reads.group(id), Group, id, field)


async def the_target(reads: Reads, id: str, field: str) -> Record[Target]:
    return await _live(reads, await reads.target(id), Target, id, field)


async def the_template(reads: Reads, id: str, field: str) -> Record[AlertTemplate]:
    return await _live(reads, await reads.template(id), AlertTemplate, id, field)


async def _live(reads: Reads, record: Record[Kept] | None, kind: type[Kept], id: str, field: str) -> Record[Kept]:
    """The live record, or NotFound that says whether there was one."""
    if record is None:
        if await reads.resources_by_id(kind, [id]):
            name = KINDS[kind]
            raise NotFound.of(field, _MISSING[name], f"the {name} {shown(id)} was deleted: undelete it first", id=id)
        return found(record, KINDS[kind], id, field)
    return record


async def these(reads: Reads, kind: type[Kept], ids: Sequence[str], field: str) -> list[Record[Kept]]:
    """In the order asked for, deleted ones too. Raises NotFound for the first that is not there."""
    there = await reads.resources_by_id(kind, ids)
    return [found(there.get(id), KINDS[kind], id, field.format(at)) for at, id in enumerate(ids)]


async def the_kept(reads: Reads, kind: type[Kept], id: str) -> Record[Kept]:
    """One, deleted or not."""
    (record,) = await these(reads, kind, [id], "id")
    return record


async def the_live_rule(reads: Reads, id: str, field: str) -> Record[AlertRule]:
    record = found(await reads.rule(id), "rule", id, field)
    if record.deleted_at is not None:
        message = f"the rule {shown(id)} was deleted: undelete it first"
        raise NotFound.of(field, Reason.RULE_NOT_FOUND, message, id=id)
    return record


async def the_scope(reads: Reads, scope: Scope, field: str) -> None:
    """Raises NotFound where the scope's namespace or group is not there."""
    if isinstance(scope, NamespaceScope):
        await the_namespace(reads, scope.namespace_id, f"{field}.namespace_id")
    elif isinstance(scope, GroupScope):
        await the_group(reads, scope.group_id, f"{field}.group_id")
