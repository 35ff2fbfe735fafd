"""Every path of the HTTP API with requests that no honest client sends: told what is wrong, and no 5xx."""

import asyncio
import io
import json
from typing import Any

import aiohttp
import pytest
from yarl import URL

from rule_service.api.http.bindings import Binding, bindings_of
from rule_service.wiring import PUBLIC
from rulecast.reasons import Reason
from tests.e2e import test_hostile_everywhere as everywhere
from tests.support.system import Replica
from tests.support.wrong_json import wrong_bodies

service = everywhere.service

BINDINGS = bindings_of(PUBLIC)
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
LARGE = 4 * 1024 * 1024
"""Bytes of a body that are just allowed."""


def path_of(binding: Binding, value: str = "there") -> str:
    """The path, with a value where it has variables; a number where one is meant."""
    path = binding.path
    for variable in binding.variables:
        path = path.replace(f"{{{variable}}}", "7" if variable == "revision" else value)
    return path


def check_error(what: str, body: bytes, code: int) -> dict[str, Any]:
    """The error, which has the one shape and says for programs and for people what is wrong."""
    error: dict[str, Any] = json.loads(body)["error"]
    assert error.keys() == {"code", "status", "message", "details"}, what
    info = next(each for each in error["details"] if each["@type"] == ERROR_INFO)
    assert info["reason"] in Reason.__members__, what
    assert info["reason"] != Reason.INTERNAL, what
    assert error["code"] == code, what
    assert len(error["message"].split()) > 2, what
    return error


async def refused(http: aiohttp.ClientSession, verb: str, url: str, status: int, **given: Any) -> dict[str, Any]:
    """The error with which a request is refused, which has to have this status."""
    async with http.request(verb, URL(url, encoded=True), **given) as answer:
        body = await answer.read()
    what = f"{verb} {url[:120]} {str(given)[:160]}: {body[:200]!r}"
    assert answer.status == status, what
    return {**check_error(what, body, status), "headers": answer.headers}


async def test_json_of_a_wrong_type_in_every_field(service: Replica) -> None:
    count = 0
    async with aiohttp.ClientSession() as http:
        for binding in BINDINGS:
            for path, body in wrong_bodies(binding.request.DESCRIPTOR) if binding.body else ():
                error = await refused(http, binding.verb, service.url + path_of(binding), 400, json=body)
                named = [each["field"] for detail in error["details"] for each in detail.get("field_violations", ())]
                root = path.partition(".")[0].partition("[")[0]
                assert named, (path, error)
                assert named[0].startswith(root), (path, error)
                count += 1
    assert count > 1_000


async def test_query_parameters_of_a_wrong_type_and_unknown_ones(service: Replica) -> None:
    async with aiohttp.ClientSession() as http:
        for binding in BINDINGS:
            url = service.url + path_of(binding)
            for field in binding.request.DESCRIPTOR.fields if not binding.body else ():
                if field.cpp_type not in (field.CPPTYPE_STRING, field.CPPTYPE_MESSAGE) and field.name not in url:
                    for value in ("x", "", "1.5", "%00", "%F0%9F%98%80", "99999999999999999999999"):
                        if field.name not in binding.variables:
                            await refused(http, binding.verb, f"{url}?{field.name}={value}", 400)
            for unknown in ("nothing=1", "%00=1", "a.b.c=1", "__proto__=1", "metadata.revision=1", "=", "x" * 5_000):
                await refused(http, binding.verb, f"{url}?{unknown}", 400)


async def test_paths_of_a_forger(service: Replica) -> None:
    texts = ("%2e%2e%2f%2e%2e%2fetc", "%00", "%0d%0aHost:%20x", "%F0%9F%98%80", "%ff", "%E2%80%A8", "a" * 6_000, "'--")
    async with aiohttp.ClientSession() as http:
        for binding in BINDINGS:
            for text in texts if binding.variables else ():
                given: dict[str, Any] = {"json": {}} if binding.body else {}
                async with http.request(
                    binding.verb, URL(service.url + path_of(binding, text), encoded=True), **given
                ) as answer:
                    body = await answer.read()
                what = f"{binding.verb} {binding.path} {text[:40]}: {answer.status} {body[:200]!r}"
                if "revision" not in binding.variables:
                    assert answer.status in (400, 404), what
                    check_error(what, body, answer.status)


