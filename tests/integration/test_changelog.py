"""Nothing that was committed is missed: not by a reader of the log, and not by who sleeps until something changes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import uuid4

import asyncpg
import pytest

from rule_service.changelog.prune import Pruner
from rule_service.changelog.reader import PostgresChangeLog
from rule_service.changelog.wake import Armed, Listener, Signal
from rule_service.domain.layout import RuleFile
from rule_service.domain.model import GlobalScope, GroupScope, NamespaceScope, Scope
from rule_service.store.deployers import PostgresDeployers
from rule_service.store.pool import Database
from rule_service.store.unit_of_work import PostgresStore
from rule_service.usecases.ports_delivery import FileChanges, FileVersion, HelloFacts, Position
from rulecast.digest import file_sha256
from tests.support.proxy import Proxy
from tests.support.store import open_database, publish
from tests.support.waiting import wait_for

SLOW_POLL = 600.0
WEEK = timedelta(days=7)
WRITERS, EDITS = 12, 15


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with open_database(database, max_size=WRITERS + 3) as pool:
        yield pool


@pytest.fixture
def store(pool: Database) -> PostgresStore:
    return PostgresStore(pool)


@pytest.fixture
def changes(pool: Database) -> PostgresChangeLog:
    return PostgresChangeLog(pool)


def file(group: str, content: bytes = b"x") -> tuple[Scope, RuleFile]:
    return GroupScope(group), RuleFile(f"group-{group}.yml", content, 1)


async def run(pool: Database, sql: str, *args: object) -> None:
    async with pool.session() as session:
        await session.run(sql, *args)


@contextlib.asynccontextmanager
async def listening(listener: Listener) -> AsyncIterator[Listener]:
    """Runs the listener, and waits until it hears."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(listener.run(), name="listener")
        await wait_for(lambda: listener.listening)
        yield listener
        running.cancel()


# the reader


async def test_the_manifest_is_all_files_at_the_newest_revision(
    store: PostgresStore, changes: PostgresChangeLog
) -> None:
    empty = await changes.manifest()
    assert (empty.position.revision, dict(empty.files)) == (0, {})
    await publish(store, file("a"), (GlobalScope(), RuleFile("global.yml", b"g", 1)))
    await publish(store, (NamespaceScope("env"), RuleFile("namespace-env.yml", b"n", 1)), deleted=("group-a.yml",))
    manifest = await changes.manifest()
    assert manifest.position.revision == 2
    assert manifest.files == {
        "global.yml": FileVersion(file_sha256(b"g"), 1, GlobalScope()),
        "namespace-env.yml": FileVersion(file_sha256(b"n"), 2, NamespaceScope("env")),
    }
    assert await changes.contents(["global.yml", "group-a.yml"]) == {"global.yml": b"g"}


async def test_changes_are_the_latest_of_each_file(store: PostgresStore, changes: PostgresChangeLog) -> None:
    await publish(store, file("a"), file("b"))
    start = (await changes.manifest()).position
    assert await changes.changes_after(start) == FileChanges(start, {})
    await publish(store, file("a", b"2"), file("c"))
    await publish(store, file("a", b"3"), deleted=("group-b.yml",))
    found = await changes.changes_after(start)
    assert found is not None
    assert found.position.revision == 3
    assert found.files == {
        "group-a.yml": FileVersion(file_sha256(b"3"), 3, GroupScope("a")),
        "group-b.yml": None,
        "group-c.yml": FileVersion(file_sha256(b"x"), 2, GroupScope("c")),
    }
    assert await changes.changes_after(found.position) == FileChanges(found.position, {})


async def test_a_restored_database_is_told_from_the_one_before(
    store: PostgresStore, changes: PostgresChangeLog, pool: Database
) -> None:
    await publish(store, file("a"))
    position = (await changes.manifest()).position
    await publish(store, file("b"))
    await run(pool, "UPDATE revision_counter SET history_id = gen_random_uuid()")
    assert await changes.changes_after(position) is None


async def test_a_revision_that_went_back_is_noticed(store: PostgresStore, changes: PostgresChangeLog) -> None:
    await publish(store, file("a"))
    position = (await changes.manifest()).position
    assert await changes.changes_after(replace(position, revision=5, commit_id=str(uuid4()))) is None
    assert await changes.changes_after(replace(position, commit_id=str(uuid4()))) is None


async def test_a_revision_number_that_was_used_twice_is_noticed(
    store: PostgresStore, changes: PostgresChangeLog, pool: Database
) -> None:
    """A failover lost revision 2, which was seen; other edits have taken the numbers 2 and 3 since."""
    await publish(store, file("a"))
    seen = replace((await changes.manifest()).position, revision=2, commit_id=str(uuid4()))
    await publish(store, file("b"))
    await publish(store, file("c"))
    assert await changes.changes_after(seen) is None


