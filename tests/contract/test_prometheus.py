"""What the pipeline is promised of Prometheus: by the fake, by real ones, and how the adapter takes odd answers."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml
from aiohttp import web

from deploy.local.process import Child, free_port
from deploy.local.prometheus import PrometheusServer
from deployer_service.adapters.prometheus import PrometheusHttp, directories_of
from deployer_service.adapters.prometheus_process import PrometheusProcess
from deployer_service.pipeline.contents import rules_in
from deployer_service.pipeline.ports import Prometheus
from rulecast.errors import FailedPrecondition, Unavailable
from rulecast.reasons import Reason
from tests.support.freezing import frozen
from tests.support.pipeline_fakes import FakeDirectory, FakePrometheus, VirtualClock
from tests.support.prometheus import choices, parts_of, running_prometheus
from tests.support.rule_files import BROKEN, rule_file

A, B = "group-a.yml", "group-b.yml"
ONE, TWO = rule_file("a", "b", version=1), rule_file("a", version=2)


class Bench:
    """A Prometheus and the files that it loads."""

    def __init__(
        self,
        prometheus: Prometheus,
        rules: Path,
        write: Callable[[str, bytes | None], object],
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        self.prometheus = prometheus
        self.rules = rules
        self.write = write
        self.stop = stop


@pytest.fixture(params=["fake", *choices()])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    rules = tmp_path / "rules"
    rules.mkdir()
    if request.param == "fake":
        yield fake_bench(rules)
        return
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            running_prometheus(parts_of(request.param), tmp_path, rules=rules, interval="1m")
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())

        def write(name: str, content: bytes | None) -> None:
            (rules / name).unlink() if content is None else (rules / name).write_bytes(content)

        yield Bench(PrometheusHttp(session, server.url, directories_of(rules)), rules, write, server.stop)


def fake_bench(rules: Path) -> Bench:
    directory = FakeDirectory(rules)
    fake = FakePrometheus(directory, VirtualClock())

    def write(name: str, content: bytes | None) -> None:
        if content is None:
            del directory.files[name]
        else:
            directory.files[name] = content

    async def stop() -> None:
        fake.up = False

    return Bench(fake, rules, write, stop)


async def test_a_reload_loads_the_files(bench: Bench) -> None:
    await bench.prometheus.check_ready()
    assert (await bench.prometheus.loaded()).rules == {}
    bench.write(A, ONE)
    bench.write("alerts.yml", rule_file("foreign"))
    assert (await bench.prometheus.loaded()).rules == {}
    await bench.prometheus.reload(30.0)
    assert (await bench.prometheus.loaded()).rules == {A: rules_in(ONE)}
    status = await bench.prometheus.status()
    assert (status.up, status.last_reload_ok) == (True, True)
    assert status.version[0] in "23"


async def test_only_the_files_asked_about_are_told(bench: Bench) -> None:
    bench.write(A, ONE)
    bench.write(B, TWO)
    await bench.prometheus.reload(30.0)
    assert (await bench.prometheus.loaded()).rules == {A: rules_in(ONE), B: rules_in(TWO)}
    for _ in range(2):
        assert (await bench.prometheus.loaded(frozenset((B, "group-c.yml")))).rules == {B: rules_in(TWO)}
        assert (await bench.prometheus.loaded(frozenset())).rules == {}


async def test_an_edit_that_keeps_the_annotations_shows_in_what_it_says_of_the_file(bench: Bench) -> None:
    async def prints() -> dict[str, bytes]:
        return dict((await bench.prometheus.loaded()).prints)

    bench.write(A, ONE)
    bench.write(B, TWO)
    await bench.prometheus.reload(30.0)
    before = await prints()
    assert before.keys() == {A, B}
    assert (await bench.prometheus.loaded(frozenset((A,)))).prints == {A: before[A]}
    await bench.prometheus.reload(30.0)
    assert await prints() == before
    for by_hand in (
        ONE.replace(b"up == 0", b"up == 1", 1),
        ONE.replace(b"        annotations:", b"        for: 5m\n        annotations:", 1),
        ONE.replace(b"        annotations:", b"        keep_firing_for: 5m\n        annotations:", 1),
        ONE.replace(b"        annotations:", b"        labels: {severity: page}\n        annotations:", 1),
        ONE.replace(b"        annotations:", b"        annotations:\n          summary: x", 1),
        ONE.replace(b"    rules:", b"    limit: 1\n    rules:", 1),
    ):
        assert rules_in(by_hand) == rules_in(ONE)
        bench.write(A, by_hand)
        await bench.prometheus.reload(30.0)
        now = await prints()
        assert now[A] != before[A], by_hand
        assert now[B] == before[B]


async def test_a_deleted_file_is_gone_after_a_reload(bench: Bench) -> None:
    bench.write(A, ONE)
    bench.write(B, TWO)
    await bench.prometheus.reload(30.0)
    bench.write(A, None)
    await bench.prometheus.reload(30.0)
    assert (await bench.prometheus.loaded(frozenset((A, B)))).rules == {B: rules_in(TWO)}


async def test_one_bad_file_keeps_all_as_it_was(bench: Bench) -> None:
    bench.write(A, ONE)
    await bench.prometheus.reload(30.0)
    before = await bench.prometheus.status()
    bench.write(A, TWO)
    bench.write(B, BROKEN)
    with pytest.raises(FailedPrecondition) as caught:
        await bench.prometheus.reload(30.0)
    assert caught.value.reason is Reason.RELOAD_FAILED
    assert (await bench.prometheus.loaded()).rules == {A: rules_in(ONE)}
    after = await bench.prometheus.status()
    assert not after.last_reload_ok
    assert after.last_reload_time == before.last_reload_time
    bench.write(B, None)
    await bench.prometheus.reload(30.0)
    assert (await bench.prometheus.loaded()).rules == {A: rules_in(TWO)}
    assert (await bench.prometheus.status()).last_reload_ok


async def test_what_it_was_told_to_load(bench: Bench) -> None:
    configuration = await bench.prometheus.configuration()
    assert configuration.rule_globs == (f"{bench.rules}/*.yml",)
    assert not configuration.auto_reload
    assert str(bench.rules) in bench.prometheus.directories


async def test_one_that_is_down(bench: Bench) -> None:
    await bench.stop()
    prometheus = bench.prometheus
    for ask in (
        prometheus.check_ready,
        prometheus.status,
        prometheus.loaded,
        prometheus.configuration,
        lambda: prometheus.reload(30.0),
    ):
        with pytest.raises(Unavailable) as caught:
            await ask()
        assert caught.value.reason is Reason.PROMETHEUS_UNREACHABLE
        assert prometheus.address in str(caught.value)


@asynccontextmanager
async def real(choice: str, folder: Path, globs: list[str]) -> AsyncIterator[PrometheusServer]:
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump({"rule_files": globs}))
    async with PrometheusServer(parts_of(choice), config=path, data=folder / "data", log=folder / "log") as server:
        yield server


@asynccontextmanager
async def without_lifecycle(choice: str, folder: Path, globs: list[str]) -> AsyncIterator[tuple[int, int]]:
    """A Prometheus whose reload by HTTP is switched off, as it is by default: its port and pid."""
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump({"rule_files": globs}))
    port = free_port()
    arguments = (
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    child = Child("prometheus", [parts_of(choice).prometheus, *arguments], log=folder / "log")
    async with aiohttp.ClientSession() as session:
        prometheus = PrometheusHttp(session, f"http://127.0.0.1:{port}", ())

        async def is_ready() -> bool:
            try:
                await prometheus.check_ready()
            except Unavailable:
                return False
            return True

        child.start()
        try:
            await child.until(is_ready, timeout=60.0)
            yield port, child.pid
        finally:
            await child.stop()


@pytest.fixture(params=choices())
def choice(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_relative_rule_files_are_those_beside_the_configuration(choice: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / A).write_bytes(ONE)
    async with real(choice, tmp_path, ["rules/*.yml"]) as server, aiohttp.ClientSession() as session:
        prometheus = PrometheusHttp(session, server.url, directories_of(rules))
        assert (await prometheus.configuration()).rule_globs == (f"{rules}/*.yml",)
        assert (await prometheus.loaded()).rules == {A: rules_in(ONE)}


async def test_files_of_another_directory_are_not_ours(choice: str, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    (theirs / A).write_bytes(ONE)
    (ours / B).write_bytes(TWO)
    globs = [f"{theirs}/*.yml", f"{ours}/*.yml"]
    async with real(choice, tmp_path, globs) as server, aiohttp.ClientSession() as session:
        loaded = await PrometheusHttp(session, server.url, directories_of(ours)).loaded()
        assert loaded.rules == {B: rules_in(TWO)}
        assert loaded.elsewhere == (str(theirs),)
        # as a deployer in a container, which sees the directory under another path
        seen_as = directories_of(Path("/in/a/container"), seen_as=f"{theirs}/")
        assert (await PrometheusHttp(session, server.url, seen_as).loaded()).rules == {A: rules_in(ONE)}


async def test_a_directory_behind_a_symlink_is_ours(choice: str, tmp_path: Path) -> None:
    rules, link = tmp_path / "rules", tmp_path / "link"
    rules.mkdir()
    link.symlink_to(rules)
    (rules / A).write_bytes(ONE)
    async with real(choice, tmp_path, [f"{link}/*.yml"]) as server, aiohttp.ClientSession() as session:
        for path in (rules, link):
            assert (await PrometheusHttp(session, server.url, directories_of(path)).loaded()).rules == {
                A: rules_in(ONE)
            }


class TestSignal:
    async def test_without_http_reload_it_is_sent_a_signal(self, choice: str, tmp_path: Path) -> None:
        rules = tmp_path / "rules"
        rules.mkdir()
        async with (
            without_lifecycle(choice, tmp_path, [f"{rules}/*.yml"]) as (port, pid),
            aiohttp.ClientSession() as session,
        ):
            process = PrometheusProcess(port)
            prometheus = PrometheusHttp(session, f"http://127.0.0.1:{port}", directories_of(rules), process.hang_up)
            assert process.find() == pid
            for content in (ONE, TWO, ONE):
                (rules / A).write_bytes(content)
                await prometheus.reload(30.0)
                assert (await prometheus.loaded()).rules == {A: rules_in(content)}
            (rules / B).write_bytes(BROKEN)
            for timeout in (30.0, 1.0):  # the second failure changes nothing that could be seen
                with pytest.raises(FailedPrecondition) as caught:
                    await prometheus.reload(timeout)
                assert caught.value.reason is Reason.RELOAD_FAILED
            (rules / B).unlink()
            await prometheus.reload(30.0)

    async def test_without_a_process_to_signal_it_is_refused(self, choice: str, tmp_path: Path) -> None:
        async with (
            without_lifecycle(choice, tmp_path, []) as (port, _),
            aiohttp.ClientSession() as session,
        ):
            prometheus = PrometheusHttp(session, f"http://127.0.0.1:{port}", directories_of(tmp_path))
            with pytest.raises(FailedPrecondition, match=r"Lifecycle API is not enabled.*enable-lifecycle") as caught:
                await prometheus.reload(30.0)
            assert caught.value.reason is Reason.RELOAD_REFUSED

    async def test_a_pid_file(self, choice: str, tmp_path: Path) -> None:
        file = tmp_path / "pid"
        async with real(choice, tmp_path, []) as server:
            process = PrometheusProcess(1, file)
            assert process.find() is None
            file.write_text(f"{server.pid}\n")
            assert process.find() == server.pid
        assert process.find() is None
        assert process.hang_up() is None

    @pytest.mark.parametrize(
        "text", ["", "x", "-1", "0", "1", pytest.param(str(os.getpid()), id="another program"), "99999999"]
    )
    def test_a_pid_file_that_names_something_else(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "pid"
        file.write_text(text)
        assert PrometheusProcess(1, file).hang_up() is None


async def test_a_frozen_one_is_noticed_in_time(choice: str, tmp_path: Path) -> None:
    async with real(choice, tmp_path, []) as server, aiohttp.ClientSession() as session:
        prometheus = PrometheusHttp(session, server.url, directories_of(tmp_path), quick=0.3, slow=0.3)
        async with frozen(server.pid):
            for ask in (prometheus.check_ready, prometheus.status, prometheus.loaded):
                with pytest.raises(Unavailable, match=r"within 0\.3 s") as caught:
                    await ask()
                assert caught.value.reason is Reason.PROMETHEUS_UNREACHABLE


class Odd:
    """Answers as a Prometheus in trouble would."""

    def __init__(self) -> None:
        self.reloads = 0
        self.status: dict[str, object] = {
            "startTime": "2026-01-01T00:00:00.123456789Z",
            "CWD": "/",
            "reloadConfigSuccess": True,
        }
        self.config_time = "2026-01-01T00:00:01Z"
        self.on_reload: Callable[[], Awaitable[web.Response]] = self.fine
        self.rules = '{"data": {"groups": []}}'
        self.rules_status = 200
        self.compressed = False

    async def fine(self) -> web.Response:
        return web.Response()

    async def reload(self, request: web.Request) -> web.Response:
        self.reloads += 1
        return await self.on_reload()

    async def runtimeinfo(self, request: web.Request) -> web.Response:
        return web.json_response({"data": {**self.status, "lastConfigTime": self.config_time}})

    async def buildinfo(self, request: web.Request) -> web.Response:
        return web.json_response({"data": {"version": "3.5.0"}})

    async def metrics(self, request: web.Request) -> web.Response:
        names = ("successful", "success_timestamp_seconds")
        return web.Response(text="".join(f"prometheus_config_last_reload_{name} 1\n" for name in names))

    async def get_rules(self, request: web.Request) -> web.Response:
        answer = web.Response(text=self.rules, status=self.rules_status)
        if self.compressed:
            answer.enable_compression(web.ContentCoding.gzip)
        return answer


@pytest.fixture
async def odd() -> AsyncIterator[tuple[Odd, PrometheusHttp]]:
    odd = Odd()
    app = web.Application()
    app.router.add_post("/-/reload", odd.reload)
    app.router.add_get("/api/v1/status/runtimeinfo", odd.runtimeinfo)
    app.router.add_get("/api/v1/status/buildinfo", odd.buildinfo)
    app.router.add_get("/api/v1/rules", odd.get_rules)
    app.router.add_get("/metrics", odd.metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession() as session:
            port = runner.addresses[0][1]
            yield odd, PrometheusHttp(session, f"http://127.0.0.1:{port}/", ("/rules",), quick=2.0, slow=2.0)
    finally:
        await runner.cleanup()


class TestOdd:
    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            (500, Reason.RELOAD_FAILED),
            (418, Reason.RELOAD_FAILED),
            (401, Reason.RELOAD_REFUSED),
            (403, Reason.RELOAD_REFUSED),
            (404, Reason.RELOAD_REFUSED),
            (405, Reason.RELOAD_REFUSED),
            (502, Reason.PROMETHEUS_UNREACHABLE),
            (503, Reason.PROMETHEUS_UNREACHABLE),
        ],
    )
    async def test_what_each_answer_to_a_reload_means(
        self, odd: tuple[Odd, PrometheusHttp], code: int, reason: Reason
    ) -> None:
        server, prometheus = odd

        async def answer() -> web.Response:
            return web.Response(status=code, text="its words")

        server.on_reload = answer
        with pytest.raises((FailedPrecondition, Unavailable)) as caught:
            await prometheus.reload(2.0)
        assert caught.value.reason is reason

    async def test_a_reload_that_takes_longer_than_the_timeout_is_seen_to_end(
        self, odd: tuple[Odd, PrometheusHttp]
    ) -> None:
        server, prometheus = odd

        async def slow() -> web.Response:
            await asyncio.sleep(0.4)
            server.config_time = "2026-01-01T00:00:02Z"
            return web.Response()

        server.on_reload = slow
        await prometheus.reload(0.3)
        assert server.reloads == 1

    async def test_a_slow_reload_that_fails(self, odd: tuple[Odd, PrometheusHttp]) -> None:
        server, prometheus = odd

        async def slow() -> web.Response:
            await asyncio.sleep(0.4)
            server.status["reloadConfigSuccess"] = False
            return web.Response(status=500)

        server.on_reload = slow
        with pytest.raises(FailedPrecondition) as caught:
            await prometheus.reload(0.3)
        assert caught.value.reason is Reason.RELOAD_FAILED

    async def test_a_reload_that_does_not_end(self, odd: tuple[Odd, PrometheusHttp]) -> None:
        server, prometheus = odd

        over = asyncio.Event()

        async def hang() -> web.Response:
            await over.wait()
            return web.Response()

        server.on_reload = hang
        with pytest.raises(Unavailable) as caught:
            await prometheus.reload(0.2)
        over.set()
        assert caught.value.reason is Reason.RELOAD_TIMEOUT
        assert server.reloads == 1

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "<html>",
            "[]",
            '{"data": null}',
            '{"data": {"groups": [{}]}}',
            '{"data": {"groups": [null]}}',
            '{"data": {}}',
            '{"data": {"groups": []}',
            '{"data": {"groups": [' + "[" * 100_000,
        ],
    )
    async def test_rules_that_are_none(self, odd: tuple[Odd, PrometheusHttp], text: str) -> None:
        server, prometheus = odd
        server.rules = text
        with pytest.raises(Unavailable, match="something else than expected"):
            await prometheus.loaded()

    async def test_rules_it_does_not_tell(self, odd: tuple[Odd, PrometheusHttp]) -> None:
        server, prometheus = odd
        server.rules_status, server.rules = 503, "starting up"
        with pytest.raises(Unavailable, match=r"answered /api/v1/rules with 503: starting up") as caught:
            await prometheus.loaded()
        assert caught.value.reason is Reason.PROMETHEUS_UNREACHABLE

    @pytest.mark.parametrize("compressed", [False, True])
    async def test_more_rules_than_are_read_at_once(self, odd: tuple[Odd, PrometheusHttp], compressed: bool) -> None:
        server, prometheus = odd
        groups = [
            {
                "name": f"group-{at % 3}",
                "file": f"/rules/group-{at // 3}.yml",
                "rules": [{"name": f"가 {rule}", "query": "up", "annotations": {"x": "가" * 9}} for rule in range(50)],
            }
            for at in range(300)
        ]
        answer = {"status": "success", "data": {"groups": groups, "groupNextToken": ""}, "warnings": ["]}"]}
        server.rules, server.compressed = json.dumps(answer, ensure_ascii=False), compressed
        loaded = await prometheus.loaded()
        assert loaded.rules == {
            f"group-{file}.yml": {(f"group-{part}", f"가 {rule}", ""): 1 for part in range(3) for rule in range(50)}
            for file in range(100)
        }
        assert len(set(loaded.prints.values())) == 1
        server.rules = json.dumps(answer, ensure_ascii=True)
        assert (await prometheus.loaded()).prints == loaded.prints
