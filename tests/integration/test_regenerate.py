"""Everything rendered anew, in batches: what was lost or is wrong is put right, what does not render is told."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from rule_service.domain.layout import RuleFile
from rule_service.domain.model import GlobalScope, Group, GroupScope, Namespace, NamespaceScope, Scope
from tests.support.edits import CPU, CPU_TEMPLATE, DO, TRY, Edits, open_edits
from tests.support.truth import contradictions

RULES: dict[str, Scope] = {
    "everywhere": GlobalScope(),
    "namespace": NamespaceScope("env"),
    **{f"env-{at}": GroupScope(f"env-{at}") for at in range(5)},
    **{f"dc-{at}": GroupScope(f"dc-{at}") for at in range(3)},
}


@pytest_asyncio.fixture
async def edits(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Edits]:
    """One alert at every scope, and batches of two rules."""
    monkeypatch.setattr("rule_service.usecases.regenerate.RULES_AT_ONCE", 2)
    async with open_edits(database, None) as opened:
        await opened.namespaces.create(Namespace("env", "env"), DO)
        await opened.namespaces.create(Namespace("dc", "dc"), DO)
        await opened.templates.create(CPU_TEMPLATE, DO)
        for id, scope in RULES.items():
            if isinstance(scope, GroupScope):
                parent = "env-0" if id in ("env-1", "env-2") else None
                await opened.groups.create(Group(id, id.partition("-")[0], id, parent), DO)
            await opened.rule(scope, id)
        yield opened


async def lose(edits: Edits, *rules: str) -> None:
    """As if these had never been rendered, with a trace in the log."""
    names = {id: each.rule.file_name for id, each in (await edits.store.in_files(rules)).items()}
    async with edits.store.transaction() as transaction:
        await transaction.take_revision()
        await transaction.delete_rendered(list(names))
        await transaction.delete_files(list(names.values()))
        await transaction.log("tester", "Lose", (), ())


async def test_what_is_right_stays_and_makes_no_revision(edits: Edits) -> None:
    before = await edits.files()
    done = await edits.delivery.regenerate_all(DO)
    assert (done.files, done.groups, done.change.revision, done.change.files) == (len(RULES), 8, 0, ())
    assert await edits.files() == before


async def test_all_that_was_lost_comes_back(edits: Edits, database: str) -> None:
    before = await edits.files()
    await lose(edits, *RULES)
    assert await edits.files() == {}
    tried = await edits.delivery.regenerate_all(TRY)
    assert {file.name for file in tried.change.files} == set(before)
    assert await edits.files() == {}
    done = await edits.delivery.regenerate_all(DO)
    assert {file.name for file in done.change.files} == set(before)
    assert await edits.files() == before
    assert await contradictions(database) == []


async def test_a_file_with_other_bytes_and_one_too_many_are_put_right(edits: Edits) -> None:
    before = await edits.files()
    async with edits.store.transaction() as transaction:
        await transaction.take_revision()
        wrong = RuleFile("group-env-3.yml", b"groups: []\n", 0)
        await transaction.put_files(
            [(GroupScope("env-3"), wrong), (GroupScope("x"), replace(wrong, name="group-x.yml"))]
        )
        await transaction.log("tester", "Spoil", (), ())
    done = await edits.delivery.regenerate_all(DO)
    assert [file.name for file in done.change.files] == ["group-env-3.yml", "group-x.yml"]
    assert await edits.files() == before


async def test_what_no_longer_renders_is_told_and_keeps_nothing_else_from_it(edits: Edits) -> None:
    before = await edits.files()
    record = await edits.store.rule("env-3")
    assert record is not None
    await lose(edits, *RULES)
    async with edits.store.transaction() as transaction:
        await transaction.take_revision()
        await transaction.update_rule(replace(record.value, spec=replace(CPU, query="cpu_percent >")))
    done = await edits.delivery.regenerate_all(DO)
    (error,) = done.errors
    assert error.startswith("high-cpu: ")
    assert "env-3" in error
    assert await edits.files() == {name: content for name, content in before.items() if name != "group-env-3.yml"}


async def test_a_group_has_its_alerts_rendered_anew_wherever_they_are(edits: Edits) -> None:
    before = await edits.files()
    await lose(edits, *RULES)
    done = await edits.delivery.regenerate_group("dc-1", DO)
    assert (done.files, done.groups) == (len(RULES), 8)
    assert await edits.files() == before
