"""The whole way with everything that protects it: mutual TLS and a token on each connection, on real processes."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio

from deploy.local.parts import PrometheusParts
from deploy.local.process import free_port
from rulecast.reasons import Reason
from rulecast.tokens import hash_of, new_token
from rulecast.v1 import common_pb2, deployer_pb2, rule_pb2
from tests.e2e.test_access import refusal_of
from tests.integration.test_tls import credentials, trusting
from tests.support.certificates import Authority, Pair
from tests.support.prometheus import running_prometheus
from tests.support.secured import Secured, bearer, id_of, secured
from tests.support.system import RPC, START, Deployer, cpu_rule, deployer, global_scope
from tests.support.waiting import wait_for


@dataclass
class Protected:
    """operator: a token of the deployer's own service. http_port: the deployer's. tls: the settings of both for it."""

    rules: Secured
    deployer: Deployer
    token_file: Path
    operator: str
    http_port: int
    authority: Authority
    client: Pair
    tls: dict[str, str]

    async def create(self, id: str) -> common_pb2.Rollout:
        """A rule for everything; waits until its fate is known."""
        request = rule_pb2.CreateAlertRuleRequest(
            rule=cpu_rule(id, global_scope(), 90, key=id), wait_for=common_pb2.ACTIVE
        )
        editor = bearer(self.rules.tokens["editor"])
        answer = await self.rules.replica.rules.CreateAlertRule(request, metadata=editor, timeout=RPC)
        return answer.change.rollout  # type: ignore[no-any-return]

    async def status(self) -> deployer_pb2.DeployerStatus:
        answer: deployer_pb2.DeployerStatus = await self.deployer.service.GetStatus(
            deployer_pb2.GetStatusRequest(), metadata=bearer(self.operator), timeout=RPC
        )
        return answer

    async def until_connected(self) -> None:
        async def connected() -> bool:
            return (await self.status()).connected

        await wait_for(connected, timeout=START)


@pytest_asyncio.fixture
async def protected(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> AsyncIterator[Protected]:
    authority = Authority(tmp_path)
    server, client = authority.sign("server"), authority.sign("client")
    channel_credentials = credentials(authority, client)
    mutual = {"CERTIFICATE": str(server.certificate), "KEY": str(server.key), "CLIENT_CA": str(authority.path)}
    async with AsyncExitStack() as stack:
        rules = await stack.enter_async_context(
            secured(
                tmp_path,
                database,
                prometheus_parts.promtool,
                {f"RULE_SERVICE_TLS_{name}": value for name, value in mutual.items()},
                channel_credentials,
            )
        )
        token_file = tmp_path / "token"
        token_file.write_text(rules.token("deployer", name="dep-1") + "\n")
        operator, http_port = new_token("operator"), free_port()
        prometheus = await stack.enter_async_context(
            running_prometheus(prometheus_parts, tmp_path, rules=tmp_path / "rules")
        )
        settings = {
            **{f"DEPLOYER_TLS_{name}": value for name, value in mutual.items()},
            "DEPLOYER_HTTP_LISTEN": f"127.0.0.1:{http_port}",
            "DEPLOYER_UPSTREAM_TOKEN_FILE": str(token_file),
            "DEPLOYER_UPSTREAM_CA": str(authority.path),
            "DEPLOYER_UPSTREAM_CERTIFICATE": str(client.certificate),
            "DEPLOYER_UPSTREAM_KEY": str(client.key),
            "DEPLOYER_SECURITY_AUTHENTICATION": "true",
            "DEPLOYER_SECURITY_METRICS_OPEN": "false",
            "DEPLOYER_API_TOKEN_SHA256": hash_of(operator).hex(),
        }
        one = deployer(tmp_path, prometheus, prometheus_parts, [rules.replica.address], name="dep-1", settings=settings)
        await one.channel.close()
        one.channel = grpc.aio.secure_channel(f"127.0.0.1:{one.grpc_port}", channel_credentials)
        stack.push_async_callback(one.channel.close)
        stack.push_async_callback(one.child.stop)
        await one.start()
        found = Protected(rules, one, token_file, operator, http_port, authority, client, mutual)
        await found.until_connected()
        yield found


async def test_a_rule_runs_and_nobody_gets_by(protected: Protected) -> None:
    assert (await protected.create("everywhere")).state == common_pb2.Rollout.ACTIVE
    assert await protected.deployer.running_exprs() == {"everywhere": "cpu_percent > 90"}

    own: Any = protected.deployer.service
    for call, request in (
        (own.GetStatus, deployer_pb2.GetStatusRequest()),
        (own.ListFiles, deployer_pb2.ListFilesRequest()),
        (own.Reload, deployer_pb2.ReloadRequest()),
        (own.Resync, deployer_pb2.ResyncRequest()),
        (own.Validate, deployer_pb2.ValidateRequest()),
    ):
        assert (await refusal_of(call(request, timeout=RPC))).reason is Reason.TOKEN_MISSING
        wrong = bearer(protected.rules.tokens["admin"])
        assert (await refusal_of(call(request, metadata=wrong, timeout=RPC))).reason is Reason.TOKEN_UNKNOWN
    await own.Reload(deployer_pb2.ReloadRequest(), metadata=bearer(protected.operator), timeout=RPC)

    context = trusting(protected.authority, protected.client)
    url = f"https://127.0.0.1:{protected.http_port}/metrics"
    async with aiohttp.ClientSession() as http:
        async with http.get(url, ssl=context) as answer:
            assert answer.status == 401
        headers = {"Authorization": f"Bearer {protected.operator}"}
        async with http.get(url, ssl=context, headers=headers) as answer:
            assert answer.status == 200
            assert "rulecast_tls_certificate_expiry_timestamp_seconds" in await answer.text()

    logged = protected.deployer.child.log.read_text()
    assert '"method": "/rulecast.v1.DeployerService/Reload", "outcome": "OK"' in logged
    for secret in (protected.operator, protected.token_file.read_text().strip()):
        assert secret not in logged


async def test_without_a_certificate_nobody_is_listened_to(protected: Protected) -> None:
    for port in (protected.rules.replica.grpc_port, protected.deployer.grpc_port):
        channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials(protected.authority))
        try:
            call: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"", timeout=RPC)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        finally:
            await channel.close()


async def test_the_health_command_of_each_asks_over_tls_without_a_certificate(protected: Protected) -> None:
    for package, prefix, port, needed in (
        (
            "rule_service",
            "RULE_SERVICE",
            protected.rules.replica.http_port,
            {"RULE_SERVICE_DATABASE_URL": protected.rules.database},
        ),
        ("deployer_service", "DEPLOYER", protected.http_port, {"DEPLOYER_RULE_SERVICE": "127.0.0.1:1"}),
    ):
        tls = {f"{prefix}_TLS_{name}": value for name, value in protected.tls.items()}
        environment = {f"{prefix}_HTTP_LISTEN": f"127.0.0.1:{port}", **tls, **needed}
        asking = await asyncio.create_subprocess_exec(
            sys.executable, "-m", package, "health", env=environment, stdout=PIPE, stderr=PIPE
        )
        out, err = await asking.communicate()
        assert (asking.returncode, out) == (0, b"ready\n"), err


async def test_another_token_is_taken_up_when_the_old_one_is_revoked(protected: Protected) -> None:
    old = protected.token_file.read_text().strip()
    protected.token_file.write_text(protected.rules.token("deployer", name="dep-1"))
    assert protected.rules.command("revoke", id_of(old)).returncode == 0
    await wait_for(lambda: "TOKEN_REVOKED" in protected.deployer.child.output(500), timeout=START)
    await protected.until_connected()
    assert (await protected.create("later")).state == common_pb2.Rollout.ACTIVE


async def test_a_deployer_with_anothers_token_keeps_its_files_and_is_told_why(protected: Protected) -> None:
    await protected.create("everywhere")
    old = protected.token_file.read_text().strip()
    protected.token_file.write_text(protected.rules.token("deployer", name="dep-2"))
    assert protected.rules.command("revoke", id_of(old)).returncode == 0
    await wait_for(lambda: "DEPLOYER_NOT_ALLOWED" in protected.deployer.child.output(500), timeout=START)
    assert set(protected.deployer.files()) == {"global.yml"}
    assert await protected.deployer.running_exprs() == {"everywhere": "cpu_percent > 90"}


async def test_the_http_of_the_rule_service_asks_for_both(protected: Protected) -> None:
    url = f"https://127.0.0.1:{protected.rules.replica.http_port}/api/v1/sd/prometheus"
    shown, hidden = trusting(protected.authority, protected.client), trusting(protected.authority)
    token = {"Authorization": f"Bearer {protected.rules.tokens['viewer']}"}
    async with aiohttp.ClientSession() as http:
        for context, headers, status in ((hidden, token, 401), (shown, {}, 401), (shown, token, 200)):
            async with http.get(url, ssl=context, headers=headers) as answer:
                assert answer.status == status
        async with http.get(url.replace("/api/v1/sd/prometheus", "/health/ready"), ssl=hidden) as answer:
            assert answer.status == 200
