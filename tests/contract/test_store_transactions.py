"""One transaction does it all or nothing, and the revision is the commit lock."""

import asyncio
import socket
from collections.abc import AsyncIterator
from functools import partial

import asyncpg
import pytest
from structlog.testing import capture_logs

from rule_service.domain.model import GlobalScope, Group, GroupScope, Namespace
from rule_service.store import keepalive
from rule_service.store.pool import Database, connect, wait_for_database
from rule_service.store.unit_of_work import PostgresStore
from rule_service.usecases.ports_changes import LoggedChange, ResourceChange, Touched
from rulecast.errors import AlreadyExists, Conflict, Unavailable
from rulecast.reasons import Reason
from tests.support.proxy import Proxy
from tests.support.store import add, open_database, writing
from tests.support.waiting import wait_for
from tests.support.worlds import rule

LOCK_IS_WAITED_FOR = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with open_database(database) as pool:
        yield pool


@pytest.fixture
def store(pool: Database) -> PostgresStore:
    return PostgresStore(pool)


async def waiting_for_a_lock(pool: Database) -> int:
    async with pool.session() as session:
        return int(await session.value(LOCK_IS_WAITED_FOR))


async def test_an_error_undoes_everything(store: PostgresStore) -> None:
    before = await store.revision()

    async def edit() -> None:
        async with writing(store) as transaction:
            await transaction.insert_namespace(Namespace("env", "env"))
            await transaction.insert_rule(rule("namespace:env"))
            assert await transaction.rule("namespace-env") is not None
            await transaction.insert_namespace(Namespace("env", "again"))

    with pytest.raises(AlreadyExists):
        await edit()
    assert await store.namespace("env") is None
    assert await store.rule("namespace-env") is None
    assert await store.revision() == before


async def test_a_dry_run_sees_its_own_writes_and_leaves_none(store: PostgresStore) -> None:
    await add(store, Namespace("env", "env"))
    before = await store.revision()
    async with store.transaction(rollback=True) as transaction:
        assert await transaction.take_revision() == 0
        record = await transaction.insert_rule(rule("namespace:env"))
        assert record.revision == 0
        assert await transaction.rule("namespace-env") == record
        await transaction.log("me", "CreateAlertRule", (), ())
    assert await store.rule("namespace-env") is None
    assert await store.revision() == before


async def test_a_dry_run_needs_no_revision(store: PostgresStore) -> None:
    async with store.transaction(rollback=True) as transaction:
        assert (await transaction.insert_namespace(Namespace("env", "env"))).revision == 0


async def test_a_write_before_the_revision_is_a_mistake(store: PostgresStore) -> None:
    for write in ("delete_group", "delete_rule"):
        with pytest.raises(RuntimeError, match="take_revision"):
            async with store.transaction() as transaction:
                await getattr(transaction, write)("x")


async def test_taking_the_revision_twice_is_taking_it_once(store: PostgresStore) -> None:
    async with store.transaction() as transaction:
        assert await transaction.take_revision() == await transaction.take_revision()
    assert await store.revision() == 1


@pytest.mark.parametrize("rollback", [False, True], ids=["a write", "a dry run"])
async def test_whoever_wants_to_write_waits_for_the_one_who_does(
    store: PostgresStore, pool: Database, rollback: bool
) -> None:
    order: list[str] = []

    async def second() -> None:
        async with store.transaction(rollback=rollback) as transaction:
            await transaction.take_revision()
            # read after the lock: what the first has committed is seen
            assert await transaction.namespace("env") is not None
            order.append("second")

    async with asyncio.TaskGroup() as tasks, writing(store) as transaction:
        await transaction.insert_namespace(Namespace("env", "env"))
        tasks.create_task(second(), name="second")
        await wait_for(partial(waiting_for_a_lock, pool))
        order.append("first")
    assert order == ["first", "second"]


async def test_edits_that_cross_each_other_do_not_deadlock(store: PostgresStore) -> None:
    await add(store, *(Namespace(f"n{number}", f"n{number}") for number in range(2)))

    async def edit(first: str, second: str, rollback: bool) -> None:
        for _ in range(20):
            async with store.transaction(rollback=rollback) as transaction:
                await transaction.take_revision()
                await transaction.update_namespace(Namespace(first, first, 1))
                await transaction.update_namespace(Namespace(second, second, 1))

    async with asyncio.TaskGroup() as tasks:
        for rollback in (False, True):
            tasks.create_task(edit("n0", "n1", rollback), name=f"there {rollback}")
            tasks.create_task(edit("n1", "n0", rollback), name=f"back {rollback}")
    assert await store.revision() == 1 + 2 * 20


