"""gRPC and HTTP are one API: the same cases over both, each on a service of its own, with the same answers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from deploy.local.parts import PrometheusParts
from deploy.local.postgres import PostgresServer
from rule_service.wiring import PUBLIC
from tests.support.api_cases import CASES, TOKEN_ID
from tests.support.postgres import fresh_database
from tests.support.system import Replica, replica
from tests.support.transports import BINDINGS, over_grpc, over_http


@pytest_asyncio.fixture
async def pair(
    tmp_path: Path, postgres_server: PostgresServer, prometheus_parts: PrometheusParts
) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two services that have just been set up, each with a database of its own."""
    async with AsyncExitStack() as stack:
        services = []
        for name in ("grpc", "http"):
            database = await stack.enter_async_context(fresh_database(postgres_server))
            one = replica(tmp_path, database, prometheus_parts.promtool, name=name)
            stack.push_async_callback(one.channel.close)
            stack.push_async_callback(one.child.stop)
            await one.start()
            services.append(one)
        yield services[0], services[1]


async def test_every_case_has_the_same_answer_over_both(pair: tuple[Replica, Replica]) -> None:
    by_grpc, by_http = pair
    wrong, tokens = [], ["", ""]
    async with aiohttp.ClientSession() as http:
        for case in CASES:
            one = await over_grpc(by_grpc, case.method, of_token(case.request, tokens[0]))
            other = await over_http(http, by_http, case.method, of_token(case.request, tokens[1]))
            if case.method == "CreateToken" and case.code == "OK":
                tokens = [answer.body["token"]["id"] for answer in (one, other)]
            what = f"{case.method} {case.request}"
            if one.comparable() != other.comparable():
                wrong.append(f"{what}: over gRPC {one.comparable()}, over HTTP {other.comparable()}")
            if (one.code, one.reason) != (case.code, case.reason):
                wrong.append(f"{what}: {one.code} {one.reason} {one.body}")
            elif case.code != "OK" and one.fields != list(case.fields):
                wrong.append(f"{what}: names {one.fields}")
    assert not wrong, "\n".join(wrong)


def of_token(request: dict[str, Any], id: str) -> dict[str, Any]:
    """The request, with the token's id where it is meant."""
    return {name: id if value == TOKEN_ID else value for name, value in request.items()}


def test_every_method_has_a_case_that_goes_well_but_the_ones_that_need_a_deployer() -> None:
    well = {case.method for case in CASES if case.code == "OK"}
    methods = {each.method.rpartition("/")[2] for each in BINDINGS}
    assert methods - well == {"DeleteDeployer"}
    assert {case.method for case in CASES} == methods


def test_every_unary_method_is_answered_over_http_too() -> None:
    unary = {method.full_name for service in PUBLIC for method in service.methods if not method.server_streaming}
    assert {each.method.removeprefix("/").replace("/", ".") for each in BINDINGS} == unary
