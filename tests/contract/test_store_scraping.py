"""The targets that can be scraped, and the labels of the namespaces they are in."""

from collections.abc import AsyncIterator

import pytest

from rule_service.domain.model import Exporter, Namespace, Target
from rule_service.store.unit_of_work import PostgresStore
from rule_service.usecases.filters import ScrapeFilter
from rule_service.usecases.ports import PlacedTarget
from tests.support.store import add, open_database, writing
from tests.support.worlds import group

NODE = Exporter("node", 9100)
GPU = Exporter("gpu", 9400, "/m", "https")
WEB = Target("web", "web.example.com", "10.0.0.1", {"rack": "r1"}, (NODE, GPU), ("east", "prod-web"))
DB = Target("db", "db.example.com", "10.0.0.2", exporters=(NODE,), group_ids=("prod",))
LAB = Target("lab", "lab.example.com", "10.0.0.3", exporters=(NODE,))
SILENT = Target("silent", "silent.example.com", "10.0.0.4", group_ids=("prod",))


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    async with open_database(database) as pool:
        store = PostgresStore(pool)
        await add(
            store,
            Namespace("env", "environment"),
            Namespace("dc", "site"),
            group("env/prod", value="production"),
            group("env/prod/prod-web"),
            group("dc/east"),
        )
        async with writing(store) as transaction:
            for target in (WEB, DB, LAB, SILENT):
                await transaction.insert_target(target)
        yield store


async def test_each_target_comes_with_the_labels_of_its_own_groups(store: PostgresStore) -> None:
    assert await store.placed_targets(ScrapeFilter()) == (
        PlacedTarget(DB, {"environment": "production"}),
        PlacedTarget(LAB, {}),
        PlacedTarget(WEB, {"environment": "prod-web", "site": "east"}),
    )


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        (ScrapeFilter(group_id="prod"), ["db", "web"]),
        (ScrapeFilter(group_id="prod-web"), ["web"]),
        (ScrapeFilter(namespace_id="env"), ["db", "web"]),
        (ScrapeFilter(namespace_id="dc"), ["web"]),
        (ScrapeFilter(exporter="gpu"), ["web"]),
        (ScrapeFilter(exporter="node"), ["db", "lab", "web"]),
        (ScrapeFilter("prod", "dc", "node"), ["web"]),
        (ScrapeFilter("prod", "default"), []),
    ],
)
async def test_filters_must_all_hold(store: PostgresStore, where: ScrapeFilter, ids: list[str]) -> None:
    assert [each.target.id for each in await store.placed_targets(where)] == ids
