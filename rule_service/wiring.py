"""Builds the rule service from its settings and runs it. The only file that sees every layer."""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import grpc
import structlog
from aiohttp import web

from rule_service.api import distribution
from rule_service.api.access import METHODS
from rule_service.api.authentication import TokenAuthenticator
from rule_service.api.bundles import BundleApi, BundleLimits
from rule_service.api.current import current_state
from rule_service.api.delivery import DeliveryApi
from rule_service.api.discovery import DiscoveryApi
from rule_service.api.distribution import DistributionApi
from rule_service.api.groups import GroupApi
from rule_service.api.history import HistoryApi
from rule_service.api.http.bindings import bindings_of
from rule_service.api.http.gateway import gateway_routes, request_ids
from rule_service.api.http.openapi import openapi_routes
from rule_service.api.http.refusals import json_errors
from rule_service.api.limits import Limiter, RequestLimits
from rule_service.api.namespaces import NamespaceApi
from rule_service.api.previews import PreviewApi, writes_of
from rule_service.api.rules import AlertRuleApi
from rule_service.api.targets import TargetApi
from rule_service.api.templates import AlertTemplateApi
from rule_service.api.text.tree import TextLimits
from rule_service.api.tokens import TokenApi
from rule_service.changelog.prune import Pruner
from rule_service.changelog.reader import PostgresChangeLog
from rule_service.changelog.wake import Listener
from rule_service.library import load_library
from rule_service.life import Life
from rule_service.metrics import EditMetrics, OverviewMetrics, StreamMetrics
from rule_service.promtool import PromtoolChecker
from rule_service.settings import PREFIX, Limits, Settings
from rule_service.settings import Bundles as BundleSettings
from rule_service.settings import Promtool as PromtoolSettings
from rule_service.store.deployers import PostgresDeployers
from rule_service.store.heartbeats import PostgresHeartbeats
from rule_service.store.history import TRACES
from rule_service.store.overview import PostgresOverviews
from rule_service.store.pool import connect
from rule_service.store.revisions import PostgresHistory
from rule_service.store.tokens import TOKENS, PostgresTokens
from rule_service.store.unit_of_work import PostgresStore
from rule_service.stream.commands import COMMANDS, StreamCommands
from rule_service.stream.hub import Hub
from rule_service.stream.notices import PostgresNotices
from rule_service.stream.parts import StreamParts
from rule_service.stream.policy import StreamPolicy
from rule_service.stream.traces import Traces
from rule_service.stream.updates import Updates
from rule_service.usecases.bundle import Bundles
from rule_service.usecases.delivery import Delivery
from rule_service.usecases.discover import Discovery
from rule_service.usecases.export import Exports
from rule_service.usecases.groups import GroupEdits
from rule_service.usecases.heartbeats import TargetHeartbeats
from rule_service.usecases.history import History
from rule_service.usecases.namespaces import NamespaceEdits
from rule_service.usecases.ports_check import RuleChecker
from rule_service.usecases.publish import Publisher
from rule_service.usecases.rebase import Rebase
from rule_service.usecases.rollback import Rollback
from rule_service.usecases.rules import RuleEdits
from rule_service.usecases.targets import TargetEdits
from rule_service.usecases.templates import TemplateEdits
from rule_service.usecases.tokens import Tokens
from rule_service.usecases.understand import Understanding
from rule_service.usecases.underway import Underway
from rule_service.usecases.waiting import RolloutWaiter
from rule_service.usecases.watch import Watch
from rulecast.errors import Unavailable
from rulecast.process.exposure import check_exposure, shows_certificates
from rulecast.process.garbage import settle
from rulecast.process.private_folder import private_folder
from rulecast.process.promtool import Promtool, find_promtool
from rulecast.process.supervise import supervise
from rulecast.process.telemetry import SOFTWARE_VERSION, HttpServer, make_registry, telemetry_routes
from rulecast.process.tls import ServerCertificates
from rulecast.process.tracing import configure_tracing
from rulecast.rpc.access import Access
from rulecast.rpc.channel import open_channel
from rulecast.rpc.gate import Gate
from rulecast.rpc.http_gate import guarded
from rulecast.rpc.interceptors import ServerInterceptor
from rulecast.rpc.metrics import RpcMetrics
from rulecast.rpc.rate import Rate
from rulecast.rpc.server import MAX_ANSWER_BYTES, MAX_MESSAGE_BYTES, RpcServer, Service
from rulecast.v1 import (
    bundle_pb2,
    delivery_pb2,
    discovery_pb2,
    group_pb2,
    history_pb2,
    namespace_pb2,
    preview_pb2,
    rule_pb2,
    target_pb2,
    template_pb2,
    token_pb2,
)
from rulecast.v1.bundle_pb2_grpc import add_BundleServiceServicer_to_server
from rulecast.v1.delivery_pb2_grpc import add_DeliveryServiceServicer_to_server
from rulecast.v1.discovery_pb2_grpc import add_DiscoveryServiceServicer_to_server
from rulecast.v1.group_pb2_grpc import add_GroupServiceServicer_to_server
from rulecast.v1.history_pb2_grpc import add_HistoryServiceServicer_to_server
from rulecast.v1.namespace_pb2_grpc import add_NamespaceServiceServicer_to_server
from rulecast.v1.preview_pb2_grpc import add_PreviewServiceServicer_to_server
from rulecast.v1.rule_pb2_grpc import add_AlertRuleServiceServicer_to_server
from rulecast.v1.target_pb2_grpc import add_TargetServiceServicer_to_server
from rulecast.v1.template_pb2_grpc import add_AlertTemplateServiceServicer_to_server
from rulecast.v1.token_pb2_grpc import add_TokenServiceServicer_to_server

