"""A rule directory that is full, read-only, not ours, gone, edited by hand, or claimed by two."""

import asyncio
import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from deploy.local.prometheus import PrometheusServer
from deployer_service.adapters.disk import Disk, naming
from deployer_service.pipeline.contents import rules_in
from deployer_service.state import Active, Deferred, FileReport
from rulecast.errors import FailedPrecondition, RulecastError
from rulecast.reasons import Reason
from tests.support.closed import fill, read_only, small_disk
from tests.support.deployer_parts import Deployer, deployer
from tests.support.prometheus import parts_of, running_prometheus
from tests.support.rule_files import BROKEN, batch, rule_file
from tests.support.waiting import wait_for

A, B = "group-a.yml", "group-b.yml"
A1, A2 = rule_file("a", version=1), rule_file("a", version=2)


class FailingDisk(Disk):
    """Writes fail with `error`, an errno, while it is set; at each one the file is left half written."""

    def __init__(self) -> None:
        self.error: int | None = None

    def write(self, path: Path, content: bytes, owner: tuple[int, int] | None = None) -> None:
        if self.error is not None:
            with naming(path):
                path.write_bytes(content[: len(content) // 2])
                raise OSError(self.error, os.strerror(self.error))
        super().write(path, content, owner)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[PrometheusServer]:
    async with running_prometheus(parts_of("found"), tmp_path, rules=tmp_path / "rules", interval="1m") as server:
        yield server


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules"
    path.mkdir()
    return path


def reasons(reports: Mapping[str, FileReport]) -> set[Reason | None]:
    """Why files are deferred; None for one that is not."""
    outcomes = [report.outcome for report in reports.values()]
    return {outcome.why.reason if isinstance(outcome, Deferred) else None for outcome in outcomes}


@asynccontextmanager
async def living(
    rules: Path, server: PrometheusServer, disk: Disk | None = None, *, ordinary: bool = False
) -> AsyncIterator[Deployer]:
    """A deployer that has recovered, and whose pipeline runs."""
    async with deployer(rules, server.url, server.parts.promtool, disk=disk, ordinary=ordinary) as here:
        await here.pipeline.recover()
        running = asyncio.ensure_future(here.pipeline.run())
        try:
            yield here
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def becomes(here: Deployer, files: dict[str, bytes]) -> None:
    """Waits until disk, Prometheus and the record all say these files."""

    async def so() -> bool:
        wanted = {name: rules_in(content) for name, content in files.items()}
        return (
            here.on_disk() == files
            and (await here.prometheus.loaded()).rules == wanted
            and not here.pipeline.state().record.troubles
        )

    await wait_for(so, 30.0)


async def test_a_full_disk(rules: Path, server: PrometheusServer) -> None:
    with small_disk(rules) as mounted:
        if mounted:
            await fill_and_make_room(rules, server)
        else:
            await say_it_is_full(rules, server)


async def say_it_is_full(rules: Path, server: PrometheusServer) -> None:
    disk = FailingDisk()
    async with living(rules, server, disk) as here:
        await here.pipeline.apply(batch({A: A1}))
        disk.error = errno.ENOSPC
        assert reasons((await here.pipeline.apply(batch({A: A2}))).outcomes) == {Reason.DISK_FULL}
        assert here.on_disk() == {A: A1}
        disk.error = None
        await becomes(here, {A: A2})


async def fill_and_make_room(rules: Path, server: PrometheusServer) -> None:
    async with living(rules, server) as here:
        await here.pipeline.apply(batch({A: A1}))
        ballast = fill(rules, room=8 * 4096)  # for a part of the batch
        new = {f"group-{number}.yml": rule_file(*(f"r{number}-{i}" for i in range(50))) for number in range(20)}
        result = await here.pipeline.apply(batch({**new, A: A2}))
        assert reasons(result.outcomes) == {Reason.DISK_FULL}
        assert all(str(rules) in str(report.outcome) for report in result.outcomes.values())
        assert here.on_disk() == {A: A1}
        assert (await here.prometheus.loaded()).rules == {A: rules_in(A1)}
        ballast.unlink()
        await becomes(here, {**new, A: A2})


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, Reason.DISK_FULL),
        (errno.EDQUOT, Reason.QUOTA_EXCEEDED),
        (errno.EFBIG, Reason.FILE_SIZE_LIMITED),
        (errno.EROFS, Reason.READ_ONLY),
        (errno.EACCES, Reason.PERMISSION_DENIED),
        (errno.EIO, Reason.WRITE_FAILED),
    ],
)
async def test_each_fault_of_a_write(rules: Path, server: PrometheusServer, number: int, reason: Reason) -> None:
    disk = FailingDisk()
    async with living(rules, server, disk) as here:
        await here.pipeline.apply(batch({A: A1}))
        disk.error = number
        assert reasons((await here.pipeline.apply(batch({A: A2, B: A1}))).outcomes) == {reason}
        assert here.on_disk() == {A: A1}
        disk.error = None
        await becomes(here, {A: A2, B: A1})


