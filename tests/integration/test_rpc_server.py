"""The server on a real port: status with details, streams, health, reflection, metrics, and its end."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from rulecast.errors import NotFound
from rulecast.reasons import Reason
from rulecast.rpc.channel import open_channel
from rulecast.rpc.errors import from_rpc_error
from rulecast.rpc.interceptors import REQUEST_ID, ServerInterceptor
from rulecast.rpc.metrics import RpcMetrics
from rulecast.rpc.server import ListenFailed, RpcServer, Service
from rulecast.v1 import distribution_pb2 as pb
from rulecast.v1 import distribution_pb2_grpc as pb_grpc
from tests.support.ports import taken_port
from tests.support.waiting import wait_for

NAME = "rulecast.v1.DistributionService"
MANIFEST = "GetManifest"
SYNC = "Sync"


class Distribution(pb_grpc.DistributionServiceServicer):
    """Sync answers each Goodbye with a Drain that carries its words, until the server stops."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self.stopping = stopping
        self.cancelled = asyncio.Event()
        self.request_ids: list[str] = []

    async def Sync(  # type: ignore[override]  # noqa: N802  # the stubs know only handlers that yield
        self,
        request_iterator: AsyncIterator[pb.SyncRequest],
        context: grpc.aio.ServicerContext[pb.SyncRequest, pb.SyncResponse],
    ) -> None:
        async def answer() -> None:
            async for request in request_iterator:
                if request.goodbye.message == "fail":
                    raise NotFound.of("goodbye", Reason.DEPLOYER_NOT_FOUND, "who are you")
                await context.write(pb.SyncResponse(drain=pb.Drain(message=request.goodbye.message)))

        try:
            async with asyncio.TaskGroup() as group:
                answering = group.create_task(answer(), name="answer")
                await self.stopping.wait()
                answering.cancel()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def GetManifest(  # noqa: N802
        self,
        request: pb.GetManifestRequest,
        context: grpc.aio.ServicerContext[pb.GetManifestRequest, pb.Manifest],
    ) -> pb.Manifest:
        self.request_ids.append(structlog.contextvars.get_contextvars()["request_id"])
        match request.deployer_id:
            case "missing":
                raise NotFound.of("deployer_id", Reason.DEPLOYER_NOT_FOUND, "no deployer 'missing'")
            case "broken":
                raise ZeroDivisionError("secret")
            case "abort":
                await context.abort(grpc.StatusCode.OUT_OF_RANGE, "by hand")
            case "slow":
                await asyncio.sleep(3600)
        return pb.Manifest(revision=7)


class Running:
    def __init__(self, server: RpcServer, port: int, servicer: Distribution, registry: CollectorRegistry) -> None:
        self.server = server
        self.address = f"127.0.0.1:{port}"
        self.servicer = servicer
        self.registry = registry

    def handled(self, method: str, code: str) -> float:
        kind = "bidi_stream" if method == "Sync" else "unary"
        labels = {"grpc_type": kind, "grpc_service": NAME, "grpc_method": method, "grpc_code": code}
        return self.registry.get_sample_value("grpc_server_handled_total", labels) or 0.0


@asynccontextmanager
async def running(unix: Path | None = None) -> AsyncIterator[Running]:
    registry, stopping = CollectorRegistry(), asyncio.Event()
    servicer = Distribution(stopping)
    server = RpcServer(
        "127.0.0.1:0",
        [Service(NAME, partial(pb_grpc.add_DistributionServiceServicer_to_server, servicer))],
        interceptors=[ServerInterceptor(RpcMetrics(registry))],
        stopping=stopping,
        socket=unix,
    )
    port = await server.start()
    try:
        yield Running(server, port, servicer, registry)
    finally:
        await server.stop(0.1)


@asynccontextmanager
async def channel_to(address: str) -> AsyncIterator[grpc.aio.Channel]:
    channel = open_channel(address)
    try:
        yield channel
    finally:
        await channel.close()


