"""How much there is, and how far each deployer is behind."""

from dataclasses import replace

import pytest

from rule_service.domain.model import GlobalScope
from rule_service.store.deployers import PostgresDeployers
from rule_service.store.overview import PostgresOverviews
from rule_service.usecases.ports_delivery import EffectiveFacts, HelloFacts
from rule_service.usecases.ports_fates import FateState, FileFate
from rule_service.usecases.ports_watch import DeployerLag, Totals
from rule_service.usecases.watch import Watch
from rulecast.errors import Unavailable
from rulecast.reasons import Reason
from tests.support.edits import CPU_TEMPLATE, DO, Edits
from tests.support.store import open_database

HASH = b"h" * 32


def hello(id: str) -> HelloFacts:
    return HelloFacts(id, id.encode().ljust(16, b"."))


async def test_totals_count_what_is_there_once_for_each_revision(database: str) -> None:
    async with open_database(database) as pool:
        overviews, edits = PostgresOverviews(pool), Edits(pool, None)
        assert await overviews.totals(None) == Totals(0, 0, 0, 0, 0)
        await edits.templates.create(CPU_TEMPLATE, DO)
        await edits.rule(GlobalScope(), "all")
        await edits.rules.update("all", "", lambda rule: replace(rule, enabled=False), DO)
        await edits.rules.delete("all", "", DO)
        await edits.rule(GlobalScope(), "again")
        totals = await overviews.totals(None)
        assert totals == Totals(revision=5, files=1, rendered_rules=1, enabled_rules=1, disabled_rules=0)
        known = replace(totals, files=77)
        assert await overviews.totals(known) is known, "nothing is counted while the revision is the same"
        await edits.rules.update("again", "", lambda rule: replace(rule, enabled=False), DO)
        assert await overviews.totals(known) == Totals(6, 0, 0, 0, 1)


async def test_the_lag_is_the_age_of_the_first_revision_that_is_missing(database: str) -> None:
    async with open_database(database) as pool:
        overviews, edits, deployers = PostgresOverviews(pool), Edits(pool, None), PostgresDeployers(pool)
        await edits.templates.create(CPU_TEMPLATE, DO)
        for id in ("all", "gone"):
            claim = await deployers.claim(hello(id), "replica", 30.0)
            await deployers.record_outcomes(id, claim.epoch, 1, HASH, [])
        await deployers.release("gone", claim.epoch)
        assert {lag.id: (lag.lag_revisions, lag.lag_seconds) for lag in await overviews.lags()} == {
            "all": (0, 0.0),
            "gone": (0, 0.0),
        }
        await edits.rule(GlobalScope(), "all")
        await edits.rules.update("all", "", lambda rule: replace(rule, description="more"), DO)
        async with pool.session() as session:
            await session.run("UPDATE history SET at = at - interval '1 hour' WHERE revision = 2")
        # deletions that were refused: the fate of another file that is not there would be forgotten
        fates = [FileFate(f"group-{n}.yml", b"", FateState.REJECTED, "R", "m", "", "", None) for n in "ab"]
        epoch = (await edits.store.deployers())[0].epoch
        await deployers.record_outcomes("all", epoch, 3, HASH, [*fates, _deferred()])
        await deployers.record_effective("all", epoch, EffectiveFacts(HASH, drifted_files=("group-a.yml",)))
        all_of_it, gone = await overviews.lags()
        assert all_of_it == DeployerLag("all", True, 0, 0.0, 1, {FateState.REJECTED: 2, FateState.DEFERRED: 1})
        assert (gone.connected, gone.lag_revisions, gone.troubles) == (False, 2, {})
        assert gone.lag_seconds >= 3600


def _deferred() -> FileFate:
    return FileFate("global.yml", HASH, FateState.DEFERRED, "R", "m", "", "", None)


async def test_history_that_was_forgotten_counts_from_where_it_begins(database: str) -> None:
    async with open_database(database) as pool:
        edits, deployers = Edits(pool, None), PostgresDeployers(pool)
        await deployers.claim(hello("old"), "replica", 30.0)
        await edits.templates.create(CPU_TEMPLATE, DO)
        await edits.rule(GlobalScope(), "all")
        async with pool.session() as session:
            await session.run("DELETE FROM history WHERE revision < 2")
            await session.run("UPDATE history SET at = at - interval '1 minute'")
        (lag,) = await PostgresOverviews(pool).lags()
        assert (lag.lag_revisions, lag.lag_seconds >= 60) == (2, True)


async def test_a_database_that_is_away_leaves_the_last_overview(database: str) -> None:
    async with open_database(database) as pool:
        overviews = PostgresOverviews(pool)
        watch = Watch(overviews)
        assert (watch.overview, watch.up) == (None, False)
        await watch.look()
        assert watch.up
        seen = watch.overview
        assert seen is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(overviews, "lags", _away)
            await watch.look()
        assert (watch.overview, watch.up) == (seen, False)


async def _away() -> tuple[DeployerLag, ...]:
    raise Unavailable.of("", Reason.DATABASE_UNAVAILABLE, "away")