async def test_a_reader_misses_nothing_of_many_writers(store: PostgresStore, changes: PostgresChangeLog) -> None:
    committed: list[int] = []
    seen: dict[str, FileVersion] = {}
    read: list[int] = []
    position = (await changes.manifest()).position

    async def write(writer: int) -> None:
        for edit in range(EDITS):
            committed.append(await publish(store, file(f"w{writer}", b"%d" % edit), file(f"w{writer}-{edit}")))

    async def follow(position: Position) -> None:
        while position.revision < WRITERS * EDITS:
            found = await changes.changes_after(position)
            assert found is not None
            assert found.position.revision >= position.revision
            for name, version in found.files.items():
                assert version is not None
                assert position.revision < version.revision <= found.position.revision
                seen[name] = version
            position = found.position
            read.append(position.revision)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follow(position), name="reader")
        for writer in range(WRITERS):
            tasks.create_task(write(writer), name=f"writer {writer}")
    assert sorted(committed) == list(range(1, WRITERS * EDITS + 1))
    assert len(set(read)) > 1
    manifest = await changes.manifest()
    assert seen == manifest.files
    assert len(seen) == WRITERS * (EDITS + 1)


# pruning


async def test_old_history_goes_with_its_log_and_the_newest_stays(
    store: PostgresStore, changes: PostgresChangeLog, pool: Database
) -> None:
    positions = []
    for number in range(7):
        await publish(store, file(f"g{number}"))
        positions.append((await changes.manifest()).position)
    await run(pool, "UPDATE history SET at = at - interval '8 days' WHERE revision <= 5")
    assert await Pruner(pool, WEEK, WEEK, batch=2).prune() == 6  # the beginning too
    assert await store.changed_files(5) == ()
    assert len(await store.changed_files(6)) == 1
    # from before the cut only the whole manifest tells; after it the log does
    assert await changes.changes_after(positions[3]) is None
    assert await changes.changes_after(positions[4]) is None
    found = await changes.changes_after(positions[5])
    assert found is not None
    assert set(found.files) == {"group-g6.yml"}

    await run(pool, "UPDATE history SET at = at - interval '8 days'")
    assert await Pruner(pool, WEEK, WEEK, batch=2).prune() == 1
    assert len(await store.changed_files(7)) == 1
    assert await Pruner(pool, WEEK, WEEK).prune() == 0


async def test_a_clock_that_was_set_back_leaves_no_hole(store: PostgresStore, pool: Database) -> None:
    for number in range(4):
        await publish(store, file(f"g{number}"))
    await run(pool, "UPDATE history SET at = at - interval '8 days' WHERE revision IN (0, 1, 3)")
    assert await Pruner(pool, WEEK, WEEK).prune() == 2
    assert len(await store.changed_files(3)) == 1


async def test_one_replica_prunes_at_a_time(store: PostgresStore, pool: Database, database: str) -> None:
    for number in range(40):
        await publish(store, file(f"g{number}"))
    await run(pool, "UPDATE history SET at = at - interval '8 days'")
    async with asyncio.TaskGroup() as tasks:
        pruners = [
            tasks.create_task(Pruner(pool, WEEK, WEEK, batch=3).prune(), name=f"pruner {number}") for number in range(4)
        ]
    assert sum(pruner.result() for pruner in pruners) <= 40
    await Pruner(pool, WEEK, WEEK, batch=3).prune()
    async with pool.session() as session:
        assert await session.value("SELECT count(*) FROM history") == 1
        assert await session.value("SELECT count(*) FROM change_log") == 1


# waking


async def still_asleep(wakeup: Armed) -> bool:
    """Whether it has not been woken: a wait that is over is over at the first look."""
    waiting = asyncio.ensure_future(wakeup.wait(60))
    await asyncio.sleep(0)
    asleep = not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
    return asleep


async def test_a_signal_wakes_who_was_armed_before_it() -> None:
    signal = Signal()
    before = signal.armed()
    signal.set()
    after = signal.armed()
    async with asyncio.timeout(5):
        await before.wait(60)
        await after.wait(0.01)


async def test_a_revision_wakes_at_once(store: PostgresStore, database: str) -> None:
    async with listening(Listener(database, poll=SLOW_POLL)) as listener:
        revisions, anything = listener.revisions.armed(), listener.anything.armed()
        await publish(store, file("a"))
        async with asyncio.timeout(10):
            await revisions.wait(60)
            await anything.wait(60)


