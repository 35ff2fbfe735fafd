"""The stream on a real database and a real port, with a deployer that does what the test says."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from rule_service.domain.model import Group, Namespace
from rule_service.store.unit_of_work import PostgresStore
from rule_service.stream.policy import StreamPolicy
from rule_service.usecases.ports_fates import DeployerFacts, FateState
from rulecast.capabilities import FRAGMENTS
from rulecast.digest import file_sha256, manifest_hash
from rulecast.errors import FailedPrecondition, RulecastError
from rulecast.reasons import Reason
from rulecast.rpc.channel import open_channel
from rulecast.rpc.errors import RETRY_AFTER, from_rpc_error
from rulecast.rpc.server import MAX_MESSAGE_BYTES
from rulecast.v1 import common_pb2
from rulecast.v1 import distribution_pb2 as pb
from rulecast.v1 import distribution_pb2_grpc as pb_grpc
from tests.support.store import add, open_database, publish, writing
from tests.support.streams import Call, Connected, FakeDeployer, StreamReplica, rule_files, stream_replica
from tests.support.waiting import wait_for

A, B, C = b"groups: [] # a\n", b"groups: [] # b\n", b"groups: [] # c\n"


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    async with open_database(database) as pool:
        yield PostgresStore(pool)


async def put(store: PostgresStore, deleted: tuple[str, ...] = (), **files: bytes) -> int:
    """Publishes files; `group_prod` is group-prod.yml, `everywhere` is global.yml."""
    contents = {
        "global.yml" if key == "everywhere" else f"{key.replace('_', '-')}.yml": content
        for key, content in files.items()
    }
    return await publish(store, *rule_files(contents), deleted=deleted)


async def facts_of(store: PostgresStore, id: str = "dep-1") -> DeployerFacts:
    return next(each for each in await store.deployers() if each.id == id)


async def until_taken_up(store: PostgresStore, revision: int, id: str = "dep-1") -> DeployerFacts:
    async def taken_up() -> DeployerFacts | None:
        facts = await facts_of(store, id)
        return facts if facts.revision == revision else None

    found = await wait_for(taken_up)
    assert found is not None
    return found


async def refusal(call: Call) -> RulecastError:
    """What the stream is ended with."""
    try:
        while await call.next() is not None:
            pass
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    raise AssertionError("the stream was not refused")


async def test_a_cold_start_brings_every_file(database: str, store: PostgresStore) -> None:
    revision = await put(store, everywhere=A, group_prod=B)
    deployer = FakeDeployer()
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        assert stream.welcome.mode == pb.Welcome.DIFF
        assert stream.welcome.revision == revision
        update = await stream.take()
        assert update.puts == deployer.files == {"global.yml": A, "group-prod.yml": B}
        assert update.manifest_hash == deployer.manifest_hash
        facts = await until_taken_up(store, revision)
        assert facts.connected
        assert facts.fates == ()
        assert facts.manifest_hash == deployer.manifest_hash


async def test_an_edit_arrives_alone_and_a_deletion_too(database: str, store: PostgresStore) -> None:
    await put(store, everywhere=A, group_prod=A, group_dev=A)
    deployer = FakeDeployer()
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        await stream.take()
        revision = await put(store, ("group-dev.yml",), group_prod=B)
        update = await stream.take()
        assert (update.puts, update.deletes) == ({"group-prod.yml": B}, {"group-dev.yml"})
        assert update.to_revision == revision
        assert update.manifest_hash == deployer.manifest_hash
        await until_taken_up(store, revision)


async def test_a_deployer_that_has_everything_only_confirms(database: str, store: PostgresStore) -> None:
    revision = await put(store, everywhere=A)
    deployer = FakeDeployer(files={"global.yml": A})
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        assert stream.welcome.mode == pb.Welcome.UP_TO_DATE
        assert (await facts_of(store)).revision == 0
        update = await stream.take()
        assert (update.puts, update.deletes, update.to_revision) == ({}, set(), revision)
        await until_taken_up(store, revision)


async def test_what_comes_while_an_update_is_unanswered_comes_together(database: str, store: PostgresStore) -> None:
    await put(store, everywhere=A)
    deployer = FakeDeployer()
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        await stream.take()
        first = await put(store, group_prod=A)
        update = await stream.update()
        for content in (b"1", b"2", b"3"):
            await put(store, group_prod=content, group_dev=content)
        last = await put(store, ("group-dev.yml",), group_prod=C)
        await wait_for(lambda: replica.metric("rulecast_stream_revision") == last)
        assert update.to_revision == first
        await stream.send(status=deployer.apply(update))
        update = await stream.take()
        assert (update.puts, update.to_revision) == ({"group-prod.yml": C}, last)
        assert update.manifest_hash == deployer.manifest_hash


async def test_a_file_of_5_mib_comes_in_slices(database: str, store: PostgresStore) -> None:
    large = b"# " + b"x" * (5 * 1024 * 1024) + b"\n"
    await put(store, everywhere=large, group_prod=A)
    deployer = FakeDeployer()
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        update = await stream.take()
        assert len(update.sizes) == 6
        assert deployer.files == {"global.yml": large, "group-prod.yml": A}
        assert update.manifest_hash == deployer.manifest_hash


async def test_2000_files_come_in_fragments(database: str, store: PostgresStore) -> None:
    contents = {f"group-g{number}.yml": b"# %d\n" % number * 200 for number in range(2_000)}
    await publish(store, *rule_files(contents))
    deployer = FakeDeployer()
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        update = await stream.take()
        assert len(update.sizes) > 1
        assert deployer.files == contents
        assert update.manifest_hash == deployer.manifest_hash
        await until_taken_up(store, 1)


async def test_what_was_refused_is_not_offered_again_until_it_changes(database: str, store: PostgresStore) -> None:
    await put(store, everywhere=A, group_prod=A)
    deployer = FakeDeployer()
    async with stream_replica(database) as replica:
        async with deployer.connected(replica.address) as stream:
            await stream.take()
            refused = await put(store, group_prod=B)
            await stream.take(refuse=["group-prod.yml"])
            facts = await until_taken_up(store, refused)
            assert [(fate.file_name, fate.sha256, fate.state) for fate in facts.fates] == [
                ("group-prod.yml", file_sha256(B), FateState.REJECTED)
            ]
            await put(store, everywhere=B)
            assert (await stream.take()).puts == {"global.yml": B}
        async with deployer.connected(replica.address) as stream:
            assert (await stream.take()).puts == {}
            revision = await put(store, group_prod=C)
            update = await stream.take()
            assert update.puts == {"group-prod.yml": C}
            # it is what it should be now; real deployers name a file that is not in trouble any more
            outcome = common_pb2.FileOutcome(
                file_name="group-prod.yml", sha256=file_sha256(C), state=common_pb2.Rollout.ACTIVE
            )
            await stream.send(status=deployer.status(0, [outcome]))

            async def no_fates() -> bool:
                return not (await facts_of(store)).fates

            await wait_for(no_fates)
            assert (await facts_of(store)).revision == revision


async def test_a_resync_offers_again_what_was_refused(database: str, store: PostgresStore) -> None:
    revision = await put(store, everywhere=A)
    deployer = FakeDeployer()
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        await stream.take(refuse=["global.yml"])
        await until_taken_up(store, revision)
        assert await replica.commands.resync("dep-1") == ("dep-1",)
        assert (await stream.message("command")).command.kind == pb.Command.RESYNC
        await stream.send(inventory=deployer.inventory())
        assert (await stream.take()).puts == {"global.yml": A}


async def test_an_inventory_that_nobody_asked_for_is_compared(database: str, store: PostgresStore) -> None:
    await put(store, everywhere=A, group_prod=A)
    deployer = FakeDeployer()
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        await stream.take()
        del deployer.files["group-prod.yml"]
        deployer.files["group-left.yml"] = B
        await stream.send(inventory=deployer.inventory())
        update = await stream.take()
        assert (update.puts, update.deletes) == ({"group-prod.yml": A}, {"group-left.yml"})


async def test_a_heartbeat_with_other_files_has_them_compared(database: str, store: PostgresStore) -> None:
    await put(store, everywhere=A)
    deployer = FakeDeployer()
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        await stream.take()
        deployer.files["global.yml"] = B
        await stream.send(heartbeat=pb.Heartbeat(revision=1, manifest_hash=deployer.manifest_hash))
        assert (await stream.message("command")).command.kind == pb.Command.RESYNC
        await stream.send(inventory=deployer.inventory())
        assert (await stream.take()).puts == {"global.yml": A}


async def test_without_notifications_the_poll_finds_it(database: str, store: PostgresStore) -> None:
    await put(store, everywhere=A)
    deployer = FakeDeployer()
    async with (
        stream_replica(database, listen=False, poll=0.05) as replica,
        deployer.connected(replica.address) as stream,
    ):
        await stream.take()
        await put(store, everywhere=B)
        assert (await stream.take()).puts == {"global.yml": B}
        assert replica.metric("rulecast_stream_wakeups_total", source="notify") == 0
        assert replica.metric("rulecast_stream_wakeups_total", source="poll") > 0


async def test_a_second_process_of_one_name_is_told_so(database: str, store: PostgresStore) -> None:
    first, second = FakeDeployer(), FakeDeployer()
    async with stream_replica(database) as replica, first.connected(replica.address) as stream:
        async with second.calling(replica.address) as call:
            await call.send(hello=second.hello())
            error = await refusal(call)
        assert isinstance(error, FailedPrecondition)
        assert error.reason is Reason.DUPLICATE_DEPLOYER
        assert 1 <= float(error.metadata[RETRY_AFTER]) <= 30
        await stream.take()
        await put(store, everywhere=A)
        assert (await stream.take()).puts == {"global.yml": A}


async def test_a_goodbye_lets_the_next_process_in_at_once(database: str, store: PostgresStore) -> None:
    async with stream_replica(database) as replica:
        async with FakeDeployer().connected(replica.address) as stream:
            await stream.send(goodbye=pb.Goodbye(message="bye"))
            while await stream.call.next() is not None:
                pass
            assert await stream.call.code() is grpc.StatusCode.OK
        assert not (await facts_of(store)).connected
        async with FakeDeployer().connected(replica.address) as stream:
            assert stream.deployer.epoch == 2


async def test_a_cut_stream_lets_the_next_process_in_soon(database: str, store: PostgresStore) -> None:
    async with stream_replica(database, policy=StreamPolicy(lost_grace=0.05)) as replica:
        async with FakeDeployer().connected(replica.address):
            pass

        async def free() -> bool:
            return not (await facts_of(store)).connected

        await wait_for(free)
        async with FakeDeployer().connected(replica.address) as stream:
            assert stream.deployer.epoch == 2


async def test_the_same_process_takes_over_and_the_old_stream_is_ended(database: str, store: PostgresStore) -> None:
    deployer = FakeDeployer()
    async with stream_replica(database) as replica, deployer.connected(replica.address) as old:
        revision = await put(store, everywhere=A)
        await old.follow_to(revision)
        # its last word was heard: else the stream would end with that its epoch is over
        await until_taken_up(store, revision)
        async with deployer.connected(replica.address) as new:
            assert (await drained(old)).epoch == 1
            await new.take()
            await put(store, everywhere=B)
            assert (await new.take()).puts == {"global.yml": B}


async def drained(stream: Connected) -> pb.SyncResponse:
    """The Drain, after which the stream has ended in order."""
    while True:
        response = await stream.call.next()
        assert response is not None
        if response.WhichOneof("kind") == "drain":
            break
    assert await stream.call.next() is None
    assert await stream.call.code() is grpc.StatusCode.OK
    return response


@pytest.mark.parametrize("report", ["heartbeat", "status", "effective"])
async def test_a_report_of_an_old_epoch_ends_its_stream(database: str, store: PostgresStore, report: str) -> None:
    deployer = FakeDeployer()
    async with (
        stream_replica(database) as here,
        stream_replica(database, name="replica-b") as there,
        deployer.connected(here.address) as old,
    ):
        update = await old.update()
        async with deployer.connected(there.address) as new:
            await new.take()
            messages = {
                "heartbeat": pb.Heartbeat(manifest_hash=deployer.manifest_hash),
                "status": deployer.status(update.nonce),
                "effective": pb.EffectiveState(manifest_hash=deployer.manifest_hash),
            }
            await old.send(**{report: messages[report]})
            assert (await refusal(old.call)).reason is Reason.STALE_EPOCH
            assert await old.call.code() is grpc.StatusCode.ABORTED
            assert (await facts_of(store)).epoch == 2


async def test_a_stop_drains_every_stream_at_once(database: str, store: PostgresStore) -> None:
    await put(store, everywhere=A)
    deployers = [FakeDeployer(f"dep-{number}") for number in range(5)]
    async with stream_replica(database) as replica, asyncio.TaskGroup() as tasks:
        ready = asyncio.Barrier(len(deployers) + 1)

        async def follow(deployer: FakeDeployer) -> None:
            async with deployer.connected(replica.address) as stream:
                await stream.update()
                await ready.wait()
                response = await drained(stream)
                assert response.drain.reconnect_within.ToTimedelta().total_seconds() == 2
                assert response.drain.message == "the rule service is stopping"

        for deployer in deployers:
            tasks.create_task(follow(deployer), name=deployer.id)
        await ready.wait()
        started = time.monotonic()
        await replica.server.stop(10)
        assert time.monotonic() - started < 1
    assert all(facts.connected for facts in await store.deployers())


async def test_another_history_drains_and_everything_is_compared(database: str, store: PostgresStore) -> None:
    await put(store, everywhere=A, group_prod=A)
    await put(store, group_dev=A)
    deployer = FakeDeployer()
    async with stream_replica(database, poll=0.05) as replica:
        async with deployer.connected(replica.address) as stream:
            await stream.take()
            await until_taken_up(store, 2)
            await restore_older_backup(database)
            await drained(stream)
        history = deployer.history_id
        async with deployer.connected(replica.address) as stream:
            assert deployer.history_id != history
            assert (await facts_of(store)).revision == 0
            update = await stream.take()
            assert (update.puts, update.deletes) == ({"global.yml": B}, {"group-dev.yml"})
            await until_taken_up(store, 1)


async def restore_older_backup(database: str) -> None:
    """As if revision 2 had never been, and the first had been another one."""
    async with open_database(database) as pool, pool.transaction() as session:
        await session.run("UPDATE revision_counter SET revision = 1, history_id = gen_random_uuid()")
        await session.run("DELETE FROM rendered_files WHERE name = 'group-dev.yml'")
        await session.run(
            "UPDATE rendered_files SET content = $1, sha256 = $2 WHERE name = 'global.yml'", B, file_sha256(B)
        )


async def test_a_backup_that_was_edited_before_anybody_connected_is_another_history(
    database: str, store: PostgresStore
) -> None:
    """The numbers go on as if nothing had been: only the commits tell."""
    await put(store, everywhere=A)
    deployer = FakeDeployer()
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        await stream.take()
        await put(store, group_prod=A, group_dev=A, group_lab=A)
        await stream.take()
        await until_taken_up(store, 2)
    await restore_revision_1(database)
    await put(store, everywhere=B)
    revision = await put(store, group_new=B)
    assert revision > deployer.revision
    async with stream_replica(database, poll=0.05) as replica:
        before = deployer.history_id
        # the replica may end it before the deployer has said all
        with contextlib.suppress(grpc.aio.AioRpcError):
            async with deployer.connected(replica.address) as stream:
                if deployer.history_id == before:  # it has not looked since the deployer has said so
                    await drained(stream)
        deployer.revision, deployer.commit_id = 0, ""  # a revision is one of its history
        async with deployer.connected(replica.address) as stream:
            assert deployer.history_id != before
            update = await stream.take()
            assert update.puts == {"global.yml": B, "group-new.yml": B}
            assert update.deletes == {"group-prod.yml", "group-dev.yml", "group-lab.yml"}
            assert not update.mass_deletion_allowed
        # and it is not told to be one again
        history = deployer.history_id
        async with deployer.connected(replica.address) as stream:
            assert (deployer.history_id, stream.welcome.mode) == (history, pb.Welcome.UP_TO_DATE)
            assert (await stream.take()).deletes == set()


async def restore_revision_1(database: str) -> None:
    """As if the database had never come further."""
    async with open_database(database) as pool, pool.transaction() as session:
        await session.run(
            """
            UPDATE revision_counter SET revision = 1,
                commit_id = (SELECT commit_id FROM history WHERE revision = 1)
            """
        )
        for table in ("change_log", "history_resources", "history", "rendered_files"):
            await session.run(f"DELETE FROM {table} WHERE revision > 1")
        await session.run("UPDATE deployers SET revision = 1")


async def test_files_that_vanish_without_a_log_are_noticed(database: str, store: PostgresStore) -> None:
    await put(store, everywhere=A, group_prod=A, group_dev=A)
    deployer = FakeDeployer()
    async with stream_replica(database, poll=0.05, compare_every=0.05) as replica:
        async with deployer.connected(replica.address) as stream:
            await stream.take()
            await until_taken_up(store, 1)
            async with open_database(database) as pool, pool.transaction() as session:
                await session.run("DELETE FROM rendered_files WHERE name <> 'global.yml'")
            await drained(stream)
        async with deployer.connected(replica.address) as stream:
            update = await stream.take()
            assert update.deletes == {"group-prod.yml", "group-dev.yml"}
            assert not update.mass_deletion_allowed


async def test_an_emptied_database_does_not_ask_for_mass_deletion(database: str, store: PostgresStore) -> None:
    files = {"global.yml": A, "group-prod.yml": A, "group-dev.yml": A}
    deployer = FakeDeployer(files=dict(files), history_id="another", revision=7)
    async with stream_replica(database) as replica:
        async with deployer.connected(replica.address) as stream:
            update = await stream.take(refuse=list(files))
            assert update.deletes == files.keys()
            assert not update.mass_deletion_allowed

            async def recorded() -> bool:
                return len((await facts_of(store)).fates) == len(files)

            await wait_for(recorded)
        # what was refused is not asked for again, also where the deployer has taken up the new history
        async with deployer.connected(replica.address) as stream:
            assert (await stream.take()).deletes == set()
            await replica.commands.resync(None)
            await stream.message("command")
            await stream.send(inventory=deployer.inventory())
            assert (await stream.take()).deletes == set()
            assert deployer.files == files
            # until somebody says that it is meant
            await replica.commands.resync("dep-1", mass_deletion_allowed=True)
            await stream.message("command")
            await stream.send(inventory=deployer.inventory())
            update = await stream.take()
            assert update.deletes == files.keys()
            assert update.mass_deletion_allowed
    assert deployer.files == {}


async def test_an_inventory_that_no_message_can_hold(database: str, store: PostgresStore) -> None:
    await put(store, everywhere=A)
    files = {f"group-{number:05}-{'x' * 50}.yml": A for number in range(45_000)}
    deployer = FakeDeployer(files={**files, "global.yml": A})
    assert deployer.inventory().ByteSize() > MAX_MESSAGE_BYTES
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        assert FRAGMENTS in stream.welcome.capabilities
        update = await stream.take()
        assert not update.puts
        assert update.deletes == files.keys()
        await until_taken_up(store, 1)


async def test_a_lost_stream_does_not_make_a_strange_history_ones_own(database: str, store: PostgresStore) -> None:
    await put(store, everywhere=A)
    await put(store, everywhere=B)
    files = {"group-prod.yml": A, "group-dev.yml": A}
    deployer = FakeDeployer(files=dict(files), history_id="another", revision=1)
    async with stream_replica(database) as replica:
        async with deployer.connected(replica.address) as stream:
            await stream.update()  # the deployer has noted the history, but nothing was applied
        async with deployer.connected(replica.address) as stream:
            assert not (await stream.update()).mass_deletion_allowed


async def test_deletions_that_were_made_are_all_allowed(database: str, store: PostgresStore) -> None:
    await put(store, everywhere=A, group_prod=A, group_dev=A)
    deployer = FakeDeployer()
    async with stream_replica(database) as replica:
        async with deployer.connected(replica.address) as stream:
            await stream.take()
            await put(store, ("group-prod.yml", "group-dev.yml"))
            update = await stream.take()
            assert update.mass_deletion_allowed
            revision = await put(store, group_prod=A, group_dev=A)
            await stream.take()
            await until_taken_up(store, revision)
        await put(store, ("group-prod.yml", "group-dev.yml", "global.yml"))
        async with deployer.connected(replica.address) as stream:
            update = await stream.take()
            if not update.deletes:  # the replica had not heard of it when the stream began
                update = await stream.take()
            assert update.mass_deletion_allowed
            assert deployer.files == {}


async def test_files_that_are_not_ours_are_never_deleted(database: str, store: PostgresStore) -> None:
    names = {"other.yml", "../../etc/passwd.yml", "group-UPPER.yml", "group-a/b.yml", "global.yml\0", ""}
    deployer = FakeDeployer(files={name: A for name in names if "\0" not in name})
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        assert (await stream.take()).deletes == set()


async def test_a_deployer_gets_only_what_it_serves(database: str, store: PostgresStore) -> None:
    await add(
        store,
        Namespace("env", "env"),
        Group("prod", "env", "prod"),
        Group("prod-eu", "env", "prod-eu", "prod"),
        Group("dev", "env", "dev"),
    )
    await put(store, everywhere=A, namespace_env=A, group_prod=A, group_prod_eu=A, group_dev=A, namespace_team=A)
    deployer = FakeDeployer(serves=[common_pb2.Scope(group_id="prod")])
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        await stream.take()
        # a rule of another namespace may win one of its series, so those files are taken too
        assert deployer.files.keys() == {
            "global.yml",
            "namespace-env.yml",
            "namespace-team.yml",
            "group-prod.yml",
            "group-prod-eu.yml",
        }
        # an edit of somebody else's file is taken up without a word
        revision = await put(store, group_dev=B)
        facts = await until_taken_up(store, revision)
        assert facts.serves
        # a group that is moved below it is taken, though its file has not changed
        async with writing(store) as transaction:
            await transaction.update_group(Group("dev", "env", "dev", "prod"))
            await transaction.log("test", "UpdateGroup", (), ())
        assert (await stream.message("command")).command.kind == pb.Command.RESYNC
        await stream.send(inventory=deployer.inventory())
        assert (await stream.take()).puts == {"group-dev.yml": B}
        manifest = await manifest_of(replica, "dep-1")
        assert manifest.manifest_hash == deployer.manifest_hash
        assert {file.file_name for file in manifest.files} == deployer.files.keys()


async def manifest_of(replica: StreamReplica, deployer_id: str = "") -> pb.Manifest:
    channel = open_channel(replica.address)
    try:
        stub = pb_grpc.DistributionServiceStub(channel)
        return await stub.GetManifest(pb.GetManifestRequest(deployer_id=deployer_id))
    finally:
        await channel.close()


async def test_the_manifest_is_what_was_written_last(database: str, store: PostgresStore) -> None:
    async with stream_replica(database, listen=False, poll=60) as replica:
        await put(store, everywhere=A)
        revision = await put(store, group_prod=B)
        manifest = await manifest_of(replica)
        files = {file.file_name: file.sha256 for file in manifest.files}
        assert files == {"global.yml": file_sha256(A), "group-prod.yml": file_sha256(B)}
        assert manifest.manifest_hash == manifest_hash(files)
        assert manifest.revision == revision
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await manifest_of(replica, "nobody")
        assert from_rpc_error(caught.value).reason is Reason.DEPLOYER_NOT_FOUND


async def test_revisions_without_files_are_taken_up_by_themselves(database: str, store: PostgresStore) -> None:
    await put(store, everywhere=A)
    deployer = FakeDeployer()
    policy = StreamPolicy(settle=0.05)
    async with stream_replica(database, policy=policy) as replica, deployer.connected(replica.address) as stream:
        await stream.take()
        for _ in range(5):
            revision = await put(store)
        await until_taken_up(store, revision)
        progress = await stream.message("progress")
        while progress.progress.revision < revision:
            progress = await stream.message("progress")
        assert progress.progress.manifest_hash == deployer.manifest_hash


async def test_an_edit_through_one_replica_reaches_a_deployer_on_the_other(database: str, store: PostgresStore) -> None:
    here_dep, there_dep = FakeDeployer("here"), FakeDeployer("there")
    async with (
        stream_replica(database, name="a", poll=60) as here,
        stream_replica(database, name="b", poll=60) as there,
        here_dep.connected(here.address) as first,
        there_dep.connected(there.address) as second,
    ):
        await first.take()
        await second.take()
        await publish(here.store, *rule_files({"global.yml": A}))
        assert (await second.take()).puts == {"global.yml": A}
        assert (await first.take()).puts == {"global.yml": A}


async def test_commands_reach_deployers_of_every_replica(database: str) -> None:
    async with (
        stream_replica(database, name="a") as here,
        stream_replica(database, name="b") as there,
        FakeDeployer("first").connected(here.address) as first,
        FakeDeployer("second").connected(there.address) as second,
    ):
        await first.update()
        await second.update()
        assert await here.commands.reload(None) == ("first", "second")
        for stream in (first, second):
            command = (await stream.message("command")).command
            assert command.kind == pb.Command.RELOAD
            await stream.send(command_result=pb.CommandResult(id=command.id, ok=True))
        assert await here.commands.reload("second") == ("second",)
        assert (await second.message("command")).command.kind == pb.Command.RELOAD
        assert await there.commands.command(pb.Command.REPORT, "second") == ("second",)
        assert (await second.message("command")).command.kind == pb.Command.REPORT
        assert await here.commands.reload("nobody") == ()


async def test_a_command_that_nobody_passed_on_is_not_said_to_be_told(database: str) -> None:
    async with (
        stream_replica(database, name="a", patience=0.1) as here,
        stream_replica(database, name="deaf", listen=False) as deaf,
        FakeDeployer("first").connected(here.address),
        FakeDeployer("second").connected(deaf.address),
    ):
        assert await here.commands.reload(None) == ("first",)


async def test_what_the_deployer_reports_is_stored(database: str, store: PostgresStore) -> None:
    revision = await put(store, everywhere=A)
    deployer = FakeDeployer()
    async with stream_replica(database) as replica, deployer.connected(replica.address) as stream:
        update = await stream.update()
        deferred = common_pb2.FileOutcome(
            file_name="global.yml",
            sha256=file_sha256(A),
            state=common_pb2.Rollout.DEFERRED,
            reason="PROMETHEUS_UNREACHABLE",
            message="away\0" + "é" * 5000,
        )
        status = deployer.apply(update)
        status.files.append(deferred)
        await stream.send(status=status)
        (fate,) = (await until_taken_up(store, revision)).fates
        assert (fate.state, fate.reason) == (FateState.DEFERRED, "PROMETHEUS_UNREACHABLE")
        assert fate.message.startswith("away\N{REPLACEMENT CHARACTER}é")
        assert len(fate.message.encode()) <= 4096

        effective = pb.EffectiveState(
            manifest_hash=deployer.manifest_hash,
            files=deployer.inventory().files,
            prometheus_up=True,
            prometheus_version="3.1.0",
            drifted_files=["global.yml"],
        )
        await stream.send(effective=effective)
        active = common_pb2.FileOutcome(file_name="global.yml", sha256=file_sha256(A), state=common_pb2.Rollout.ACTIVE)
        await stream.send(status=deployer.status(0, [active]))

        async def active_now() -> DeployerFacts | None:
            facts = await facts_of(store)
            return None if facts.fates else facts

        facts = await wait_for(active_now)
        assert facts is not None
        assert (facts.prometheus_up, facts.prometheus_version, facts.drifted_files) == (True, "3.1.0", ("global.yml",))


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"deployer_id": "../../x"}, "hello.deployer_id", grpc.StatusCode.INVALID_ARGUMENT),
        ({"process_id": b"short"}, "hello.process_id", grpc.StatusCode.INVALID_ARGUMENT),
        ({"manifest_hash": b"short"}, "hello.manifest_hash", grpc.StatusCode.INVALID_ARGUMENT),
        ({"software_version": "a\0b"}, "hello.software_version", grpc.StatusCode.INVALID_ARGUMENT),
        ({"epoch": 2**63 - 1}, "", grpc.StatusCode.INVALID_ARGUMENT),
        ({"serves": [common_pb2.Scope()]}, "hello.serves[0]", grpc.StatusCode.INVALID_ARGUMENT),
        ({"protocol_version": 2}, "hello.protocol_version", grpc.StatusCode.FAILED_PRECONDITION),
    ],
)
async def test_a_hello_that_is_wrong_is_refused(
    database: str, store: PostgresStore, change: dict[str, object], field: str, code: grpc.StatusCode
) -> None:
    hello = FakeDeployer().hello()
    hello.MergeFrom(pb.Hello(**change))  # type: ignore[arg-type]  # any field
    async with stream_replica(database) as replica, FakeDeployer().calling(replica.address) as call:
        await call.send(hello=hello)
        error = await refusal(call)
        assert error.violations[0].field == field
        assert await call.code() is code
    assert await store.deployers() == ()


async def test_a_stream_that_does_not_begin_with_hello_is_refused(database: str) -> None:
    async with stream_replica(database) as replica:
        async with FakeDeployer().calling(replica.address) as call:
            await call.send(heartbeat=pb.Heartbeat())
            assert (await refusal(call)).reason is Reason.FIELD_REQUIRED
        async with FakeDeployer().calling(replica.address) as call:
            await call.done_writing()
            assert (await refusal(call)).reason is Reason.FIELD_REQUIRED


async def test_a_silent_deployer_is_cut_off(database: str) -> None:
    policy = StreamPolicy(heartbeat=0.1)
    async with (
        stream_replica(database, policy=policy) as replica,
        FakeDeployer().connected(replica.address) as stream,
    ):
        error = await refusal(stream.call)
        assert error.reason is Reason.STREAM_LOST
        assert await stream.call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
