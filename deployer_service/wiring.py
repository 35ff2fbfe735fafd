"""Builds the deployer from its settings and runs it. The only file that sees every layer."""

import asyncio
import base64
import os
import random
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import aiohttp
import structlog
from aiohttp import web
from yarl import URL

from deployer_service.adapters.clock import SystemClock
from deployer_service.adapters.credentials import UpstreamCredentials
from deployer_service.adapters.disk import Disk, DiskThread
from deployer_service.adapters.journal import FileJournal
from deployer_service.adapters.measured import MeasuredChecker, MeasuredPrometheus
from deployer_service.adapters.prometheus import PrometheusHttp, directories_of
from deployer_service.adapters.prometheus_process import PrometheusProcess
from deployer_service.adapters.promtool import PromtoolChecker, PromtoolConfigChecker
from deployer_service.adapters.rule_directory import LocalRuleDirectory
from deployer_service.adapters.upstream import GrpcUpstream
from deployer_service.api.access import METHODS, SettingsAuthenticator
from deployer_service.api.service import DeployerApi
from deployer_service.follow.follower import Follower
from deployer_service.follow.messages import Identity
from deployer_service.life import Life
from deployer_service.metrics import Metrics, StateMetrics
from deployer_service.pipeline.ports import Parts, PipelinePolicy, ReloadPolicy
from deployer_service.pipeline.run import Pipeline
from deployer_service.settings import PREFIX, Prometheus, Settings
from rulecast.errors import Unavailable
from rulecast.process.addresses import is_loopback
from rulecast.process.exposure import Unprotected, check_exposure, shows_certificates
from rulecast.process.garbage import settle
from rulecast.process.promtool import Promtool, find_promtool
from rulecast.process.supervise import supervise
from rulecast.process.telemetry import SOFTWARE_VERSION, HttpServer, make_registry, telemetry_routes
from rulecast.process.tls import ServerCertificates
from rulecast.process.tracing import configure_tracing
from rulecast.rpc.access import Access
from rulecast.rpc.gate import Gate
from rulecast.rpc.http_gate import guarded
from rulecast.rpc.interceptors import ServerInterceptor
from rulecast.rpc.metrics import RpcMetrics
from rulecast.rpc.rate import Rate
from rulecast.rpc.server import RpcServer, Service
from rulecast.v1 import common_pb2, deployer_pb2
from rulecast.v1.deployer_pb2_grpc import add_DeployerServiceServicer_to_server

SERVICE = deployer_pb2.DESCRIPTOR.services_by_name["DeployerService"].full_name

READS, WRITES = Rate(50, 200), Rate(2, 20)
"""Of one caller; a write has Prometheus reload or promtool run."""

_log = structlog.get_logger()


async def serve(settings: Settings) -> int:
    """Runs the deployer until SIGTERM or SIGINT; the exit code.

    Raises Unavailable (PROMTOOL_MISSING and its like) and CanNotStart before anything is touched.
    """
    stop = asyncio.Event()
    configure_tracing("rulecast-deployer", settings.id, os.environ)
    clock = SystemClock()
    source = random.SystemRandom()
    registry = make_registry("deployer")
    metrics = Metrics(registry)
    rpc_metrics = RpcMetrics(registry)
    gate = _gate(settings, rpc_metrics)
    certificates = ServerCertificates(settings.tls, registry) if settings.tls is not None else None
    credentials = UpstreamCredentials(settings.upstream, registry)
    url = URL(settings.prometheus.url.get_secret_value())

    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=_credentials(url)))
        thread = DiskThread()
        stack.callback(thread.close)
        promtool = await _promtool(settings.prometheus)
        pipeline = Pipeline(
            Parts(
                directory=LocalRuleDirectory(settings.prometheus.rule_path, thread, Disk()),
                journal=FileJournal(settings.prometheus.rule_path, thread, Disk(), keep=settings.backups),
                checker=MeasuredChecker(PromtoolChecker(promtool), metrics, clock),
                prometheus=MeasuredPrometheus(
                    _prometheus(settings.prometheus, url, session),
                    metrics,
                    clock,
                    ask_ready=settings.prometheus.health_check_enabled,
                ),
                clock=clock,
                config_checker=_config_checker(settings.prometheus, promtool),
            ),
            _policy(settings),
        )
        identity = Identity(
            deployer_id=settings.id,
            process_id=uuid.uuid4().bytes,
            software_version=SOFTWARE_VERSION,
            prometheus_url=str(settings.prometheus.url),
            serves=[_scope(served) for served in settings.serves],
        )
        follower = Follower(
            GrpcUpstream(credentials.current),
            [str(address) for address in settings.rule_service],
            pipeline,
            identity,
            source,
            on_update=metrics.batch,
        )
        registry.register(StateMetrics(pipeline.state, lambda: follower.connection.connected))

        rpc = RpcServer(
            str(settings.grpc_listen),
            [
                Service(
                    SERVICE, partial(add_DeployerServiceServicer_to_server, DeployerApi(identity, pipeline, follower))
                )
            ],
            interceptors=[ServerInterceptor(rpc_metrics, gate)],
            stopping=stop,
            credentials=certificates.for_grpc() if certificates is not None else None,
        )
        life = Life(pipeline, follower, stop, source, on_recovered=partial(rpc.set_serving, True))
        needs = {} if settings.security.metrics_open else {"/metrics": Access.VIEWER}
        refused = partial(rpc_metrics.refused, "http")
        guard = guarded(gate, needs, certificate=shows_certificates(settings.tls), refused=refused)
        app = web.Application(middlewares=[guard])
        app.add_routes(telemetry_routes(registry, life.not_ready))
        http = HttpServer(app, settings.http_listen, certificates.for_http() if certificates is not None else None)

        grpc_port = await rpc.start()
        stack.push_async_callback(rpc.stop)
        http_port = await http.start()
        stack.push_async_callback(http.stop)
        _log.info(
            "serving",
            id=settings.id,
            version=SOFTWARE_VERSION,
            grpc=f"{settings.grpc_listen.host}:{grpc_port}",
            http=f"{settings.http_listen.host}:{http_port}",
            rules=str(settings.prometheus.rule_path),
            prometheus=identity.prometheus_url,
        )
        tasks: dict[str, Callable[[], Awaitable[None]]] = {"deployer": life.run}
        if certificates is not None:
            tasks["certificates"] = partial(certificates.run, stop)
        settle()
        return await supervise(tasks, stop)


