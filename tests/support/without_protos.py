"""Clients that know of the API what its reflection tells: grpcurl, and one of our own that does the same."""

import asyncio
import json
import shutil
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.support.system import RPC


@dataclass(frozen=True)
class Refused(Exception):
    """code: by name, as in `NotFound`. message: what the service said."""

    code: str
    message: str


class Client(Protocol):
    async def services(self) -> list[str]:
        """The full names of all services."""

    async def methods(self, service: str) -> list[str]:
        """The full names of a service's methods."""

    async def call(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        """method: `package.Service/Method`. Raises Refused."""


@dataclass(frozen=True)
class Grpcurl:
    """The program."""

    address: str

    async def services(self) -> list[str]:
        return (await self._run("list")).split()

    async def methods(self, service: str) -> list[str]:
        return (await self._run("list", service)).split()

    async def call(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(await self._run(method, data=json.dumps(request)))
        return answer

    async def _run(self, *what: str, data: str | None = None) -> str:
        given = [] if data is None else ["-d", data]
        command = ["grpcurl", "-plaintext", "-max-time", f"{RPC:g}", *given, self.address, *what]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = (each.decode() for each in await process.communicate())
        if process.returncode != 0:
            said = dict(line.strip().split(": ", 1) for line in err.splitlines() if ": " in line)
            raise Refused(said.get("Code", err), said.get("Message", ""))
        return out


@dataclass(frozen=True)
class ReflectionClient:
    """Does what grpcurl does, with grpcio's own reader of the reflection."""

    address: str

    async def services(self) -> list[str]:
        return await asyncio.to_thread(self._services)

    async def methods(self, service: str) -> list[str]:
        return await asyncio.to_thread(self._methods, service)

    async def call(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(self._call, method, request)

    def _services(self) -> list[str]:
        with grpc.insecure_channel(self.address) as channel:
            return sorted(ProtoReflectionDescriptorDatabase(channel).get_services())

    def _methods(self, service: str) -> list[str]:
        with grpc.insecure_channel(self.address) as channel:
            found = DescriptorPool(ProtoReflectionDescriptorDatabase(channel)).FindServiceByName(service)
            return sorted(each.full_name for each in found.methods)

    def _call(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        with grpc.insecure_channel(self.address) as channel:
            service, _, name = method.partition("/")
            pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
            found = pool.FindServiceByName(service).methods_by_name[name]
            call: Any = channel.unary_unary(
                f"/{method}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(found.output_type).FromString,
            )
            try:
                answer = call(json_format.ParseDict(request, GetMessageClass(found.input_type)()), timeout=RPC)
            except grpc.RpcError as error:
                raise _refused(error) from None
            return json_format.MessageToDict(answer, preserving_proto_field_name=True)


def clients(address: str) -> list[Client]:
    """Our own client, and grpcurl where it is installed."""
    found: list[Client] = [ReflectionClient(address)]
    if shutil.which("grpcurl"):
        found.append(Grpcurl(address))
    return found


def _refused(error: Any) -> Refused:
    return Refused("".join(part.capitalize() for part in error.code().name.split("_")), error.details())
