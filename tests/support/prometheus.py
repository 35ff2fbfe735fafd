"""Prometheus for tests: which ones, and one that is running."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml

from deploy.local.cache import cache_dir
from deploy.local.parts import PrometheusParts, find_prometheus
from deploy.local.prometheus import PrometheusServer

SECOND = "RULECAST_TEST_PROMETHEUS"


def choices() -> list[str]:
    """`found`, and `second` if RULECAST_TEST_PROMETHEUS names a folder with the programs of another version."""
    return ["found", "second"] if os.environ.get(SECOND) else ["found"]


def parts_of(choice: str) -> PrometheusParts:
    """The programs of one of the choices, fetched if there are none on this machine."""
    return find_prometheus(cache_dir()) if choice == "found" else PrometheusParts.in_folder(Path(os.environ[SECOND]))


@asynccontextmanager
async def running_prometheus(
    parts: PrometheusParts, folder: Path, *, rules: Path, interval: str = "1s", port: int | None = None
) -> AsyncIterator[PrometheusServer]:
    """A Prometheus that loads every `*.yml` in the folder `rules`, evaluates at `interval` and scrapes nothing."""
    config = folder / "prometheus.yml"
    settings = {"global": {"evaluation_interval": interval}, "rule_files": [str(rules / "*.yml")]}
    config.write_text(yaml.safe_dump(settings))
    server = PrometheusServer(parts, config=config, data=folder / "data", log=folder / "prometheus.log", port=port)
    async with server:
        yield server
