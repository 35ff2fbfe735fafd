"""One request over gRPC and over HTTP, both answers in one form."""

import json
import re
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2
from grpc_status import rpc_status
from yarl import URL

from rule_service.api.http.bindings import Binding, bindings_of
from rule_service.api.http.transcode import encode_error, encode_response
from rule_service.wiring import PUBLIC
from tests.support.system import RPC, Replica

BINDINGS = bindings_of(PUBLIC)

_OF_THE_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\d+\.\d{3,9}s|^[0-9a-f]{12}$")
"""Times, and ids of tokens."""
_MADE_FOR_THE_CALL = frozenset({"request_id", "secret"})


@dataclass(frozen=True)
class Answer:
    """code: of google.rpc, by name. http_status: that the answer has or would have. body: as JSON."""

    code: str
    http_status: int
    body: Any

    @property
    def details(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.body["error"]["details"]
        return found

    @property
    def reason(self) -> str:
        """Of an error; empty for none."""
        return "" if self.code == "OK" else str(self.details[0]["reason"])

    @property
    def fields(self) -> list[str]:
        """What an error's violations name."""
        listed = [each for detail in self.details for each in detail.get("field_violations", ())]
        listed += [each for detail in self.details for each in detail.get("violations", ())]
        return [each.get("field", each.get("subject", "")) for each in listed]

    def comparable(self) -> "Answer":
        """Without what is another in every call: times, and ids made for the call."""
        return Answer(self.code, self.http_status, _without_the_moment(self.body))


def bindings_for(method: str) -> list[Binding]:
    return [each for each in BINDINGS if each.method.endswith(f"/{method}")]


async def over_grpc(service: Replica, method: str, request: dict[str, Any]) -> Answer:
    binding = bindings_for(method)[0]
    channel: Any = service.channel
    call = channel.unary_unary(
        binding.method,
        request_serializer=binding.request.SerializeToString,
        response_deserializer=binding.response.FromString,
    )
    try:
        response = await call(json_format.ParseDict(request, binding.request()), timeout=RPC)
    except grpc.aio.AioRpcError as error:
        # an error without details is none of ours, and fails here
        status: Any = rpc_status.from_call(error)  # type: ignore[arg-type]  # it only reads what both kinds have
        http_status, body = encode_error(status)
        return Answer(error.code().name, http_status, json.loads(body))
    return Answer("OK", 200, json.loads(encode_response(binding, response)))


async def over_http(http: aiohttp.ClientSession, service: Replica, method: str, request: dict[str, Any]) -> Answer:
    message = json_format.ParseDict(request, bindings_for(method)[0].request())
    binding = next(each for each in bindings_for(method) if all(_at(message, name) for name in each.variables))
    given = json_format.MessageToDict(message, preserving_proto_field_name=True)
    path = binding.path
    for variable in binding.variables:
        path = path.replace(f"{{{variable}}}", str(URL.build(path=f"/{_take(given, variable)}"))[1:])
    body: dict[str, Any] = {"json": given} if binding.body == "*" else {}
    url = URL(service.url + path, encoded=True)
    async with http.request(binding.verb, url if body else url.with_query(_flat(given)), **body) as answer:
        shown = await answer.json()
    code = "OK" if answer.status == 200 else str(shown["error"]["status"])
    assert code in code_pb2.Code.keys()  # noqa: SIM118  # it is no dict
    return Answer(code, answer.status, shown)


def _at(message: Message, path: str) -> Any:
    found: Any = message
    for name in path.split("."):
        found = getattr(found, name)
    return found


def _take(given: dict[str, Any], path: str) -> str:
    *parents, last = path.split(".")
    for name in parents:
        given = given[name]
    return str(given.pop(last))


def _flat(given: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A request as the parameters of a query."""
    pairs: list[tuple[str, str]] = []
    for name, value in given.items():
        match value:
            case dict():
                pairs += _flat(value, f"{prefix}{name}.")
            case list():
                pairs += [(prefix + name, str(each)) for each in value]
            case bool():
                pairs.append((prefix + name, str(value).lower()))
            case _:
                pairs.append((prefix + name, str(value)))
    return pairs


def _without_the_moment(value: Any) -> Any:
    match value:
        case dict():
            return {
                name: "*" if name in _MADE_FOR_THE_CALL else _without_the_moment(each) for name, each in value.items()
            }
        case list():
            return [_without_the_moment(each) for each in value]
        case str():
            return _OF_THE_MOMENT.sub("*", value)
        case _:
            return value