async def test_the_history_keeps_who_and_what(store: PostgresStore, pool: Database) -> None:
    before, after = Namespace("env", "env"), Namespace("env", "environment", 3)
    async with store.transaction() as transaction:
        revision = await transaction.take_revision()
        record = await transaction.insert_namespace(after)
        changes = (ResourceChange("namespace", "env", before, after), ResourceChange("rule", "r", None, rule("global")))
        await transaction.log("alice", "UpdateNamespace", changes, ())
    async with pool.session() as session:
        row = await session.row("SELECT * FROM history WHERE revision > 0")
        resources = await session.rows("SELECT * FROM history_resources ORDER BY position")
    assert row is not None
    assert (row["revision"], row["author"], row["method"]) == (revision, "alice", "UpdateNamespace")
    assert row["at"] == record.created_at
    assert [(each["kind"], each["resource_id"]) for each in resources] == [("namespace", "env"), ("rule", "r")]
    assert resources[0]["before"]["label"] == "env"
    assert resources[0]["after"] == {"id": "env", "label": "environment", "policy_priority": 3, "description": ""}
    assert resources[1]["before"] is None
    assert resources[1]["after"]["spec"]["query"] == rule("global").spec.query


async def cut_connections(url: str) -> None:
    """Ends every connection of the pool, and returns when they are gone."""
    admin = await asyncpg.connect(url)
    try:
        await admin.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'rulecast'"
        )
    finally:
        await admin.close()


@pytest.mark.parametrize("reads_again", [True, False], ids=["at a read", "at the commit"])
async def test_a_lost_connection_is_told_and_the_next_call_works(
    store: PostgresStore, database: str, reads_again: bool
) -> None:
    async def edit() -> None:
        async with writing(store) as transaction:
            await transaction.insert_namespace(Namespace("env", "env"))
            await cut_connections(database)
            if reads_again:
                await transaction.namespace("env")

    with pytest.raises(Unavailable) as caught:
        await edit()
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
    assert await store.namespace("env") is None


async def test_a_connection_that_is_lost_by_the_commit_leaves_it_unknown(store: PostgresStore, pool: Database) -> None:
    async with pool.session() as session:
        await session.run(
            """
            CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$
            """
        )
        await session.run(
            "CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON namespaces DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION cut()"
        )
    with pytest.raises(Unavailable, match="whether it was saved is not known"):
        await add(store, Namespace("env", "env"))


async def test_a_database_that_is_away_is_told() -> None:
    with pytest.raises(Unavailable) as caught:
        await connect("postgresql://nobody@127.0.0.1:1/none")
    assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
    assert "127.0.0.1" in str(caught.value)