async def test_an_outcome_wakes_only_who_waits_for_anything(pool: Database, database: str) -> None:
    deployers = PostgresDeployers(pool)
    async with listening(Listener(database, poll=SLOW_POLL)) as listener:
        revisions = listener.revisions.armed()
        anything = listener.anything.armed()
        epoch = (await deployers.claim(HelloFacts("d", b"p"), "replica", 30)).epoch
        async with asyncio.timeout(10):
            await anything.wait(60)
            anything = listener.anything.armed()
            await deployers.record_outcomes("d", epoch, 0, b"", [])
            await anything.wait(60)
            anything = listener.anything.armed()
            await deployers.release("d", epoch)
            await anything.wait(60)
        assert await still_asleep(revisions)


async def test_a_dry_run_wakes_nobody(store: PostgresStore, pool: Database, database: str) -> None:
    async with listening(Listener(database, poll=SLOW_POLL)) as listener:
        dry = listener.revisions.armed()
        async with store.transaction(rollback=True) as transaction:
            await transaction.put_files([file("a")])
            await transaction.log("me", "x", (), ())
        # a notification that arrives after it was sent after it
        anything = listener.anything.armed()
        await run(pool, "SELECT pg_notify('rulecast_outcomes', '')")
        async with asyncio.timeout(10):
            await anything.wait(60)
        assert await still_asleep(dry)


async def silent_edit(pool: Database, name: str) -> None:
    """An edit whose notification is lost."""
    async with pool.transaction() as session:
        revision = await session.value(
            "UPDATE revision_counter SET revision = revision + 1, commit_id = gen_random_uuid() RETURNING revision"
        )
        await session.run("INSERT INTO history SELECT revision, commit_id, now(), 'me', 'x' FROM revision_counter")
        await session.run("INSERT INTO change_log VALUES ($1, $2, $3)", revision, name, file_sha256(b"x"))


async def test_a_reader_converges_without_any_notification(
    store: PostgresStore, changes: PostgresChangeLog, pool: Database, database: str
) -> None:
    await publish(store, file("a"))
    position = (await changes.manifest()).position
    seen: set[str] = set()
    wanted = {f"group-s{number}.yml" for number in range(5)}

    async def follow() -> None:
        nonlocal position
        while seen != wanted:
            wakeup = listener.revisions.armed()
            found = await changes.changes_after(position)
            assert found is not None
            seen.update(found.files)
            position = found.position
            await wakeup.wait(60)

    async with (
        listening(Listener(database, poll=0.05)) as listener,
        asyncio.timeout(20),
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(follow(), name="reader")
        for name in sorted(wanted):
            await silent_edit(pool, name)


async def listener_pids(admin: "asyncpg.Connection[asyncpg.Record]") -> set[int]:
    rows = await admin.fetch(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'rulecast listen' AND datname = current_database()"
    )
    return {row["pid"] for row in rows}


async def test_a_listener_that_is_cut_off_comes_back_and_wakes_for_what_it_missed(
    store: PostgresStore, database: str
) -> None:
    admin = await asyncpg.connect(database)
    try:
        async with listening(Listener(database, poll=SLOW_POLL)) as listener:
            (before,) = await listener_pids(admin)
            missed = listener.revisions.armed()
            await admin.execute("SELECT pg_terminate_backend($1, 5000)", before)
            async with asyncio.timeout(10):
                await missed.wait(60)
            (after,) = await wait_for(partial(listener_pids, admin))
            assert after != before
            await wait_for(lambda: listener.listening)
            wakeup = listener.revisions.armed()
            await publish(store, file("a"))
            async with asyncio.timeout(10):
                await wakeup.wait(60)
    finally:
        await admin.close()


async def test_a_connection_that_is_half_open_is_noticed_and_replaced(store: PostgresStore, database: str) -> None:
    async with Proxy.to(database) as proxy, listening(Listener(proxy.url, poll=0.1, probe_timeout=0.2)) as listener:
        proxy.freeze()
        await wait_for(lambda: not listener.listening)
        proxy.thaw()
        await wait_for(lambda: listener.listening)
        assert proxy.accepted >= 2


async def test_a_database_that_is_away_only_slows_the_waking_down(database: str) -> None:
    listener = Listener("postgresql://nobody@127.0.0.1:1/none", poll=0.05)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(listener.run(), name="listener")
        async with asyncio.timeout(10):
            await listener.revisions.armed().wait(60)
            await listener.anything.armed().wait(60)
        assert not listener.listening
        running.cancel()
