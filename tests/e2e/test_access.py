"""Who may call what: every method without, with a wrong, and with each role's token, and all that follows from it."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio

from deployer_service.api.access import METHODS as OF_DEPLOYER
from rule_service.api.access import METHODS
from rule_service.api.http.bindings import bindings_of
from rule_service.wiring import PUBLIC
from rulecast.reasons import Reason
from rulecast.rpc.access import Access
from rulecast.rpc.errors import from_rpc_error
from rulecast.tokens import new_token
from rulecast.v1 import deployer_pb2, distribution_pb2, group_pb2, history_pb2, token_pb2
from rulecast.v1.distribution_pb2_grpc import DistributionServiceStub
from rulecast.v1.token_pb2_grpc import TokenServiceStub
from tests.support.ports import free_port
from tests.support.secured import PASSWORD, ROLES, Secured, bearer, id_of, raw_call, secured
from tests.support.system import RPC, replica
from tests.support.waiting import wait_for

NOT_LET_IN = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
MAY = {
    "viewer": {Access.VIEWER},
    "editor": {Access.VIEWER, Access.EDITOR, Access.EDITOR_OF_ALL},
    "admin": {Access.VIEWER, Access.EDITOR, Access.EDITOR_OF_ALL, Access.ADMIN},
    "deployer": {Access.DEPLOYER},
}
SERVICES = (*PUBLIC, distribution_pb2.DESCRIPTOR.services_by_name["DistributionService"])
ALL_METHODS = {f"/{service.full_name}/{method.name}": method for service in SERVICES for method in service.methods}


@pytest_asyncio.fixture
async def up(tmp_path: Path, database: str, promtool: Path) -> AsyncIterator[Secured]:
    async with secured(tmp_path, database, promtool) as running:
        yield running


def tokens_of(up: Secured) -> Any:
    return TokenServiceStub(up.replica.channel)


def test_every_method_says_what_it_needs_and_none_is_open() -> None:
    assert set(METHODS) == set(ALL_METHODS)
    assert Access.OPEN not in METHODS.values()
    of_deployer = deployer_pb2.DESCRIPTOR.services_by_name["DeployerService"]
    assert set(OF_DEPLOYER) == {f"/{of_deployer.full_name}/{method.name}" for method in of_deployer.methods}


async def test_every_method_without_with_a_wrong_and_with_each_token(up: Secured) -> None:
    channel = up.replica.channel
    # the same ones for all: who sends ever new ones is slowed down
    wrong = (None, "x", new_token("0123456789ab"), up.tokens["admin"][:-1])
    for path, method in ALL_METHODS.items():
        for token in wrong:
            assert (path, await raw_call(channel, method, token)) == (path, grpc.StatusCode.UNAUTHENTICATED)
        for role in ROLES:
            code = await raw_call(channel, method, up.tokens[role])
            if METHODS[path] in MAY[role]:
                assert code not in NOT_LET_IN, (path, role)
            else:
                assert (path, role, code) == (path, role, grpc.StatusCode.PERMISSION_DENIED)


async def test_every_path_of_http_wants_a_token_and_health_does_not(up: Secured) -> None:
    async with aiohttp.ClientSession() as http:
        for binding in bindings_of(PUBLIC):
            url = up.replica.url + re.sub(r"\{[^}]*\}", "1", binding.path)
            async with http.request(binding.verb, url) as answer:
                assert (url, answer.status) == (url, 401)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                (info, *_) = (await answer.json())["error"]["details"]
                assert info["reason"] == Reason.TOKEN_MISSING
            headers = {"Authorization": f"Bearer {up.tokens['viewer']}"}
            async with http.request(binding.verb, url, headers=headers) as answer:
                allowed = METHODS[binding.method] is Access.VIEWER
                assert (url, answer.status in (401, 403)) == (url, not allowed)
        for path in ("/health/live", "/health/ready", "/metrics", "/api/v1/openapi.json"):
            async with http.get(up.replica.url + path) as answer:
                assert (path, answer.status) == (path, 200)
        async with http.get(up.replica.url + "/metrics") as answer:
            labels = 'grpc_service="rulecast.v1.GroupService",reason="TOKEN_MISSING"'
            assert f"rulecast_refusals_total{{{labels}}}" in await answer.text()


async def create_group(up: Secured, id: str, token: str, **fields: Any) -> int:
    """The revision it makes."""
    request = group_pb2.CreateGroupRequest(group=group_pb2.Group(id=id, **fields))
    answer = await up.replica.groups.CreateGroup(request, metadata=bearer(token), timeout=RPC)
    return int(answer.change.revision)


async def refusal_of(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return from_rpc_error(raised.value)


async def test_the_author_is_who_has_the_token_over_grpc_and_http(up: Secured) -> None:
    alice = up.token("editor", name="alice@example.org")
    first = await create_group(up, "one", alice)
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {alice}"}) as http,
        http.post(f"{up.replica.url}/api/v1/groups", json={"group": {"id": "two"}}) as answer,
    ):
        second = int((await answer.json())["change"]["revision"])
    for revision in (first, second):
        request = history_pb2.GetRevisionRequest(revision=revision)
        found = await up.replica.history.GetRevision(request, metadata=bearer(up.tokens["viewer"]), timeout=RPC)
        assert found.author == "alice@example.org"


async def test_an_editor_of_a_namespace_edits_there_alone(up: Secured) -> None:
    editor = up.token("editor", "--namespace", "default", name="of-default")
    admin = bearer(up.tokens["admin"])
    namespace = {"namespace": {"id": "team", "label": "team"}}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {up.tokens['admin']}"}) as http,
        http.post(f"{up.replica.url}/api/v1/namespaces", json=namespace) as answer,
    ):
        assert answer.status == 200
    await create_group(up, "ours", editor)
    refused = await refusal_of(create_group(up, "theirs", editor, namespace_id="team"))
    assert refused.reason is Reason.NAMESPACE_NOT_ALLOWED
    missing = await refusal_of(up.replica.groups.GetGroup(group_pb2.GetGroupRequest(id="theirs"), metadata=admin))
    assert missing.reason is Reason.GROUP_NOT_FOUND
    assert up.command("create", "--role", "editor", "--name", "x", "--namespace", "nothing").returncode == 1


async def test_an_editor_of_a_namespace_is_refused_what_concerns_all_of_them(up: Secured) -> None:
    editor = bearer(up.token("editor", "--namespace", "default", name="of-default"))
    viewer = bearer(up.tokens["viewer"])
    channel: Any = up.replica.channel
    newest = history_pb2.ListRevisionsRequest(page_size=1)
    before = await up.replica.history.ListRevisions(newest, metadata=viewer, timeout=RPC)
    for path, needed in METHODS.items():
        if needed is Access.EDITOR_OF_ALL:
            refused = await refusal_of(channel.unary_unary(path)(b"", metadata=editor, timeout=RPC))
            assert (path, refused.reason) == (path, Reason.NAMESPACE_NOT_ALLOWED)
            assert "(default)" in str(refused)
    assert await up.replica.history.ListRevisions(newest, metadata=viewer, timeout=RPC) == before


async def test_a_revoked_token_ends_at_once_and_so_does_its_stream(up: Secured) -> None:
    name = "dep-1"
    token = up.token("deployer", name=name)
    call: Any = DistributionServiceStub(up.replica.channel).Sync(metadata=bearer(token))
    await call.write(_hello(name))
    assert (await call.read()).HasField("welcome")

    revoke = token_pb2.RevokeTokenRequest(id=id_of(token))
    answer = await tokens_of(up).RevokeToken(revoke, metadata=bearer(up.tokens["admin"]), timeout=RPC)
    assert answer.revoker == "the-admin"

    async def ended() -> bool:
        return await call.read() is grpc.aio.EOF

    refused = await refusal_of(wait_for(ended, timeout=60))
    assert refused.reason is Reason.TOKEN_REVOKED
    again = DistributionServiceStub(up.replica.channel).Sync(metadata=bearer(token))
    assert (await refusal_of(again.read())).reason is Reason.TOKEN_REVOKED


async def test_a_token_that_is_revoked_on_the_command_line_or_has_expired_does_not_hold(up: Secured) -> None:
    revoked, short = up.token("viewer"), up.token("viewer", "--expires", "3s")
    listed = up.command("list").stdout
    assert id_of(revoked) in listed
    assert revoked not in listed
    request = group_pb2.ListGroupsRequest()
    await up.replica.groups.ListGroups(request, metadata=bearer(revoked), timeout=RPC)
    assert up.command("revoke", id_of(revoked)).returncode == 0
    for token, reason in ((revoked, Reason.TOKEN_REVOKED), (short, Reason.TOKEN_EXPIRED)):

        async def is_refused(token: str = token, reason: Reason = reason) -> bool:
            try:
                await up.replica.groups.ListGroups(request, metadata=bearer(token), timeout=RPC)
            except grpc.aio.AioRpcError as error:
                return from_rpc_error(error).reason is reason
            return False

        await wait_for(is_refused, timeout=30)


async def test_a_deployer_is_itself_alone(up: Secured) -> None:
    token = up.token("deployer", name="dep-1")
    call = DistributionServiceStub(up.replica.channel).Sync(metadata=bearer(token))
    await call.write(_hello("dep-2"))
    assert (await refusal_of(call.read())).reason is Reason.DEPLOYER_NOT_ALLOWED


def _hello(name: str) -> distribution_pb2.SyncRequest:
    hello = distribution_pb2.Hello(deployer_id=name, process_id=b"1" * 16, protocol_version=1)
    return distribution_pb2.SyncRequest(hello=hello)


async def test_who_calls_too_often_is_told_when_to_call_again(tmp_path: Path, database: str, promtool: Path) -> None:
    few = {"RULE_SERVICE_RATE_LIMITS_READS_PER_SECOND": "0.01", "RULE_SERVICE_RATE_LIMITS_READ_BURST": "2"}
    async with secured(tmp_path, database, promtool, few) as up:
        request, metadata = group_pb2.ListGroupsRequest(), bearer(up.tokens["viewer"])
        for _ in range(2):
            await up.replica.groups.ListGroups(request, metadata=metadata, timeout=RPC)
        refused = await refusal_of(up.replica.groups.ListGroups(request, metadata=metadata, timeout=RPC))
        assert refused.reason is Reason.RATE_LIMITED
        assert 0 < float(refused.metadata["retry_after"]) <= 100
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {up.tokens['viewer']}"}) as http:
            async with http.get(f"{up.replica.url}/api/v1/groups") as answer:
                assert answer.status == 429
                assert 0 < int(answer.headers["Retry-After"]) <= 100
            async with http.get(f"{up.replica.url}/metrics") as answer:
                assert 'rulecast_rate_limited_total{kind="read"} 2.0' in await answer.text()
        # another caller has a bucket of its own
        await up.replica.groups.ListGroups(request, metadata=bearer(up.tokens["admin"]), timeout=RPC)


async def test_the_audit_log_has_every_write_and_every_refusal_and_no_secret_is_logged(up: Secured) -> None:
    admin = bearer(up.tokens["admin"])
    revision = await create_group(up, "one", up.tokens["editor"])
    await refusal_of(create_group(up, "two", up.tokens["viewer"]))
    await refusal_of(create_group(up, "Not An Id", up.tokens["editor"]))
    await refusal_of(create_group(up, "two", "rc_0123_wrong"))
    request = token_pb2.CreateTokenRequest(token=token_pb2.Token(name="new", role=token_pb2.Token.VIEWER))
    minted = await tokens_of(up).CreateToken(request, metadata=admin, timeout=RPC)
    await up.replica.groups.ListGroups(group_pb2.ListGroupsRequest(), metadata=bearer(minted.secret), timeout=RPC)

    lines = [json.loads(line) for line in up.audit.read_text().splitlines()]
    told = [(line["who"], line["method"].rpartition("/")[2], line["outcome"], line.get("reason")) for line in lines]
    assert told == [
        ("the-editor", "CreateGroup", "OK", None),
        ("the-viewer", "CreateGroup", "PERMISSION_DENIED", "ROLE_MISSING"),
        ("the-editor", "CreateGroup", "INVALID_ARGUMENT", "ID_INVALID"),
        ("127.0.0.1", "CreateGroup", "UNAUTHENTICATED", "TOKEN_UNKNOWN"),
        ("the-admin", "CreateToken", "OK", None),
    ]
    first = lines[0]
    assert (first["revision"], first["resource"]) == (revision, {"group.id": "one"})
    assert (first["token"], len(first["request_id"])) == (id_of(up.tokens["editor"]), 32)
    assert first["peer"].startswith("ipv4:127.0.0.1:")
    assert up.audit.stat().st_mode & 0o777 == 0o600

    logged = up.logged()
    assert "UNAUTHENTICATED" in logged
    for secret in (*up.tokens.values(), minted.secret, "rc_0123_wrong", PASSWORD):
        assert secret not in logged


async def test_it_serves_everybody_where_it_is_told_to_be_insecure_and_says_so(
    tmp_path: Path, database: str, promtool: Path
) -> None:
    port = free_port()
    settings = {"RULE_SERVICE_GRPC_LISTEN": f"0.0.0.0:{port}", "RULE_SERVICE_SECURITY_INSECURE": "true"}
    one = replica(tmp_path, database, promtool, settings=settings)
    await one.channel.close()
    one.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        await one.start()
        await one.groups.CreateGroup(group_pb2.CreateGroupRequest(group=group_pb2.Group(id="one")), timeout=RPC)
        assert "security is off, as it was told to be" in one.child.log.read_text()
    finally:
        await one.child.stop()
        await one.channel.close()
