"""NamespaceService."""

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
from rule_service.domain.model import Namespace
from rule_service.usecases.expect import the_kept, these
from rule_service.usecases.filters import NamespaceFilter
from rule_service.usecases.namespaces import NamespaceEdits
from rule_service.usecases.ports import Reads, Record
from rulecast.v1 import namespace_pb2 as pb
from rulecast.v1.namespace_pb2_grpc import NamespaceServiceServicer


class NamespaceApi(NamespaceServiceServicer):
    def __init__(self, edits: NamespaceEdits, reads: Reads) -> None:
        self._edits = edits
        self._reads = reads

    async def CreateNamespace(self, request: pb.CreateNamespaceRequest, context: Context) -> pb.CreateNamespaceResponse:
        options = once(write_options(request, "CreateNamespace", context), request, request.request_id)
        written = await self._edits.create(decode.namespace(request.namespace), options)
        return pb.CreateNamespaceResponse(
            namespace=encode.namespace(written.value), change=encode.change(written.change)
        )

    async def GetNamespace(self, request: pb.GetNamespaceRequest, context: Context) -> pb.Namespace:
        return encode.namespace(await the_kept(self._reads, Namespace, request.id))

    async def ListNamespaces(self, request: pb.ListNamespacesRequest, context: Context) -> pb.ListNamespacesResponse:
        where = NamespaceFilter(request.text or None, request.show_deleted, owner_filter(request))
        page = await self._reads.namespaces(page_after(request.page_token), page_size(request.page_size), where)
        return pb.ListNamespacesResponse(
            namespaces=[encode.namespace(each) for each in page.items], next_page_token=page_token(page.next_after)
        )

    async def UpdateNamespace(self, request: pb.UpdateNamespaceRequest, context: Context) -> pb.UpdateNamespaceResponse:
        def change(current: Record[Namespace]) -> Namespace:
            return decode.namespace(merged(encode.namespace(current), request.namespace, request.update_mask))

        options = waiting_options(request, "UpdateNamespace", context)
        written = await self._edits.update(request.namespace.id, request.namespace.etag, change, options)
        return pb.UpdateNamespaceResponse(
            namespace=encode.namespace(written.value), change=encode.change(written.change)
        )

    async def DeleteNamespace(self, request: pb.DeleteNamespaceRequest, context: Context) -> pb.DeleteNamespaceResponse:
        options = write_options(request, "DeleteNamespace", context)
        written = await self._edits.delete(request.id, request.etag, options)
        return pb.DeleteNamespaceResponse(
            change=encode.change(written.change), namespace=encode.namespace(written.value)
        )

    async def UndeleteNamespace(
        self, request: pb.UndeleteNamespaceRequest, context: Context
    ) -> pb.UndeleteNamespaceResponse:
        options = write_options(request, "UndeleteNamespace", context)
        written = await self._edits.undelete(request.id, request.etag, options)
        return pb.UndeleteNamespaceResponse(
            namespace=encode.namespace(written.value), change=encode.change(written.change)
        )

    async def PurgeNamespace(self, request: pb.PurgeNamespaceRequest, context: Context) -> pb.PurgeNamespaceResponse:
        options = write_options(request, "PurgeNamespace", context)
        change = await self._edits.purge(request.id, request.etag, options)
        return pb.PurgeNamespaceResponse(change=encode.change(change))

    async def BatchGetNamespaces(
        self, request: pb.BatchGetNamespacesRequest, context: Context
    ) -> pb.BatchGetNamespacesResponse:
        records = await these(self._reads, Namespace, batch_ids(request.ids), "ids[{}]")
        return pb.BatchGetNamespacesResponse(namespaces=[encode.namespace(each) for each in records])
