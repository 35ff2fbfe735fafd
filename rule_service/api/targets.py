"""TargetService."""

from rule_service.api import decode, encode
from rule_service.api.calls import (
    MAX_PAGE_SIZE,
    Context,
    batch_ids,
    once,
    owner_filter,
    page_after,
    page_size,
    page_token,
    write_options,
)
from rule_service.api.mask import merged
from rule_service.domain.model import Target
from rule_service.domain.names import check_id
from rule_service.domain.status import TargetStatus
from rule_service.usecases.expect import the_kept, these
from rule_service.usecases.filters import TargetFilter
from rule_service.usecases.heartbeats import TargetHeartbeats
from rule_service.usecases.ports import Reads, Record
from rule_service.usecases.targets import TargetEdits
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason
from rulecast.v1 import target_pb2 as pb
from rulecast.v1.target_pb2_grpc import TargetServiceServicer


class TargetApi(TargetServiceServicer):
    def __init__(self, edits: TargetEdits, heartbeats: TargetHeartbeats, reads: Reads) -> None:
        self._edits = edits
        self._heartbeats = heartbeats
        self._reads = reads

    async def CreateTarget(self, request: pb.CreateTargetRequest, context: Context) -> pb.CreateTargetResponse:
        written = await self._edits.create(
            decode.target(request.target),
            once(write_options(request, "CreateTarget", context), request, request.request_id),
        )
        return pb.CreateTargetResponse(target=await self._shown(written.value), change=encode.change(written.change))

    async def GetTarget(self, request: pb.GetTargetRequest, context: Context) -> pb.Target:
        return await self._shown(await the_kept(self._reads, Target, request.id))

    async def ListTargets(self, request: pb.ListTargetsRequest, context: Context) -> pb.ListTargetsResponse:
        where = TargetFilter(
            group_id=request.group_id or None,
            namespace_id=request.namespace_id or None,
            hostname=request.hostname or None,
            status=self._heartbeats.filter(decode.statuses(request.statuses)),
            text=request.text or None,
            show_deleted=request.show_deleted,
            owner=owner_filter(request),
        )
        page = await self._reads.targets(page_after(request.page_token), page_size(request.page_size), where)
        return pb.ListTargetsResponse(
            targets=[encode.target(each) for each in await self._heartbeats.shown(page.items)],
            next_page_token=page_token(page.next_after),
        )

    async def UpdateTarget(self, request: pb.UpdateTargetRequest, context: Context) -> pb.UpdateTargetResponse:
        def change(current: Record[Target]) -> Target:
            return decode.target(merged(encode.stored_target(current), request.target, request.update_mask))

        options = write_options(request, "UpdateTarget", context)
        written = await self._edits.update(request.target.id, request.target.etag, change, options)
        return pb.UpdateTargetResponse(target=await self._shown(written.value), change=encode.change(written.change))

    async def DeleteTarget(self, request: pb.DeleteTargetRequest, context: Context) -> pb.DeleteTargetResponse:
        options = write_options(request, "DeleteTarget", context)
        written = await self._edits.delete(request.id, request.etag, options)
        return pb.DeleteTargetResponse(change=encode.change(written.change), target=await self._shown(written.value))

    async def UndeleteTarget(self, request: pb.UndeleteTargetRequest, context: Context) -> pb.UndeleteTargetResponse:
        options = write_options(request, "UndeleteTarget", context)
        written = await self._edits.undelete(request.id, request.etag, options)
        return pb.UndeleteTargetResponse(target=await self._shown(written.value), change=encode.change(written.change))

    async def PurgeTarget(self, request: pb.PurgeTargetRequest, context: Context) -> pb.PurgeTargetResponse:
        options = write_options(request, "PurgeTarget", context)
        change = await self._edits.purge(request.id, request.etag, options)
        return pb.PurgeTargetResponse(change=encode.change(change))

    async def BatchGetTargets(self, request: pb.BatchGetTargetsRequest, context: Context) -> pb.BatchGetTargetsResponse:
        records = await these(self._reads, Target, batch_ids(request.ids), "ids[{}]")
        return pb.BatchGetTargetsResponse(
            targets=[encode.target(each) for each in await self._heartbeats.shown(records)]
        )

    async def HeartbeatTargets(
        self, request: pb.HeartbeatTargetsRequest, context: Context
    ) -> pb.HeartbeatTargetsResponse:
        if not 0 < len(request.heartbeats) <= MAX_PAGE_SIZE:
            message = f"{len(request.heartbeats)} heartbeats: send 1 to {MAX_PAGE_SIZE}"
            raise InvalidInput.of("heartbeats", Reason.FIELD_INVALID, message)
        beats = [_beat(each, f"heartbeats[{at}]") for at, each in enumerate(request.heartbeats)]
        return pb.HeartbeatTargetsResponse(unknown_ids=await self._heartbeats.report(beats))

    async def _shown(self, record: Record[Target]) -> pb.Target:
        (shown,) = await self._heartbeats.shown([record])
        return encode.target(shown)


def _beat(message: pb.TargetHeartbeat, field: str) -> tuple[str, TargetStatus | None]:
    check_id(message.target_id, f"{field}.target_id")
    return message.target_id, decode.reported_status(message.status, f"{field}.status")