def _gate(settings: Settings, metrics: RpcMetrics) -> Gate:
    """Raises Unprotected."""
    security, tls = settings.security, settings.tls
    check_exposure(security, settings.listens, tls, PREFIX)
    _check_upstream(settings)
    needed = security.needs_tokens(settings.listens)
    if needed and not (settings.api.token_sha256 or shows_certificates(tls)):
        raise Unprotected(
            "tokens are needed and there is none: set `api.token_sha256` (`deployer-service token` makes one), or "
            f"`tls.client_ca`, or keep to loopback, or `security.insecure: true` ({PREFIX}_SECURITY_INSECURE=true)"
        )
    tokens = settings.api.token_sha256 if needed else ()
    authenticator = SettingsAuthenticator(tokens) if tokens else None
    return Gate(METHODS, authenticator=authenticator, reads=READS, writes=WRITES, limited=metrics.limited)


def _check_upstream(settings: Settings) -> None:
    """The token must not be overheard. Raises Unprotected."""
    upstream, security = settings.upstream, settings.security
    elsewhere = [str(address) for address in settings.rule_service if not is_loopback(address.host)]
    plain_text = upstream.token_file is not None and not upstream.secure
    if elsewhere and plain_text and not (security.plain_text or security.insecure):
        raise Unprotected(
            f"the token would be sent in plain text to rule_service {elsewhere[0]}: set `upstream.ca` or "
            "`upstream.tls: true`; or `security.plain_text: true` if something on the way speaks TLS"
        )


async def _promtool(settings: Prometheus) -> Promtool:
    """Found and able to run, unless no rule is to be validated."""
    if not settings.validate_rules:
        return Promtool(Path(settings.promtool_path or "promtool"), settings.promtool_timeout)
    try:
        promtool = Promtool(find_promtool(settings.promtool_path), settings.promtool_timeout)
        await promtool.version()
    except Unavailable as error:
        raise Unavailable.of(
            "",
            error.reason,
            f"{error}. Rule files are not put in place unchecked; to do without, set PROMETHEUS_VALIDATE_RULES=false",
        ) from error
    return promtool


def _config_checker(settings: Prometheus, promtool: Promtool) -> PromtoolConfigChecker | None:
    if settings.config_path is None or not settings.validate_rules:
        return None
    return PromtoolConfigChecker(promtool, settings.config_path, settings.rule_path)


def _prometheus(settings: Prometheus, url: URL, session: aiohttp.ClientSession) -> PrometheusHttp:
    directories = directories_of(settings.rule_path, settings.rule_path_seen_as)
    process = PrometheusProcess(url.port or 9090, settings.pid_file)
    # without the credentials: the address is in messages
    return PrometheusHttp(session, str(url.with_user(None)), directories, process.hang_up)


def _credentials(url: URL) -> dict[str, str]:
    """The header for the URL's user and password."""
    if url.user is None:
        return {}
    pair = f"{url.user}:{url.password or ''}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _policy(settings: Settings) -> PipelinePolicy:
    return PipelinePolicy(
        reload=ReloadPolicy(
            enabled=settings.prometheus.reload_enabled,
            timeout=settings.prometheus.reload_timeout,
            min_interval=settings.min_reload_interval,
        ),
        validate=settings.prometheus.validate_rules,
        drift_interval=settings.drift_interval,
    )


def _scope(served: str) -> common_pb2.Scope:
    kind, _, name = served.partition("/")
    return common_pb2.Scope(namespace_id=name) if kind == "namespace" else common_pb2.Scope(group_id=name)
