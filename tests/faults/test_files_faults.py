"""The rule directory changed by others, gone, closed or full, seen from outside."""

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from deploy.local.parts import PrometheusParts
from rulecast.reasons import Reason
from rulecast.v1 import common_pb2
from tests.support.closed import ROOT, fill, no_right_to_write, read_only, small_disk
from tests.support.solo import Solo, solo, told
from tests.support.system import RPC, cpu_rule, global_scope, group_scope
from tests.support.waiting import wait_for

ORDINARY = ("tests.support.ordinary",)


async def settles(here: Solo, thresholds: dict[str, float]) -> None:
    """Waits until the disk is as it should be, Prometheus runs that, and both services say that nothing is wrong."""
    files = await here.contents()

    async def so() -> bool:
        if here.deployer.files() != files or await here.thresholds() != thresholds:
            return False
        listed = await here.as_listed()
        return listed.state == common_pb2.Rollout.ACTIVE and not (listed.files or (await here.status()).files)

    await wait_for(so, RPC, every=0.1)


async def test_edited_truncated_deleted_linked_and_added_by_hand(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    # long enough for what was found to be told before the next look
    settings = {"DEPLOYER_DRIFT_INTERVAL": "3s"}
    groups = ("edited", "truncated", "deleted", "linked")
    async with solo(tmp_path, database, prometheus_parts, deployer_settings=settings) as here:
        await here.make_groups(*groups)
        thresholds = {"everywhere": 90.0, **dict.fromkeys(groups, 80.0)}
        for id, threshold in thresholds.items():
            scope = global_scope() if id == "everywhere" else group_scope(id)
            await here.create(cpu_rule(id, scope, threshold))
        files = {name: here.rules / f"group-{name}.yml" for name in (*groups, "added")}

        files["edited"].write_bytes(files["edited"].read_bytes().replace(b"> 80", b"> 8"))
        os.truncate(files["truncated"], 30)
        files["deleted"].unlink()
        files["linked"].unlink()
        files["linked"].symlink_to("/etc/hostname")
        files["added"].write_text("groups: []\n")
        await wait_for(lambda: _are_listed_as_drifted(here, {f"group-{name}.yml" for name in files}), RPC)
        await settles(here, thresholds)
        kept = [copy.read_bytes() for copy in (here.rules / ".rulecast" / "set-aside").iterdir()]
        assert b"groups: []\n" in kept
        assert any(b"> 8\n" in copy for copy in kept)


async def test_what_prometheus_loaded_of_an_edit_by_hand_is_undone_there(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    """The annotation that a rule is known by stays as it was in such an edit."""
    async with solo(tmp_path, database, prometheus_parts, deployer_settings={"DEPLOYER_DRIFT_INTERVAL": "1s"}) as here:
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        file = here.rules / "global.yml"
        # so that the deployer does not look before Prometheus has loaded it
        await here.deployer.child.stop()
        file.write_bytes(file.read_bytes().replace(b"> 90", b"> 9"))
        await _reload(here)
        assert await here.thresholds() == {"everywhere": 9}
        await here.deployer.start()
        await settles(here, {"everywhere": 90})
        # the same, but put back before the deployer looks: only Prometheus tells
        await here.deployer.child.stop()
        as_it_was = file.read_bytes()
        file.write_bytes(as_it_was.replace(b"> 90", b"> 9"))
        await _reload(here)
        file.write_bytes(as_it_was)
        assert await here.thresholds() == {"everywhere": 9}
        await here.deployer.start()
        await settles(here, {"everywhere": 90})
        for path in here.rules.glob("*.yml"):
            path.unlink()
        await _reload(here)
        await settles(here, {"everywhere": 90})


async def test_files_of_others_are_never_touched(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    settings = {"DEPLOYER_DRIFT_INTERVAL": "1s"}
    async with solo(tmp_path, database, prometheus_parts, deployer_settings=settings) as here:
        await here.make_groups("prod")
        theirs = {
            here.rules / name: text
            for name, text in {
                "theirs.yml": "groups:\n- {name: theirs, rules: [{alert: Theirs, expr: absent(nothing)}]}\n",
                "group-UPPER.yml": "groups: []\n",
                "group-prod.yml.bak": "left by an editor\n",
                "group-prod.yaml": "groups: []\n",
                "notes.txt": "do not touch\n",
                ".hidden.yml": "groups: []\n",
                "sub/group-prod.yml": "groups: []\n",
            }.items()
        }
        (here.rules / "sub").mkdir()
        for path, text in theirs.items():
            path.write_text(text)
        before = {path: _identity(path) for path in theirs}
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        await here.create(cpu_rule("prod", group_scope("prod"), 80))
        await here.set_threshold("prod", 70)
        await here.disable("prod")
        seen = await here.status()
        # a look at the disk, too
        (here.rules / "global.yml").unlink()
        await wait_for((here.rules / "global.yml").exists, RPC)
        assert {path: path.read_text() for path in theirs} == theirs
        assert {path: _identity(path) for path in theirs} == before
        assert (seen.file_count, list(seen.files)) == (1, [])
        alerts = {
            rule["name"] for group in await here.deployer.api("/api/v1/rules", "groups") for rule in group["rules"]
        }
        assert alerts == {"Theirs", "HighCPU"}


async def test_the_directory_is_removed(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> None:
    settings = {"DEPLOYER_DRIFT_INTERVAL": "1s"}
    async with solo(tmp_path, database, prometheus_parts, deployer_settings=settings) as here:
        await here.make_groups("prod")
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        await here.create(cpu_rule("prod", group_scope("prod"), 80))
        shutil.rmtree(here.rules)
        await _reload(here)
        await settles(here, {"everywhere": 90, "prod": 80})
        # and once more, with an edit in the place of the look
        shutil.rmtree(here.rules)
        await here.set_threshold("prod", 70)
        await settles(here, {"everywhere": 90, "prod": 70})


@contextmanager
def wrong_owner(rules: Path) -> Iterator[Reason]:
    """The directory belongs to somebody else; nobody but root can do that, and for others it comes to the same."""
    if not ROOT:
        with no_right_to_write(rules) as reason:
            yield reason
        return
    nobody = 65534
    folders = [rules, *(path for path in rules.rglob("*") if path.is_dir())]
    for folder in folders:
        os.chown(folder, nobody, nobody)
    try:
        yield Reason.PERMISSION_DENIED
    finally:
        for folder in folders:
            os.chown(folder, os.geteuid(), os.getegid())


async def test_a_directory_that_can_not_be_written(
    tmp_path: Path, database: str, prometheus_parts: PrometheusParts
) -> None:
    async with solo(tmp_path, database, prometheus_parts, through=ORDINARY) as here:
        await here.create(cpu_rule("everywhere", global_scope(), 90))
        for threshold, closed in enumerate((read_only, no_right_to_write, wrong_owner)):
            before, running = here.deployer.files(), await here.thresholds()
            with closed(here.rules) as reason:
                rollout = await here.set_threshold("everywhere", threshold)
                assert told(rollout) == ("global.yml", "DEFERRED", reason)
                assert str(here.rules) in rollout.deployers[0].files[0].message
                assert here.deployer.files() == before
                assert await here.thresholds() == running
            await here.becomes_active(rollout.revision)
            await settles(here, {"everywhere": threshold})
            file, folder = (here.rules / "global.yml").stat(), here.rules.stat()
            assert (file.st_uid, file.st_gid, file.st_mode & 0o777) == (folder.st_uid, folder.st_gid, 0o644)

        # and found so at a start
        child = here.deployer.child
        await child.stop()
        with no_right_to_write(here.rules):
            child.start()
            await wait_for(lambda: Reason.PERMISSION_DENIED in child.output(), RPC)
            assert str(here.rules) in child.output()
        rollout = await here.set_threshold("everywhere", 80)
        await here.becomes_active(rollout.revision)
        await settles(here, {"everywhere": 80})


async def test_a_full_disk(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> None:
    """Where no disk can be filled, the deployer is not allowed files of this size: the write fails halfway too."""
    rules = tmp_path / "rules"
    rules.mkdir()
    with small_disk(rules) as mounted:
        async with solo(tmp_path, database, prometheus_parts, through=ORDINARY) as here:
            rule = cpu_rule("everywhere", global_scope(), 90)
            await here.create(rule)
            before = here.deployer.files()
            if mounted:
                fill(rules, room=4 * 4096)
                reason = Reason.DISK_FULL
            else:
                resource.prlimit(here.deployer.child.pid, resource.RLIMIT_FSIZE, (WRITABLE, resource.RLIM_INFINITY))
                reason = Reason.FILE_SIZE_LIMITED
            for number in range(LONG // 8_000):
                rule.config.annotations[f"long_{number}"] = "x" * 8_000
            rollout = await here.update(rule, "config.annotations")
            assert told(rollout) == ("global.yml", "DEFERRED", reason)
            assert str(here.rules) in rollout.deployers[0].files[0].message
            assert here.deployer.files() == before
            assert await here.thresholds() == {"everywhere": 90}

            if mounted:
                (here.rules / "ballast").unlink()
            else:
                unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                resource.prlimit(here.deployer.child.pid, resource.RLIMIT_FSIZE, unlimited)
            await here.becomes_active(rollout.revision)
            await settles(here, {"everywhere": 90})


WRITABLE = 60_000
"""Bytes that a file may have; the deployer's log has to stay below, a rule file of LONG bytes must not."""
LONG = 100_000


def _identity(path: Path) -> tuple[int, ...]:
    """Changes with whatever is done to a file."""
    now = path.stat()
    return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


async def _reload(here: Solo) -> None:
    """As somebody else does it."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=RPC)) as session,
        session.post(here.prometheus.url + "/-/reload") as answer,
    ):
        assert answer.status == 200


async def _are_listed_as_drifted(here: Solo, names: set[str]) -> bool:
    return set((await here.as_listed()).drifted_files) == names
