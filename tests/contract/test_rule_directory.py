"""What the pipeline is promised of its rule directory and journal: by the fake, and by the real ones on a disk."""

import errno
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from deployer_service.adapters.disk import Disk, DiskThread, disk_error
from deployer_service.adapters.journal import FileJournal
from deployer_service.adapters.rule_directory import NOT_A_FILE, LocalRuleDirectory
from deployer_service.pipeline.ports import Journal, RuleDirectory, Step
from deployer_service.state import FileVersion, Record
from rulecast.digest import file_sha256
from rulecast.errors import FailedPrecondition, Unavailable
from rulecast.reasons import Reason
from tests.support.pipeline_fakes import FakeDirectory, FakeJournal

A, B = "group-a.yml", "group-b.yml"
ONE, TWO = b"groups: # one\n", b"groups: # two\n"
SHA1, SHA2 = file_sha256(ONE), file_sha256(TWO)


class Bench:
    """A directory, its journal, and the hands of somebody else."""

    directory: RuleDirectory
    journal: Journal

    def write(self, name: str, content: bytes) -> None:
        raise NotImplementedError

    def remove(self, name: str) -> None:
        raise NotImplementedError

    def files(self) -> Mapping[str, bytes]:
        raise NotImplementedError


class FakeBench(Bench):
    def __init__(self, path: Path) -> None:
        self.directory = self.fake = FakeDirectory(path)
        self.journal = FakeJournal()

    def write(self, name: str, content: bytes) -> None:
        path = self.fake.path / name
        if path.parent == self.fake.path:
            self.fake.files[name] = content
            if not name.startswith(("group-", "global.")):
                self.fake.foreign[path] = content

    def remove(self, name: str) -> None:
        del self.fake.files[name]

    def files(self) -> Mapping[str, bytes]:
        return self.fake.files


class LocalBench(Bench):
    def __init__(self, path: Path, thread: DiskThread) -> None:
        self.path = path
        self.directory = LocalRuleDirectory(path, thread, Disk())
        self.journal = FileJournal(path, thread, Disk())

    def write(self, name: str, content: bytes) -> None:
        (self.path / name).write_bytes(content)

    def remove(self, name: str) -> None:
        (self.path / name).unlink()

    def files(self) -> Mapping[str, bytes]:
        return {path.name: path.read_bytes() for path in self.path.iterdir() if path.is_file()}


@pytest.fixture
async def thread() -> AsyncIterator[DiskThread]:
    thread = DiskThread()
    yield thread
    thread.close()


