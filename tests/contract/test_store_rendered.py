"""Rendered rules and files are stored whole, replaced in place, and counted by file."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from rule_service.domain.layout import RuleFile
from rule_service.domain.model import GlobalScope, GroupScope, Namespace
from rule_service.domain.warning import RuleWarning
from rule_service.store.unit_of_work import PostgresStore
from rule_service.usecases.ports_changes import LoggedChange
from rule_service.usecases.ports_rendered import Fragment, InFile, Ingredients
from rulecast.digest import file_sha256
from rulecast.errors import Position
from tests.support.rendering import render_key
from tests.support.store import add, open_database, publish, rendered, writing
from tests.support.worlds import KEY, SPEC, group, rule

GLOBAL, PROD, OTHER = rule("global"), rule("group:prod"), rule("group:prod", id="other", key="other")


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    async with open_database(database) as pool:
        store = PostgresStore(pool)
        await add(store, Namespace("env", "env"), group("env/prod"), GLOBAL, PROD, OTHER)
        yield store


async def test_a_rendered_rule_comes_back_as_it_was_stored(store: PostgresStore) -> None:
    full = rendered(
        PROD,
        for_duration=None,
        keep_firing_for="1h",
        interval="30s",
        labels={"b": "2", "a": "1", "severity": 'x"y'},
        annotations={},
        warnings=(RuleWarning("everywhere", "fires everywhere", Position(2, 7)), RuleWarning("odd", "no position")),
    )
    async with writing(store) as transaction:
        await transaction.put_rendered([full, rendered(GLOBAL)])
        assert await transaction.rendered_of_keys([KEY]) == {"group-prod": full, "global": rendered(GLOBAL)}
    assert await store.in_files(["group-prod", "nobody"]) == {"group-prod": InFile(full, 1)}
    assert await store.files_of_keys([KEY, "unused"]) == {"global.yml", "group-prod.yml"}


async def test_rendering_again_replaces_and_deletes(store: PostgresStore) -> None:
    async with writing(store) as transaction:
        await transaction.put_rendered([rendered(PROD), rendered(GLOBAL)])
        await transaction.put_rendered([rendered(PROD, expr="up == 0", interval="1m")])
        await transaction.delete_rendered(["global", "nobody"])
        await transaction.put_rendered([])
        await transaction.delete_rendered([])
    assert await store.in_files(["group-prod", "global"]) == {
        "group-prod": InFile(rendered(PROD, expr="up == 0", interval="1m"), 1)
    }


async def test_fragments_are_found_by_file(store: PostgresStore) -> None:
    async with writing(store) as transaction:
        await transaction.put_rendered([rendered(PROD), rendered(OTHER, interval="1m"), rendered(GLOBAL)])
        await transaction.put_files([(GroupScope("prod"), RuleFile("group-prod.yml", b"prod", 2))])
        found = await transaction.ingredients(["group-prod.yml", "namespace-env.yml"])
    assert set(found["group-prod.yml"].fragments) == {
        Fragment("group-prod", KEY, None, rendered(PROD).text),
        Fragment("other", "other", "1m", rendered(OTHER).text),
    }
    assert found["group-prod.yml"].sha256 == file_sha256(b"prod")
    assert found["namespace-env.yml"] == Ingredients((), None)


async def test_rules_of_one_file_and_interval_are_counted(store: PostgresStore) -> None:
    third = rule("group:prod", id="third", key="third")
    await add(store, third)
    async with writing(store) as transaction:
        await transaction.put_rendered(
            [rendered(PROD), rendered(OTHER, interval="1m"), rendered(third), rendered(GLOBAL)]
        )
    stored = await store.in_files(["group-prod", "other", "third", "global", "nobody"])
    assert {id: each.beside for id, each in stored.items()} == {"group-prod": 2, "other": 1, "third": 2, "global": 1}


async def test_a_file_comes_back_as_it_was_stored(store: PostgresStore) -> None:
    content = "groups: []\n# é\n".encode()
    revision = await publish(store, (GroupScope("prod"), RuleFile("group-prod.yml", content, 3)))
    stored = await store.file("group-prod.yml")
    assert stored is not None
    assert stored.content == content
    facts = stored.facts
    assert (facts.name, facts.scope, facts.sha256) == ("group-prod.yml", GroupScope("prod"), file_sha256(content))
    assert (facts.revision, facts.rule_count, facts.size) == (revision, 3, len(content))
    assert (await store.files("", 9)).items == (facts,)
    assert await store.file("none.yml") is None


async def test_files_are_replaced_listed_and_deleted(store: PostgresStore) -> None:
    same = (GlobalScope(), RuleFile("global.yml", b"same\n", 1))
    first = await publish(store, same, (GroupScope("prod"), RuleFile("group-prod.yml", b"old\n", 1)))
    second = await publish(store, same, (GroupScope("prod"), RuleFile("group-prod.yml", b"new\n", 2)))
    page = await store.files("", 1)
    assert (page.items[0].name, page.next_after) == ("global.yml", "global.yml")
    revisions = {facts.name: facts.revision for facts in (await store.files("", 9)).items}
    assert revisions == {"global.yml": first, "group-prod.yml": second}

    third = await publish(store, deleted=("group-prod.yml",))
    assert await store.file("group-prod.yml") is None
    assert await store.changed_files(third) == (LoggedChange("group-prod.yml", None),)
    assert await store.changed_files(first) == (
        LoggedChange("global.yml", file_sha256(b"same\n")),
        LoggedChange("group-prod.yml", file_sha256(b"old\n")),
    )
    assert await store.changed_files(third + 1) == ()


async def test_many_rules_are_stored_in_batches(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rule_service.store.rendered.BATCH", 300)
    many = [rule("global", id=f"r{number}", key=f"k{number}") for number in range(1_000)]
    await add(store, *many)
    async with writing(store) as transaction:
        await transaction.put_rendered([rendered(each) for each in many])
        assert len((await transaction.ingredients(["global.yml"]))["global.yml"].fragments) == 1_000
    assert (await store.in_files(["r0"]))["r0"].beside == 1_000


async def test_what_the_domain_renders_comes_back_equal(store: PostgresStore) -> None:
    """An edit compares the two to find out what has changed: a difference of form would be a change of every rule."""
    texts = {"labels": {"team": "ops é"}, "annotations": {"summary": "{{ $value }} over {{ .threshold }}\n\ttwice"}}
    spec = replace(SPEC, query='cpu{env="prod"} > {{ .threshold }}')
    await add(store, rule("namespace:env", spec=spec, config={**texts, "for_duration": "90s", "interval": "1m"}))
    rules = render_key((await store.key_worlds([KEY]))[KEY])
    assert any(each.warnings for each in rules)
    async with writing(store) as transaction:
        await transaction.put_rendered(rules)
        assert await transaction.rendered_of_keys([KEY]) == {each.rule_id: each for each in rules}
    assert render_key((await store.key_worlds([KEY]))[KEY]) == rules
