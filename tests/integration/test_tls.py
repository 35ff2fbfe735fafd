"""Certificates on real ports: gRPC and HTTP, with and without a client's certificate, and renewed while in use."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import structlog
from aiohttp import web
from cryptography import x509
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from prometheus_client import CollectorRegistry

from rulecast.process.addresses import HostPort
from rulecast.process.health import Question, why_not
from rulecast.process.telemetry import HttpServer, telemetry_routes
from rulecast.process.tls import ServerCertificates, Tls, WrongCertificate, load
from rulecast.rpc.channel import open_channel
from rulecast.rpc.gate import Gate
from rulecast.rpc.http_gate import guarded
from rulecast.rpc.interceptors import ServerInterceptor
from rulecast.rpc.metrics import RpcMetrics
from rulecast.rpc.server import RpcServer
from tests.support.certificates import DAY, Authority, Pair


@dataclass
class Served:
    certificates: ServerCertificates
    registry: CollectorRegistry
    grpc_port: int
    http_port: int

    async def over_grpc(self, credentials: grpc.ChannelCredentials) -> Any:
        """What the health service answers over a new connection."""
        channel = open_channel(f"localhost:{self.grpc_port}", credentials)
        try:
            stub: Any = HealthStub(channel)
            return await stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
        finally:
            await channel.close()

    async def over_http(self, path: str, context: ssl.SSLContext) -> int:
        """The status that is answered over a new connection."""
        url = f"https://localhost:{self.http_port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as answer:
            return answer.status

    async def serial(self, authority: Authority, host: str = "localhost") -> int:
        """Of the certificate that the HTTP server shows."""
        context = trusting(authority)
        _, writer = await asyncio.open_connection(host, self.http_port, ssl=context)
        try:
            shown = writer.get_extra_info("ssl_object").getpeercert(True)
            return x509.load_der_x509_certificate(shown).serial_number
        finally:
            writer.close()
            await writer.wait_closed()

    def reloads(self, result: str) -> float | None:
        return self.registry.get_sample_value("rulecast_tls_reloads_total", {"result": result})


@asynccontextmanager
async def serving(tls: Tls) -> AsyncIterator[Served]:
    registry, stopping = CollectorRegistry(), asyncio.Event()
    certificates = ServerCertificates(tls, registry)
    rpc = RpcServer(
        "127.0.0.1:0",
        [],
        interceptors=[ServerInterceptor(RpcMetrics(registry))],
        stopping=stopping,
        credentials=certificates.for_grpc(),
    )
    app = web.Application(middlewares=[guarded(Gate({}), {}, certificate=tls.client_ca is not None)])
    app.add_routes(telemetry_routes(registry, lambda: None))
    http = HttpServer(app, HostPort("127.0.0.1", 0), certificates.for_http())
    grpc_port, http_port = await rpc.start(), await http.start()
    try:
        yield Served(certificates, registry, grpc_port, http_port)
    finally:
        await http.stop()
        await rpc.stop(0.1)


def trusting(authority: Authority, shows: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.path))
    if shows is not None:
        context.load_cert_chain(shows.certificate, shows.key)
    return context


def credentials(authority: Authority, shows: Pair | None = None) -> grpc.ChannelCredentials:
    if shows is None:
        return grpc.ssl_channel_credentials(authority.pem)
    return grpc.ssl_channel_credentials(authority.pem, shows.key_pem, shows.certificate_pem)


def tls_of(pair: Pair, client_ca: Path | None = None) -> Tls:
    return Tls(certificate=pair.certificate, key=pair.key, client_ca=client_ca)


@contextmanager
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_both_answer_over_tls_and_not_to_who_does_not_know_the_authority(
    authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority.of(tmp_path / "other", "another authority")
    async with serving(tls_of(authority.sign("server"))) as served:
        assert await served.over_grpc(credentials(authority))
        assert await served.over_http("/metrics", trusting(authority)) == 200
        with pytest.raises(grpc.aio.AioRpcError):
            await served.over_grpc(credentials(stranger))
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await served.over_http("/metrics", trusting(stranger))


async def test_without_a_client_certificate_only_health_over_http_answers(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority.of(tmp_path / "other", "another authority")
    client, wrong = authority.sign("client"), stranger.sign("client")
    async with serving(tls_of(authority.sign("server"), authority.path)) as served:
        assert await served.over_grpc(credentials(authority, client))
        for shows in (None, wrong):
            with pytest.raises(grpc.aio.AioRpcError):
                await served.over_grpc(credentials(authority, shows))
        assert await served.over_http("/health/live", trusting(authority)) == 200
        assert await served.over_http("/metrics", trusting(authority)) == 401
        assert await served.over_http("/metrics", trusting(authority, client)) == 200
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await served.over_http("/metrics", trusting(authority, wrong))


async def test_the_health_check_speaks_tls_and_shows_no_certificate(authority: Authority) -> None:
    async with serving(tls_of(authority.sign("server", host="rules.example.org"), authority.path)) as served:
        listen = HostPort("0.0.0.0", served.http_port)
        assert await asyncio.to_thread(why_not, Question.READY, listen, tls=True, timeout=30) is None
        why = await asyncio.to_thread(why_not, Question.READY, listen, tls=False, timeout=30)
    assert why is not None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])  # with a server's name in the handshake, and without
async def test_a_renewed_certificate_is_taken_up_without_a_restart(authority: Authority, host: str) -> None:
    used, renewed = authority.sign("server"), authority.sign("renewed", ends=60 * DAY)
    async with serving(tls_of(used)) as served:
        before = await served.serial(authority, host)
        renewed.put_over(used)
        served.certificates.look()
        after = await served.serial(authority, host)
        assert after != before
        assert after == x509.load_pem_x509_certificate(renewed.certificate_pem).serial_number
        assert await served.over_grpc(credentials(authority))
        assert served.reloads("ok") == 1
        ends = served.registry.get_sample_value("rulecast_tls_certificate_expiry_timestamp_seconds")
        assert ends == pytest.approx((datetime.now(UTC) + 60 * DAY).timestamp(), abs=600)


async def test_another_authority_for_clients_is_taken_up_by_both(authority: Authority, tmp_path: Path) -> None:
    new = Authority.of(tmp_path / "new", "new authority")
    trusted = tmp_path / "clients.pem"
    trusted.write_bytes(authority.pem)
    old_client, new_client = authority.sign("client"), new.sign("client")
    async with serving(tls_of(authority.sign("server"), trusted)) as served:
        trusted.write_bytes(new.pem)
        served.certificates.look()
        assert await served.over_grpc(credentials(authority, new_client))
        assert await served.over_http("/metrics", trusting(authority, new_client)) == 200
        with pytest.raises(grpc.aio.AioRpcError):
            await served.over_grpc(credentials(authority, old_client))
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await served.over_http("/metrics", trusting(authority, old_client))


async def test_a_broken_new_certificate_leaves_the_old_one_in_use_and_is_told_once(authority: Authority) -> None:
    used = authority.sign("server")
    async with serving(tls_of(used)) as served:
        before = await served.serial(authority)
        used.certificate.write_text("half a fi")
        with logged() as lines:
            served.certificates.look()
            served.certificates.look()
        assert [line["log_level"] for line in lines] == ["error"]
        assert str(used.certificate) in lines[0]["error"]
        assert served.reloads("failed") == 1
        assert await served.serial(authority) == before
        assert await served.over_grpc(credentials(authority))
        authority.sign("server")
        served.certificates.look()
        assert await served.serial(authority) != before
        assert served.reloads("ok") == 1


def missing(authority: Authority) -> Tls:
    pair = authority.sign("server")
    pair.certificate.unlink()
    return tls_of(pair)


def a_folder(authority: Authority) -> Tls:
    pair = authority.sign("server")
    pair.key.unlink()
    pair.key.mkdir()
    return tls_of(pair)


def another_key(authority: Authority) -> Tls:
    return Tls(certificate=authority.sign("server").certificate, key=authority.sign("other").key)


def no_pem(authority: Authority) -> Tls:
    pair = authority.sign("server")
    pair.certificate.write_bytes(b"\x30\x82\x01")
    return tls_of(pair)


def no_key(authority: Authority) -> Tls:
    pair = authority.sign("server")
    pair.key.write_bytes(pair.certificate_pem)
    return tls_of(pair)


def no_authority(authority: Authority) -> Tls:
    pair = authority.sign("server")
    return tls_of(pair, pair.key)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (missing, ("server.crt", "No such file")),
        (a_folder, ("server.key", "Is a directory")),
        (another_key, ("other.key", "not the key", "server.crt")),
        (no_pem, ("server.crt", "no certificate in PEM")),
        (no_key, ("server.key", "no private key")),
        (no_authority, ("server.key", "no certificate in PEM")),
        (lambda authority: tls_of(authority.sign("old", ends=timedelta(hours=-1))), ("old.crt", "expired")),
        (lambda authority: tls_of(authority.sign("new", begins=DAY)), ("new.crt", "not valid before")),
        (lambda authority: tls_of(authority.sign("locked", passphrase=b"x")), ("locked.key", "passphrase")),
    ],
)
def test_what_can_not_be_used_is_said_with_the_file_and_the_reason(
    authority: Authority, files: Any, words: tuple[str, ...]
) -> None:
    with pytest.raises(WrongCertificate) as wrong:
        load(files(authority), datetime.now(UTC))
    for word in words:
        assert word in str(wrong.value)
    assert "\n" not in str(wrong.value)
