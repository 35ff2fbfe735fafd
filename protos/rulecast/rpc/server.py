"""The server's end: services, health and reflection on a port, and an orderly end."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from rulecast.process.supervise import CanNotStart

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Of one request. Larger things travel in fragments."""
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Of one answer. A client takes 4 MiB unless it asks for more."""

_HEALTH: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_OPTIONS: Final = (
    # a port in use has to be an error; with this on, two processes would share it
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    # clients ping every 30 s; the default minimum is 5 min, and whoever pings more often is cut off
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # no ping after what comes in, to learn how much may be on its way: that was a tenth of what a deployer's answer
    # costs. The window does not grow by itself then, so it is four times the usual one from the start
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 256 * 1024),
)


class ListenFailed(CanNotStart):
    """The address can not be listened on; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Service:
    """One gRPC service: its full name, and what adds it to a server."""

    name: str
    register: Callable[[grpc.aio.Server], None]


class RpcServer:
    """A grpc.aio server that serves from `start` to `stop`. Built inside a running event loop.

    listen: `host:port`; port 0 takes a free one.
    stopping: set by `stop` before anything is cut. Handlers of long streams wait on it and return, since
        a server that stops waits its whole grace for one open stream.
    credentials: None is plain text.
    socket: a Unix socket to listen on too, for the same host; always plain text, for owner and group only.
    """

    def __init__(
        self,
        listen: str,
        services: Sequence[Service],
        *,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        stopping: asyncio.Event,
        credentials: grpc.ServerCredentials | None = None,
        socket: Path | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._listen = listen
        self._credentials = credentials
        self._socket = socket
        self._stopping = stopping
        self._health = _Health(stopping)
        self._names = ("", *(service.name for service in services))
        limits = (
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", MAX_ANSWER_BYTES),
        )
        self._server = grpc.aio.server(interceptors=interceptors, options=(*_OPTIONS, *limits))
        for service in services:
            service.register(self._server)
        add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*(service.name for service in services), _HEALTH, reflection.SERVICE_NAME), self._server
        )

    async def start(self) -> int:
        """Listens, with health NOT_SERVING, and returns the port. Raises ListenFailed."""
        await self.set_serving(False)
        port = self._bind(self._listen, self._credentials)
        if self._socket is not None:
            self._bind(f"unix:{self._socket}", None)
        await self._server.start()
        if self._socket is not None:
            self._socket.chmod(0o660)
        return port

    async def set_serving(self, serving: bool) -> None:
        """What the health service answers, for the whole and for each service by name."""
        answer = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._health.set(name, answer)

    async def stop(self, grace: float = 10.0) -> None:
        """Ends in order: health says NOT_SERVING, streams are told, other calls get `grace` seconds to end."""
        await self._health.enter_graceful_shutdown()
        self._stopping.set()
        await self._server.stop(grace)
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)

    def _bind(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        port = 0
        with contextlib.suppress(RuntimeError):
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        if port == 0:
            raise ListenFailed(
                f"can not listen on {address}: it is in use, not an address of this host, or not permitted; "
                "stop what uses it or choose another"
            )
        return port


class _Health(HealthServicer):
    """The standard health service, but its Watch ends when the server does."""

    def __init__(self, stopping: asyncio.Event) -> None:
        super().__init__()
        self._stopping = stopping

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(super().Watch(request, context), name="health-watch")
            await self._stopping.wait()
            watch.cancel()