async def test_a_pool_that_is_busy_is_told(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rule_service.store.pool.ACQUIRE_TIMEOUT", 0.05)
    async with open_database(database, max_size=1) as pool, pool.session():
        with pytest.raises(Unavailable, match="no connection was free"):
            await PostgresStore(pool).revision()


async def test_a_database_is_waited_for(database: str) -> None:
    """The name of the database is free until the waiting has failed once."""
    url = database.replace("?", "_later?")
    admin = await asyncpg.connect(database)
    name = await admin.fetchval("SELECT current_database() || '_later'")
    try:
        with capture_logs() as lines:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(wait_for_database(url, first=0.01, cap=0.02), name="waiting")
                await wait_for(lambda: len(lines) >= 2)
                await admin.execute(f"CREATE DATABASE {name}")
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()
    assert lines[0]["event"] == "database does not answer"
    assert name in lines[0]["error"]
    assert lines[-1]["event"] == "database answers"


async def test_a_deadlock_and_a_serialisation_failure_are_conflicts(pool: Database) -> None:
    for state in ("40P01", "40001"):
        with pytest.raises(Conflict) as caught:
            async with pool.session() as session:
                await session.run(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$")
        assert caught.value.reason is Reason.CONCURRENT_CHANGE


async def test_a_mistake_of_ours_is_not_hidden(pool: Database) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError):
        async with pool.session() as session:
            await session.run("SELEC 1")


async def test_a_schema_that_is_not_there_says_what_to_do(pool: Database) -> None:
    with pytest.raises(Unavailable, match="rule-service migrate"):
        async with pool.session() as session:
            await session.run("SELECT FROM no_such_table")


async def test_the_kernel_looks_after_the_connections_of_the_pool(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[socket.socket] = []

    watch = keepalive.WatchedConnection.watch

    def also_keep(connected: socket.socket) -> None:
        watch(connected)
        watched.append(connected)

    monkeypatch.setattr(keepalive.WatchedConnection, "watch", staticmethod(also_keep))
    async with Proxy.to(database) as proxy:
        pool = await connect(proxy.url, min_size=1, max_size=1)
        try:
            (connected,) = watched
            assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == keepalive.IDLE
            assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == keepalive.UNANSWERED
            assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == keepalive.UNACKNOWLEDGED * 1000
            async with pool.session() as session:
                # ours came with the connection; a Unix socket, which is behind the proxy, has none in force
                source = await session.value("SELECT source FROM pg_settings WHERE name = 'tcp_user_timeout'")
                assert source == "client"
        finally:
            await pool.close()


async def test_an_abandoned_transaction_is_ended_by_the_server(pool: Database) -> None:
    async with pool.session() as session:
        assert await session.value("SHOW idle_in_transaction_session_timeout") == "20s"


async def test_a_dry_run_without_the_lock_gives_way(store: PostgresStore) -> None:
    """It does not wait for the commit lock, and for a row that a writer holds only for a moment."""
    await add(store, Namespace("env", "env"), Namespace("dc", "dc"))
    async with writing(store) as transaction:
        await transaction.update_namespace(Namespace("env", "env", 1))
        async with store.transaction(rollback=True, locked=False) as dry:
            assert (await dry.update_namespace(Namespace("dc", "dc", 2))).revision == 0
        with pytest.raises(Conflict) as refused:
            async with store.transaction(rollback=True, locked=False) as dry:
                await dry.update_namespace(Namespace("env", "env", 2))
        assert refused.value.reason is Reason.CONCURRENT_CHANGE
    assert (await store.all_namespaces())["env"].policy_priority == 1


async def test_a_dry_run_without_the_lock_reads_one_state(store: PostgresStore) -> None:
    async with store.transaction(rollback=True, locked=False) as dry:
        before = await dry.revision()
        await add(store, Namespace("env", "env"))
        assert await dry.revision() == before
        assert "env" not in await dry.all_namespaces()
    assert await store.revision() == before + 1


async def test_what_revisions_touched_is_told_as_it_was_and_as_it_became(store: PostgresStore) -> None:
    await add(store, Namespace("env", "env"), Group("prod", "env", "prod"))
    before = await store.revision()
    everywhere, prod = rule("global"), rule("group:prod")
    changes = (
        (ResourceChange("rule", "global", None, everywhere), ResourceChange("rule", "group-prod", prod, None)),
        (ResourceChange("namespace", "env", Namespace("env", "env"), Namespace("env", "env", 1)),),
        (),
    )
    files = (LoggedChange("global.yml", None),)
    for resources in changes:
        async with writing(store) as transaction:
            await transaction.log("me", "Test", resources, files if not resources else ())
    async with writing(store) as transaction:
        touched = await transaction.touched(before, before + 4)
        assert touched is not None
        assert set(touched) == {
            Touched("rule", "global", everywhere.key, GlobalScope()),
            Touched("rule", "group-prod", prod.key, GroupScope("prod"), "env"),
            Touched("namespace", "env"),
            Touched("file", "global.yml"),
            Touched(""),
        }
        assert await transaction.touched(before + 1, before + 3) == (Touched("namespace", "env"),) * 2
        assert await transaction.touched(before, before + 1) == ()


async def test_revisions_that_left_no_history_may_have_touched_anything(store: PostgresStore) -> None:
    before = await store.revision()
    await add(store, Namespace("env", "env"))
    async with writing(store) as transaction:
        await transaction.log("me", "Test", (), ())
        assert await transaction.touched(before, before + 2) is None


async def test_what_a_dry_run_without_the_lock_meets_of_others_is_a_conflict(pool: Database) -> None:
    """And a mistake of ours where nobody else could have written it."""
    twice = """
        INSERT INTO deleted_resources (kind, resource_id, value, refers_to, deleted_at)
        SELECT 'group', 'g', '{}', '{}', now() FROM generate_series(1, 2)
    """
    with pytest.raises(Conflict) as refused:
        async with pool.transaction(rollback=True, patient=False) as session:
            await session.run(twice)
    assert refused.value.reason is Reason.CONCURRENT_CHANGE
    with pytest.raises(asyncpg.UniqueViolationError):
        async with pool.transaction(rollback=True) as session:
            await session.run(twice)
