"""The deployer as a process, beside a real Prometheus, on the stream of a real rule service."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web

from deploy.local.parts import PrometheusParts
from deploy.local.process import service
from rule_service.store.unit_of_work import PostgresStore
from rule_service.stream.policy import StreamPolicy
from rule_service.usecases.ports_fates import DeployerFacts, FateState
from rulecast.errors import FailedPrecondition
from rulecast.process.addresses import HostPort
from rulecast.process.telemetry import HttpServer
from rulecast.reasons import Reason
from rulecast.rpc.errors import from_rpc_error
from rulecast.v1 import common_pb2
from rulecast.v1 import deployer_pb2 as pb
from tests.support.ports import free_port, taken_port
from tests.support.prometheus import running_prometheus
from tests.support.rule_files import BROKEN, rule_file
from tests.support.store import open_database, publish
from tests.support.streams import StreamReplica, rule_files, stream_replica
from tests.support.system import Deployer, deployer
from tests.support.waiting import wait_for

A, B = rule_file("a"), rule_file("b")
CHANGED = rule_file("a", expr="up == 1", version=1)
QUICK = StreamPolicy(heartbeat=0.5, lost_grace=0.2, settle=0.1, reconnect_within=0.2)
PATIENCE = 60.0


class Here:
    """A rule service's stream and its database, a Prometheus, and a deployer that is not started yet."""

    def __init__(self, replica: StreamReplica, deployer: Deployer, store: PostgresStore, http_port: int) -> None:
        self.replica = replica
        self.deployer = deployer
        self.store = store
        self.http_port = http_port

    async def put(self, deleted: tuple[str, ...] = (), /, **files: bytes) -> int:
        """Publishes files; `group_a` is `group-a.yml`."""
        contents = {f"{key.replace('_', '-')}.yml": content for key, content in files.items()}
        return await publish(self.store, *rule_files(contents), deleted=deleted)

    async def facts(self, id: str = "deployer") -> DeployerFacts | None:
        return next((each for each in await self.store.deployers() if each.id == id), None)

    async def until(self, revision: int) -> DeployerFacts:
        """Waits until the rule service has heard that the deployer has taken this revision up."""

        async def taken_up() -> DeployerFacts | None:
            facts = await self.facts()
            return facts if facts is not None and facts.revision >= revision else None

        found = await wait_for(taken_up, timeout=PATIENCE)
        assert found is not None
        return found

    async def status(self) -> pb.DeployerStatus:
        answer: pb.DeployerStatus = await self.deployer.service.GetStatus(pb.GetStatusRequest(), timeout=PATIENCE)
        return answer

    async def until_connected(self, connected: bool = True) -> None:
        async def so() -> bool:
            return (await self.status()).connected is connected

        await wait_for(so, timeout=PATIENCE)

    async def http(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.http_port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def beside(
    prometheus_parts: PrometheusParts,
    database: str,
    folder: Path,
    *,
    policy: StreamPolicy = QUICK,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Here]:
    """Everything but the deployer is running; it is stopped afterwards, whatever happened."""
    http_port = free_port()
    async with (
        open_database(database) as pool,
        running_prometheus(prometheus_parts, folder, rules=folder / "rules") as prometheus,
        stream_replica(database, policy=policy) as replica,
    ):
        listen = {"DEPLOYER_HTTP_LISTEN": f"127.0.0.1:{http_port}"}
        one = deployer(folder, prometheus, prometheus_parts, [replica.address], settings={**listen, **(settings or {})})
        try:
            yield Here(replica, one, PostgresStore(pool), http_port)
        finally:
            await one.channel.close()
            await one.child.stop()


@pytest.fixture
async def here(prometheus_parts: PrometheusParts, database: str, tmp_path: Path) -> AsyncIterator[Here]:
    async with beside(prometheus_parts, database, tmp_path) as all_parts:
        yield all_parts


async def running(here: Here) -> dict[str, str]:
    return await here.deployer.running_exprs()


async def test_files_get_into_prometheus_and_their_fate_gets_back(here: Here) -> None:
    await here.put(group_a=A)
    await here.deployer.start()
    await here.until(1)
    assert await running(here) == {"a": "up == 0"}

    revision = await here.put(group_a=CHANGED, group_b=B)
    facts = await here.until(revision)

    assert (facts.fates, facts.connected, facts.prometheus_up) == ((), True, True)
    assert await running(here) == {"a": "up == 1", "b": "up == 0"}
    assert here.deployer.files() == {"group-a.yml": CHANGED, "group-b.yml": B}
    revision = await here.put(("group-a.yml",))
    await here.until(revision)
    assert await running(here) == {"b": "up == 0"}


async def test_a_bad_file_is_refused_with_its_reason_and_its_neighbour_runs(here: Here) -> None:
    await here.deployer.start()
    facts = await here.until(await here.put(group_a=A, group_bad=BROKEN))

    [fate] = facts.fates
    assert (fate.file_name, fate.state, fate.reason) == ("group-bad.yml", FateState.REJECTED, "PROMTOOL_CHECK_FAILED")
    assert (fate.group, fate.rule) == ("g", "Alert_broken")
    assert await running(here) == {"a": "up == 0"}
    [shown] = (await here.status()).files
    assert (shown.file_name, shown.state) == ("group-bad.yml", common_pb2.Rollout.REJECTED)


async def test_a_snapshot_of_many_fragments(here: Here) -> None:
    many = rule_file(*(f"rule-{n}" for n in range(300)))
    names = [f"group_g{n}" for n in range(100)]
    revision = await here.put(**dict.fromkeys(names, many))
    assert len(many) * len(names) > 3 * 1024 * 1024

    await here.deployer.start()
    await here.until(revision)

    assert set(here.deployer.files()) == {f"{name.replace('_', '-')}.yml" for name in names}
    status = await here.status()
    assert (status.file_count, status.revision) == (100, revision)


async def test_its_own_service_tells_and_does(here: Here) -> None:
    await here.deployer.start()
    revision = await here.put(group_a=A)
    await here.until(revision)
    service = here.deployer.service

    status = await here.status()
    assert (status.deployer_id, status.connected, status.rule_service) == ("deployer", True, here.replica.address)
    assert (status.revision, status.file_count, status.prometheus_up) == (revision, 1, True)
    assert status.prometheus_url == here.deployer.prometheus.url
    [file] = (await service.ListFiles(pb.ListFilesRequest())).files
    assert (file.file_name, file.rule_count, file.size_bytes, file.revision) == ("group-a.yml", 1, len(A), revision)
    assert file.path == str(here.deployer.rules / "group-a.yml")
    assert file.state == common_pb2.Rollout.ACTIVE
    before = await here.deployer.api("/api/v1/status/runtimeinfo", "lastConfigTime")

    async def reloaded() -> bool:
        reload = await service.Reload(pb.ReloadRequest())
        assert list(reload.files) == []
        return bool(await here.deployer.api("/api/v1/status/runtimeinfo", "lastConfigTime") != before)

    await wait_for(reloaded, timeout=PATIENCE)  # Prometheus tells whole seconds
    assert list((await service.Validate(pb.ValidateRequest())).files) == []
    assert await service.Resync(pb.ResyncRequest()) == pb.ResyncResponse()


async def test_health_and_metrics(here: Here) -> None:
    await here.deployer.start()
    await here.until(await here.put(group_a=A))

    assert (await here.http("/health/live"))[0] == 200
    assert (await here.http("/health/ready"))[0] == 200
    code, metrics = await here.http("/metrics")
    assert code == 200
    for line in (
        "rulecast_deployer_connected 1.0",
        "rulecast_deployer_revision 1.0",
        "rulecast_deployer_batches_total 1.0",
        'rulecast_deployer_files_total{reason="",state="active"} 1.0',
        'rulecast_build_info{python="',
        'grpc_server_handled_total{grpc_code="OK",grpc_method="Check",grpc_service="grpc.health.v1.Health",'
        'grpc_type="unary"}',
    ):
        assert line in metrics


async def test_without_a_rule_service_it_serves_and_touches_nothing(
    prometheus_parts: PrometheusParts, database: str, tmp_path: Path
) -> None:
    nobody = {"DEPLOYER_RULE_SERVICE": f"127.0.0.1:{free_port()}"}
    async with beside(prometheus_parts, database, tmp_path, settings=nobody) as here:
        await here.deployer.start()

        assert not (await here.status()).connected
        assert (await here.http("/health/ready"))[0] == 200
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await here.deployer.service.Resync(pb.ResyncRequest())

        error = from_rpc_error(refused.value)
        assert isinstance(error, FailedPrecondition)
        assert error.reason is Reason.NOT_CONNECTED
        assert here.deployer.files() == {}


async def test_a_killed_deployer_comes_back_to_where_it_was(here: Here) -> None:
    await here.deployer.start()
    await here.until(await here.put(group_a=A))
    first = await here.facts()
    here.deployer.child.kill()
    assert await here.deployer.child.ended(timeout=PATIENCE)
    revision = await here.put(group_b=B)

    await here.deployer.start()
    again = await here.until(revision)

    assert first is not None
    assert again.epoch > first.epoch
    assert await running(here) == {"a": "up == 0", "b": "up == 0"}


async def test_a_file_changed_by_hand_is_put_right_and_told(
    prometheus_parts: PrometheusParts, database: str, tmp_path: Path
) -> None:
    async with beside(prometheus_parts, database, tmp_path, settings={"DEPLOYER_DRIFT_INTERVAL": "1s"}) as here:
        await here.deployer.start()
        await here.until(await here.put(group_a=A))

        (here.deployer.rules / "group-a.yml").write_bytes(B)

        await wait_for(lambda: here.deployer.files() == {"group-a.yml": A}, timeout=PATIENCE)

        async def told() -> bool:
            facts = await here.facts()
            return facts is not None and facts.drifted_files == ("group-a.yml",)

        await wait_for(told, timeout=PATIENCE)


async def test_an_edit_made_while_prometheus_is_down_becomes_active_by_itself(here: Here) -> None:
    await here.deployer.start()
    await here.until(await here.put(group_a=A))
    await here.deployer.prometheus.stop()

    facts = await here.until(await here.put(group_a=CHANGED))
    assert [(fate.state, fate.reason) for fate in facts.fates] == [(FateState.DEFERRED, Reason.PROMETHEUS_UNREACHABLE)]
    await here.deployer.prometheus.start()

    async def active() -> bool:
        now = await here.facts()
        return now is not None and now.fates == ()

    await wait_for(active, timeout=PATIENCE)
    assert await running(here) == {"a": "up == 1"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order(here: Here, number: signal.Signals) -> None:
    await here.deployer.start()
    await here.until(await here.put(group_a=A))

    here.deployer.child.signal(number)

    assert await here.deployer.child.ended(timeout=10)
    assert here.deployer.child.exit_code == 0

    async def released() -> bool:
        facts = await here.facts()
        return facts is not None and not facts.connected

    await wait_for(released, timeout=PATIENCE)
    assert here.deployer.files() == {"group-a.yml": A}


async def test_a_drained_stream_is_followed_by_another(here: Here) -> None:
    await here.deployer.start()
    await here.until(await here.put(group_a=A))
    before = await here.facts()

    here.replica.hub.streams["deployer"].drain("go elsewhere")

    async def again() -> bool:
        now = await here.facts()
        return now is not None and before is not None and now.epoch > before.epoch and now.connected

    await wait_for(again, timeout=PATIENCE)
    await here.until(await here.put(group_a=CHANGED))
    assert await running(here) == {"a": "up == 1"}


async def test_a_second_deployer_of_one_name_waits_until_the_first_is_gone(
    here: Here, prometheus_parts: PrometheusParts, tmp_path: Path
) -> None:
    await here.deployer.start()
    await here.until_connected()
    home = tmp_path / "second"
    home.mkdir()
    second = deployer(home, here.deployer.prometheus, prometheus_parts, [here.replica.address])
    try:
        await second.start()
        await wait_for(lambda: "DUPLICATE_DEPLOYER" in second.child.output(1000), timeout=PATIENCE)
        assert here.deployer.child.running

        await here.deployer.child.stop()

        async def taken_over() -> bool:
            return bool((await second.service.GetStatus(pb.GetStatusRequest())).connected)

        await wait_for(taken_over, timeout=PATIENCE)
    finally:
        await second.channel.close()
        await second.child.stop()


async def test_a_second_deployer_of_one_directory_does_not_start(
    here: Here, prometheus_parts: PrometheusParts, tmp_path: Path
) -> None:
    await here.deployer.start()
    second = deployer(tmp_path, here.deployer.prometheus, prometheus_parts, [here.replica.address], name="other")
    try:
        second.child.start()
        assert await second.child.ended(timeout=PATIENCE)

        assert second.child.exit_code == 1
        assert "is in use by another deployer" in second.child.output(1000)
    finally:
        await second.channel.close()
        await second.child.stop()


async def test_user_and_password_of_the_url_are_sent_and_never_shown(
    tmp_path: Path, prometheus_parts: PrometheusParts
) -> None:
    """No Prometheus: something that only listens, and notes who asks."""
    asked: list[str | None] = []

    async def note(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Authorization"))
        return web.Response(status=503, text="not now")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", note)
    server = HttpServer(app, HostPort("127.0.0.1", 0))
    port = await server.start()
    child = service(
        "deployer_service",
        "serve",
        log=tmp_path / "deployer.log",
        environment={
            "PROMETHEUS_URL": f"http://me:p%40ss@127.0.0.1:{port}",
            "PROMETHEUS_RULE_PATH": str(tmp_path / "rules"),
            "PROMTOOL_PATH": str(prometheus_parts.promtool),
            "DEPLOYER_GRPC_LISTEN": "127.0.0.1:0",
            "DEPLOYER_HTTP_LISTEN": "127.0.0.1:0",
        },
    )
    try:
        child.start()
        await wait_for(lambda: asked and "prometheus does not answer" in child.output(1000), timeout=PATIENCE)
    finally:
        await child.stop()
        await server.stop()

    assert set(asked) == {"Basic bWU6cEBzcw=="}
    assert "p%40ss" not in child.output(1000)
    assert "p@ss" not in child.output(1000)


@pytest.mark.parametrize("variable", ["DEPLOYER_GRPC_LISTEN", "DEPLOYER_HTTP_LISTEN"])
def test_a_port_in_use_is_a_clear_error(variable: str, tmp_path: Path, prometheus_parts: PrometheusParts) -> None:
    with taken_port() as port:
        environment: dict[str, Any] = {
            "DEPLOYER_GRPC_LISTEN": "127.0.0.1:0",
            "DEPLOYER_HTTP_LISTEN": "127.0.0.1:0",
            "PROMETHEUS_RULE_PATH": str(tmp_path / "rules"),
            "PROMTOOL_PATH": str(prometheus_parts.promtool),
            variable: f"127.0.0.1:{port}",
        }
        done = subprocess.run(
            [sys.executable, "-m", "deployer_service", "serve"],
            env={**environment_of_test(), **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    assert done.returncode == 1
    assert f"can not listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "rules").exists()


def environment_of_test() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("DEPLOYER_")}
