"""HistoryService."""

from collections.abc import Iterable
from typing import assert_never

from google.protobuf.message import Message

from rule_service.api import encode
from rule_service.api.calls import Context, page_after, page_size, page_token, waiting_options
from rule_service.api.resource_text import unified_diff
from rule_service.domain.model import AlertRule, AlertTemplate, Group, Namespace, Resource, Target
from rule_service.usecases.history import History, Revision
from rule_service.usecases.ports_changes import ResourceChange, ResourceFilter
from rule_service.usecases.ports_history import ResourceRef, RevisionFacts, RevisionFilter
from rule_service.usecases.rollback import Everything, OneRule, Rollback, RulesOfGroup, Subject
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason
from rulecast.v1 import history_pb2 as pb
from rulecast.v1.history_pb2_grpc import HistoryServiceServicer

PUT_BACK = 1000
"""So many resources are named in the answer of a rollback."""

_KINDS = {pb.Resource.Kind.Value(kind.upper()): kind for kind in ("namespace", "group", "target", "template", "rule")}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}


class HistoryApi(HistoryServiceServicer):
    def __init__(self, history: History, rollback: Rollback) -> None:
        self._history = history
        self._rollback = rollback

    async def ListRevisions(self, request: pb.ListRevisionsRequest, context: Context) -> pb.ListRevisionsResponse:
        where = RevisionFilter(_kind(request.kind), request.id or None, request.author or None)
        listed = await self._history.list(_number(request.page_token), page_size(request.page_size), where)
        return pb.ListRevisionsResponse(
            revisions=[_summary(each, listed.first[each.revision]) for each in listed.page.items],
            next_page_token=page_token(listed.page.next_after),
        )

    async def GetRevision(self, request: pb.GetRevisionRequest, context: Context) -> pb.Revision:
        after = _number(request.page_token) or 0
        return _whole(await self._history.get(request.revision, after, page_size(request.page_size)))

    async def DiffRevisions(self, request: pb.DiffRevisionsRequest, context: Context) -> pb.DiffRevisionsResponse:
        kind, _, id = page_after(request.page_token).partition(" ")
        diff = await self._history.diff(
            request.from_revision,
            request.to_revision if request.HasField("to_revision") else None,
            (kind, id),
            page_size(request.page_size),
            ResourceFilter(_kind(request.kind), request.id or None),
        )
        old, new = f"r{diff.from_revision}", f"r{diff.to_revision}"
        return pb.DiffRevisionsResponse(
            from_revision=diff.from_revision,
            to_revision=diff.to_revision,
            diffs=[_diff(each, old, new) for each in diff.page.items],
            next_page_token=page_token(diff.page.next_after),
        )

    async def Rollback(self, request: pb.RollbackRequest, context: Context) -> pb.RollbackResponse:
        if not request.HasField("revision"):
            raise InvalidInput.of("revision", Reason.FIELD_REQUIRED, "say the revision to go back to")
        options = waiting_options(request, "Rollback", context)
        written = await self._rollback.roll_back(request.revision, _subject(request), options)
        return pb.RollbackResponse(
            resources=[resource_change(each.kind, each.id, action_of(each)) for each in written.value[:PUT_BACK]],
            resource_count=len(written.value),
            change=encode.change(written.change),
        )


def _subject(request: pb.RollbackRequest) -> Subject:
    match request.WhichOneof("subject"):
        case "rule_id":
            return OneRule(request.rule_id)
        case "group_id":
            return RulesOfGroup(request.group_id)
        case "everything":
            return Everything()
        case _:
            raise InvalidInput.of(
                "subject", Reason.FIELD_REQUIRED, 'say what to put back: `rule_id`, `group_id`, or `"everything": {}`'
            )


def _kind(number: pb.Resource.Kind.ValueType) -> str | None:
    if number == pb.Resource.KIND_UNSPECIFIED:
        return None
    if number not in _KINDS:
        names = ", ".join(kind.upper() for kind in _KINDS.values())
        raise InvalidInput.of("kind", Reason.FIELD_INVALID, f"{number} is not one of the kinds there are: use {names}")
    return _KINDS[number]


def _number(token: str) -> int | None:
    """The number in a page token; None for the first page, which has none."""
    if not token:
        return None
    text = page_after(token)
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidInput.of(
            "page_token",
            Reason.PAGE_TOKEN_INVALID,
            "this is no page token of this list: use `next_page_token` of the page before as it is",
        )
    return int(text)


def _summary(facts: RevisionFacts, first: Iterable[ResourceRef]) -> pb.Revision:
    return pb.Revision(
        revision=facts.revision,
        create_time=encode.timestamp(facts.at),
        author=facts.author,
        method=facts.method,
        resource_count=facts.resource_count,
        file_count=facts.file_count,
        reason=facts.reason,
        request_id=facts.request_id,
        resources=[resource_change(each.kind, each.id, _became(each.existed, each.exists)) for each in first],
    )


def _whole(revision: Revision) -> pb.Revision:
    message = _summary(revision.facts, ())
    for each in revision.changed.items:
        change = resource_change(each.kind, each.id, action_of(each))
        for side, value in ((change.before, each.before), (change.after, each.after)):
            if value is not None:
                getattr(side, each.kind).CopyFrom(_resource(value))
        message.resources.append(change)
    message.files.extend(
        pb.RevisionFile(file_name=each.file_name, deleted=each.sha256 is None, sha256=each.sha256 or b"")
        for each in revision.files
    )
    message.next_page_token = page_token(revision.changed.next_after)
    return message


def _diff(change: ResourceChange, old: str, new: str) -> pb.ResourceDiff:
    before, after = (None if value is None else _resource(value) for value in (change.before, change.after))
    name = f"{change.kind}/{change.id}"
    return pb.ResourceDiff(
        kind=_NUMBERS[change.kind],
        id=change.id,
        action=action_of(change),
        diff=unified_diff(before, after, f"{name}@{old}", f"{name}@{new}"),
    )


def resource_change(kind: str, id: str, action: pb.ResourceAction.ValueType) -> pb.ResourceChange:
    """A change without what it was and what it became."""
    return pb.ResourceChange(kind=_NUMBERS[kind], id=id, action=action)


def action_of(change: ResourceChange) -> pb.ResourceAction.ValueType:
    return _became(change.before is not None, change.after is not None)


def _became(existed: bool, exists: bool) -> pb.ResourceAction.ValueType:
    match existed, exists:
        case False, False:
            return pb.PURGED
        case False, True:
            return pb.CREATED
        case True, False:
            return pb.DELETED
        case _:
            return pb.UPDATED


def _resource(value: Resource) -> Message:
    match value:
        case Namespace():
            return encode.namespace_fields(value)
        case Group():
            return encode.group_fields(value)
        case Target():
            return encode.target_fields(value)
        case AlertTemplate():
            return encode.template_fields(value)
        case AlertRule():
            return encode.rule_fields(value)
        case _:
            assert_never(value)
