"""GroupService."""

from rule_service.api import decode, encode
from rule_service.api.calls import (
    Context,
    batch_ids,
    once,
    owner_filter,
    page_after,
    page_size,
    page_token,
    waiting_options,
    write_options,
)
from rule_service.api.mask import merged
from rule_service.domain.model import Group
from rule_service.usecases.expect import the_kept, these
from rule_service.usecases.filters import GroupFilter
from rule_service.usecases.groups import GroupEdits
from rule_service.usecases.namespaces import DEFAULT_NAMESPACE
from rule_service.usecases.ports import Reads, Record
from rulecast.v1 import group_pb2 as pb
from rulecast.v1.group_pb2_grpc import GroupServiceServicer


class GroupApi(GroupServiceServicer):
    def __init__(self, edits: GroupEdits, reads: Reads) -> None:
        self._edits = edits
        self._reads = reads

    async def CreateGroup(self, request: pb.CreateGroupRequest, context: Context) -> pb.CreateGroupResponse:
        options = once(waiting_options(request, "CreateGroup", context), request, request.request_id)
        group = decode.group(request.group, await self._default_namespace(request.group.parent_id))
        written = await self._edits.create(group, options)
        return pb.CreateGroupResponse(group=encode.group(written.value), change=encode.change(written.change))

    async def GetGroup(self, request: pb.GetGroupRequest, context: Context) -> pb.Group:
        return encode.group(await the_kept(self._reads, Group, request.id))

    async def ListGroups(self, request: pb.ListGroupsRequest, context: Context) -> pb.ListGroupsResponse:
        where = GroupFilter(
            request.namespace_id or None,
            request.parent_id or None,
            request.text or None,
            request.show_deleted,
            owner_filter(request),
        )
        page = await self._reads.groups(page_after(request.page_token), page_size(request.page_size), where)
        return pb.ListGroupsResponse(
            groups=[encode.group(each) for each in page.items], next_page_token=page_token(page.next_after)
        )

    async def UpdateGroup(self, request: pb.UpdateGroupRequest, context: Context) -> pb.UpdateGroupResponse:
        def change(current: Record[Group]) -> Group:
            message = merged(encode.group(current), request.group, request.update_mask)
            return decode.group(message, current.value.namespace_id)

        options = waiting_options(request, "UpdateGroup", context)
        written = await self._edits.update(request.group.id, request.group.etag, change, options)
        return pb.UpdateGroupResponse(group=encode.group(written.value), change=encode.change(written.change))

    async def DeleteGroup(self, request: pb.DeleteGroupRequest, context: Context) -> pb.DeleteGroupResponse:
        options = waiting_options(request, "DeleteGroup", context)
        written = await self._edits.delete(request.id, request.etag, request.force, options)
        return pb.DeleteGroupResponse(change=encode.change(written.change), group=encode.group(written.value))

    async def UndeleteGroup(self, request: pb.UndeleteGroupRequest, context: Context) -> pb.UndeleteGroupResponse:
        options = waiting_options(request, "UndeleteGroup", context)
        written = await self._edits.undelete(request.id, request.etag, options)
        return pb.UndeleteGroupResponse(group=encode.group(written.value), change=encode.change(written.change))

    async def PurgeGroup(self, request: pb.PurgeGroupRequest, context: Context) -> pb.PurgeGroupResponse:
        options = write_options(request, "PurgeGroup", context)
        change = await self._edits.purge(request.id, request.etag, options)
        return pb.PurgeGroupResponse(change=encode.change(change))

    async def BatchGetGroups(self, request: pb.BatchGetGroupsRequest, context: Context) -> pb.BatchGetGroupsResponse:
        records = await these(self._reads, Group, batch_ids(request.ids), "ids[{}]")
        return pb.BatchGetGroupsResponse(groups=[encode.group(each) for each in records])

    async def _default_namespace(self, parent_id: str) -> str:
        parent = await self._reads.group(parent_id) if parent_id else None
        return parent.value.namespace_id if parent is not None else DEFAULT_NAMESPACE
