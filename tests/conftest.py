"""Fixtures for every test: a real PostgreSQL, a fresh database of it, and the programs of Prometheus."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.local.parts import PrometheusParts
from deploy.local.postgres import PostgresServer
from tests.support.postgres import fresh_database, make_template
from tests.support.processes import children
from tests.support.prometheus import choices, parts_of


@pytest.fixture(scope="session", autouse=True)
def _no_process_left_behind() -> Iterator[None]:
    """Every process that a test starts has ended when the session ends."""
    before = children(os.getpid())
    yield
    left = {pid: name for pid, name in children(os.getpid()).items() if pid not in before}
    assert not left, f"tests left processes running: {left}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresServer]:
    """One server for all tests, started when the first one asks for it. Tests that stop or crash it use their own."""
    folder = tmp_path_factory.mktemp("postgres")
    async with PostgresServer(folder / "data", log=folder / "postgres.log", durable=False) as server:
        await make_template(server)
        yield server


@pytest_asyncio.fixture
async def database(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """The URL of a database of this test's own, with all migrations applied."""
    async with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session", params=choices())
def prometheus_parts(request: pytest.FixtureRequest) -> PrometheusParts:
    """The programs of Prometheus. The test runs once more where RULECAST_TEST_PROMETHEUS names a second version."""
    return parts_of(request.param)


@pytest.fixture(scope="session")
def promtool(prometheus_parts: PrometheusParts) -> Path:
    return prometheus_parts.promtool
