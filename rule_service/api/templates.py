"""AlertTemplateService."""

from rule_service.api import decode, encode
from rule_service.api.calls import (
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
from rule_service.domain.model import AlertTemplate
from rule_service.usecases.expect import the_kept, these
from rule_service.usecases.filters import TemplateFilter
from rule_service.usecases.ports import Reads, Record
from rule_service.usecases.templates import TemplateEdits
from rulecast.v1 import template_pb2 as pb
from rulecast.v1.template_pb2_grpc import AlertTemplateServiceServicer


class AlertTemplateApi(AlertTemplateServiceServicer):
    def __init__(self, edits: TemplateEdits, reads: Reads) -> None:
        self._edits = edits
        self._reads = reads

    async def CreateAlertTemplate(
        self, request: pb.CreateAlertTemplateRequest, context: Context
    ) -> pb.CreateAlertTemplateResponse:
        options = once(write_options(request, "CreateAlertTemplate", context), request, request.request_id)
        written = await self._edits.create(decode.template(request.template, version=1), options)
        return pb.CreateAlertTemplateResponse(
            template=encode.template(written.value), change=encode.change(written.change)
        )

    async def GetAlertTemplate(self, request: pb.GetAlertTemplateRequest, context: Context) -> pb.AlertTemplate:
        return encode.template(await the_kept(self._reads, AlertTemplate, request.id))

    async def ListAlertTemplates(
        self, request: pb.ListAlertTemplatesRequest, context: Context
    ) -> pb.ListAlertTemplatesResponse:
        where = TemplateFilter(
            request.severity or None, request.text or None, request.show_deleted, owner_filter(request)
        )
        page = await self._reads.templates(page_after(request.page_token), page_size(request.page_size), where)
        return pb.ListAlertTemplatesResponse(
            templates=[encode.template(each) for each in page.items], next_page_token=page_token(page.next_after)
        )

    async def UpdateAlertTemplate(
        self, request: pb.UpdateAlertTemplateRequest, context: Context
    ) -> pb.UpdateAlertTemplateResponse:
        def change(current: Record[AlertTemplate]) -> AlertTemplate:
            message = merged(encode.template(current), request.template, request.update_mask)
            return decode.template(message, current.value.version)

        options = write_options(request, "UpdateAlertTemplate", context)
        written = await self._edits.update(request.template.id, request.template.etag, change, options)
        return pb.UpdateAlertTemplateResponse(
            template=encode.template(written.value), change=encode.change(written.change)
        )

    async def DeleteAlertTemplate(
        self, request: pb.DeleteAlertTemplateRequest, context: Context
    ) -> pb.DeleteAlertTemplateResponse:
        options = write_options(request, "DeleteAlertTemplate", context)
        written = await self._edits.delete(request.id, request.etag, options)
        return pb.DeleteAlertTemplateResponse(
            change=encode.change(written.change), template=encode.template(written.value)
        )

    async def UndeleteAlertTemplate(
        self, request: pb.UndeleteAlertTemplateRequest, context: Context
    ) -> pb.UndeleteAlertTemplateResponse:
        options = write_options(request, "UndeleteAlertTemplate", context)
        written = await self._edits.undelete(request.id, request.etag, options)
        return pb.UndeleteAlertTemplateResponse(
            template=encode.template(written.value), change=encode.change(written.change)
        )

    async def PurgeAlertTemplate(
        self, request: pb.PurgeAlertTemplateRequest, context: Context
    ) -> pb.PurgeAlertTemplateResponse:
        options = write_options(request, "PurgeAlertTemplate", context)
        change = await self._edits.purge(request.id, request.etag, options)
        return pb.PurgeAlertTemplateResponse(change=encode.change(change))

    async def BatchGetAlertTemplates(
        self, request: pb.BatchGetAlertTemplatesRequest, context: Context
    ) -> pb.BatchGetAlertTemplatesResponse:
        records = await these(self._reads, AlertTemplate, batch_ids(request.ids), "ids[{}]")
        return pb.BatchGetAlertTemplatesResponse(templates=[encode.template(each) for each in records])

    async def LoadLibrary(self, request: pb.LoadLibraryRequest, context: Context) -> pb.LoadLibraryResponse:
        written = await self._edits.load_library(request.ids, write_options(request, "LoadLibrary", context))
        return pb.LoadLibraryResponse(
            created_ids=written.value.created,
            existing_ids=written.value.existing,
            change=encode.change(written.change),
        )
