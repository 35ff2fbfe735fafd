"""What decides about a key is found whole, at any depth of the groups' trees, and nothing else is."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from rule_service.domain.layout import RuleFile
from rule_service.domain.model import GlobalScope, GroupScope, Namespace, NamespaceScope
from rule_service.store.pool import Database
from rule_service.store.unit_of_work import PostgresStore
from rule_service.usecases.ports_rendered import Placement, RenderedTexts, StoredRule
from tests.support.store import add, open_database, rendered, writing
from tests.support.worlds import KEY, group, rule

DEPTH = 3_000


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with open_database(database) as pool:
        yield pool


@pytest.fixture
async def store(pool: Database) -> PostgresStore:
    """Two namespaces: env with top > middle > bottom and top > side, and dc with a group."""
    store = PostgresStore(pool)
    await add(
        store,
        Namespace("env", "env"),
        Namespace("dc", "dc"),
        group("env/top"),
        group("env/top/middle"),
        group("env/top/middle/bottom"),
        group("env/top/side"),
        group("dc/dc-a"),
    )
    return store


async def test_a_world_has_the_rules_their_ancestors_and_their_descendants(store: PostgresStore) -> None:
    await add(store, rule("group:middle", enabled=False), rule("namespace:dc"), rule("global", key="other", id="o"))
    world = (await store.key_worlds([KEY]))[KEY]
    assert world.rules == (rule("group:middle", enabled=False), rule("namespace:dc"))
    assert set(world.groups) == {"top", "middle", "bottom"}
    assert world.groups["bottom"] == group("env/top/middle/bottom")
    assert set(world.namespaces) == {"default", "env", "dc"}


async def test_each_key_has_a_world_of_its_own(store: PostgresStore) -> None:
    await add(store, rule("group:side"), rule("group:dc-a", key="other", id="o"))
    worlds = await store.key_worlds([KEY, "other", "unused"])
    assert {key: set(world.groups) for key, world in worlds.items()} == {
        KEY: {"side", "top"},
        "other": {"dc-a"},
        "unused": set(),
    }
    assert worlds["unused"].rules == ()


async def test_a_deleted_rule_is_in_no_world(store: PostgresStore) -> None:
    await add(store, rule("group:side"))
    async with writing(store) as transaction:
        await transaction.delete_rule("group-side")
    world = (await store.key_worlds([KEY]))[KEY]
    assert (world.rules, dict(world.groups)) == ((), {})
    assert await store.placements(None) == ()


async def test_keys_are_found_around_groups(store: PostgresStore) -> None:
    await add(
        store,
        rule("group:top", id="a", key="above"),
        rule("group:middle", id="b", key="there"),
        rule("group:bottom", id="c", key="below"),
        rule("group:side", id="d", key="beside"),
        rule("namespace:env", id="e", key="namespace"),
        rule("global", id="f", key="global"),
        rule("group:dc-a", id="g", key="elsewhere"),
    )
    async with writing(store) as transaction:
        assert await transaction.keys_around_groups(["middle"]) == {"above", "there", "below"}
        assert await transaction.keys_around_groups(["bottom", "dc-a"]) == {"above", "there", "below", "elsewhere"}
        assert await transaction.keys_around_groups([]) == set()
        assert await transaction.keys_of_namespace("env") == {"above", "there", "below", "beside", "namespace"}
        assert await transaction.keys_of_namespace("default") == set()


async def test_rules_are_found_for_a_series_with_what_they_are_rendered_to(store: PostgresStore) -> None:
    bottom, off = rule("group:bottom"), rule("namespace:env", enabled=False)
    await add(store, bottom, off, rule("global", id="o", key="other"), rule("group:side", id="s"))
    async with writing(store) as transaction:
        await transaction.put_rendered([rendered(bottom)])
    texts = RenderedTexts('cpu{env=~"a|b"} > 90', {"severity": "warning"}, {"summary": "{{ $value }} %"})
    of_key = (StoredRule(bottom, texts), StoredRule(off, None))
    other = StoredRule(rule("global", id="o", key="other"), None)
    assert await store.rules_for_series(["bottom"], ["env"], None) == (*of_key, other)
    assert await store.rules_for_series(["bottom"], ["env"], KEY) == of_key


async def test_keys_are_placed_where_they_have_rules_or_rendered_ones(store: PostgresStore) -> None:
    kept = rule("group:side", key="rendered")
    await add(store, kept, rule("global"), rule("group:top"), rule("group:top", id="b", key="other"))
    async with writing(store) as transaction:
        await transaction.put_rendered([rendered(kept)])
        await transaction.delete_rule(kept.id)
        await transaction.put_files([(NamespaceScope("dc"), RuleFile("namespace-dc.yml", b"", 0))])
    everywhere, side = (
        Placement(GlobalScope(), "", frozenset([KEY])),
        Placement(GroupScope("side"), "env", frozenset(["rendered"])),
    )
    top = Placement(GroupScope("top"), "env", frozenset([KEY, "other"]))
    left = Placement(NamespaceScope("dc"), "", frozenset())
    assert await store.placements(None) == (everywhere, side, top, left)
    assert await store.placements([KEY, "rendered"]) == (everywhere, side, replace(top, keys=frozenset([KEY])))


async def test_a_deep_tree_is_walked_to_its_end(store: PostgresStore, pool: Database) -> None:
    async with pool.session() as session:
        await session.run(
            """
            INSERT INTO groups (id, namespace_id, label_value, parent_id, description, revision, created_at, updated_at)
            SELECT 'g' || n, 'env', 'g' || n, CASE WHEN n > 1 THEN 'g' || n - 1 END, '', 1, now(), now()
            FROM generate_series(1, $1::integer) AS n
            """,
            DEPTH,
        )
    await add(store, rule("group:g1", id="first", key="first"), rule(f"group:g{DEPTH}", id="last"))
    assert len(await store.group_with_ancestors([f"g{DEPTH}"])) == DEPTH
    worlds = await store.key_worlds([KEY, "first"])
    assert {key: len(world.groups) for key, world in worlds.items()} == {KEY: DEPTH, "first": DEPTH}
    async with writing(store) as transaction:
        assert await transaction.keys_around_groups([f"g{DEPTH // 2}"]) == {KEY, "first"}


async def test_groups_of_a_scope_are_listed_for_deletion(store: PostgresStore) -> None:
    await add(store, rule("group:top"), rule("group:top", id="b", key="other"))
    async with writing(store) as transaction:
        assert [each.id for each in await transaction.child_groups("top")] == ["middle", "side"]
        assert [each.id for each in await transaction.groups_of_namespace("env", 2)] == ["bottom", "middle"]
        assert [each.id for each in await transaction.live_rules_at(GroupScope("top"), 9)] == ["b", "group-top"]
        assert [each.id for each in await transaction.live_rules_at(GroupScope("top"), 1)] == ["b"]


async def test_a_part_of_a_world_leaves_out_the_rules_beside_a_group(store: PostgresStore) -> None:
    ruled = [rule(f"group:{id}") for id in ("top", "middle", "bottom", "side", "dc-a")]
    await add(store, *ruled, rule("global"), rule("namespace:env"), rule("namespace:dc"))
    async with writing(store) as transaction:
        await transaction.put_rendered([rendered(each) for each in ruled])
    parts = await store.parts_of_worlds([KEY, "unused"], ["middle"])
    everywhere = {"global", "namespace-env", "namespace-dc", "group-dc-a"}
    assert {each.id for each in parts.worlds[KEY].rules} == everywhere | {"group-top", "group-middle", "group-bottom"}
    assert parts.worlds["unused"].rules == ()
    assert set(parts.rendered) == {"group-top", "group-middle", "group-bottom", "group-dc-a"}
    assert parts.rendered["group-top"] == rendered(ruled[0])
    whole = (await store.parts_of_worlds([KEY], ["side", "dc-a"])).worlds[KEY]
    assert {each.id for each in whole.rules} == {each.id for each in (await store.key_worlds([KEY]))[KEY].rules}


async def test_what_is_rendered_at_a_group_is_in_its_part_also_without_a_rule(store: PostgresStore) -> None:
    gone = rule("group:side")
    await add(store, gone)
    async with writing(store) as transaction:
        await transaction.put_rendered([rendered(gone)])
        await transaction.delete_rule(gone.id)
    assert set((await store.parts_of_worlds([KEY], ["side"])).rendered) == {gone.id}
