"""The stream to a rule service over gRPC. See `follow.ports`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import grpc

from deployer_service.adapters.credentials import PLAIN, Credentials
from rulecast.errors import FailedPrecondition, Unavailable
from rulecast.reasons import Reason
from rulecast.rpc.channel import open_channel
from rulecast.rpc.errors import from_rpc_error
from rulecast.v1 import distribution_pb2 as pb
from rulecast.v1 import distribution_pb2_grpc as pb_grpc

if TYPE_CHECKING:  # grpc's classes are generic in their stubs only
    Call = grpc.aio.StreamStreamCall[pb.SyncRequest, pb.SyncResponse]

_NOT_ALLOWED: Final = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
)


class GrpcUpstream:
    """credentials: asked for each connection."""

    def __init__(self, credentials: Callable[[], Credentials] = lambda: PLAIN) -> None:
        self._credentials = credentials

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator["GrpcStream"]:
        # a channel of its own: one that failed keeps its failure, and a call that is only dropped leaks (grpcio 1.85)
        known = self._credentials()
        channel = open_channel(address, known.channel, server_name=known.server_name)
        try:
            call = pb_grpc.DistributionServiceStub(channel).Sync(metadata=known.metadata)
            try:
                yield GrpcStream(call)
            finally:
                call.cancel()
        finally:
            await channel.close()


class GrpcStream:
    def __init__(self, call: "Call") -> None:
        self._call = call

    async def send(self, message: pb.SyncRequest) -> None:
        async with _translated():
            await self._call.write(message)

    async def receive(self) -> pb.SyncResponse | None:
        async with _translated():
            message = await self._call.read()
        return message if isinstance(message, pb.SyncResponse) else None

    async def finish(self) -> None:
        async with _translated():
            await self._call.done_writing()


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        known = from_rpc_error(error)
        if error.code() in _NOT_ALLOWED:
            known = FailedPrecondition(known.violations, known.metadata)
        elif error.code() is grpc.StatusCode.UNAVAILABLE and known.reason is Reason.INTERNAL:
            # nobody's answer: the connection was not made, or is gone
            known = _lost(str(known))
        raise known from error
    except asyncio.InvalidStateError as error:
        raise _lost("the stream has ended") from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # the server ended the call with the status CANCELLED, which grpc raises as if we were cancelled
        raise _lost("the rule service cancelled the stream") from None


def _lost(message: str) -> Unavailable:
    return Unavailable.of("", Reason.STREAM_LOST, message)
