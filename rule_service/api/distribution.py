"""DistributionService: the stream to the deployers, and the manifest to look at."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from rule_service.api.calls import Context
from rule_service.domain.wording import shown
from rule_service.stream.parts import StreamParts
from rule_service.stream.ports import KnownDeployers
from rule_service.stream.session import serve
from rule_service.stream.view import Serves
from rulecast.errors import NotFound
from rulecast.reasons import Reason
from rulecast.rpc.access import caller_now
from rulecast.v1 import distribution_pb2 as pb
from rulecast.v1.distribution_pb2_grpc import DistributionServiceServicer

NAME = pb.DESCRIPTOR.services_by_name["DistributionService"].full_name


class DistributionApi(DistributionServiceServicer):
    """stopping: set when the server ends; every stream is drained then."""

    def __init__(self, parts: StreamParts, deployers: KnownDeployers, stopping: asyncio.Event) -> None:
        self._parts = parts
        self._deployers = deployers
        self._stopping = stopping

    async def Sync(  # type: ignore[override]  # the stubs know only handlers that yield
        self, request_iterator: AsyncIterator[pb.SyncRequest], context: Context
    ) -> None:
        caller = caller_now()
        only = caller.deployer if caller is not None else None
        await serve(self._parts, _GrpcDuplex(request_iterator, context), self._stopping, only)

    async def GetManifest(self, request: pb.GetManifestRequest, context: Context) -> pb.Manifest:
        served = await self._served(request.deployer_id) if request.deployer_id else ()
        hub = self._parts.hub
        async with hub.serving(served):
            await hub.follow()
            view = await hub.view(served)
        position = view.snapshot.position
        return pb.Manifest(
            history_id=position.history_id,
            revision=position.revision,
            files=[
                pb.FileVersion(file_name=name, sha256=file.sha256, revision=file.revision)
                for name, file in sorted(view.files().items())
            ],
            manifest_hash=view.manifest_hash,
        )

    async def _served(self, deployer_id: str) -> Serves:
        for deployer in await self._deployers.deployers():
            if deployer.id == deployer_id:
                return deployer.serves
        raise NotFound.of(
            "deployer_id",
            Reason.DEPLOYER_NOT_FOUND,
            f"no deployer {shown(deployer_id)} has ever connected; ListDeployers names them all",
            id=deployer_id,
        )


def register(api: DistributionApi, server: grpc.aio.Server) -> None:
    """As the generated function does, but what Sync writes is serialised already."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Sync": grpc.stream_stream_rpc_method_handler(
            api.Sync,
            request_deserializer=pb.SyncRequest.FromString,
            response_serializer=bytes,
        ),
        "GetManifest": grpc.unary_unary_rpc_method_handler(
            api.GetManifest,
            request_deserializer=pb.GetManifestRequest.FromString,
            response_serializer=pb.Manifest.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))


class _GrpcDuplex:
    """Implements `Duplex`."""

    def __init__(self, requests: AsyncIterator[pb.SyncRequest], context: Context) -> None:
        self._requests = requests
        self._context = context

    async def read(self) -> pb.SyncRequest | None:
        return await anext(self._requests, None)

    async def write(self, response: bytes) -> None:
        await self._context.write(response)
