"""The lines that `make up` prints to be pasted."""

import json
import re
import shlex
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from deploy.local.demo import HOSTS, KEY, demo_rules
from deploy.local.examples import Example, examples
from rule_service.api.http.bindings import Binding, bindings_of
from rule_service.api.http.transcode import decode_request
from rulecast.v1 import delivery_pb2, rule_pb2

SERVICES = {
    service.full_name: service
    for file in (rule_pb2, delivery_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}
EXAMPLES = tuple(examples(14))


def what(example: Example) -> str:
    return example.rpc


def asked_by_grpcurl(example: Example) -> tuple[str, Message]:
    """The full name of the RPC and its request, as grpcurl would find them by reflection."""
    _, plaintext, *data, address, rpc = shlex.split(example.grpcurl("127.0.0.1:50051"))
    assert (plaintext, address) == ("-plaintext", "127.0.0.1:50051")
    service, _, method = rpc.partition("/")
    request = GetMessageClass(SERVICES[service].methods_by_name[method].input_type)()
    json_format.ParseDict(json.loads(data[1]) if data else {}, request)
    return f"/{rpc}", request


def asked_by_curl(example: Example) -> tuple[str, Message]:
    """The full name of the RPC and its request, as the rule service would understand the HTTP request."""
    arguments = shlex.split(example.curl("http://127.0.0.1:8080"))
    body = arguments[arguments.index("-d") + 1] if "-d" in arguments else ""
    verb = arguments[arguments.index("-X") + 1] if "-X" in arguments else "POST" if body else "GET"
    url = urlsplit(next(argument for argument in arguments if argument.startswith("http")))
    for binding in bindings_of(SERVICES.values()):
        found = re.fullmatch(as_pattern(binding), url.path)
        if found and binding.verb == verb:
            variables = dict(zip(binding.variables, found.groups(), strict=True))
            return binding.method, without_empty_mask(decode_request(binding, variables, (), body.encode()))
    raise AssertionError(f"no RPC answers {verb} {url.path}")


def without_empty_mask(request: Message) -> Message:
    """An empty mask means what none means."""
    if isinstance(request, rule_pb2.UpdateAlertRuleRequest) and not request.update_mask.paths:
        request.ClearField("update_mask")
    return request


def as_pattern(binding: Binding) -> str:
    return re.sub(r"\\\{[^}]+\\\}", "([^/:]+)", re.escape(binding.path))


@pytest.mark.parametrize("example", EXAMPLES, ids=what)
def test_both_lines_make_the_same_call(example: Example) -> None:
    assert asked_by_curl(example) == asked_by_grpcurl(example)


def test_they_are_about_what_the_demo_has() -> None:
    def named(value: Any) -> set[tuple[str, str]]:
        if not isinstance(value, dict):
            return set()
        own = {(name, text) for name, text in value.items() if name in ("id", "target_id", "key")}
        return own.union(*map(named, value.values()))

    there = {("id", rule.id) for rule in demo_rules()} | {("key", KEY)}
    there |= {("target_id", host) for hosts in HOSTS.values() for host in hosts}
    mentioned = set().union(*(named(dict(example.request)) for example in EXAMPLES))
    assert mentioned
    assert mentioned <= there