@pytest.fixture(params=["fake", "local"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path, thread: DiskThread) -> AsyncIterator[Bench]:
    path = tmp_path / "rules"
    bench = FakeBench(path) if request.param == "fake" else LocalBench(path, thread)
    await bench.directory.open()
    yield bench
    await bench.directory.close()


class TestDirectory:
    async def test_a_new_directory_is_empty(self, bench: Bench) -> None:
        assert await bench.directory.scan() == {}

    async def test_opening_again_changes_nothing(self, bench: Bench) -> None:
        bench.write(A, ONE)
        await bench.directory.open()
        assert await bench.directory.scan() == {A: SHA1}

    async def test_only_files_of_ours_are_seen(self, bench: Bench) -> None:
        for name in (A, "alerts.yml", "group-a.yml.bak", ".group-a.yml", "group-A.yml"):
            bench.write(name, ONE)
        assert await bench.directory.scan() == {A: SHA1}

    async def test_an_edit_is_seen_at_once(self, bench: Bench) -> None:
        bench.write(A, ONE)
        assert await bench.directory.scan() == {A: SHA1}
        bench.write(A, TWO)
        assert await bench.directory.scan() == {A: SHA2}
        bench.remove(A)
        assert await bench.directory.scan() == {}

    async def test_stored_contents_come_back(self, bench: Bench) -> None:
        await bench.directory.store({SHA1: ONE})
        await bench.directory.store({SHA1: ONE, SHA2: TWO})
        assert await bench.directory.content(SHA1) == ONE
        assert await bench.directory.content(SHA2) == TWO
        assert await bench.directory.content(file_sha256(b"other")) is None
        assert await bench.directory.scan() == {}

    async def test_moving(self, bench: Bench) -> None:
        await bench.directory.store({SHA1: ONE, SHA2: TWO})
        await bench.directory.move([Step(A, SHA1), Step(B, SHA1)])
        assert bench.files() == {A: ONE, B: ONE}
        await bench.directory.move([Step(A, SHA2), Step(B, None)])
        assert bench.files() == {A: TWO}
        await bench.directory.move([Step(B, None)])
        assert bench.files() == {A: TWO}

    async def test_moving_what_is_not_stored_moves_nothing(self, bench: Bench) -> None:
        await bench.directory.store({SHA1: ONE})
        with pytest.raises(Unavailable) as caught:
            await bench.directory.move([Step(A, SHA1), Step(B, SHA2)])
        assert caught.value.reason is Reason.WRITE_FAILED
        assert bench.files() == {}

    async def test_adopted_files_can_be_put_back(self, bench: Bench) -> None:
        bench.write(A, ONE)
        assert await bench.directory.adopt([A, B]) == {A: SHA1}
        bench.remove(A)
        await bench.directory.move([Step(A, SHA1)])
        assert bench.files() == {A: ONE}

    async def test_a_copy_set_aside_leaves_the_file_where_it_is(self, bench: Bench) -> None:
        bench.write(A, ONE)
        copy = await bench.directory.set_aside(A)
        assert copy is not None
        assert copy.suffix not in (".yml", ".yaml")
        assert bench.files() == {A: ONE}
        assert await bench.directory.set_aside(B) is None

    async def test_pruning_keeps_what_is_asked_for(self, bench: Bench) -> None:
        await bench.directory.store({SHA1: ONE, SHA2: TWO})
        await bench.directory.prune(frozenset((SHA2,)))
        assert await bench.directory.content(SHA1) is None
        assert await bench.directory.content(SHA2) == TWO

    async def test_sizes(self, bench: Bench) -> None:
        bench.write(A, ONE)
        found = await bench.directory.stat([A, B])
        assert found.keys() == {A}
        assert found[A].size_bytes == len(ONE)
        assert found[A].modified_at.tzinfo is not None

    async def test_foreign_files_are_those_that_are_matched_and_not_ours(self, bench: Bench) -> None:
        bench.write(A, ONE)
        bench.write("alerts.yml", ONE)
        assert await bench.directory.foreign_files([f"{bench.directory.path}/*.yml"]) == (
            bench.directory.path / "alerts.yml",
        )


class TestJournal:
    async def test_a_new_one_has_no_record(self, bench: Bench) -> None:
        assert await bench.journal.load() is None
        assert await bench.journal.unfinished() is None
        assert await bench.journal.generations() == ()

    async def test_a_saved_record_is_there(self, bench: Bench) -> None:
        await bench.journal.save(Record(revision=3))
        assert await bench.journal.load() == Record(revision=3)

    async def test_what_is_begun_is_not_yet_the_record(self, bench: Bench) -> None:
        await bench.journal.save(Record(generation=1))
        await bench.journal.begin(Record(generation=2))
        assert await bench.journal.load() == Record(generation=1)
        assert await bench.journal.unfinished() == Record(generation=2)
        await bench.journal.finish()
        assert await bench.journal.load() == Record(generation=2)
        assert await bench.journal.unfinished() is None

    async def test_the_last_five_generations_are_kept(self, bench: Bench) -> None:
        for number in range(8):
            await bench.journal.begin(Record(generation=number, files={A: FileVersion(SHA1, number)}))
            await bench.journal.finish()
        kept = await bench.journal.generations()
        assert [(generation.number, generation.files[A].revision) for generation in kept] == [
            (number, number) for number in range(3, 8)
        ]


@pytest.fixture
async def local(tmp_path: Path, thread: DiskThread) -> AsyncIterator[LocalBench]:
    bench = LocalBench(tmp_path / "deep" / "rules", thread)
    await bench.directory.open()
    yield bench
    await bench.directory.close()


class TestOnDisk:
    async def test_the_directory_is_made(self, local: LocalBench) -> None:
        assert stat.S_IMODE(local.path.stat().st_mode) & 0o755 == 0o755

    async def test_files_can_be_read_by_all_whatever_the_umask(self, local: LocalBench) -> None:
        before = os.umask(0o077)
        try:
            await local.directory.store({SHA1: ONE})
            await local.directory.move([Step(A, SHA1)])
        finally:
            os.umask(before)
        assert stat.S_IMODE((local.path / A).stat().st_mode) == 0o644

    async def test_files_get_the_owner_of_the_directory(self, local: LocalBench) -> None:
        if os.geteuid() == 0:  # nobody else can give files away
            os.chown(local.path, 12345, 23456)
        wanted = local.path.stat()
        await local.directory.store({SHA1: ONE})
        await local.directory.move([Step(A, SHA1)])
        now = (local.path / A).stat()
        assert (now.st_uid, now.st_gid) == (wanted.st_uid, wanted.st_gid)

    async def test_nothing_else_matches_a_glob(self, local: LocalBench) -> None:
        await local.directory.store({SHA1: ONE})
        await local.directory.move([Step(A, SHA1)])
        await local.directory.set_aside(A)
        await local.journal.begin(Record(generation=1))
        await local.journal.finish()
        found = [path for path in local.path.rglob("*") if path.suffix in (".yml", ".yaml")]
        assert found == [local.path / A]

    async def test_left_overs_are_removed(self, local: LocalBench) -> None:
        leftover = local.path / ".rulecast" / "staging" / "7"
        leftover.write_bytes(b"torn")
        await local.directory.open()
        assert not leftover.exists()

    async def test_a_second_deployer_is_refused_with_the_pid_of_the_first(self, local: LocalBench) -> None:
        thread = DiskThread()
        second = LocalRuleDirectory(local.path, thread, Disk())
        try:
            with pytest.raises(FailedPrecondition, match=f"process {os.getpid()}") as caught:
                await second.open()
            assert caught.value.reason is Reason.DUPLICATE_DEPLOYER
            await local.directory.close()
            await second.open()
            await second.close()
        finally:
            thread.close()

    async def test_a_directory_that_was_removed_is_made_and_locked_again(self, local: LocalBench) -> None:
        os.rename(local.path, local.path.with_name("away"))
        await local.directory.open()
        assert await local.directory.scan() == {}
        thread = DiskThread()
        try:
            with pytest.raises(FailedPrecondition):
                await LocalRuleDirectory(local.path, thread, Disk()).open()
        finally:
            thread.close()

    async def test_damaged_content_is_no_content(self, local: LocalBench) -> None:
        await local.directory.store({SHA1: ONE})
        local.directory.stored_path(SHA1).write_bytes(TWO)
        assert await local.directory.content(SHA1) is None
        await local.directory.store({SHA1: ONE})
        assert await local.directory.content(SHA1) == ONE

    async def test_an_edit_in_place_does_not_reach_the_stored_content(self, local: LocalBench) -> None:
        await local.directory.store({SHA1: ONE})
        await local.directory.move([Step(A, SHA1)])
        with (local.path / A).open("r+b") as file:
            file.write(TWO)
        assert await local.directory.content(SHA1) == ONE

    async def test_an_edit_that_keeps_size_and_times_is_seen(self, local: LocalBench) -> None:
        path = local.path / A
        path.write_bytes(ONE)
        old = time.time() - 100
        os.utime(path, (old, old))
        assert await local.directory.scan() == {A: SHA1}
        path.write_bytes(TWO)
        os.utime(path, (old, old))
        assert await local.directory.scan() == {A: SHA2}

    @pytest.mark.parametrize("kind", ["symlink", "dangling", "pipe", "directory"])
    async def test_what_is_no_regular_file_is_never_what_we_wrote(self, local: LocalBench, kind: str) -> None:
        path = local.path / A
        make: dict[str, Callable[[], object]] = {
            "symlink": lambda: path.symlink_to("/etc/hostname"),
            "dangling": lambda: path.symlink_to("/nowhere"),
            "pipe": lambda: os.mkfifo(path),
            "directory": path.mkdir,
        }
        make[kind]()
        assert await local.directory.scan() == {A: NOT_A_FILE}
        assert await local.directory.set_aside(A) is None
        assert await local.directory.adopt([A]) == {}

    async def test_a_symlink_is_replaced_and_not_followed(self, local: LocalBench, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_bytes(b"precious")
        (local.path / A).symlink_to(victim)
        await local.directory.store({SHA1: ONE})
        await local.directory.move([Step(A, SHA1)])
        assert victim.read_bytes() == b"precious"
        assert not (local.path / A).is_symlink()

    async def test_only_the_newest_copies_are_kept_aside(self, local: LocalBench) -> None:
        local.write(A, ONE)
        copies = [await local.directory.set_aside(A) for _ in range(25)]
        assert sorted((local.path / ".rulecast" / "set-aside").iterdir()) == sorted(
            copy for copy in copies[-20:] if copy
        )

    async def test_an_unreadable_record_is_set_aside(self, local: LocalBench) -> None:
        await local.journal.save(Record(revision=3))
        path = local.path / ".rulecast" / "record.json"
        path.write_bytes(path.read_bytes()[:10])
        assert await local.journal.load() is None
        assert await local.journal.load() is None
        assert path.with_name("record.json.unreadable").exists()
        await local.journal.save(replace(Record(), revision=4))
        assert await local.journal.load() == Record(revision=4)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, Reason.DISK_FULL),
        (errno.EDQUOT, Reason.QUOTA_EXCEEDED),
        (errno.EFBIG, Reason.FILE_SIZE_LIMITED),
        (errno.EROFS, Reason.READ_ONLY),
        (errno.EACCES, Reason.PERMISSION_DENIED),
        (errno.EPERM, Reason.PERMISSION_DENIED),
        (errno.ENOENT, Reason.DIRECTORY_MISSING),
        (errno.ENOTDIR, Reason.DIRECTORY_MISSING),
        (errno.EIO, Reason.WRITE_FAILED),
    ],
)
def test_each_fault_of_a_disk_has_its_reason_and_path(number: int, reason: Reason) -> None:
    error = disk_error(OSError(number, os.strerror(number)), Path("/rules/global.yml"))
    assert error.reason is reason
    assert str(error).startswith("/rules/global.yml: ")


async def test_a_path_that_can_not_be_a_directory(tmp_path: Path, thread: DiskThread) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable) as caught:
        await LocalRuleDirectory(tmp_path / "file" / "rules", thread, Disk()).open()
    assert caught.value.reason is Reason.DIRECTORY_MISSING
    assert str(tmp_path / "file" / "rules") in str(caught.value)