PUBLIC: Final = tuple(
    file.DESCRIPTOR.services_by_name[name]
    for file, name in (
        (namespace_pb2, "NamespaceService"),
        (group_pb2, "GroupService"),
        (target_pb2, "TargetService"),
        (template_pb2, "AlertTemplateService"),
        (rule_pb2, "AlertRuleService"),
        (delivery_pb2, "DeliveryService"),
        (discovery_pb2, "DiscoveryService"),
        (history_pb2, "HistoryService"),
        (token_pb2, "TokenService"),
        (bundle_pb2, "BundleService"),
        (preview_pb2, "PreviewService"),
    )
)
"""The services that are answered as JSON over HTTP too."""

_log = structlog.get_logger()


async def serve(settings: Settings) -> int:
    """Runs the rule service until SIGTERM or SIGINT; the exit code.

    Raises Unavailable (PROMTOOL_MISSING and its like), and CanNotStart (for an address, a certificate, for being
    unprotected) before anything is touched.
    """
    stop = asyncio.Event()
    registry = make_registry("rule_service")
    check_exposure(settings.security, settings.listens, settings.tls, PREFIX)
    certificates = ServerCertificates(settings.tls, registry) if settings.tls is not None else None
    dsn = settings.database.url.get_secret_value()
    server_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    tracing = configure_tracing("rulecast-rule-service", server_id, os.environ)

    async with AsyncExitStack() as stack:
        private = stack.enter_context(private_folder())
        edit_metrics = EditMetrics(registry)
        checker = await _checker(settings.promtool, private, edit_metrics)
        database = await connect(dsn, min_size=0, max_size=settings.database.pool_size)
        stack.push_async_callback(database.close)
        store = PostgresStore(database)
        deployers = PostgresDeployers(database)

        stream_metrics = StreamMetrics(registry)
        listener = Listener(dsn, on_wake=stream_metrics.woken)
        changes = PostgresChangeLog(database)
        hub = Hub(changes, store, listener.revisions, stream_metrics)
        commands = StreamCommands(hub, store, PostgresNotices(database), server_id)
        listener.hear(COMMANDS, commands.heard)
        tokens = PostgresTokens(database)
        authenticator = TokenAuthenticator(tokens)
        listener.hear(TOKENS, authenticator.forget)
        rpc_metrics = RpcMetrics(registry)
        refused_by_http = partial(rpc_metrics.refused, "http")
        gate = _gate(settings, authenticator, rpc_metrics)
        traces = Traces()
        underway = Underway()
        if tracing:
            listener.hear(TRACES, traces.heard)
        stream = StreamParts(
            hub=hub,
            updates=Updates(changes),
            leases=deployers,
            metrics=stream_metrics,
            policy=StreamPolicy(
                heartbeat=settings.stream.heartbeat,
                ack_timeout=settings.stream.ack_timeout,
                max_age=settings.stream.max_age,
            ),
            server_id=server_id,
            traces=traces,
            underway=underway,
        )

        waiter = RolloutWaiter(store, listener.anything)
        publisher = Publisher(store, checker, waiter, edit_metrics, underway)
        heartbeats = TargetHeartbeats(PostgresHeartbeats(database), timedelta(seconds=settings.targets.stale_after))
        limits = settings.bundles
        delivery = Delivery(store, deployers, publisher, waiter, commands)
        namespaces = NamespaceApi(NamespaceEdits(publisher), store)
        groups = GroupApi(GroupEdits(publisher), store)
        targets = TargetApi(TargetEdits(publisher), heartbeats, store)
        templates = AlertTemplateApi(TemplateEdits(publisher, load_library()), store)
        rules = AlertRuleApi(RuleEdits(publisher, store), Rebase(publisher), Understanding(store), store)
        history = HistoryApi(History(PostgresHistory(database), store), Rollback(publisher))
        bundles = BundleApi(Bundles(publisher), Exports(store, limits.max_resources), _bundle_limits(limits))
        previews = PreviewApi(writes_of(namespaces, groups, targets, templates, rules, history, bundles))
        public: tuple[Callable[[grpc.aio.Server], None], ...] = (
            partial(add_NamespaceServiceServicer_to_server, namespaces),
            partial(add_GroupServiceServicer_to_server, groups),
            partial(add_TargetServiceServicer_to_server, targets),
            partial(add_AlertTemplateServiceServicer_to_server, templates),
            partial(add_AlertRuleServiceServicer_to_server, rules),
            partial(add_DeliveryServiceServicer_to_server, DeliveryApi(delivery, deployers, store)),
            partial(add_DiscoveryServiceServicer_to_server, DiscoveryApi(Discovery(store), heartbeats)),
            partial(add_HistoryServiceServicer_to_server, history),
            partial(add_TokenServiceServicer_to_server, TokenApi(Tokens(tokens, store))),
            partial(add_BundleServiceServicer_to_server, bundles),
            partial(add_PreviewServiceServicer_to_server, previews),
        )

        # for our own HTTP alone
        own = private / "grpc"
        rpc = RpcServer(
            str(settings.grpc_listen),
            [
                *(Service(each.full_name, register) for each, register in zip(PUBLIC, public, strict=True)),
                Service(
                    distribution.NAME,
                    partial(distribution.register, DistributionApi(stream, store, stop)),
                ),
            ],
            interceptors=[
                ServerInterceptor(rpc_metrics, gate, current_state),
                Limiter(_request_limits(settings.limits), settings.limits.calls_at_once),
            ],
            stopping=stop,
            credentials=certificates.for_grpc() if certificates is not None else None,
            socket=own,
            # twice as much, so that what is over the limit is refused in our words
            max_message_bytes=max(2 * settings.limits.request_bytes, MAX_MESSAGE_BYTES),
        )
        channel = open_channel(f"unix:{own}", max_answer_bytes=MAX_ANSWER_BYTES)
        stack.push_async_callback(channel.close)
        watch = Watch(PostgresOverviews(database))
        life = Life(
            dsn,
            migrating=settings.database.migrate,
            reads=store,
            background={
                "listener": listener.run,
                "hub": hub.run,
                "commands": commands.run,
                "watch": watch.run,
                "pruner": Pruner(
                    database,
                    timedelta(seconds=settings.history.retention),
                    timedelta(seconds=settings.deleted.retention),
                ).run,
            },
            set_serving=rpc.set_serving,
            stop=stop,
        )
        registry.register(OverviewMetrics(lambda: watch.overview, lambda: watch.up, lambda: life.not_ready() is None))
        needs = {} if settings.security.metrics_open else {"/metrics": Access.VIEWER}
        guard = guarded(gate, needs, certificate=shows_certificates(settings.tls), refused=refused_by_http)
        app = web.Application(
            client_max_size=settings.limits.request_bytes, middlewares=[request_ids, json_errors, guard]
        )
        app.add_routes(telemetry_routes(registry, life.not_ready))
        bindings = bindings_of(PUBLIC)
        app.add_routes(gateway_routes(bindings, channel, refused_by_http))
        app.add_routes(openapi_routes(bindings))
        http = HttpServer(app, settings.http_listen, certificates.for_http() if certificates is not None else None)

        grpc_port = await rpc.start()
        stack.push_async_callback(rpc.stop)
        http_port = await http.start()
        stack.push_async_callback(http.stop)
        _log.info(
            "listening",
            version=SOFTWARE_VERSION,
            server_id=server_id,
            grpc=f"{settings.grpc_listen.host}:{grpc_port}",
            http=f"{settings.http_listen.host}:{http_port}",
            database=str(settings.database.url),
        )
        tasks: dict[str, Callable[[], Awaitable[None]]] = {"rule service": life.run}
        if certificates is not None:
            tasks["certificates"] = partial(certificates.run, stop)
        settle()
        return await supervise(tasks, stop)


