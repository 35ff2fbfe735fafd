"""The real parts that the demo and the tests stand on: they start, stop, and leave nothing behind."""

import asyncio
import hashlib
import signal
import stat
import sys
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import aiohttp
import asyncpg
import pytest

from deploy.local import parts
from deploy.local.cache import cache_dir, fill_once
from deploy.local.parts import PartsMissing, PrometheusParts, download, fetch_prometheus, find_prometheus
from deploy.local.postgres import PostgresMissing, PostgresServer, find_programs
from deploy.local.process import REPOSITORY, Child, ChildFailed
from deploy.local.prometheus import PrometheusServer
from tests.support.ports import taken_port
from tests.support.postgres import fresh_database
from tests.support.processes import children, is_running
from tests.support.prometheus import running_prometheus
from tests.support.waiting import wait_for

RULES = """
groups:
  - name: always
    rules:
      - {alert: Always, expr: vector(1)}
"""


def sleeper(folder: Path, command: str = "exec sleep 600") -> Child:
    return Child("sleeper", ["sh", "-c", command], log=folder / "sleeper.log")


class TestChild:
    async def test_stop_ends_it_with_its_stop_signal(self, tmp_path: Path) -> None:
        child = sleeper(tmp_path)
        child.start()
        assert child.running
        assert await child.stop() == -signal.SIGTERM
        assert not is_running(child.pid)

    async def test_stop_kills_one_that_ignores_the_signal_and_what_it_started(self, tmp_path: Path) -> None:
        child = sleeper(tmp_path, "trap '' TERM; sleep 600 & echo $!; wait; wait")
        child.start()
        grandchild = int(await wait_for(child.output))
        assert await child.stop(grace=0.1) == -signal.SIGKILL
        await wait_for(lambda: not is_running(grandchild))

    async def test_stop_kills_it_when_cancelled(self, tmp_path: Path) -> None:
        child = sleeper(tmp_path, "trap '' TERM; echo up; while :; do sleep 1; done")
        child.start()
        await wait_for(child.output)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(child.stop(grace=600), timeout=0.1)
        assert child.exit_code == -signal.SIGKILL

    async def test_an_early_end_is_told_with_the_end_of_the_log(self, tmp_path: Path) -> None:
        child = sleeper(tmp_path, "echo no such luck; exit 3")
        child.start()
        with pytest.raises(ChildFailed, match=r"exit code 3[^$]*no such luck"):
            await child.until(lambda: False, timeout=60)
        assert child.exit_code == 3

    async def test_one_that_is_never_ready_is_told_and_killed(self, tmp_path: Path) -> None:
        child = sleeper(tmp_path)
        child.start()
        with pytest.raises(ChildFailed, match=r"not ready after 0\.05 s"):
            await child.until(lambda: False, timeout=0.05)
        assert not is_running(child.pid)

    async def test_it_ends_when_its_parent_is_killed(self, tmp_path: Path) -> None:
        program = (
            "import pathlib, signal; from tests.integration.test_local_parts import sleeper; import sys\n"
            "child = sleeper(pathlib.Path(sys.argv[1])); child.start(); print(child.pid, flush=True); signal.pause()"
        )
        said = await first_line_then_kill(program, tmp_path)
        await wait_for(lambda: not is_running(int(said)))


