"""Where benchmarks run: one durable PostgreSQL, databases of each size, and the programs of Prometheus."""

import itertools
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.parts import PrometheusParts
from deploy.local.postgres import PostgresServer
from deploy.local.process import free_port
from tests.benchmarks.population import populate
from tests.support.postgres import fresh_database, run
from tests.support.prometheus import parts_of, running_prometheus
from tests.support.solo import Solo
from tests.support.system import Deployer, Replica, deployer, replica

SECOND = "RULECAST_BENCH_PROMETHEUS"
"""Names a folder with `prometheus` and `promtool` of a second version."""
INTERVAL = "1m"
"""Of evaluation: Prometheus's own default."""
UNCHECKED = {"PROMETHEUS_VALIDATE_RULES": "false"}
"""Settings of a service that asks no promtool."""


@dataclass
class Bench:
    """quick: fewer repetitions. folder: gone afterwards."""

    folder: Path
    postgres: PostgresServer
    quick: bool
    _templates: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def times(self, whole: int, quick: int) -> int:
        return quick if self.quick else whole

    def home(self) -> Path:
        """A new folder."""
        folder = self.folder / f"{next(self._numbers)}"
        folder.mkdir()
        return folder

    @property
    def parts(self) -> PrometheusParts:
        """The Prometheus on PATH."""
        return parts_of("found")

    @property
    def every_parts(self) -> dict[str, PrometheusParts]:
        """What to append to a name, and the Prometheus."""
        second = os.environ.get(SECOND)
        found = {"": self.parts}
        if second:
            other = PrometheusParts.in_folder(Path(second))
            found[f"@{other.version}"] = other
        return found

    @asynccontextmanager
    async def database(self, rules: int) -> AsyncIterator[str]:
        """A copy of a database with so many rules, and a tenth as many targets; filled once for each size."""
        template = f"bench_{rules}"
        if template not in self._templates:
            await run(self.postgres, f"CREATE DATABASE {template} TEMPLATE rulecast_template")
            await populate(self.postgres.url(template), rules)
            self._templates.add(template)
        async with fresh_database(self.postgres, template) as url:
            yield url

    @asynccontextmanager
    async def replica(self, database: str, settings: Mapping[str, str] | None = None) -> AsyncIterator[Replica]:
        """A rule service that is serving."""
        one = replica(
            self.home(),
            database,
            self.parts.promtool,
            settings={"RULE_SERVICE_LOG_LEVEL": "warning", **(settings or {})},
        )
        try:
            await one.start()
            yield one
        finally:
            await one.child.stop()
            await one.channel.close()

    @asynccontextmanager
    async def deployer(
        self, replica: Replica, parts: PrometheusParts, settings: Mapping[str, str] | None = None
    ) -> AsyncIterator[Deployer]:
        """A deployer with its own Prometheus; not started."""
        async with AsyncExitStack() as stack:
            home = self.home()
            server = await stack.enter_async_context(
                running_prometheus(parts, home, rules=home / "rules", interval=INTERVAL)
            )
            one = deployer(home, server, parts, [replica.address], settings=settings)
            stack.push_async_callback(one.channel.close)
            stack.push_async_callback(one.child.stop)
            yield one

    @asynccontextmanager
    async def system(self, rules: int, parts: PrometheusParts) -> AsyncIterator[Solo]:
        """One rule service and one deployer, whose Prometheus runs all rules."""
        async with (
            self.database(rules) as url,
            self.replica(url) as service,
            self.deployer(service, parts, {"DEPLOYER_HTTP_LISTEN": f"127.0.0.1:{(port := free_port())}"}) as beside,
        ):
            await beside.start()
            system = Solo([service], [beside], metrics_url=f"http://127.0.0.1:{port}/metrics")
            await system.connected()
            await system.settled()
            yield system
