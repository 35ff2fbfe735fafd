"""Which HTTP request means which RPC: read from the annotations of a service's descriptor (AIP-127)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_VARIABLE = re.compile(r"\{([a-z0-9_.]+)\}")


@dataclass(frozen=True, slots=True)
class Binding:
    """One way to call an RPC.

    method: full name, `/package.Service/Method`. verb, path: of HTTP; a variable of the path names a field.
    body: the field that the body is, `*` for the whole request, empty for no body.
    response_body: the field of the response that is answered; empty for all of it.
    """

    method: str
    request: type[Message]
    response: type[Message]
    verb: str
    path: str
    body: str
    response_body: str

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(_VARIABLE.findall(self.path))

    @property
    def route(self) -> str:
        """The path as aiohttp writes it: the variables are `v0`, `v1` and so on, each one segment without a colon."""
        numbers = iter(range(len(self.variables)))
        return _VARIABLE.sub(lambda _: f"{{v{next(numbers)}:[^/:]+}}", self.path)


def bindings_of(services: Iterable[ServiceDescriptor]) -> tuple[Binding, ...]:
    """All bindings of all unary RPCs that have an annotation."""
    return tuple(
        binding
        for service in services
        for method in service.methods
        if not method.server_streaming and not method.client_streaming
        for binding in _bindings(service, method)
    )


def _bindings(service: ServiceDescriptor, method: MethodDescriptor) -> Iterator[Binding]:
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        if verb is not None:
            yield _binding(service, method, each, verb)


def _binding(service: ServiceDescriptor, method: MethodDescriptor, rule: http_pb2.HttpRule, verb: str) -> Binding:
    return Binding(
        method=f"/{service.full_name}/{method.name}",
        request=GetMessageClass(method.input_type),
        response=GetMessageClass(method.output_type),
        verb=verb.upper(),
        path=getattr(rule, verb),
        body=rule.body,
        response_body=rule.response_body,
    )