async def test_a_limit_on_the_size_of_files(rules: Path, server: PrometheusServer) -> None:
    """As `ulimit -f` and LimitFSIZE set it: the write goes up to the limit, and then fails."""
    long = rule_file("a", expr="up == 0 or " + "up == 1 or " * 200_000 + "up == 2")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with living(rules, server) as here:
        await here.pipeline.apply(batch({A: A1}))
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(long) // 2, hard))
        try:
            result = await here.pipeline.apply(batch({A: long}))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert reasons(result.outcomes) == {Reason.FILE_SIZE_LIMITED}
        assert "ulimit -f" in str(result.outcomes[A].outcome)
        assert here.on_disk() == {A: A1}


async def test_a_read_only_directory(rules: Path, server: PrometheusServer) -> None:
    async with living(rules, server, ordinary=True) as here:
        await here.pipeline.apply(batch({A: A1}))
        with read_only(rules) as reason:
            # what is open stays writable: the next one finds it closed
            assert reasons((await here.pipeline.apply(batch({A: A2}))).outcomes) == {reason}
            assert here.on_disk() == {A: A1}
        await becomes(here, {A: A2})


async def test_a_start_on_a_read_only_directory(rules: Path, server: PrometheusServer) -> None:
    async with deployer(rules, server.url, server.parts.promtool, ordinary=True) as here:
        with read_only(rules) as reason:
            with pytest.raises(RulecastError) as caught:
                await here.pipeline.recover()
            assert caught.value.reason is reason
            assert str(rules) in str(caught.value)
        await here.pipeline.recover()


async def test_a_directory_that_vanishes_is_made_anew_and_the_files_are_asked_for(
    rules: Path, server: PrometheusServer
) -> None:
    async with living(rules, server) as here:
        await here.pipeline.apply(batch({A: A1, B: A1}))
        shutil.rmtree(rules)
        await wait_for(lambda: here.pipeline.state().manifest == {})
        assert reasons(here.pipeline.state().record.troubles) == {Reason.DRIFT}
        await here.pipeline.apply(batch({A: A1, B: A1}))
        await becomes(here, {A: A1, B: A1})


@pytest.mark.parametrize("damage", ["edited", "truncated", "deleted", "broken", "replaced by a link", "added"])
async def test_what_is_done_by_hand_is_undone(rules: Path, server: PrometheusServer, damage: str) -> None:
    async with living(rules, server) as here:
        await here.pipeline.apply(batch({A: A1, B: A1}))
        target = rules / A
        match damage:
            case "edited":
                target.write_bytes(A2)
            case "truncated":
                os.truncate(target, 20)
            case "deleted":
                target.unlink()
            case "broken":
                target.write_bytes(BROKEN)
            case "replaced by a link":
                target.unlink()
                target.symlink_to("/etc/hostname")
            case "added":
                (rules / "group-c.yml").write_bytes(A2)
        await becomes(here, {A: A1, B: A1})


async def test_an_edit_that_prometheus_loaded_is_undone_there_too(rules: Path, server: PrometheusServer) -> None:
    async with deployer(rules, server.url, server.parts.promtool) as here:
        await here.pipeline.recover()
        await here.pipeline.apply(batch({A: A1}))
        (rules / A).write_bytes(A2)
        await here.prometheus.reload(30.0)
        assert (await here.prometheus.loaded()).rules == {A: rules_in(A2)}
        result = await here.pipeline.check_drift()
        assert [report.outcome for report in result.reports] == [Active()]
        await becomes(here, {A: A1})


async def test_a_lost_and_a_torn_record(rules: Path, server: PrometheusServer) -> None:
    record = rules / ".rulecast" / "record.json"
    for damage in (
        record.unlink,
        lambda: record.write_bytes(record.read_bytes()[:50]),
        lambda: record.write_text("[]"),
    ):
        async with deployer(rules, server.url, server.parts.promtool) as here:
            await here.pipeline.recover()
            await here.pipeline.apply(batch({A: A1, B: A2}))
        damage()
        async with deployer(rules, server.url, server.parts.promtool) as here:
            await here.pipeline.recover()
            assert here.pipeline.state().manifest.keys() == {A, B}
            await becomes(here, {A: A1, B: A2})


@contextmanager
def other_deployer(rules: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the directory as a deployer does."""
    lock = (
        "import fcntl, os, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX); "
        "print(os.getpid(), file=lock, flush=True); print(flush=True); sys.stdin.read()"
    )
    work = rules / ".rulecast"
    work.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", lock, work / "lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield other


async def test_a_second_deployer_in_another_process_is_refused(rules: Path, server: PrometheusServer) -> None:
    with other_deployer(rules) as other:
        async with deployer(rules, server.url, server.parts.promtool) as here:
            with pytest.raises(FailedPrecondition, match=f"process {other.pid}") as caught:
                await here.pipeline.recover()
            assert caught.value.reason is Reason.DUPLICATE_DEPLOYER
            result = await here.pipeline.apply(batch({A: A1}))
            assert reasons(result.outcomes) == {Reason.DUPLICATE_DEPLOYER}
            assert here.on_disk() == {}
            other.kill()
            other.wait()
            await here.pipeline.recover()
            await here.pipeline.apply(batch({A: A1}))
            await becomes(here, {A: A1})
