"""A few kills of the campaign; `make faults` runs the long one."""

from pathlib import Path

from deploy.local.parts import PrometheusParts
from tests.faults.campaign import campaign


async def test_a_few_kills_lose_nothing(tmp_path: Path, database: str, prometheus_parts: PrometheusParts) -> None:
    figures = await campaign(tmp_path, database, prometheus_parts, kills=6, seed=1)
    assert figures.well, str(figures)
    assert sum(figures.kills.values()) == 6
    assert figures.acknowledged > 6
    assert figures.reads > 100
    assert figures.reloads > 2
