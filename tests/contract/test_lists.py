"""Pages of a list hold together, whatever is created before, within and after them meanwhile."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from rule_service.domain.model import AlertTemplate, GlobalScope, Group, Namespace, Target
from rule_service.store.unit_of_work import PostgresStore, PostgresTransaction
from rule_service.usecases.filters import GroupFilter, NamespaceFilter, RuleFilter, TargetFilter, TemplateFilter
from rule_service.usecases.ports import Page, Record
from tests.support.store import add, open_database, writing
from tests.support.worlds import SPEC, rule

Insert = Callable[[PostgresTransaction, str], Awaitable[object]]
Listed = Callable[[PostgresStore, str, int], Awaitable[Page[Record[Any]]]]

LISTS: dict[str, tuple[Insert, Listed]] = {
    "namespaces": (
        lambda transaction, id: transaction.insert_namespace(Namespace(id, id.replace("-", "_"), description="Look")),
        lambda store, after, limit: store.namespaces(after, limit, NamespaceFilter("look")),
    ),
    "groups": (
        lambda transaction, id: transaction.insert_group(Group(id, "default", id)),
        lambda store, after, limit: store.groups(after, limit, GroupFilter("default")),
    ),
    "groups below one": (
        lambda transaction, id: transaction.insert_group(Group(id, "env", id, "top")),
        lambda store, after, limit: store.groups(after, limit, GroupFilter("env", "top")),
    ),
    "targets": (
        lambda transaction, id: transaction.insert_target(Target(id, "h")),
        lambda store, after, limit: store.targets(after, limit),
    ),
    "targets of a group": (
        lambda transaction, id: transaction.insert_target(Target(id, "h", group_ids=("top",))),
        lambda store, after, limit: store.targets(after, limit, TargetFilter("top")),
    ),
    "targets of a namespace, deleted ones too": (
        lambda transaction, id: transaction.insert_target(Target(id, "h", group_ids=("top",))),
        lambda store, after, limit: store.targets(after, limit, TargetFilter(namespace_id="env", show_deleted=True)),
    ),
    "templates": (
        lambda transaction, id: transaction.insert_template(AlertTemplate(id, id, SPEC)),
        lambda store, after, limit: store.templates(after, limit, TemplateFilter("warning", show_deleted=True)),
    ),
    "rules": (
        lambda transaction, id: transaction.insert_rule(rule("global", id=id, key=id)),
        lambda store, after, limit: store.rules(after, limit, RuleFilter(scope=GlobalScope())),
    ),
}


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    async with open_database(database) as pool:
        store = PostgresStore(pool)
        await add(store, Namespace("env", "env"), Group("top", "env", "top"))
        yield store


@pytest.mark.parametrize("name", LISTS)
async def test_what_was_there_is_listed_once_whatever_comes_meanwhile(store: PostgresStore, name: str) -> None:
    insert, page = LISTS[name]

    async def create(*ids: str) -> None:
        async with writing(store) as transaction:
            for id in ids:
                await insert(transaction, id)

    there = ["b", "b-b", "d", "f0", "h"]
    await create(*there)
    first = await page(store, "", 2)
    assert [record.value.id for record in first.items] == ["b", "b-b"]
    assert first.next_after == "b-b"
    await create("a", "b-a", "c", "z")
    second = await page(store, first.next_after, 2)
    assert [record.value.id for record in second.items] == ["c", "d"]
    assert second.next_after == "d"
    await create("a0", "d-0", "e", "zz")
    rest: list[str] = []
    after: str | None = second.next_after
    while after is not None:
        following = await page(store, after, 2)
        rest += [record.value.id for record in following.items]
        after = following.next_after
    assert rest == ["d-0", "e", "f0", "h", "z", "zz"]
