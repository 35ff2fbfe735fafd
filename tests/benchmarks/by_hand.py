"""What an edit costs without Rulecast: a rule file changed by hand, promtool, one reload, one look at the rules."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from deploy.local.parts import PrometheusParts
from deploy.local.prometheus import PrometheusServer
from tests.benchmarks.bench import INTERVAL
from tests.support.prometheus import running_prometheus

PATIENCE = aiohttp.ClientTimeout(total=600)


@dataclass
class ByHand:
    """A Prometheus of its own over a folder of rule files."""

    rules: Path
    prometheus: PrometheusServer
    session: aiohttp.ClientSession

    async def edit(self, name: str, before: str, after: str) -> None:
        """Replaces a text in a file, and returns when Prometheus says that it runs an expression with the new one."""
        path = self.rules / name
        content = path.read_text()
        assert content.count(before) == 1, before
        fresh = path.with_suffix(".new")
        fresh.write_text(content.replace(before, after))
        await check(self.prometheus.parts.promtool, fresh)
        os.replace(fresh, path)
        await self.reload()
        assert after in await exprs(self.session, self.prometheus, path)

    async def reload(self) -> None:
        async with self.session.post(self.prometheus.url + "/-/reload") as answer:
            assert answer.status == 200, await answer.text()


@asynccontextmanager
async def by_hand(folder: Path, parts: PrometheusParts, files: Mapping[str, bytes]) -> AsyncIterator[ByHand]:
    rules = folder / "rules"
    rules.mkdir()
    for name, content in files.items():
        (rules / name).write_bytes(content)
    async with (
        running_prometheus(parts, folder, rules=rules, interval=INTERVAL) as server,
        aiohttp.ClientSession(timeout=PATIENCE) as session,
    ):
        yield ByHand(rules, server, session)


async def check(promtool: Path, *files: Path) -> None:
    """One promtool process over the files, all of which have to be good."""
    process = await asyncio.create_subprocess_exec(
        promtool, "check", "rules", *files, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode(errors="replace")[-500:]


async def exprs(session: aiohttp.ClientSession, prometheus: PrometheusServer, path: Path) -> set[str]:
    """The expressions that Prometheus runs of one file. Versions before 2.49 answer with those of all files."""
    parameters = {"file[]": str(path), "exclude_alerts": "true"}
    async with session.get(prometheus.url + "/api/v1/rules", params=parameters) as answer:
        groups: list[dict[str, Any]] = json.loads(await answer.read())["data"]["groups"]
    return {rule["query"] for group in groups if group["file"] == str(path) for rule in group["rules"]}
