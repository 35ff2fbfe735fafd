"""TargetService."""

from rule_service.api import decode, encode
from rule_service.api.calls import Context, once, owner_filter, page_after, page_size, page_token, write_options
from rule_service.api.mask import merged
from rule_service.domain.model import Target
from rule_service.usecases.expect import found
from rule_service.usecases.ports import Reads, Record
from rule_service.usecases.targets import TargetEdits
from rulecast.v1 import target_pb2 as pb
from rulecast.v1.target_pb2_grpc import TargetServiceServicer


class TargetApi(TargetServiceServicer):
    def __init__(self, edits: TargetEdits, reads: Reads) -> None:
        self._edits = edits
        self._reads = reads

    async def CreateTarget(self, request: pb.CreateTargetRequest, context: Context) -> pb.CreateTargetResponse:
        written = await self._edits.create(
            decode.target(request.target),
            once(write_options(request, "CreateTarget", context), request, request.request_id),
        )
        return pb.CreateTargetResponse(target=encode.target(written.value), change=encode.change(written.change))

    async def GetTarget(self, request: pb.GetTargetRequest, context: Context) -> pb.Target:
        return encode.target(found(await self._reads.target(request.id), "target", request.id, "id"))

    async def ListTargets(self, request: pb.ListTargetsRequest, context: Context) -> pb.ListTargetsResponse:
        page = await self._reads.targets(
            page_after(request.page_token),
            page_size(request.page_size),
            request.group_id or None,
            request.hostname or None,
            owner_filter(request),
        )
        return pb.ListTargetsResponse(
            targets=[encode.target(each) for each in page.items], next_page_token=page_token(page.next_after)
        )

    async def UpdateTarget(self, request: pb.UpdateTargetRequest, context: Context) -> pb.UpdateTargetResponse:
        def change(current: Record[Target]) -> Target:
            return decode.target(merged(encode.target(current), request.target, request.update_mask))

        options = write_options(request, "UpdateTarget", context)
        written = await self._edits.update(request.target.id, request.target.etag, change, options)
        return pb.UpdateTargetResponse(target=encode.target(written.value), change=encode.change(written.change))

    async def DeleteTarget(self, request: pb.DeleteTargetRequest, context: Context) -> pb.DeleteTargetResponse:
        change = await self._edits.delete(request.id, request.etag, write_options(request, "DeleteTarget", context))
        return pb.DeleteTargetResponse(change=encode.change(change))