def _gate(settings: Settings, authenticator: TokenAuthenticator, metrics: RpcMetrics) -> Gate:
    limits = settings.rate_limits
    return Gate(
        METHODS,
        authenticator=authenticator if settings.security.needs_tokens(settings.listens) else None,
        reads=Rate(limits.reads_per_second, limits.read_burst),
        writes=Rate(limits.writes_per_second, limits.write_burst),
        limited=metrics.limited,
    )


def _request_limits(settings: Limits) -> RequestLimits:
    return RequestLimits(**settings.model_dump(exclude={"calls_at_once"}))


def _bundle_limits(limits: BundleSettings) -> BundleLimits:
    return BundleLimits(TextLimits(limits.max_bytes, limits.max_values), limits.max_resources)


async def _checker(settings: PromtoolSettings, folder: Path, metrics: EditMetrics) -> RuleChecker | None:
    """Found and able to run. None where validation is switched off: the deployer's promtool has the only word."""
    if not settings.enabled:
        return None
    try:
        promtool = Promtool(find_promtool(settings.path), settings.timeout)
        await promtool.version()
    except Unavailable as error:
        raise Unavailable.of(
            "",
            error.reason,
            f"{error}. No rule is saved unchecked; to do without, set PROMETHEUS_VALIDATE_RULES=false",
        ) from error
    return PromtoolChecker(promtool, settings.at_once, folder, metrics)
