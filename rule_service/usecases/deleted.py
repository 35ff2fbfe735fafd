"""What was deleted: brought back, or removed for good."""

from rule_service.domain.model import AlertTemplate, Group, Namespace, Target
from rule_service.domain.wording import shown
from rule_service.usecases.change import Change, WriteOptions
from rule_service.usecases.expect import KINDS, check_etag, the_kept
from rule_service.usecases.ports import Kept, Reads, Record, Transaction
from rule_service.usecases.ports_changes import ResourceChange
from rule_service.usecases.publish import Publisher
from rule_service.usecases.rendering import Edited
from rulecast.errors import AlreadyExists, FailedPrecondition
from rulecast.reasons import Reason

SHOWN_AT_MOST = 5

_NOT_DELETED = {
    Namespace: Reason.NAMESPACE_NOT_DELETED,
    Group: Reason.GROUP_NOT_DELETED,
    Target: Reason.TARGET_NOT_DELETED,
    AlertTemplate: Reason.TEMPLATE_NOT_DELETED,
}


async def refuse_deleted(reads: Reads, kind: type[Kept], id: str) -> None:
    """Raises AlreadyExists for the id of one that was deleted, since it can be brought back (AIP-164)."""
    record = (await reads.resources_by_id(kind, [id])).get(id)
    if record is not None and record.deleted_at is not None:
        raise id_of_deleted(KINDS[kind], id)


def id_of_deleted(kind: str, id: str) -> AlreadyExists:
    message = f"the {kind} {shown(id)} was deleted and keeps its id: undelete it, or purge it first"
    return AlreadyExists.of(f"{kind}.id", Reason.ID_TAKEN, message, id=id)


async def the_deleted(reads: Reads, kind: type[Kept], id: str, etag: str) -> Record[Kept]:
    """One to bring back. Raises NotFound, AlreadyExists for a live one, Conflict."""
    record = await the_kept(reads, kind, id)
    if record.deleted_at is None:
        message = f"the {KINDS[kind]} {shown(id)} is not deleted: it is there"
        raise AlreadyExists.of("id", _NOT_DELETED[kind], message)
    check_etag(record, etag, "etag")
    return record


async def purge(publisher: Publisher, kind: type[Kept], id: str, etag: str, options: WriteOptions) -> Change:
    """Removes a deleted one for good.

    Raises NotFound, Conflict, FailedPrecondition for a live one, and for a namespace or group without which something
    else that was deleted can not come back.
    """
    name = KINDS[kind]

    async def edit(transaction: Transaction) -> Edited[None]:
        record = await the_kept(transaction, kind, id)
        if record.deleted_at is None:
            message = f"the {name} {shown(id)} is not deleted, and only what is deleted is purged: delete it first"
            raise FailedPrecondition.of("id", _NOT_DELETED[kind], message)
        check_etag(record, etag, "etag")
        await _refuse_if_needed(transaction, record.value)
        await transaction.purge(kind, id)
        return Edited(None, (ResourceChange(name, id, None, None),))

    return (await publisher.publish(edit, options)).change


async def _refuse_if_needed(transaction: Transaction, value: Namespace | Group | Target | AlertTemplate) -> None:
    match value:
        case Namespace():
            reason = Reason.NAMESPACE_NOT_EMPTY
        case Group():
            reason = Reason.GROUP_NOT_EMPTY
        case _:
            return
    kind = KINDS[type(value)]
    needing = await transaction.deleted_that_refer_to(type(value), value.id, SHOWN_AT_MOST + 1)
    if needing:
        named = ", ".join(needing[:SHOWN_AT_MOST]) + (", ..." if len(needing) > SHOWN_AT_MOST else "")
        message = f"what was deleted can not come back without this {kind} ({named}): purge these first"
        raise FailedPrecondition.of("id", reason, message)
