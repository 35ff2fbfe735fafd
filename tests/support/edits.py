"""The use cases over a real database and a real promtool, without a process around them."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import yaml

from rule_service.changelog.wake import Signal
from rule_service.domain.model import AlertSpec, AlertTemplate, Config, Parameter, ParameterType, Scope
from rule_service.library import load_library
from rule_service.promtool import PromtoolChecker
from rule_service.store.deployers import PostgresDeployers
from rule_service.store.heartbeats import PostgresHeartbeats
from rule_service.store.pool import Database
from rule_service.store.revisions import PostgresHistory
from rule_service.store.unit_of_work import PostgresStore
from rule_service.usecases.bundle import Bundles
from rule_service.usecases.change import WriteOptions, Written
from rule_service.usecases.delivery import Delivery
from rule_service.usecases.export import Exports
from rule_service.usecases.groups import GroupEdits
from rule_service.usecases.heartbeats import TargetHeartbeats
from rule_service.usecases.history import History
from rule_service.usecases.namespaces import NamespaceEdits
from rule_service.usecases.ports_check import RuleChecker
from rule_service.usecases.publish import Publisher
from rule_service.usecases.rebase import Rebase
from rule_service.usecases.rollback import Rollback
from rule_service.usecases.rules import RuleDraft, RuleEdits
from rule_service.usecases.show import ShownRule
from rule_service.usecases.targets import TargetEdits
from rule_service.usecases.templates import TemplateEdits
from rule_service.usecases.understand import Understanding
from rule_service.usecases.waiting import RolloutWaiter
from rulecast.process.promtool import Promtool
from tests.support.store import open_database

DO = WriteOptions("tester", "Test")
TRY = WriteOptions("tester", "Test", validate_only=True)

CPU = AlertSpec(
    "HighCPU",
    "warning",
    "cpu_percent > {{ .threshold }}",
    (Parameter("threshold", ParameterType.NUMBER, 90.0, 0.0, 100.0),),
    Config(for_duration="5m", annotations={"summary": "over {{ .threshold }} on {{ $labels.instance }}"}),
)
CPU_TEMPLATE = AlertTemplate("cpu", "high-cpu", CPU)


@dataclass
class ToldCommands:
    """Implements `Commands` with nobody connected, and remembers what was asked."""

    told: list[tuple[str, str | None]] = field(default_factory=list)

    async def reload(self, deployer_id: str | None) -> tuple[str, ...]:
        self.told.append(("reload", deployer_id))
        return ()

    async def resync(self, deployer_id: str | None, *, mass_deletion_allowed: bool = False) -> tuple[str, ...]:
        self.told.append(("resync", deployer_id))
        return ()


class Edits:
    """Every use case on one store."""

    def __init__(self, database: Database, checker: RuleChecker | None) -> None:
        store = self.store = PostgresStore(database)
        self.wakeups = Signal()
        self.commands = ToldCommands()
        waiter = RolloutWaiter(store, self.wakeups)
        publisher = Publisher(store, checker, waiter)
        self.publisher = publisher
        self.namespaces = NamespaceEdits(publisher)
        self.groups = GroupEdits(publisher)
        self.targets = TargetEdits(publisher)
        self.templates = TemplateEdits(publisher, load_library())
        self.rules = RuleEdits(publisher, store)
        self.understanding = Understanding(store)
        self.rebase = Rebase(publisher)
        self.history = History(PostgresHistory(database), store)
        self.rollback = Rollback(publisher)
        self.bundles = Bundles(publisher)
        self.exports = Exports(store, max_resources=10_000)
        self.heartbeats = TargetHeartbeats(PostgresHeartbeats(database), timedelta(minutes=5))
        self.deployers = PostgresDeployers(database)
        self.delivery = Delivery(store, self.deployers, publisher, waiter, self.commands)

    async def rule(self, scope: Scope, id: str, options: WriteOptions = DO, **fields: object) -> Written[ShownRule]:
        """A rule of the template `cpu`, which must be there."""
        return await self.rules.create(RuleDraft(id, scope, template_id="cpu", **fields), options)  # type: ignore[arg-type]

    async def files(self) -> dict[str, bytes]:
        """The bytes of every rendered file, by name."""
        found = {}
        for facts in (await self.store.files("", 10_000)).items:
            file = await self.store.file(facts.name)
            assert file is not None
            found[facts.name] = file.content
        return found

    async def exprs(self, names: Collection[str] | None = None) -> dict[str, list[str]]:
        """The expressions in each file, as YAML says."""
        return {
            name: [rule["expr"] for group in yaml.safe_load(content)["groups"] for rule in group["rules"]]
            for name, content in (await self.files()).items()
            if names is None or name in names
        }


@asynccontextmanager
async def open_edits(database: str, promtool: Path | None) -> AsyncIterator[Edits]:
    """promtool: None leaves it out, for tests of something else with very many edits."""
    async with open_database(database) as pool:
        yield Edits(pool, PromtoolChecker(Promtool(promtool), at_once=2) if promtool is not None else None)