class TestPostgres:
    async def test_keeps_what_was_committed_over_a_crash_a_kill_and_a_stop(self, tmp_path: Path) -> None:
        server = PostgresServer(tmp_path / "data", log=tmp_path / "log", durable=True)
        async with server:
            await execute(server.url(), "CREATE TABLE seen (what text)")
            for end in ("crash", "kill", "stop"):
                await execute(server.url(), f"INSERT INTO seen VALUES ('{end}')")
                backends = children(server.pid)
                if end == "kill":
                    server.kill()
                else:
                    await getattr(server, end)()
                await wait_for(partial(none_running, list(backends)))
                await server.start()
            assert await fetch(server.url(), "SELECT string_agg(what, ' ') FROM seen") == "crash kill stop"

    @pytest.mark.parametrize("name", ["data", "d,a:t@a ?&" + 90 * "x"], ids=["plain", "unfit for a socket"])
    async def test_leaves_neither_process_nor_socket(self, name: str, tmp_path: Path) -> None:
        async with PostgresServer(tmp_path / name, log=tmp_path / "log", durable=False) as server:
            assert await fetch(server.url(), "SELECT 1") == 1
            started = [server.pid, *children(server.pid)]
            socket_folder = server.url().partition("host=")[2]
            assert mode(socket_folder) == "drwx------"
            assert mode(f"{socket_folder}/.s.PGSQL.5432") is not None
        assert not any(map(is_running, started))
        assert mode(f"{socket_folder}/.s.PGSQL.5432") is None
        assert name == "data" or mode(socket_folder) is None

    async def test_ends_when_its_parent_is_killed_and_starts_again_on_the_same_data(self, tmp_path: Path) -> None:
        program = (
            "import asyncio, pathlib, sys, asyncpg; from deploy.local.postgres import PostgresServer\n"
            "async def main(folder):\n"
            "    server = PostgresServer(folder / 'data', log=folder / 'log', durable=False)\n"
            "    await server.start()\n"
            "    connection = await asyncpg.connect(server.url())\n"
            "    await connection.execute('CREATE TABLE kept ()')\n"
            "    print(server.pid, flush=True)\n"
            "    await asyncio.Event().wait()\n"
            "asyncio.run(main(pathlib.Path(sys.argv[1])))"
        )
        pid = await first_line_then_kill(program, tmp_path)
        async with PostgresServer(tmp_path / "data", log=tmp_path / "log", durable=False) as server:
            assert not is_running(int(pid))
            assert await fetch(server.url(), "SELECT count(*) FROM kept") == 0

    async def test_a_second_server_on_the_same_data_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("deploy.local.postgres.EARLIER_SERVER_TIMEOUT", 0.1)
        async with PostgresServer(tmp_path / "data", log=tmp_path / "log", durable=False) as server:
            with pytest.raises(ChildFailed, match=f"in use by another PostgreSQL server, process {server.pid}"):
                await PostgresServer(tmp_path / "data", log=tmp_path / "log2").start()
            assert await fetch(server.url(), "SELECT 1") == 1

    async def test_a_data_folder_it_can_not_read_is_told_with_its_words(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "PG_VERSION").write_text("9.6\n")
        with pytest.raises(ChildFailed, match="postgres ended with exit code"):
            async with PostgresServer(tmp_path / "data", log=tmp_path / "log"):
                pass

    def test_without_programs_it_says_how_to_get_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("POSTGRES_BIN", str(tmp_path))
        with pytest.raises(PostgresMissing, match="no program initdb or postgres; set POSTGRES_BIN"):
            find_programs()

    async def test_each_database_is_a_copy_of_its_own(self, database: str, postgres_server: PostgresServer) -> None:
        await execute(database, "CREATE TABLE only_here ()")
        async with fresh_database(postgres_server) as other:
            assert await fetch(database, "SELECT to_regclass('only_here')::text") == "only_here"
            assert await fetch(other, "SELECT to_regclass('only_here')::text") is None
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await execute(other, "SELECT 1")


