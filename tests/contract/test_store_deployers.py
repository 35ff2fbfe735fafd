"""One live process for each deployer, and reports that count only under its epoch."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rule_service.changelog.reader import PostgresChangeLog
from rule_service.domain.layout import RuleFile
from rule_service.domain.model import GlobalScope, GroupScope, NamespaceScope
from rule_service.store.deployers import PostgresDeployers
from rule_service.store.pool import Database
from rule_service.store.unit_of_work import PostgresStore
from rule_service.usecases.ports_delivery import Claim, DeployedFile, EffectiveFacts, HelloFacts
from rule_service.usecases.ports_fates import DeployerFacts, FateState, FileFate
from rule_service.usecases.ports_rendered import FileFacts
from rulecast.errors import Conflict, FailedPrecondition, NotFound, RulecastError
from rulecast.reasons import Reason
from tests.support.store import open_database, publish

LEASE = 30.0
HELLO = HelloFacts(
    "dep-1", b"p" * 16, "1.0", "3.1.0", "http://localhost:9090", (NamespaceScope("env"), GroupScope("prod"))
)
OTHER = replace(HELLO, process_id=b"q" * 16)
HASH, SHA = b"h" * 32, b"s" * 32
THEN = datetime(2026, 1, 2, tzinfo=UTC)
REJECTED = FileFate(
    "group-prod.yml", SHA, FateState.REJECTED, "PROMTOOL_CHECK_FAILED", "bad query", "g", "HighCPU", THEN
)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with open_database(database) as pool:
        yield pool


@pytest.fixture
def store(pool: Database) -> PostgresStore:
    return PostgresStore(pool)


@pytest.fixture
def deployers(pool: Database) -> PostgresDeployers:
    return PostgresDeployers(pool)


async def the_one(store: PostgresStore) -> DeployerFacts:
    (facts,) = await store.deployers()
    return facts


async def end_lease(pool: Database) -> None:
    """As if it had not been renewed for long enough."""
    async with pool.session() as session:
        await session.run("UPDATE deployers SET lease_until = clock_timestamp() - interval '1 millisecond'")


async def test_a_new_deployer_gets_a_lease(store: PostgresStore, deployers: PostgresDeployers) -> None:
    assert await deployers.claim(HELLO, "replica-a", LEASE) == Claim(1)
    facts = await the_one(store)
    assert facts.id == "dep-1"
    assert facts.connected
    assert (facts.epoch, facts.revision, facts.fates) == (1, 0, ())
    assert facts.serves == (NamespaceScope("env"), GroupScope("prod"))
    assert (facts.software_version, facts.prometheus_version, facts.prometheus_url) == (
        "1.0",
        "3.1.0",
        "http://localhost:9090",
    )
    assert not facts.prometheus_up


async def test_a_second_process_is_refused_while_the_lease_runs(
    store: PostgresStore, deployers: PostgresDeployers
) -> None:
    await deployers.claim(HELLO, "replica-a", LEASE)
    with pytest.raises(FailedPrecondition) as caught:
        await deployers.claim(OTHER, "replica-b", LEASE)
    assert caught.value.reason is Reason.DUPLICATE_DEPLOYER
    assert 1 <= int(caught.value.metadata["lease_seconds"]) <= LEASE
    assert (await the_one(store)).epoch == 1


async def test_the_same_process_takes_over_from_itself(deployers: PostgresDeployers) -> None:
    await deployers.claim(HELLO, "replica-a", LEASE)
    assert await deployers.claim(HELLO, "replica-b", LEASE) == Claim(2)


async def test_a_lease_that_has_run_out_is_taken_over(
    store: PostgresStore, pool: Database, deployers: PostgresDeployers
) -> None:
    await deployers.claim(HELLO, "replica-a", LEASE)
    await end_lease(pool)
    assert not (await the_one(store)).connected
    assert await deployers.claim(OTHER, "replica-b", LEASE) == Claim(2)
    assert (await the_one(store)).connected


async def test_a_goodbye_ends_the_lease_at_once(store: PostgresStore, deployers: PostgresDeployers) -> None:
    claim = await deployers.claim(HELLO, "replica-a", LEASE)
    await deployers.release("dep-1", claim.epoch)
    assert not (await the_one(store)).connected
    assert await deployers.claim(OTHER, "replica-a", LEASE) == Claim(2)
    await deployers.release("dep-1", claim.epoch)
    assert (await the_one(store)).connected


async def test_the_epoch_is_above_the_highest_that_the_deployer_has_seen(deployers: PostgresDeployers) -> None:
    assert await deployers.claim(replace(HELLO, epoch=41), "replica-a", LEASE) == Claim(42)
    assert await deployers.claim(replace(HELLO, epoch=50), "replica-a", LEASE) == Claim(51)
    assert await deployers.claim(replace(HELLO, epoch=3), "replica-a", LEASE) == Claim(52)


async def test_of_many_claims_at_once_exactly_one_wins(store: PostgresStore, deployers: PostgresDeployers) -> None:
    async def claim(number: int) -> Claim | RulecastError:
        try:
            return await deployers.claim(replace(HELLO, process_id=bytes([number]) * 16), f"replica-{number}", LEASE)
        except RulecastError as refused:
            return refused

    for attempt in range(1, 6):
        async with asyncio.TaskGroup() as tasks:
            claims = [tasks.create_task(claim(number), name=f"claim {number}") for number in range(8)]
        answers = [task.result() for task in claims]
        assert answers.count(Claim(attempt)) == 1
        assert [each.reason for each in answers if isinstance(each, RulecastError)] == [Reason.DUPLICATE_DEPLOYER] * 7
        await deployers.release("dep-1", attempt)


async def test_a_revision_is_believed_only_of_this_history(
    store: PostgresStore, pool: Database, deployers: PostgresDeployers
) -> None:
    await publish(store, (GlobalScope(), RuleFile("global.yml", b"a", 1)))
    history = (await PostgresChangeLog(pool).manifest()).position.history_id
    await deployers.claim(replace(HELLO, history_id=history, revision=1), "replica-a", LEASE)
    assert (await the_one(store)).revision == 1
    await deployers.claim(replace(HELLO, history_id="another", revision=1), "replica-a", LEASE)
    assert (await the_one(store)).revision == 0


async def test_a_deployer_that_has_seen_more_than_there_is_begins_another_history(
    store: PostgresStore, pool: Database, deployers: PostgresDeployers
) -> None:
    """A backup was restored: it is another history to every deployer that has followed the database until then."""
    await publish(store, (GlobalScope(), RuleFile("global.yml", b"a", 1)))
    log = PostgresChangeLog(pool)
    before = (await log.manifest()).position
    hello = replace(HELLO, history_id=before.history_id)
    assert (await deployers.claim(replace(hello, revision=1), "replica-a", LEASE)).revision == 1
    assert (await log.manifest()).position == before
    assert (await deployers.claim(replace(hello, revision=2), "replica-a", LEASE)).revision == 0
    assert (await the_one(store)).revision == 0
    assert await log.changes_after(before) is None
    history = (await log.manifest()).position.history_id
    assert history != before.history_id
    late = replace(hello, id="dep-2", revision=1)
    assert (await deployers.claim(late, "replica-a", LEASE)).revision == 0
    # of a history that is past already, nobody can know too much
    await deployers.claim(replace(hello, revision=3), "replica-a", LEASE)
    assert (await log.manifest()).position.history_id == history


async def test_a_deployer_that_has_seen_another_commit_of_its_revision_begins_another_history(
    store: PostgresStore, pool: Database, deployers: PostgresDeployers
) -> None:
    """A backup was restored, and edited past the revision that the deployer has seen of the time after the backup."""
    await publish(store, (GlobalScope(), RuleFile("global.yml", b"a", 1)))
    log = PostgresChangeLog(pool)
    seen = (await log.manifest()).position
    await publish(store, (GlobalScope(), RuleFile("global.yml", b"b", 1)))
    newest = (await log.manifest()).position
    hello = replace(HELLO, history_id=seen.history_id, revision=1)
    # the newest and an older revision of this history; one that is not remembered; a deployer that names none
    for revision, commit_id in ((2, newest.commit_id), (1, seen.commit_id), (1, "")):
        await deployers.claim(replace(hello, revision=revision, commit_id=commit_id), "replica-a", LEASE)
        assert (await log.manifest()).position == newest
    async with pool.session() as session:
        await session.run("DELETE FROM history WHERE revision = 1")
    await deployers.claim(replace(hello, commit_id="lost"), "replica-a", LEASE)
    assert (await log.manifest()).position == newest

    claim = await deployers.claim(replace(hello, revision=2, commit_id=seen.commit_id), "replica-a", LEASE)
    assert claim.revision == 0
    assert (await log.manifest()).position.history_id != newest.history_id


async def test_a_deployer_that_says_more_than_was_recorded_is_not_believed(
    store: PostgresStore, pool: Database, deployers: PostgresDeployers
) -> None:
    for content in (b"a", b"b"):
        await publish(store, (GlobalScope(), RuleFile("global.yml", content, 1)))
    hello = replace(HELLO, history_id=(await PostgresChangeLog(pool).manifest()).position.history_id)
    claim = await deployers.claim(replace(hello, revision=1), "replica-a", LEASE)
    assert claim.revision == 1
    # the outcomes of revision 2 were lost on their way: until they are told again, they are not known to be ACTIVE
    claim = await deployers.claim(replace(hello, revision=2), "replica-a", LEASE)
    assert (claim.revision, (await the_one(store)).revision) == (1, 1)
    await deployers.record_outcomes("dep-1", claim.epoch, 2, HASH, [])
    assert (await deployers.claim(replace(hello, revision=1), "replica-a", LEASE)).revision == 1


async def test_a_heartbeat_extends_the_lease(
    store: PostgresStore, pool: Database, deployers: PostgresDeployers
) -> None:
    claim = await deployers.claim(HELLO, "replica-a", LEASE)
    await end_lease(pool)
    before = await the_one(store)
    await deployers.renew("dep-1", claim.epoch, LEASE, HASH)
    after = await the_one(store)
    assert after.connected
    assert after.manifest_hash == HASH
    assert after.seen_at > before.seen_at


async def test_outcomes_are_kept_until_the_file_is_active(store: PostgresStore, deployers: PostgresDeployers) -> None:
    epoch = (await deployers.claim(HELLO, "replica-a", LEASE)).epoch
    await publish(
        store,
        (GroupScope("prod"), RuleFile("group-prod.yml", b"a", 1)),
        (GlobalScope(), RuleFile("global.yml", b"b", 1)),
    )
    deferred = FileFate("global.yml", SHA, FateState.DEFERRED, "PROMETHEUS_UNREACHABLE", at=THEN)
    await deployers.record_outcomes("dep-1", epoch, 1, HASH, [REJECTED, deferred])
    facts = await the_one(store)
    assert facts.fates == (deferred, REJECTED)
    assert (facts.revision, facts.manifest_hash) == (1, HASH)
    assert await deployers.refused("dep-1") == {("group-prod.yml", SHA)}

    await deployers.record_outcomes("dep-1", epoch, 1, HASH, [FileFate("global.yml", SHA, FateState.ACTIVE)])
    assert (await the_one(store)).fates == (REJECTED,)

    rolled_back = replace(REJECTED, sha256=b"t" * 32, state=FateState.ROLLED_BACK)
    for _ in range(2):
        await deployers.record_outcomes("dep-1", epoch, 1, HASH, [REJECTED, rolled_back])
        assert (await the_one(store)).fates == (rolled_back,)
    assert await deployers.refused("dep-1") == {("group-prod.yml", b"t" * 32)}


async def test_the_time_of_an_outcome_is_the_databases_where_none_is_told(
    store: PostgresStore, deployers: PostgresDeployers
) -> None:
    epoch = (await deployers.claim(HELLO, "replica-a", LEASE)).epoch
    await publish(store, (GroupScope("prod"), RuleFile("group-prod.yml", b"a", 1)))
    await deployers.record_outcomes("dep-1", epoch, 1, HASH, [replace(REJECTED, at=None)])
    facts = await the_one(store)
    assert facts.fates[0].at is not None
    assert facts.fates[0].at >= facts.seen_at


async def test_the_fate_of_a_file_that_is_gone_is_forgotten_once_the_newest_revision_is_taken_up(
    store: PostgresStore, deployers: PostgresDeployers
) -> None:
    epoch = (await deployers.claim(HELLO, "replica-a", LEASE)).epoch
    await publish(store, (GroupScope("prod"), RuleFile("group-prod.yml", b"a", 1)))
    await publish(store, deleted=("group-prod.yml",))
    not_deleted = FileFate("namespace-env.yml", b"", FateState.DEFERRED, "WRITE_FAILED", at=THEN)
    await deployers.record_outcomes("dep-1", epoch, 1, HASH, [REJECTED, not_deleted])
    assert (await the_one(store)).fates == (REJECTED, not_deleted)
    await deployers.record_outcomes("dep-1", epoch, 2, HASH, [])
    assert (await the_one(store)).fates == (not_deleted,)


async def test_the_effective_state_is_kept(store: PostgresStore, deployers: PostgresDeployers) -> None:
    await publish(store, (GlobalScope(), RuleFile("global.yml", b"a", 1)))
    (made,) = (await store.files("", 1)).items
    epoch = (await deployers.claim(HELLO, "replica-a", LEASE)).epoch
    assert await deployers.effective_files("dep-1") is None
    await deployers.record_effective(
        "dep-1",
        epoch,
        EffectiveFacts(
            HASH,
            {"global.yml": DeployedFile(SHA, made.revision, 3, 120), "group-prod.yml": DeployedFile(HASH)},
            True,
            "3.2.0",
            THEN,
            True,
            ("global.yml",),
            (("CODE", "text"),),
        ),
    )
    facts = await the_one(store)
    assert facts.prometheus_up
    assert facts.prometheus_version == "3.2.0"
    assert facts.drifted_files == ("global.yml",)
    assert facts.manifest_hash == HASH
    assert (facts.warnings, facts.last_reload_at, facts.last_reload_ok) == ((("CODE", "text"),), THEN, True)
    assert await deployers.effective_files("dep-1") == (
        FileFacts("global.yml", GlobalScope(), SHA, made.revision, 3, 120, made.modified_at),
        FileFacts("group-prod.yml", GroupScope("prod"), HASH, 0, 0, 0, None),
    )
    await deployers.record_effective("dep-1", epoch, EffectiveFacts(HASH))
    facts = await the_one(store)
    assert (facts.prometheus_up, facts.prometheus_version, facts.drifted_files) == (False, "3.2.0", ())
    assert await deployers.effective_files("dep-1") == ()


async def test_reports_of_an_earlier_epoch_are_refused(store: PostgresStore, deployers: PostgresDeployers) -> None:
    old = (await deployers.claim(HELLO, "replica-a", LEASE)).epoch
    await deployers.claim(HELLO, "replica-b", LEASE)
    before = await the_one(store)
    for report in (
        deployers.renew("dep-1", old, LEASE, HASH),
        deployers.record_outcomes("dep-1", old, 1, HASH, [REJECTED]),
        deployers.record_effective("dep-1", old, EffectiveFacts(HASH)),
        deployers.renew("nobody", 1, LEASE, HASH),
    ):
        with pytest.raises(Conflict) as caught:
            await report
        assert caught.value.reason is Reason.STALE_EPOCH
    assert await the_one(store) == before


async def test_a_deployer_is_deleted_only_when_it_is_gone(store: PostgresStore, deployers: PostgresDeployers) -> None:
    epoch = (await deployers.claim(HELLO, "replica-a", LEASE)).epoch
    await publish(store, (GroupScope("prod"), RuleFile("group-prod.yml", b"a", 1)))
    await deployers.record_outcomes("dep-1", epoch, 1, HASH, [REJECTED])
    with pytest.raises(FailedPrecondition) as refused:
        await deployers.delete_deployer("dep-1")
    assert refused.value.reason is Reason.DEPLOYER_CONNECTED
    await deployers.release("dep-1", epoch)
    await deployers.delete_deployer("dep-1")
    assert await store.deployers() == ()
    assert await deployers.refused("dep-1") == set()
    for again in (deployers.delete_deployer("dep-1"), deployers.effective_files("dep-1")):
        with pytest.raises(NotFound) as missing:
            await again
        assert missing.value.reason is Reason.DEPLOYER_NOT_FOUND


async def test_deployers_are_listed_by_id(store: PostgresStore, deployers: PostgresDeployers) -> None:
    for id in ("b", "a-2", "a"):
        await deployers.claim(replace(HELLO, id=id), "replica-a", LEASE)
    assert [facts.id for facts in await store.deployers()] == ["a", "a-2", "b"]