async def test_verbs_that_a_path_does_not_take(service: Replica) -> None:
    taken: dict[str, set[str]] = {}
    for binding in BINDINGS:
        taken.setdefault(path_of(binding), set()).add(binding.verb)
    async with aiohttp.ClientSession() as http:
        for path, verbs in taken.items():
            allowed = verbs | ({"HEAD"} if "GET" in verbs else set())
            for verb in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} - allowed:
                error = await refused(http, verb, service.url + path, 405)
                assert set(error["headers"]["Allow"].split(",")) >= allowed, (verb, path)
        for path in ("/api/v1/nothing", "/api/v1/groups/", "/api/v1/groups/a/b", "/api/v1/alert-rules:nothing", "/%00"):
            await refused(http, "GET", service.url + path, 404)


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "image/png"])
async def test_what_says_that_it_is_no_json(service: Replica, kind: str) -> None:
    async with aiohttp.ClientSession() as http:
        for binding in BINDINGS:
            if binding.body:
                headers = {"Content-Type": kind}
                error = await refused(
                    http, binding.verb, service.url + path_of(binding), 415, data=b"{}", headers=headers
                )
                assert "application/json" in error["message"]


async def test_json_by_any_of_its_names(service: Replica) -> None:
    body = b'{"group": {"id": "new"}, "validate_only": true}'
    async with aiohttp.ClientSession() as http:
        for kind in (
            *("application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/hal+json"),
            "application/x-www-form-urlencoded",  # what curl says where nobody says anything
        ):
            headers = {"Content-Type": kind}
            async with http.post(service.url + "/api/v1/groups", data=body, headers=headers) as answer:
                assert (kind, answer.status) == (kind, 200)
                assert (await answer.json())["group"]["id"] == "new"


OF_ANOTHER_SITE: tuple[dict[str, str], ...] = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
    {"Origin": "http://evil.example"},
    {"Origin": "https://evil.example:443"},
    {"Origin": "null"},
    {"Origin": ""},
)


async def test_what_a_page_of_another_site_has_a_browser_send(service: Replica) -> None:
    """A form needs no preflight: its type is one that is read as JSON, since curl says it too."""
    body = b'{"group": {"id": "new"}, "validate_only": true}'
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with aiohttp.ClientSession(headers=form) as http:
        for binding in BINDINGS:
            if binding.verb != "GET":
                url = service.url + path_of(binding)
                error = await refused(
                    http, binding.verb, url, 403, data=body, headers={"Origin": "http://evil.example"}
                )
                assert (error["status"], error["details"][0]["reason"]) == ("PERMISSION_DENIED", "CROSS_SITE_REQUEST")
        url = service.url + "/api/v1/groups"
        for headers in OF_ANOTHER_SITE:
            await refused(http, "POST", url, 403, data=body, headers=headers)
            async with http.get(url, headers=headers) as answer:
                assert (headers, answer.status) == (headers, 200)
                assert "Access-Control-Allow-Origin" not in answer.headers
        own = f"http://127.0.0.1:{service.http_port}"
        for headers in (
            *({"Origin": own}, {"Sec-Fetch-Site": "same-origin", "Origin": own}, {"Sec-Fetch-Site": "none"}),
            # behind a proxy that calls the service by another name than the browser does
            {"Sec-Fetch-Site": "same-origin", "Origin": "https://rules.example.org"},
        ):
            async with http.post(url, data=body, headers=headers) as answer:
                assert (headers, answer.status) == (headers, 200)


async def test_bodies_in_pieces_packed_and_too_large(service: Replica) -> None:
    url = service.url + "/api/v1/groups"

    async def pieces(*texts: bytes) -> Any:
        for text in texts:
            yield text

    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as http:
        for encoding in ("gzip", "deflate", "br", "zstd", "x"):
            await refused(http, "POST", url, 415, data=b"\x1f\x8bzzz", headers={"Content-Encoding": encoding})
        async with http.post(url, data=pieces(b'{"group": {"id"', b': "new"}, "valid', b'ate_only": true}')) as answer:
            assert answer.status == 200
        error = await refused(http, "POST", url, 413, data=pieces(*[b" " * 65_536] * (LARGE // 65_536), b"{}"))
        assert "limits.request_bytes" in error["message"]
        await refused(http, "POST", url, 413, data=io.BytesIO(b" " * (LARGE + 1)))
        for text in (b"[]", b'"x"', b"5", b"[[[[]]]]", b"{" * 2_000, b"\0", b"{}{}", b"{} x", b"'a'", b"{,}"):
            await refused(http, "POST", url, 400, data=text)


async def test_what_is_no_http_ends_with_an_answer_and_harms_nobody_else(service: Replica) -> None:
    for sent, status in (
        (b"NONSENSE / HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET /api/v1/groups HTTP/9.9\r\nHost: x\r\n\r\n", b"400"),
        (b"POST /api/v1/groups HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /api/v1/groups HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", b"400"),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET /api/v1/groups HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", b"400"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.http_port)
        writer.write(sent)
        line = await asyncio.wait_for(reader.readline(), 60)
        writer.close()
        assert line.split()[1] == status, (sent[:60], line)
    # a body that never comes to its end
    reader, writer = await asyncio.open_connection("127.0.0.1", service.http_port)
    writer.write(b'POST /api/v1/groups HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n{"group": {"id": "half"}}')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await service.serving()
