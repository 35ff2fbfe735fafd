"""The history on a real database with a real promtool: what was done, what differs, and the way back."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from rule_service.domain.model import (
    Config,
    GlobalScope,
    Group,
    GroupScope,
    Namespace,
    NamespaceScope,
    Target,
)
from rule_service.usecases.history import REFS
from rule_service.usecases.ports_changes import ResourceFilter
from rule_service.usecases.ports_history import ResourceRef, RevisionFilter
from rule_service.usecases.rollback import Everything, OneRule, RulesOfGroup
from rulecast.errors import AlreadyExists, InvalidInput, NotFound
from rulecast.reasons import Reason
from tests.support.edits import CPU, CPU_TEMPLATE, DO, TRY, Edits, open_edits

ANY = RevisionFilter()
ALL = ResourceFilter()
START = ("", "")


@pytest_asyncio.fixture
async def edits(database: str, promtool: Path) -> AsyncIterator[Edits]:
    """The namespace env with the groups prod > eu and dev, the template cpu, and its rules everywhere and for prod."""
    async with open_edits(database, promtool) as opened:
        await opened.namespaces.create(Namespace("env", "env"), DO)
        for group in (Group("prod", "env", "prod"), Group("eu", "env", "eu", "prod"), Group("dev", "env", "dev")):
            await opened.groups.create(group, DO)
        await opened.templates.create(CPU_TEMPLATE, DO)
        await opened.rule(GlobalScope(), "cpu-all")
        await opened.rule(GroupScope("prod"), "cpu-prod", config=threshold(80.0))
        yield opened


def threshold(value: float) -> Config:
    return Config(parameters={"threshold": value})


async def set_threshold(edits: Edits, id: str, value: float) -> int:
    return (await edits.rules.update(id, "", lambda rule: replace(rule, config=threshold(value)), DO)).change.revision


async def test_revisions_are_listed_newest_first_in_pages(edits: Edits) -> None:
    newest = await edits.store.revision()
    seen: list[int] = []
    before = None
    while True:
        page = (await edits.history.list(before, 3, ANY)).page
        seen += [each.revision for each in page.items]
        if page.next_after is None:
            break
        before = int(page.next_after)
    assert seen == list(range(newest, -1, -1))


async def test_a_list_says_who_did_what(edits: Edits) -> None:
    listed = await edits.history.list(None, 1, ANY)
    (facts,) = listed.page.items
    assert (facts.author, facts.method, facts.resource_count, facts.file_count) == ("tester", "Test", 1, 2)
    assert listed.first[facts.revision] == (ResourceRef("rule", "cpu-prod", existed=False, exists=True),)


async def test_a_large_revision_names_its_first_resources_only(edits: Edits) -> None:
    for number in range(REFS + 5):
        await edits.targets.create(Target(f"t{number:02}", "host", group_ids=("dev",)), DO)
    revision = (await edits.groups.delete("dev", "", True, DO)).change.revision
    listed = await edits.history.list(None, 1, ANY)
    assert listed.page.items[0].resource_count == REFS + 6
    assert len(listed.first[revision]) == REFS
    first = await edits.history.get(revision, 0, REFS)
    assert first.changed.next_after is not None
    rest = await edits.history.get(revision, int(first.changed.next_after), REFS)
    assert [each.id for each in (*first.changed.items, *rest.changed.items)] == [
        *(f"t{number:02}" for number in range(REFS + 5)),
        "dev",
    ]


@pytest.mark.parametrize(
    ("where", "methods"),
    [
        (RevisionFilter(kind="rule", id="cpu-all"), ["Test", "Test"]),
        (RevisionFilter(kind="rule"), ["Test", "Test", "Test"]),
        (RevisionFilter(kind="target"), []),
        (RevisionFilter(author="rulecast"), ["migrate"]),
        (RevisionFilter(author="nobody"), []),
        (RevisionFilter(kind="group", id="dev", author="tester"), ["Test"]),
    ],
)
async def test_revisions_are_found_by_what_they_changed_and_who_made_them(
    edits: Edits, where: RevisionFilter, methods: list[str]
) -> None:
    await set_threshold(edits, "cpu-all", 70.0)
    assert [each.method for each in (await edits.history.list(None, 50, where)).page.items] == methods


async def test_a_revision_has_before_and_after_and_its_files(edits: Edits) -> None:
    before = await edits.store.rule("cpu-prod")
    revision = await set_threshold(edits, "cpu-prod", 85.0)
    after = await edits.store.rule("cpu-prod")
    assert before is not None
    assert after is not None
    found = await edits.history.get(revision, 0, 10)
    (change,) = found.changed.items
    assert (change.before, change.after) == (before.value, after.value)
    assert [each.file_name for each in found.files] == ["group-prod.yml"]


async def test_what_never_was_is_not_found(edits: Edits) -> None:
    future = await edits.store.revision() + 1
    asked: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("revision", lambda: edits.history.get(future, 0, 10)),
        ("from_revision", lambda: edits.history.diff(future, None, START, 10, ALL)),
        ("to_revision", lambda: edits.history.diff(0, future, START, 10, ALL)),
        ("revision", lambda: edits.rollback.roll_back(future, Everything(), DO)),
    ]
    for field, ask in asked:
        with pytest.raises(NotFound) as refused:
            await ask()
        assert (refused.value.reason, refused.value.violations[0].field) == (Reason.REVISION_NOT_FOUND, field)
    with pytest.raises(InvalidInput, match="kind"):
        await edits.history.list(None, 10, RevisionFilter(id="cpu-all"))


async def test_a_difference_is_from_the_first_state_to_the_last(edits: Edits) -> None:
    start = await edits.store.revision()
    for value in (70.0, 60.0):
        await set_threshold(edits, "cpu-all", value)
    await set_threshold(edits, "cpu-prod", 85.0)
    await set_threshold(edits, "cpu-prod", 80.0)
    await edits.rule(GroupScope("dev"), "cpu-dev")
    there = await edits.history.diff(start, None, START, 10, ALL)
    assert [(each.id, each.before is None, each.after is None) for each in there.page.items] == [
        ("cpu-all", False, False),
        ("cpu-dev", True, False),
    ]
    back = await edits.history.diff(await edits.store.revision(), start, START, 10, ALL)
    assert [(each.before, each.after) for each in back.page.items] == [
        (each.after, each.before) for each in there.page.items
    ]
    first = await edits.history.diff(start, None, START, 1, ALL)
    assert first.page.next_after == "rule cpu-all"
    second = await edits.history.diff(start, None, ("rule", "cpu-all"), 1, ALL)
    assert ([each.id for each in second.page.items], second.page.next_after) == (["cpu-dev"], None)
    one = await edits.history.diff(start, None, START, 10, ResourceFilter(kind="rule", id="cpu-dev"))
    assert [each.id for each in one.page.items] == ["cpu-dev"]


async def test_a_rule_goes_back_and_its_files_with_it(edits: Edits) -> None:
    files, start = await edits.files(), await edits.store.revision()
    await set_threshold(edits, "cpu-prod", 85.0)
    await set_threshold(edits, "cpu-all", 70.0)
    other = await edits.files()
    written = await edits.rollback.roll_back(start, OneRule("cpu-prod"), DO)
    assert [each.id for each in written.value] == ["cpu-prod"]
    assert written.change.revision == start + 3
    assert [each.name for each in written.change.files] == ["group-prod.yml"]
    assert await edits.exprs(["group-prod.yml"]) == {"group-prod.yml": ['cpu_percent{env=~"eu|prod"} > 80']}
    assert (await edits.files())["global.yml"] == other["global.yml"] != files["global.yml"]


async def test_a_deleted_rule_comes_back_and_a_new_one_goes(edits: Edits) -> None:
    start, exprs = await edits.store.revision(), await edits.exprs()
    await edits.rules.delete("cpu-prod", "", DO)
    await edits.rule(GroupScope("dev"), "cpu-dev")
    await edits.rollback.roll_back(start, OneRule("cpu-prod"), DO)
    restored = await edits.store.rule("cpu-prod")
    assert restored is not None
    assert restored.deleted_at is None
    await edits.rollback.roll_back(start, OneRule("cpu-dev"), DO)
    gone = await edits.store.rule("cpu-dev")
    assert gone is not None
    assert gone.deleted_at is not None
    assert await edits.exprs() == exprs


async def test_a_groups_rules_go_back_and_no_others(edits: Edits) -> None:
    disk = replace(CPU, alert_name="Disk", query="disk_percent > {{ .threshold }}")
    start = await edits.store.revision()
    await set_threshold(edits, "cpu-prod", 85.0)
    await set_threshold(edits, "cpu-all", 70.0)
    await edits.rule(GroupScope("eu"), "cpu-eu")
    await edits.templates.update("cpu", "", lambda record: replace(record.value, spec=disk), DO)
    await edits.rule(GroupScope("prod"), "disk-prod", key="disk")
    written = await edits.rollback.roll_back(start, RulesOfGroup("prod"), DO)
    assert [each.id for each in written.value] == ["cpu-prod", "disk-prod"]
    assert await edits.exprs() == {
        "global.yml": ['cpu_percent{env!~"eu|prod"} > 70'],
        "group-eu.yml": ['cpu_percent{env="eu"} > 80'],
        "group-prod.yml": ['cpu_percent{env="prod"} > 80'],
    }


async def test_everything_goes_back_whatever_happened(edits: Edits) -> None:
    await edits.targets.create(Target("web", "web", "web", group_ids=("prod",)), DO)
    start, exprs = await edits.store.revision(), await edits.exprs()
    # two namespaces and two groups change places, one group goes with all that is in it, and there is more of all
    await edits.namespaces.create(Namespace("team", "team"), DO)
    await edits.namespaces.update("default", "", lambda record: replace(record.value, label="other"), DO)
    await edits.namespaces.update("env", "", lambda record: replace(record.value, label="group_id"), DO)
    await edits.groups.create(Group("web", "team", "web"), DO)
    await edits.targets.update("web", "", lambda record: replace(record.value, group_ids=("web", "eu")), DO)
    await edits.targets.create(Target("db", "db", group_ids=("web",)), DO)
    await edits.groups.delete("prod", "", True, DO)
    await edits.groups.update("eu", "", lambda record: replace(record.value, label_value="x", parent_id="dev"), DO)
    await edits.groups.update("dev", "", lambda record: replace(record.value, label_value="eu"), DO)
    await edits.groups.update("eu", "", lambda record: replace(record.value, label_value="dev"), DO)
    await edits.rule(NamespaceScope("team"), "cpu-team")
    await edits.templates.update("cpu", "", lambda record: replace(record.value, key="other"), DO)
    assert await edits.exprs() != exprs

    tried = await edits.rollback.roll_back(start, Everything(), TRY)
    done = await edits.rollback.roll_back(start, Everything(), DO)
    assert (tried.change.revision, done.change.revision) == (0, await edits.store.revision())
    assert tried.value == done.value
    assert tried.change.files == done.change.files
    assert await edits.exprs() == exprs
    assert (await edits.history.diff(start, None, START, 100, ALL)).page.items == ()
    for kept in ("prod", "eu", "dev"):
        assert await edits.store.group(kept) is not None
    assert await edits.store.group("web") is None
    web = await edits.store.target("web")
    assert web is not None
    assert web.value.group_ids == ("prod",)
    # and the way back from there
    again = await edits.rollback.roll_back(done.change.revision - 1, Everything(), DO)
    assert [each.id for each in again.value] == [each.id for each in done.value]


async def test_the_beginning_can_be_gone_back_to(edits: Edits) -> None:
    await edits.rollback.roll_back(0, Everything(), DO)
    assert await edits.files() == {}
    assert [each.value.id for each in (await edits.store.namespaces("", 10)).items] == ["default"]


async def test_going_back_to_how_it_is_makes_no_revision(edits: Edits) -> None:
    newest = await edits.store.revision()
    written = await edits.rollback.roll_back(newest, Everything(), DO)
    assert (written.value, written.change.revision, await edits.store.revision()) == ((), 0, newest)


async def test_a_rule_whose_group_is_gone_is_refused_and_named(edits: Edits) -> None:
    await edits.rule(GroupScope("dev"), "cpu-dev")
    start = await edits.store.revision()
    await edits.groups.delete("dev", "", True, DO)
    before = await edits.files()
    with pytest.raises(NotFound, match='"cpu-dev" can not be restored: its group "dev" is gone') as refused:
        await edits.rollback.roll_back(start, OneRule("cpu-dev"), DO)
    assert refused.value.reason is Reason.GROUP_NOT_FOUND
    with pytest.raises(NotFound) as no_group:
        await edits.rollback.roll_back(start, RulesOfGroup("dev"), DO)
    assert no_group.value.violations[0].field == "group_id"
    assert await edits.files() == before
    await edits.rollback.roll_back(start, Everything(), DO)
    assert "group-dev.yml" in await edits.files()


async def test_a_rule_whose_key_was_taken_is_refused_and_the_other_named(edits: Edits) -> None:
    start = await edits.store.revision()
    await edits.rules.delete("cpu-prod", "", DO)
    await edits.rule(GroupScope("prod"), "cpu-other")
    with pytest.raises(AlreadyExists, match='"cpu-other" has its key') as refused:
        await edits.rollback.roll_back(start, OneRule("cpu-prod"), DO)
    assert refused.value.reason is Reason.KEY_TAKEN
    # with the other one in it, it can be done
    await edits.rollback.roll_back(start, RulesOfGroup("prod"), DO)
    other = await edits.store.rule("cpu-other")
    assert other is not None
    assert other.deleted_at is not None


async def test_a_rule_that_others_broke_meanwhile_is_refused(edits: Edits) -> None:
    await edits.rule(GroupScope("dev"), "cpu-dev", config=Config(labels={"owner": "me"}))
    start = await edits.store.revision()
    await edits.rules.delete("cpu-dev", "", DO)
    await edits.namespaces.create(Namespace("owner", "owner"), DO)
    with pytest.raises(InvalidInput) as refused:
        await edits.rollback.roll_back(start, OneRule("cpu-dev"), DO)
    assert (refused.value.reason, refused.value.violations[0].field) == (
        Reason.LABEL_RESERVED,
        "rules[cpu-dev].config.labels[owner]",
    )


async def test_an_unknown_rule_is_not_found(edits: Edits) -> None:
    with pytest.raises(NotFound) as refused:
        await edits.rollback.roll_back(0, OneRule("nothing"), DO)
    assert (refused.value.reason, refused.value.violations[0].field) == (Reason.RULE_NOT_FOUND, "rule_id")
