"""A real Prometheus that finds its targets at our HTTP server, and a database that goes away meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml
from aiohttp import web
from prometheus_client import CollectorRegistry

from deploy.local.parts import PrometheusParts
from deploy.local.postgres import PostgresServer
from deploy.local.prometheus import PrometheusServer
from rule_service.api.discovery import DiscoveryApi
from rule_service.api.http.bindings import bindings_of
from rule_service.api.http.gateway import gateway_routes, request_ids
from rule_service.api.http.refusals import json_errors
from rule_service.domain.model import Exporter, Namespace, Target
from rule_service.domain.status import TargetStatus
from rule_service.store.heartbeats import PostgresHeartbeats
from rule_service.store.pool import Database
from rule_service.store.unit_of_work import PostgresStore
from rule_service.usecases.discover import Discovery
from rule_service.usecases.heartbeats import TargetHeartbeats
from rulecast.process.addresses import HostPort
from rulecast.process.telemetry import HttpServer
from rulecast.rpc.channel import open_channel
from rulecast.rpc.interceptors import ServerInterceptor
from rulecast.rpc.metrics import RpcMetrics
from rulecast.rpc.server import MAX_ANSWER_BYTES, RpcServer, Service
from rulecast.v1 import discovery_pb2
from rulecast.v1.discovery_pb2_grpc import add_DiscoveryServiceServicer_to_server
from tests.support.postgres import run
from tests.support.store import add, open_database, writing
from tests.support.waiting import wait_for
from tests.support.worlds import group

DESCRIPTOR = discovery_pb2.DESCRIPTOR.services_by_name["DiscoveryService"]
PATH = "/api/v1/sd/prometheus"
STALE_AFTER = timedelta(minutes=5)
WEB = Target("web", "web.example.com", "10.0.0.1", {"rack": "r1"}, (Exporter("node", 9100),), ("prod-web",))
DB = Target("db", "db.example.com", "::1", exporters=(Exporter("pg", 9187, "/m", "https"),), group_ids=("prod",))


@asynccontextmanager
async def serving(database: Database) -> AsyncIterator[str]:
    """The URL of the HTTP gateway before a gRPC server with the discovery on this database."""
    async with AsyncExitStack() as stack:
        store, heartbeats = PostgresStore(database), TargetHeartbeats(PostgresHeartbeats(database), STALE_AFTER)
        register = partial(add_DiscoveryServiceServicer_to_server, DiscoveryApi(Discovery(store), heartbeats))
        rpc = RpcServer(
            "127.0.0.1:0",
            [Service(DESCRIPTOR.full_name, register)],
            interceptors=[ServerInterceptor(RpcMetrics(CollectorRegistry()))],
            stopping=asyncio.Event(),
        )
        port = await rpc.start()
        stack.push_async_callback(rpc.stop, 0.1)
        channel = open_channel(f"127.0.0.1:{port}", max_answer_bytes=MAX_ANSWER_BYTES)
        stack.push_async_callback(channel.close)
        app = web.Application(middlewares=[request_ids, json_errors])
        app.add_routes(gateway_routes(bindings_of([DESCRIPTOR]), channel))
        http = HttpServer(app, HostPort("127.0.0.1", 0))
        stack.push_async_callback(http.stop)
        yield f"http://127.0.0.1:{await http.start()}"


@asynccontextmanager
async def discovery(database: str, *targets: Target) -> AsyncIterator[tuple[PostgresStore, str]]:
    async with open_database(database) as pool:
        store = PostgresStore(pool)
        await add(
            store,
            Namespace("env", "environment"),
            group("env/prod", value="production"),
            group("env/prod/prod-web"),
        )
        await insert(store, *targets)
        async with serving(pool) as url:
            yield store, url


async def insert(store: PostgresStore, *targets: Target) -> None:
    async with writing(store) as transaction:
        for target in targets:
            await transaction.insert_target(target)


async def get(url: str) -> tuple[int, str | None, Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, answer.headers.get("Content-Type"), json.loads(await answer.read())


async def test_the_answer_is_what_prometheus_reads_and_nothing_else(database: str) -> None:
    async with discovery(database, WEB, DB) as (_, url):
        assert await get(url + PATH) == (
            200,
            "application/json",
            [
                {
                    "targets": ["[::1]:9187"],
                    "labels": {
                        "instance": "db.example.com",
                        "exporter": "pg",
                        "environment": "production",
                        "__metrics_path__": "/m",
                        "__scheme__": "https",
                    },
                },
                {
                    "targets": ["10.0.0.1:9100"],
                    "labels": {
                        "instance": "web.example.com",
                        "exporter": "node",
                        "rack": "r1",
                        "environment": "prod-web",
                    },
                },
            ],
        )


async def test_nothing_to_scrape_is_an_empty_list(database: str) -> None:
    async with discovery(database) as (_, url):
        assert await get(url + PATH) == (200, "application/json", [])


@pytest.mark.parametrize(
    ("query", "targets"),
    [
        ("group_id=prod", ["[::1]:9187", "10.0.0.1:9100"]),
        ("group_id=prod-web", ["10.0.0.1:9100"]),
        ("namespace_id=env&exporter=pg", ["[::1]:9187"]),
        ("namespace_id=default", []),
        ("statuses=DOWN", ["[::1]:9187"]),
        ("statuses=UP&statuses=UNKNOWN&group_id=prod", ["10.0.0.1:9100"]),
    ],
)
async def test_filters(database: str, query: str, targets: list[str]) -> None:
    async with discovery(database, WEB, DB) as (_, url), open_database(database) as pool:
        await PostgresHeartbeats(pool).record({"db": TargetStatus.DOWN})
        status, _, groups = await get(f"{url}{PATH}?{query}")
        assert (status, [address for each in groups for address in each["targets"]]) == (200, targets)


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("group_id=prdo", 404, "GROUP_NOT_FOUND"),
        ("namespace_id=evn", 404, "NAMESPACE_NOT_FOUND"),
        ("statuses=UPP", 400, "FIELD_INVALID"),
        ("exporter=no+de", 400, "ID_INVALID"),
    ],
)
async def test_a_misspelt_filter_is_an_error_and_not_an_empty_list(
    database: str, query: str, code: int, reason: str
) -> None:
    async with discovery(database, WEB) as (_, url):
        status, _, answer = await get(f"{url}{PATH}?{query}")
        assert (status, answer["error"]["details"][0]["reason"]) == (code, reason)


async def test_ten_thousand_targets_with_four_exporters_fit_in_an_answer(database: str) -> None:
    async with discovery(database) as (store, url):
        labels = {f"label_{number}": "x" * 50 for number in range(5)}
        exporters = tuple(Exporter(f"e{number}", 9100 + number) for number in range(4))
        await insert(store, Target("t", "host", "10.0.0.1", labels, exporters, ("prod",)))
        async with open_database(database) as pool, pool.session() as session:
            await session.run(
                """
                INSERT INTO targets
                SELECT 't' || n, 'host-' || n, address, labels, exporters, revision, created_at, updated_at
                FROM targets, generate_series(1, 9999) AS n
                """
            )
        status, _, groups = await get(url + PATH)
        assert (status, len(groups)) == (200, 40_000)


async def test_prometheus_scrapes_what_is_stored_with_the_labels_of_the_namespaces(
    database: str, prometheus_parts: PrometheusParts, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    async with (
        discovery(database) as (store, url),
        discovering_prometheus(prometheus_parts, tmp_path, url + PATH) as prometheus,
    ):
        # the one thing here that has metrics is Prometheus
        itself = Exporter("prometheus", prometheus.port)
        await insert(store, Target("web", "web.example.com", "127.0.0.1", {"rack": "r1"}, (itself,), ("prod",)))
        await wait_for(partial(samples, prometheus, 'up{environment="production"} == 1'), timeout=60)
        (sample,) = await samples(prometheus, 'prometheus_build_info{environment="production"}')
        metric = sample["metric"]
        assert (metric["instance"], metric["exporter"], metric["rack"]) == ("web.example.com", "prometheus", "r1")

        # while the database is away, Prometheus is told so and keeps what it has
        await close_to_everybody(postgres_server, database)
        status, _, answer = await get(url + PATH)
        assert (status, answer["error"]["details"][0]["reason"]) == (503, "DATABASE_UNAVAILABLE")
        await wait_for(partial(samples, prometheus, "prometheus_sd_http_failures_total > 1"), timeout=60)
        (target,) = (await api(prometheus, "/api/v1/targets"))["activeTargets"]
        assert target["labels"] == {
            "environment": "production",
            "exporter": "prometheus",
            "instance": "web.example.com",
            "job": "rulecast",
            "rack": "r1",
        }


@asynccontextmanager
async def discovering_prometheus(parts: PrometheusParts, folder: Path, url: str) -> AsyncIterator[PrometheusServer]:
    """A Prometheus with `http_sd_configs` on the URL, asked every second."""
    job = {
        "job_name": "rulecast",
        "scrape_interval": "1s",
        "http_sd_configs": [{"url": url, "refresh_interval": "1s"}],
    }
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"scrape_configs": [job]}))
    async with PrometheusServer(
        parts, config=config, data=folder / "data", log=folder / "prometheus.log"
    ) as prometheus:
        yield prometheus


async def samples(prometheus: PrometheusServer, query: str) -> list[Any]:
    found: list[Any] = (await api(prometheus, "/api/v1/query", query=query))["result"]
    return found


async def api(prometheus: PrometheusServer, path: str, **query: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(prometheus.url + path, params=query) as answer:
        return (await answer.json())["data"]


async def close_to_everybody(server: PostgresServer, database: str) -> None:
    """Nobody can connect to the database any more, and whoever was is thrown out."""
    name = urlsplit(database).path.removeprefix("/")
    await run(server, f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
    await run(server, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")
