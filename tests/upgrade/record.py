"""Records what this build says to the database: `python -m tests.upgrade.record 0.1.0`, when that release is made."""

import argparse
import asyncio
import os
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.local.postgres import PostgresServer
from rule_service.changelog.prune import Pruner
from rule_service.changelog.reader import PostgresChangeLog
from rule_service.domain.model import (
    Config,
    Exporter,
    GlobalScope,
    Group,
    GroupScope,
    Namespace,
    NamespaceScope,
    Target,
)
from rule_service.store.deployers import PostgresDeployers
from rule_service.store.overview import PostgresOverviews
from rule_service.store.pool import Database
from rule_service.usecases.discover import Discovery
from rule_service.usecases.filters import GroupFilter, RuleFilter, ScrapeFilter, TemplateFilter
from rule_service.usecases.ports_changes import Request, ResourceFilter
from rule_service.usecases.ports_delivery import DeployedFile, EffectiveFacts, HelloFacts
from rule_service.usecases.ports_fates import FateState, FileFate
from rule_service.usecases.ports_history import RevisionFilter
from rule_service.usecases.rebase import RulesOfTemplate
from rule_service.usecases.rollback import OneRule
from tests.support.edits import CPU, CPU_TEMPLATE, DO, TRY, Edits
from tests.support.postgres import fresh_database, make_template
from tests.support.store import open_database
from tests.upgrade.statements import RECORDINGS, dump, recording

HASH = b"h" * 32
MADE = replace(DO, reason="because", request=Request("r-1", b"d" * 32))


async def scenario(database: Database) -> None:
    """Something of everything that the rule service does, one thing after the other."""
    edits = Edits(database, None)
    await _edit(edits)
    await _read(edits, database)
    await _deliver(edits, database)
    await _take_away(edits, database)


async def _edit(edits: Edits) -> None:
    await edits.namespaces.create(Namespace("env", "environment"), DO)
    await edits.groups.create(Group("prod", "env", "production"), DO)
    await edits.groups.create(Group("prod-web", "env", "web", "prod"), DO)
    await edits.groups.update("prod-web", "", lambda record: replace(record.value, description="more"), DO)
    target = Target("web", "web.example.com", "10.0.0.1", {"rack": "r1"}, (Exporter("node", 9100),), ("prod-web",))
    await edits.targets.create(target, DO)
    await edits.targets.update("web", "", lambda record: replace(record.value, address="10.0.0.2"), DO)
    await edits.templates.create(CPU_TEMPLATE, DO)
    for id, scope in (("all", GlobalScope()), ("env", NamespaceScope("env")), ("prod", GroupScope("prod"))):
        await edits.rule(scope, id, TRY)
        await edits.rule(scope, id, replace(MADE, request=Request(f"r-{id}", HASH)))
    await edits.rule(GlobalScope(), "all", replace(MADE, request=Request("r-all", HASH)))
    for threshold in (70.0, 60.0):
        await edits.rules.update("prod", "", lambda rule: replace(rule, config=_config(threshold)), DO)  # noqa: B023
    spec = replace(CPU, severity="critical")
    await edits.templates.update("cpu", "", lambda record: replace(record.value, spec=spec), DO)
    await edits.rebase.rebase(RulesOfTemplate("cpu"), DO)
    await edits.rules.delete("env", "", DO)
    await edits.rules.undelete("env", "", DO)
    await edits.delivery.regenerate_all(DO)
    await edits.delivery.regenerate_group("prod", DO)


def _config(threshold: float) -> Config:
    return Config(parameters={"threshold": threshold})


async def _read(edits: Edits, database: Database) -> None:
    store = edits.store
    for id in ("env", "default"):
        await store.namespace(id)
    await store.group("prod")
    await store.target("web")
    await store.template("cpu")
    await store.rule("prod")
    await store.namespaces("", 10)
    await store.groups("", 10, GroupFilter("env"))
    await store.targets("", 10)
    await store.templates("", 10, TemplateFilter("critical"))
    for where in (
        RuleFilter(),
        RuleFilter(GroupScope("prod"), "high-cpu"),
        RuleFilter(severity="critical", text="cpu"),
    ):
        await store.rules("", 10, where)
    await store.files("", 10)
    await store.file("global.yml")
    await edits.understanding.effective_for_target("web", None)
    await edits.understanding.explain_rule("prod")
    await Discovery(store).scrape_targets(ScrapeFilter())
    newest = await store.revision()
    await edits.history.list(None, 10, RevisionFilter())
    await edits.history.get(newest - 1, 0, 10)
    await edits.history.diff(1, None, ("", ""), 10, ResourceFilter())
    await edits.rollback.roll_back(newest - 2, OneRule("prod"), TRY)
    overviews = PostgresOverviews(database)
    await overviews.totals(None)


async def _deliver(edits: Edits, database: Database) -> None:
    log, deployers = PostgresChangeLog(database), PostgresDeployers(database)
    position = (await log.manifest()).position
    await edits.rules.update("prod", "", lambda rule: replace(rule, config=_config(50.0)), DO)
    await log.changes_after(position)
    await log.contents(["global.yml", "group-prod.yml"])
    hello = HelloFacts("paris", b"p" * 16, "1.0", "3.1.0", "http://localhost:9090", (GroupScope("prod"),))
    claim = await deployers.claim(hello, "replica", 30.0)
    await deployers.renew("paris", claim.epoch, 30.0, HASH)
    bad = FileFate("group-prod.yml", HASH, FateState.REJECTED, "PROMTOOL_CHECK_FAILED", "bad", "g", "HighCPU", _now())
    await deployers.record_outcomes("paris", claim.epoch, position.revision + 1, HASH, [bad])
    facts = EffectiveFacts(HASH, {"global.yml": DeployedFile(HASH, 1, 1, 10)}, True, "3.1.0", _now(), True)
    await deployers.record_effective("paris", claim.epoch, facts)
    await deployers.refused("paris")
    await deployers.effective_files("paris")
    await edits.store.deployers()
    await edits.delivery.rollout(position.revision + 1)
    await PostgresOverviews(database).lags()
    await deployers.release("paris", claim.epoch)
    await deployers.delete_deployer("paris")


def _now() -> datetime:
    return datetime(2026, 1, 2, tzinfo=UTC)


async def _take_away(edits: Edits, database: Database) -> None:
    await edits.rules.delete("prod", "", DO)
    await edits.rules.purge("prod", "", DO)
    await edits.targets.delete("web", "", DO)
    await edits.groups.delete("prod-web", "", False, DO)
    await edits.templates.delete("cpu", "", DO)
    await Pruner(database, timedelta(days=90), timedelta(days=30)).prune()


async def record() -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chmod(folder, 0o755)  # the server may run as another user
        async with PostgresServer(folder / "data", log=folder / "postgres.log", durable=False) as server:
            await make_template(server)
            async with fresh_database(server) as url, open_database(url) as database:
                with recording() as said:
                    await scenario(database)
    return dump(said)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade.record", description=__doc__)
    parser.add_argument("release", help="its version, which the recording is named after")
    release = parser.parse_args().release
    RECORDINGS.mkdir(exist_ok=True)
    (RECORDINGS / f"{release}.json").write_text(asyncio.run(record()))


if __name__ == "__main__":
    main()
