"""The rule service as a process: what it says and does when something it needs is not there."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from uuid import uuid4

import aiohttp
import asyncpg
import pytest

from deploy.local.parts import PrometheusParts
from deploy.local.postgres import PostgresServer
from rule_service.store.migrate import Migration, apply, load_migrations
from rule_service.store.unit_of_work import PostgresStore
from tests.support.ports import taken_port
from tests.support.postgres import fresh_database
from tests.support.store import open_database, publish
from tests.support.streams import FakeDeployer, rule_files, stream_replica
from tests.support.system import replica
from tests.support.waiting import wait_for


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RULE_SERVICE_")}
    command = [sys.executable, "-m", "rule_service", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**kept, **environment}, timeout=60, check=False)


def test_check_config_shows_each_value_and_its_source_and_no_password(tmp_path: Path) -> None:
    config = tmp_path / "rules.yaml"
    config.write_text("database:\n  url: postgresql://me:secret@db/rulecast\nstream:\n  heartbeat: 5s\n")
    done = run("check-config", "--config", str(config), RULE_SERVICE_HTTP_LISTEN="127.0.0.1:9999")
    assert done.returncode == 0
    assert "secret" not in done.stdout
    assert "postgresql://me:***@db/rulecast" in done.stdout
    assert f'heartbeat: "5s"  # {config}:4' in done.stdout
    assert 'http_listen: "127.0.0.1:9999"  # environment RULE_SERVICE_HTTP_LISTEN' in done.stdout


@pytest.mark.parametrize(
    ("text", "environment", "says"),
    [
        ("databse:\n  url: x\n", {}, "did you mean database?"),
        ("", {"RULE_SERVICE_DATABASE_URI": "x"}, "did you mean RULE_SERVICE_DATABASE_URL?"),
        ("", {}, "'database' is needed"),
        ("database: {url: postgresql://x/y}\nstream: {heartbeat: 5}\n", {}, "written with its unit"),
    ],
)
def test_wrong_settings_are_refused_with_what_would_be_right(
    tmp_path: Path, text: str, environment: Mapping[str, str], says: str
) -> None:
    config = tmp_path / "rules.yaml"
    config.write_text(text)
    done = run("check-config", "--config", str(config), **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    done = run("serve", "--config", str(tmp_path / "nothing.yaml"))
    assert done.returncode == 2
    assert "nothing.yaml" in done.stderr


def test_without_promtool_it_does_not_start_and_says_how_to_get_it() -> None:
    done = run("serve", RULE_SERVICE_DATABASE_URL="postgresql://127.0.0.1:1/x", PROMTOOL_PATH="/nowhere/promtool")
    assert done.returncode == 1
    for word in ("/nowhere/promtool", "install", "PROMETHEUS_VALIDATE_RULES=false"):
        assert word in done.stderr


async def test_a_port_in_use_is_said(database: str, prometheus_parts: PrometheusParts, tmp_path: Path) -> None:
    with taken_port() as port:
        one = replica(
            tmp_path,
            database,
            prometheus_parts.promtool,
            settings={"RULE_SERVICE_GRPC_LISTEN": f"127.0.0.1:{port}"},
        )
        one.child.start()
        try:
            assert await one.child.ended(timeout=60)
            assert one.child.exit_code == 1
            assert f"can not listen on 127.0.0.1:{port}" in one.child.output()
        finally:
            one.child.kill()
            await one.channel.close()


async def test_migrate_brings_an_empty_database_up_to_date(postgres_server: PostgresServer) -> None:
    async with fresh_database(postgres_server, "template0") as url:
        for _ in range(2):
            done = run("migrate", RULE_SERVICE_DATABASE_URL=url)
            assert done.returncode == 0, done.stderr
            assert "the schema is at version" in done.stdout


async def test_without_migrating_it_waits_until_somebody_has(
    postgres_server: PostgresServer, tmp_path: Path, prometheus_parts: PrometheusParts
) -> None:
    async with fresh_database(postgres_server, "template0") as url:
        one = replica(tmp_path, url, prometheus_parts.promtool, settings={"RULE_SERVICE_DATABASE_MIGRATE": "false"})
        try:
            one.child.start()
            await wait_for(
                lambda: "run `rule-service migrate` of this build first" in one.child.output(200), timeout=60
            )
            assert not await one.serving()
            done = await asyncio.to_thread(run, "migrate", RULE_SERVICE_DATABASE_URL=url)
            assert done.returncode == 0, done.stderr
            await one.child.until(one.serving, timeout=60)
            assert await one.child.stop() == 0
        finally:
            one.child.kill()
            await one.channel.close()


RIGHTS = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"


@pytest.fixture
async def guest(database: str) -> AsyncIterator[str]:
    """The URL of the migrated database for a user that has no rights in it: every connection takes on its role."""
    name = f"guest_{uuid4().hex[:12]}"
    await execute(database, f"CREATE ROLE {name}")
    try:
        yield f"{database}{'&' if '?' in database else '?'}options=-c%20role%3D{name}"
    finally:
        await execute(database, f"DROP OWNED BY {name}")
        await execute(database, f"DROP ROLE {name}")


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def test_a_user_without_rights_is_named_and_granting_them_is_enough(
    database: str, guest: str, tmp_path: Path, prometheus_parts: PrometheusParts
) -> None:
    """Before it serves, and while it does: it waits, since a restart would not bring the rights."""
    role = guest.rpartition("%3D")[2]

    async def refusing() -> bool:
        return not await one.serving()

    one = replica(tmp_path, guest, prometheus_parts.promtool, settings={"RULE_SERVICE_DATABASE_MIGRATE": "false"})
    try:
        one.child.start()
        await wait_for(lambda: "permission denied for table schema_migrations" in one.child.output(200), timeout=60)
        await execute(database, f"GRANT {RIGHTS} TO {role}")
        await one.child.until(one.serving, timeout=60)
        await execute(database, f"REVOKE {RIGHTS} FROM {role}")
        await wait_for(refusing, timeout=60)
        await execute(database, f"GRANT {RIGHTS} TO {role}")
        await one.child.until(one.serving, timeout=60)
        assert await one.child.stop() == 0
    finally:
        one.child.kill()
        await one.channel.close()


async def test_new_history_has_the_deployers_of_a_running_service_compare_everything(database: str) -> None:
    async with open_database(database) as pool:
        await publish(PostgresStore(pool), *rule_files({"global.yml": b"groups: []\n"}))
    deployer = FakeDeployer()
    async with stream_replica(database) as replica:
        async with deployer.connected(replica.address) as stream:
            await stream.take()
            history = deployer.history_id
            done = await asyncio.to_thread(run, "new-history", RULE_SERVICE_DATABASE_URL=database)
            assert done.returncode == 0, done.stderr
            await stream.message("drain")
        async with deployer.connected(replica.address):
            assert deployer.history_id != history
            assert deployer.history_id in done.stdout


@pytest.mark.parametrize("migrating", ["true", "false"])
async def test_a_database_that_is_too_new_is_refused(
    postgres_server: PostgresServer, prometheus_parts: PrometheusParts, migrating: str
) -> None:
    newest = load_migrations()[-1].version
    async with fresh_database(postgres_server) as url:
        await apply(url, [*load_migrations(), Migration(newest + 1, "future", "CREATE TABLE future ();")])
        done = await asyncio.to_thread(_serve, url, prometheus_parts.promtool, migrating)
        assert done.returncode == 1
        assert f"schema version {newest + 1}, which needs a build that knows {newest + 1}" in done.stderr


def _serve(url: str, promtool: Path, migrating: str) -> subprocess.CompletedProcess[str]:
    return run(
        "serve",
        RULE_SERVICE_DATABASE_URL=url,
        RULE_SERVICE_DATABASE_MIGRATE=migrating,
        RULE_SERVICE_GRPC_LISTEN="127.0.0.1:0",
        RULE_SERVICE_HTTP_LISTEN="127.0.0.1:0",
        PROMTOOL_PATH=str(promtool),
    )


async def test_it_waits_for_its_database_and_says_so(tmp_path: Path, prometheus_parts: PrometheusParts) -> None:
    server = PostgresServer(tmp_path / "data", log=tmp_path / "postgres.log", durable=False)
    await server.start()
    url = server.url()
    await server.stop()
    one = replica(tmp_path, url, prometheus_parts.promtool)
    try:
        one.child.start()
        await wait_for(lambda: "database does not answer" in one.child.output(200), timeout=60)
        assert not await one.serving()
        async with aiohttp.ClientSession() as http, http.get(f"{one.url}/health/ready") as answer:
            assert answer.status == 503
        asking = {"RULE_SERVICE_DATABASE_URL": url, "RULE_SERVICE_HTTP_LISTEN": f"127.0.0.1:{one.http_port}"}
        unhealthy = await asyncio.to_thread(run, "health", **asking)
        assert (unhealthy.returncode, unhealthy.stderr) == (1, "rule-service: not ready: waiting for the database\n")
        alive = await asyncio.to_thread(run, "health", "--live", **asking)
        assert (alive.returncode, alive.stdout) == (0, "live\n")
        await server.start()
        await one.child.until(one.serving, timeout=60)
        healthy = await asyncio.to_thread(run, "health", **asking)
        assert (healthy.returncode, healthy.stdout) == (0, "ready\n")
        assert await one.child.stop() == 0
    finally:
        one.child.kill()
        await one.channel.close()
        await server.stop()
