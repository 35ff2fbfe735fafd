"""Programs that the documents use, for machines that do not have them: `python -m tests.support.standins NAME ...`.

They take the options that the documents use, and refuse others, so that a document can not say what is not checked.
grpcurl knows nothing but what reflection tells, as the real one.
"""

import argparse
import http.client
import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

TIMEOUT = 120.0
"""Seconds."""
NAMES = ("grpcurl", "curl")


def programs(folder: Path) -> Path:
    """A folder for PATH with stand-ins for those programs that this machine does not have."""
    folder.mkdir()
    for name in NAMES:
        if shutil.which(name) is None:
            script = folder / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {__name__} {name} "$@"\n')
            script.chmod(0o755)
    return folder


def grpcurl(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("grpcurl")
    parser.add_argument("-plaintext", action="store_true", required=True)
    parser.add_argument("-d", dest="data", default="")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("address")
    parser.add_argument("what", nargs="+")
    given = parser.parse_args(arguments)
    metadata = tuple(
        (name.lower().strip(), value.strip()) for name, _, value in (h.partition(":") for h in given.headers)
    )
    with grpc.insecure_channel(given.address) as channel:
        known = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(known)
        match given.what:
            case ["list"]:
                print("\n".join(sorted(known.get_services())))
            case ["list", service]:
                print("\n".join(f"{service}.{method.name}" for method in pool.FindServiceByName(service).methods))
            case ["describe", service]:
                print(f"{service} is a service:\n{pool.FindServiceByName(service).full_name}")
            case [method]:
                service, _, name = method.rpartition("/")
                return _call(channel, pool.FindServiceByName(service).methods_by_name[name], given.data, metadata)
            case _:
                parser.error(f"do not know {given.what}")
    return 0


def _call(channel: grpc.Channel, method: MethodDescriptor, data: str, metadata: tuple[tuple[str, str], ...]) -> int:
    request = json_format.Parse(data or "{}", GetMessageClass(method.input_type)())
    path = f"/{method.containing_service.full_name}/{method.name}"
    call: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
    stub = call(path, type(request).SerializeToString, GetMessageClass(method.output_type).FromString)
    try:
        answer = stub(request, timeout=TIMEOUT, metadata=metadata)
        for each in answer if method.server_streaming else [answer]:
            print(json_format.MessageToJson(each))
    except grpc.RpcError as error:
        print(f"ERROR:\n  Code: {error.code().name}\n  Message: {error.details()}", file=sys.stderr)
        return 64 + int(error.code().value[0])
    return 0


def curl(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("curl")
    parser.add_argument("-sS", action="store_true", required=True)
    parser.add_argument("-X", dest="verb")
    parser.add_argument("-d", dest="data")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-o", dest="output", type=Path)
    parser.add_argument("url")
    given = parser.parse_args(arguments)
    url = given.url if "://" in given.url else f"http://{given.url}"
    body = None if given.data is None else given.data.encode()
    request = urllib.request.Request(url, body, method=given.verb)
    for name, _, value in (header.partition(":") for header in given.headers):
        request.add_header(name, value.strip())
    try:
        answer: http.client.HTTPResponse | urllib.error.HTTPError = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        content = answer.read()
    if given.output is None:
        sys.stdout.buffer.write(content)
    else:
        given.output.write_bytes(content)
    # as the real one with `fail-with-body` in its settings
    return 22 if (answer.status or 0) >= 400 else 0


def environment(folder: Path) -> dict[str, str]:
    """The variables for a shell that finds the programs, where curl fails on an answer that is an error."""
    home = folder / "home"
    home.mkdir(parents=True)
    (home / ".curlrc").write_text("fail-with-body\n")
    path = os.pathsep.join([str(programs(folder / "bin")), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "HOME": str(home), "CURL_HOME": str(home)}


def covers(answer: object, wanted: object) -> bool:
    """Whether everything that is wanted is in the answer. A list must have as many items, in this order."""
    match wanted:
        case dict():
            return isinstance(answer, dict) and all(
                key in answer and covers(answer[key], value) for key, value in wanted.items()
            )
        case list():
            return (
                isinstance(answer, list)
                and len(answer) == len(wanted)
                and all(covers(one, other) for one, other in zip(answer, wanted, strict=True))
            )
        case _:
            return json.dumps(answer) == json.dumps(wanted)


if __name__ == "__main__":
    sys.exit({"grpcurl": grpcurl, "curl": curl}[sys.argv[1]](sys.argv[2:]))