class TestPrometheus:
    async def test_loads_rules_reloads_and_stops(self, prometheus_parts: PrometheusParts, tmp_path: Path) -> None:
        rules = tmp_path / "rules"
        rules.mkdir()
        async with running_prometheus(prometheus_parts, tmp_path, rules=rules) as server:
            assert await rule_groups(server) == []
            (rules / "always.yml").write_text(RULES)
            async with aiohttp.ClientSession() as session, session.post(f"{server.url}/-/reload") as answer:
                assert answer.status == 200, await answer.text()
            assert await rule_groups(server) == ["always"]
            pid = server.pid
        assert not is_running(pid)

    async def test_a_taken_port_is_replaced(self, prometheus_parts: PrometheusParts, tmp_path: Path) -> None:
        with taken_port() as port:
            async with running_prometheus(prometheus_parts, tmp_path, rules=tmp_path / "rules", port=port) as server:
                assert server.port != port

    async def test_is_not_mistaken_for_another_on_its_port(
        self, prometheus_parts: PrometheusParts, tmp_path: Path
    ) -> None:
        one, other = tmp_path / "one", tmp_path / "other"
        one.mkdir()
        other.mkdir()
        async with (
            running_prometheus(prometheus_parts, one, rules=one / "rules") as first,
            running_prometheus(prometheus_parts, other, rules=other / "rules", port=first.port) as second,
        ):
            assert first.port != second.port
            assert first.running
            assert second.running

    async def test_is_at_the_same_address_after_a_kill(self, prometheus_parts: PrometheusParts, tmp_path: Path) -> None:
        async with running_prometheus(prometheus_parts, tmp_path, rules=tmp_path / "rules") as server:
            url = server.url
            server.kill()
            assert not server.running
            await server.start()
            assert server.url == url

    async def test_a_bad_configuration_is_told_with_its_words(
        self, prometheus_parts: PrometheusParts, tmp_path: Path
    ) -> None:
        config = tmp_path / "prometheus.yml"
        config.write_text("no_such_setting: 1\n")
        server = PrometheusServer(prometheus_parts, config=config, data=tmp_path / "data", log=tmp_path / "log")
        with pytest.raises(ChildFailed, match=r"ended with exit code[^$]*no_such_setting"):
            await server.start()
        await server.stop()