def health_of(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


async def test_an_error_arrives_with_all_it_said() -> None:
    async with running() as up, channel_to(up.address) as channel:
        stub = pb_grpc.DistributionServiceStub(channel)

        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GetManifest(pb.GetManifestRequest(deployer_id="missing"))

        error = from_rpc_error(raised.value)
        assert isinstance(error, NotFound)
        assert error.reason is Reason.DEPLOYER_NOT_FOUND
        assert error.violations[0].field == "deployer_id"
        await wait_for(lambda: up.handled(MANIFEST, "NOT_FOUND") == 1)


async def test_an_unexpected_exception_is_internal_and_says_nothing_of_the_inside() -> None:
    async with running() as up, channel_to(up.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await pb_grpc.DistributionServiceStub(channel).GetManifest(pb.GetManifestRequest(deployer_id="broken"))

        assert raised.value.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in str(raised.value)
        await wait_for(lambda: up.handled(MANIFEST, "INTERNAL") == 1)


async def test_a_handler_may_abort_by_itself() -> None:
    async with running() as up, channel_to(up.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await pb_grpc.DistributionServiceStub(channel).GetManifest(pb.GetManifestRequest(deployer_id="abort"))

        assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.OUT_OF_RANGE, "by hand")
        await wait_for(lambda: up.handled(MANIFEST, "OUT_OF_RANGE") == 1)


async def test_a_request_id_is_taken_from_the_client_or_made() -> None:
    async with running() as up, channel_to(up.address) as channel:
        stub = pb_grpc.DistributionServiceStub(channel)

        await stub.GetManifest(pb.GetManifestRequest(), metadata=grpc.aio.Metadata((REQUEST_ID, "from-client")))
        await stub.GetManifest(pb.GetManifestRequest(), metadata=grpc.aio.Metadata((REQUEST_ID, "x" * 129)))

        first, second = up.servicer.request_ids
        assert first == "from-client"
        assert len(second) == 32


async def test_the_request_id_is_answered_whether_it_worked_or_not() -> None:
    async with running() as up, channel_to(up.address) as channel:
        stub = pb_grpc.DistributionServiceStub(channel)
        for deployer, id in (("", "worked"), ("missing", "refused"), ("abort", "aborted"), ("broken", "broke")):
            metadata = grpc.aio.Metadata((REQUEST_ID, id))
            call = stub.GetManifest(pb.GetManifestRequest(deployer_id=deployer), metadata=metadata)
            await asyncio.wait([asyncio.ensure_future(call.code())])
            assert (await call.trailing_metadata()).get(REQUEST_ID) == id


async def test_refusals_are_counted_and_logged_by_their_reason() -> None:
    async with running() as up, channel_to(up.address) as channel:
        stub = pb_grpc.DistributionServiceStub(channel)
        with structlog.testing.capture_logs() as lines:
            for deployer in ("missing", "missing", "broken"):
                with pytest.raises(grpc.aio.AioRpcError):
                    await stub.GetManifest(pb.GetManifestRequest(deployer_id=deployer))
            await wait_for(lambda: up.handled(MANIFEST, "INTERNAL") == 1)

        counted = up.registry.get_sample_value
        labels = {"grpc_service": NAME, "reason": "DEPLOYER_NOT_FOUND"}
        assert counted("rulecast_refusals_total", labels) == 2
        assert counted("rulecast_refusals_total", {**labels, "reason": "INTERNAL"}) == 1
        assert [line["reason"] for line in lines if line["event"] == "rpc"] == [
            "DEPLOYER_NOT_FOUND",
            "DEPLOYER_NOT_FOUND",
            "INTERNAL",
        ]


async def test_a_stream_goes_both_ways_and_its_error_arrives() -> None:
    async with running() as up, channel_to(up.address) as channel:
        call = pb_grpc.DistributionServiceStub(channel).Sync()
        await call.write(pb.SyncRequest(goodbye=pb.Goodbye(message="hello")))
        answer = await call.read()
        await call.write(pb.SyncRequest(goodbye=pb.Goodbye(message="fail")))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()

        assert isinstance(answer, pb.SyncResponse)
        assert answer.drain.message == "hello"
        assert isinstance(from_rpc_error(raised.value), NotFound)
        await wait_for(lambda: up.handled(SYNC, "NOT_FOUND") == 1)


async def test_a_client_that_goes_away_cancels_the_handler() -> None:
    async with running() as up, channel_to(up.address) as channel:
        call = pb_grpc.DistributionServiceStub(channel).Sync()
        await call.write(pb.SyncRequest(goodbye=pb.Goodbye(message="hello")))
        await call.read()
        call.cancel()

        await asyncio.wait_for(up.servicer.cancelled.wait(), 10)
        await wait_for(lambda: up.handled(SYNC, "CANCELLED") == 1)


async def test_open_streams_end_at_once_when_the_server_stops() -> None:
    async with running() as up, channel_to(up.address) as channel:
        call = pb_grpc.DistributionServiceStub(channel).Sync()
        await call.write(pb.SyncRequest(goodbye=pb.Goodbye(message="hello")))
        await call.read()
        watch = health_of(channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()

        start = time.monotonic()
        await up.server.stop(grace=30)

        assert time.monotonic() - start < 10
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_a_call_that_does_not_end_gets_the_grace_and_no_more() -> None:
    async with running() as up, channel_to(up.address) as channel:
        slow = pb_grpc.DistributionServiceStub(channel).GetManifest(pb.GetManifestRequest(deployer_id="slow"))
        await wait_for(lambda: up.servicer.request_ids)

        await up.server.stop(grace=0.05)

        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await slow
        assert raised.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_health_is_not_serving_until_told() -> None:
    async with running() as up, channel_to(up.address) as channel:
        health = health_of(channel)
        before = [await health.Check(health_pb2.HealthCheckRequest(service=name)) for name in ("", NAME)]
        await up.server.set_serving(True)
        after = [await health.Check(health_pb2.HealthCheckRequest(service=name)) for name in ("", NAME)]

        assert {answer.status for answer in before} == {health_pb2.HealthCheckResponse.NOT_SERVING}
        assert {answer.status for answer in after} == {health_pb2.HealthCheckResponse.SERVING}


async def test_reflection_names_the_services() -> None:
    async with running() as up, channel_to(up.address) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]  # the stubs know only sync
        call = stub.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        answer = await call.read()
        await call.done_writing()

        assert isinstance(answer, reflection_pb2.ServerReflectionResponse)
        names = {service.name for service in answer.list_services_response.service}
        assert {NAME, "grpc.health.v1.Health"} <= names


async def test_a_port_in_use_is_a_clear_error() -> None:
    with taken_port() as port:
        address = f"127.0.0.1:{port}"
        server = RpcServer(address, [], interceptors=[], stopping=asyncio.Event())

        with pytest.raises(ListenFailed, match=f"can not listen on {address}"):
            await server.start()
        await server.stop(0)


async def test_two_servers_do_not_share_a_port() -> None:
    async with running() as up:
        second = RpcServer(up.address, [], interceptors=[], stopping=asyncio.Event())

        with pytest.raises(ListenFailed):
            await second.start()
        await second.stop(0)


async def test_a_unix_socket_is_for_owner_and_group_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "rpc.sock"
    async with running(path), channel_to(f"unix:{path}") as channel:
        answer = await pb_grpc.DistributionServiceStub(channel).GetManifest(pb.GetManifestRequest())

        assert answer.revision == 7
        assert path.stat().st_mode & 0o777 == 0o660
    assert not path.exists()