class TestFinding:
    def test_the_variables_come_first(
        self, prometheus_parts: PrometheusParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        named = tmp_path / "named"
        named.symlink_to(prometheus_parts.prometheus)
        monkeypatch.setenv("PROMETHEUS_BIN", str(named))
        monkeypatch.setenv("PROMTOOL_PATH", str(prometheus_parts.promtool))
        assert find_prometheus(tmp_path / "cache").prometheus == named

    def test_a_variable_that_is_wrong_is_told_and_not_passed_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PROMETHEUS_BIN", str(tmp_path / "absent"))
        monkeypatch.setenv("PROMTOOL_PATH", str(tmp_path / "absent"))
        with pytest.raises(PartsMissing, match="absent does not run: No such file"):
            find_prometheus(tmp_path / "cache")

    def test_one_that_is_too_old_is_not_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable in parts.VARIABLES:
            monkeypatch.setenv(variable, str(program(tmp_path / variable, "prometheus, version 2.31.2 (branch: HEAD)")))
        with pytest.raises(PartsMissing, match=r"version 2\.31\.2, and 2\.42 or newer is needed"):
            find_prometheus(tmp_path / "cache")

    def test_where_nothing_helps_it_says_what_was_tried_and_what_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for variable in parts.VARIABLES:
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("deploy.local.parts.ARCHITECTURES", {})
        with pytest.raises(PartsMissing) as failure:
            find_prometheus(tmp_path / "cache")
        for words in ("no prometheus and no promtool on PATH", "no apt-get", "no release is pinned", "PROMTOOL_PATH"):
            assert words in str(failure.value)

    def test_the_package_is_unpacked_into_the_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable in parts.VARIABLES:
            monkeypatch.delenv(variable, raising=False)
        content = tmp_path / "package" / "usr" / "bin"
        content.mkdir(parents=True)
        for name in parts.PROGRAMS:
            program(content / name, f"{name}, version 2.45.3+ds (branch: debian/sid)")
        tools = tmp_path / "tools"
        tools.mkdir()
        log = tmp_path / "apt.log"
        script(tools / "apt-get", f'echo "$@" >> {log}; case "$*" in *download*) touch prometheus_1.deb;; esac')
        script(tools / "dpkg-deb", f'cp -r {tmp_path}/package/. "$3"')
        for name in ("sh", "cp", "touch"):
            (tools / name).symlink_to(f"/bin/{name}")
        monkeypatch.setenv("PATH", str(tools))
        cache = tmp_path / "cache"
        first, second = find_prometheus(cache), find_prometheus(cache)
        assert first == second
        assert first.version == "2.45.3"
        assert first.promtool.is_relative_to(cache)
        assert len(log.read_text().splitlines()) == 2  # one update, one download: the second time it is there

    def test_the_release_is_unpacked_into_the_cache(
        self, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive = release(tmp_path)
        monkeypatch.setattr("deploy.local.parts.RELEASE_URL", f"{served}/{archive.name}")
        hashes = dict.fromkeys(parts.RELEASE_SHA256, hashlib.sha256(archive.read_bytes()).hexdigest())
        monkeypatch.setattr("deploy.local.parts.RELEASE_SHA256", hashes)
        cache = tmp_path / "cache"
        first = fetch_prometheus("release", cache)
        archive.unlink()
        assert fetch_prometheus("release", cache) == first  # the second time it is there
        assert first.version == parts.RELEASE
        assert first.promtool.is_relative_to(cache)

    @pytest.mark.parametrize(
        ("source", "says"), [("package", "no apt-get and no dpkg-deb here"), ("release", "no release is pinned")]
    )
    def test_where_one_way_is_asked_for_no_other_is_taken(
        self, source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in parts.PROGRAMS:
            program(tmp_path / name, f"{name}, version 3.0.0 (branch: HEAD)")
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("deploy.local.parts.ARCHITECTURES", {})
        with pytest.raises(PartsMissing, match=says):
            fetch_prometheus(source, tmp_path / "cache")

    def test_a_download_is_kept_only_if_its_hash_is_right(self, served: str, tmp_path: Path) -> None:
        content = b"a release"
        (tmp_path / "release").write_bytes(content)
        download(f"{served}/release", hashlib.sha256(content).hexdigest(), tmp_path / "good")
        assert (tmp_path / "good").read_bytes() == content
        with pytest.raises(Exception, match="is not the file that is pinned: SHA-256"):
            download(f"{served}/release", "0" * 64, tmp_path / "bad")
        assert not (tmp_path / "bad").exists()

    def test_a_download_that_is_not_there_is_told(self, served: str, tmp_path: Path) -> None:
        with pytest.raises(Exception, match=r"could not download .*404"):
            download(f"{served}/absent", "0" * 64, tmp_path / "absent-target")


class TestCache:
    def test_a_folder_that_could_not_be_filled_is_not_there(self, tmp_path: Path) -> None:
        def fail(folder: Path) -> None:
            (folder / "half").write_text("")
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            fill_once(tmp_path / "part", fail)
        assert [entry.name for entry in tmp_path.iterdir()] == [".part.lock"]

    def test_the_folder_follows_the_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        monkeypatch.delenv("RULECAST_CACHE", raising=False)
        assert cache_dir() == Path("/somewhere/rulecast")
        monkeypatch.setenv("RULECAST_CACHE", "/else")
        assert cache_dir() == Path("/else")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL under which the test's folder is served."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def program(path: Path, says: str) -> Path:
    """A program that only tells its version."""
    return script(path, f"echo '{says}'")


def mode(path: str) -> str | None:
    """As `ls -l` writes it; None if there is no such file."""
    return stat.filemode(Path(path).stat().st_mode) if Path(path).exists() else None


def none_running(pids: list[int]) -> bool:
    return not any(map(is_running, pids))


async def first_line_then_kill(program: str, folder: Path) -> str:
    """Runs a Python program with the folder as its argument, kills it when it wrote a line, and gives that line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(folder)), cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = await process.stdout.readline()
    process.kill()
    await process.communicate()
    return line.decode().strip()


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def fetch(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def rule_groups(server: PrometheusServer) -> list[str]:
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/api/v1/rules") as answer:
        return [group["name"] for group in (await answer.json())["data"]["groups"]]


def release(folder: Path) -> Path:
    """An archive like that of the pinned release, for every architecture, whose programs only tell their version."""
    archive = folder / "release.tar.gz"
    with tarfile.open(archive, "w:gz") as content:
        for name in parts.PROGRAMS:
            path = program(folder / name, f"{name}, version {parts.RELEASE} (branch: HEAD)")
            for architecture in parts.RELEASE_SHA256:
                content.add(path, f"prometheus-{parts.RELEASE}.linux-{architecture}/{name}")
    return archive
