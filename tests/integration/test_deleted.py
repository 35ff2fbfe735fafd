"""What was deleted comes back as it was, keeps its id, and goes for good, on a real database with a real promtool."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from rule_service.changelog.prune import Pruner
from rule_service.domain.model import AlertTemplate, Exporter, Group, GroupScope, Namespace, Target
from rule_service.store.pool import Database
from rule_service.usecases.expect import EtagMismatch
from rule_service.usecases.filters import GroupFilter, NamespaceFilter, TargetFilter, TemplateFilter
from rule_service.usecases.ports import Record
from rule_service.usecases.ports_changes import Request
from rule_service.usecases.rollback import Everything
from rulecast.errors import AlreadyExists, FailedPrecondition, NotFound, RulecastError
from rulecast.reasons import Reason
from tests.support.edits import CPU, CPU_TEMPLATE, DO, TRY, Edits, open_edits
from tests.support.store import open_database

TEAM = Namespace("team", "team", 3, "who is paged")
PROD = Group("prod", "env", "production", None, "what earns money")
EU = Group("eu", "env", "eu", "prod")
WEB = Target("web", "web.example.com", "10.0.0.1", {"rack": "r1"}, (Exporter("node", 9100),), ("dc-a", "eu"))
HOUR = timedelta(hours=1)


@pytest_asyncio.fixture
async def edits(database: str, promtool: Path) -> AsyncIterator[Edits]:
    """The namespaces team (empty), dc with the group dc-a, env with prod > eu; the target web; the template cpu."""
    async with open_edits(database, promtool) as opened:
        for namespace in (TEAM, Namespace("env", "env"), Namespace("dc", "dc")):
            await opened.namespaces.create(namespace, DO)
        for group in (PROD, EU, Group("dc-a", "dc", "a")):
            await opened.groups.create(group, DO)
        await opened.targets.create(WEB, DO)
        await opened.templates.create(CPU_TEMPLATE, DO)
        yield opened


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with open_database(database, max_size=2) as pool:
        yield pool


@dataclass(frozen=True)
class Kind:
    """One kind of resource, and one of it that can be deleted at once. edits: those of this kind."""

    name: str
    type: type[Namespace] | type[Group] | type[Target] | type[AlertTemplate]
    one: Namespace | Group | Target | AlertTemplate
    edits: Callable[[Edits], Any]
    live: Callable[[Edits, str], Awaitable[Record[Any] | None]]

    async def delete(self, edits: Edits, etag: str = "") -> Record[Any]:
        if self.type is Group:
            return (await edits.groups.delete(self.one.id, etag, True, DO)).value
        written = await self.edits(edits).delete(self.one.id, etag, DO)
        record: Record[Any] = written.value
        return record

    async def stored(self, edits: Edits) -> Record[Any] | None:
        found: dict[str, Record[Any]] = await edits.store.resources_by_id(self.type, [self.one.id])
        return found.get(self.one.id)


KINDS = (
    Kind("namespace", Namespace, TEAM, lambda edits: edits.namespaces, lambda edits, id: edits.store.namespace(id)),
    Kind("group", Group, EU, lambda edits: edits.groups, lambda edits, id: edits.store.group(id)),
    Kind("target", Target, WEB, lambda edits: edits.targets, lambda edits, id: edits.store.target(id)),
    Kind("template", AlertTemplate, CPU_TEMPLATE, lambda edits: edits.templates, lambda e, id: e.store.template(id)),
)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


async def refused(call: Awaitable[object]) -> RulecastError:
    with pytest.raises(RulecastError) as caught:
        await call
    return caught.value


@each_kind
async def test_a_deleted_one_is_read_but_not_live_and_comes_back_as_it_was(edits: Edits, kind: Kind) -> None:
    before = await kind.live(edits, kind.one.id)
    assert before is not None
    deleted = await kind.delete(edits)
    assert deleted.deleted_at is not None
    assert (deleted.value, deleted.created_at) == (before.value, before.created_at)
    assert deleted.revision > before.revision
    assert await kind.live(edits, kind.one.id) is None
    assert await kind.stored(edits) == deleted

    tried = await kind.edits(edits).undelete(kind.one.id, deleted.etag, TRY)
    assert (tried.value.value, tried.change.revision) == (before.value, 0)
    assert await kind.stored(edits) == deleted
    written = await kind.edits(edits).undelete(kind.one.id, deleted.etag, DO)
    back = await kind.live(edits, kind.one.id)
    assert back is not None
    assert back == written.value == await kind.stored(edits)
    assert (back.value, back.created_at, back.deleted_at) == (before.value, before.created_at, None)
    assert back.revision == written.change.revision > deleted.revision


@each_kind
async def test_its_id_is_kept_until_it_is_purged(edits: Edits, kind: Kind) -> None:
    await kind.delete(edits)
    error = await refused(kind.edits(edits).create(kind.one, DO))
    assert isinstance(error, AlreadyExists)
    assert (error.reason, error.violations[0].field) == (Reason.ID_TAKEN, f"{kind.name}.id")
    assert "undelete it, or purge it" in str(error)
    await kind.edits(edits).purge(kind.one.id, "", TRY)
    assert await kind.stored(edits) is not None
    change = await kind.edits(edits).purge(kind.one.id, "", DO)
    assert (change.files, change.revision) == ((), await edits.store.revision())
    assert await kind.stored(edits) is None
    purged = (await edits.history.get(change.revision, 0, 10)).changed.items
    assert [(each.kind, each.id, each.before, each.after) for each in purged] == [(kind.name, kind.one.id, None, None)]
    again = await kind.edits(edits).create(kind.one, DO)
    assert again.value.created_at == again.value.updated_at


@each_kind
async def test_only_what_is_deleted_is_undeleted_and_purged(edits: Edits, kind: Kind) -> None:
    reason = f"{kind.name.upper()}_NOT_DELETED"
    live = await refused(kind.edits(edits).undelete(kind.one.id, "", DO))
    assert (type(live), live.reason) == (AlreadyExists, reason)
    live = await refused(kind.edits(edits).purge(kind.one.id, "", DO))
    assert (type(live), live.reason) == (FailedPrecondition, reason)
    for call in (kind.edits(edits).undelete, kind.edits(edits).purge):
        nothing = await refused(call("nothing", "", DO))
        assert (type(nothing), nothing.reason) == (NotFound, f"{kind.name.upper()}_NOT_FOUND")


@each_kind
async def test_whoever_saw_another_state_is_told(edits: Edits, kind: Kind) -> None:
    old = await kind.live(edits, kind.one.id)
    assert old is not None
    described = {"hostname": "other"} if kind.type is Target else {"description": "other"}
    await kind.edits(edits).update(kind.one.id, old.etag, lambda record: replace(record.value, **described), DO)
    changed = await kind.live(edits, kind.one.id)
    calls = [(changed, kind.edits(edits).update(kind.one.id, old.etag, lambda record: record.value, DO))]
    calls.append((changed, kind.delete(edits, old.etag)))
    for now, call in calls:
        error = await refused(call)
        assert isinstance(error, EtagMismatch)
        assert (error.reason, error.record) == (Reason.ETAG_MISMATCH, now)
    deleted = await kind.delete(edits)
    for late in (kind.edits(edits).undelete, kind.edits(edits).purge):
        error = await refused(late(kind.one.id, old.etag, DO))
        assert isinstance(error, EtagMismatch)
        assert error.record == deleted


@each_kind
async def test_what_is_deleted_is_not_changed_and_says_why(edits: Edits, kind: Kind) -> None:
    await kind.delete(edits)
    error = await refused(kind.edits(edits).update(kind.one.id, "", lambda record: record.value, DO))
    assert isinstance(error, NotFound)
    assert "was deleted: undelete it first" in str(error)


@each_kind
async def test_the_history_leads_back_and_forth(edits: Edits, kind: Kind) -> None:
    start = await edits.store.revision()
    before = await kind.live(edits, kind.one.id)
    await kind.delete(edits)
    deleted_at = await edits.store.revision()
    await edits.rollback.roll_back(start, Everything(), DO)
    back = await kind.live(edits, kind.one.id)
    assert before is not None
    assert back is not None
    assert (back.value, back.created_at) == (before.value, before.created_at)
    # the rollback that deletes it again leaves what can be brought back
    await edits.rollback.roll_back(deleted_at, Everything(), DO)
    assert await kind.live(edits, kind.one.id) is None
    written = await kind.edits(edits).undelete(kind.one.id, "", DO)
    assert written.value.value == before.value
    # and once it is purged, the history still knows it
    await kind.delete(edits)
    await kind.edits(edits).purge(kind.one.id, "", DO)
    await edits.rollback.roll_back(start, Everything(), DO)
    again = await kind.live(edits, kind.one.id)
    assert again is not None
    assert again.value == before.value


async def test_a_rollback_deletes_a_whole_tree_and_each_part_of_it_comes_back(edits: Edits) -> None:
    await edits.rule(GroupScope("eu"), "cpu-eu")
    exprs, rule = await edits.exprs(), await edits.store.rule("cpu-eu")
    await edits.rollback.roll_back(0, Everything(), DO)
    assert await edits.files() == {}
    for id in ("env", "dc", "team"):
        await edits.namespaces.undelete(id, "", DO)
    for id in ("prod", "dc-a", "eu"):
        await edits.groups.undelete(id, "", DO)
    await edits.targets.undelete("web", "", DO)
    await edits.rules.undelete("cpu-eu", "", DO)
    assert await edits.exprs() == exprs
    back, web, eu = await edits.store.rule("cpu-eu"), await edits.store.target("web"), await edits.store.group("eu")
    assert back is not None
    assert rule is not None
    assert web is not None
    assert eu is not None
    assert (back.value, web.value, eu.value) == (rule.value, WEB, EU)


async def test_a_group_deleted_with_force_and_its_rules_come_back_one_by_one(edits: Edits) -> None:
    await edits.rule(GroupScope("prod"), "cpu-prod")
    exprs = await edits.exprs()
    await edits.groups.delete("prod", "", True, DO)
    early = await refused(edits.rules.undelete("cpu-prod", "", DO))
    assert early.reason is Reason.GROUP_NOT_FOUND
    assert "undelete that first" in str(early)
    written = await edits.groups.undelete("prod", "", DO)
    assert written.value.value == PROD
    await edits.groups.update("eu", "", lambda record: replace(record.value, parent_id="prod"), DO)
    await edits.rules.undelete("cpu-prod", "", DO)
    assert await edits.exprs() == exprs


async def test_a_group_that_comes_back_is_covered_by_the_rules_above_it(edits: Edits) -> None:
    await edits.rule(GroupScope("prod"), "cpu-prod")
    await edits.groups.delete("eu", "", True, DO)
    assert await edits.exprs() == {"group-prod.yml": ['cpu_percent{env="production"} > 90']}
    written = await edits.groups.undelete("eu", "", DO)
    assert [each.name for each in written.change.files] == ["group-prod.yml"]
    assert await edits.exprs() == {"group-prod.yml": ['cpu_percent{env=~"eu|production"} > 90']}


async def test_what_was_taken_meanwhile_stands_in_the_way(edits: Edits) -> None:
    await edits.namespaces.delete("team", "", DO)
    await edits.namespaces.create(Namespace("crew", "team"), DO)
    label = await refused(edits.namespaces.undelete("team", "", DO))
    assert (type(label), label.reason) == (AlreadyExists, Reason.LABEL_TAKEN)
    await edits.groups.delete("eu", "", True, DO)
    await edits.groups.create(Group("europe", "env", "eu"), DO)
    value = await refused(edits.groups.undelete("eu", "", DO))
    assert (type(value), value.reason) == (AlreadyExists, Reason.LABEL_VALUE_TAKEN)
    # a rule that sets the label would claim to be of a group
    await edits.namespaces.delete("crew", "", DO)
    await edits.templates.update(
        "cpu",
        "",
        lambda record: replace(record.value, spec=replace(CPU, defaults=replace(CPU.defaults, labels={"team": "x"}))),
        DO,
    )
    await edits.rule(GroupScope("prod"), "cpu-prod")
    used = await refused(edits.namespaces.undelete("team", "", DO))
    assert used.reason is Reason.LABEL_TAKEN


async def test_what_it_needs_must_be_there_first(edits: Edits) -> None:
    await edits.targets.delete("web", "", DO)
    await edits.groups.delete("eu", "", False, DO)
    await edits.groups.delete("prod", "", False, DO)
    await edits.namespaces.delete("env", "", DO)
    errors = [
        await refused(edits.targets.undelete("web", "", DO)),
        await refused(edits.groups.undelete("eu", "", DO)),
    ]
    assert [error.reason for error in errors] == [Reason.GROUP_NOT_FOUND, Reason.NAMESPACE_NOT_FOUND]
    await edits.namespaces.undelete("env", "", DO)
    parent = await refused(edits.groups.undelete("eu", "", DO))
    assert (parent.reason, parent.violations[0].field) == (Reason.GROUP_NOT_FOUND, "group.parent_id")
    for id in ("prod", "eu"):
        await edits.groups.undelete(id, "", DO)
    assert (await edits.targets.undelete("web", "", DO)).value.value == WEB


async def test_what_deleted_ones_refer_to_is_purged_after_them(edits: Edits) -> None:
    await edits.rule(GroupScope("prod"), "cpu-prod")
    await edits.rules.delete("cpu-prod", "", DO)
    await edits.targets.delete("web", "", DO)
    for id in ("eu", "prod"):
        await edits.groups.delete(id, "", False, DO)
    await edits.namespaces.delete("env", "", DO)
    space = await refused(edits.namespaces.purge("env", "", DO))
    assert (type(space), space.reason) == (FailedPrecondition, Reason.NAMESPACE_NOT_EMPTY)
    assert "(group eu, group prod, target web)" in str(space)
    group = await refused(edits.groups.purge("prod", "", DO))
    assert (type(group), group.reason) == (FailedPrecondition, Reason.GROUP_NOT_EMPTY)
    assert "(group eu, rule cpu-prod)" in str(group)
    await edits.rules.purge("cpu-prod", "", DO)
    await edits.targets.purge("web", "", DO)
    for id in ("eu", "prod"):
        await edits.groups.purge(id, "", DO)
    await edits.namespaces.purge("env", "", DO)
    assert await edits.store.resources_by_id(Namespace, ["env"]) == {}


async def test_the_library_brings_its_templates_back(edits: Edits) -> None:
    (id, *_) = (await edits.templates.load_library((), DO)).value.created
    await edits.templates.delete(id, "", DO)
    assert (await edits.templates.load_library((), DO)).value.created == (id,)
    assert await edits.store.template(id) is not None


async def test_a_repeated_create_answers_what_became_of_it(edits: Edits) -> None:
    once = replace(DO, request=Request("again", b"x"))
    await edits.groups.create(Group("new", "env", "new"), once)
    await edits.groups.delete("new", "", False, DO)
    again = await edits.groups.create(Group("new", "env", "new"), once)
    assert again.value.deleted_at is not None


async def test_a_rule_that_was_deleted_keeps_its_id_too(edits: Edits) -> None:
    await edits.rule(GroupScope("prod"), "cpu-prod")
    await edits.rules.delete("cpu-prod", "", DO)
    error = await refused(edits.rule(GroupScope("eu"), "cpu-prod"))
    assert (error.reason, error.violations[0].field) == (Reason.ID_TAKEN, "rule.id")
    assert "undelete it, or purge it" in str(error)


Listed = Callable[[Edits, str, bool], Awaitable[Any]]

LISTS: dict[str, tuple[Kind, Listed]] = {
    "namespaces": (KINDS[0], lambda e, after, deleted: e.store.namespaces(after, 1, NamespaceFilter("E", deleted))),
    "groups": (KINDS[1], lambda e, after, deleted: e.store.groups(after, 1, GroupFilter("env", show_deleted=deleted))),
    "groups below one": (
        KINDS[1],
        lambda e, after, deleted: e.store.groups(after, 1, GroupFilter(parent_id="prod", show_deleted=deleted)),
    ),
    "targets": (KINDS[2], lambda e, after, deleted: e.store.targets(after, 1, TargetFilter(show_deleted=deleted))),
    "targets of a group": (
        KINDS[2],
        lambda e, after, deleted: e.store.targets(after, 1, TargetFilter("eu", "env", show_deleted=deleted)),
    ),
    "targets of a namespace by name": (
        KINDS[2],
        lambda e, after, deleted: e.store.targets(
            after, 1, TargetFilter(None, "dc", "web.example.com", None, "WEB", deleted)
        ),
    ),
    "templates": (
        KINDS[3],
        lambda e, after, deleted: e.store.templates(after, 1, TemplateFilter("warning", "highcpu", deleted)),
    ),
}


@pytest.mark.parametrize("name", LISTS)
async def test_lists_show_deleted_ones_where_they_stand_when_asked(edits: Edits, name: str) -> None:
    kind, page = LISTS[name]

    async def ids(deleted: bool) -> list[str]:
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            listed = await page(edits, after, deleted)
            found += [record.value.id for record in listed.items]
            after = listed.next_after
        return found

    everything = await ids(True)
    assert everything == sorted(everything)
    assert kind.one.id in everything
    await kind.delete(edits)
    assert await ids(True) == everything if name != "groups below one" else ["eu"]
    assert await ids(False) == [id for id in everything if id != kind.one.id]


async def age(pool: Database, by: timedelta) -> None:
    async with pool.session() as session:
        await session.run("UPDATE deleted_resources SET deleted_at = deleted_at - $1::interval", by)
        await session.run("UPDATE rules SET deleted_at = deleted_at - $1::interval WHERE deleted_at IS NOT NULL", by)


async def test_what_was_deleted_long_ago_is_purged(edits: Edits, pool: Database) -> None:
    pruner = Pruner(pool, timedelta(days=90), HOUR, batch=2)
    await edits.rule(GroupScope("prod"), "old")
    await edits.rules.delete("old", "", DO)
    await edits.targets.delete("web", "", DO)
    for id in ("eu", "prod"):
        await edits.groups.delete(id, "", False, DO)
    await age(pool, 2 * HOUR)
    await edits.rule(GroupScope("dc-a"), "young")
    await edits.rules.delete("young", "", DO)
    await edits.templates.delete("cpu", "", DO)
    revision = await edits.store.revision()
    assert await pruner.purge() == 4
    assert await pruner.purge() == 0
    assert await edits.store.rule("old") is None
    assert await edits.store.resources_by_id(Group, ["eu", "prod", "dc-a"]) == {"dc-a": await edits.store.group("dc-a")}
    await edits.rules.undelete("young", "", DO)
    await edits.templates.undelete("cpu", "", DO)
    # the history still leads back
    await edits.rollback.roll_back(revision - 7, Everything(), DO)
    assert await edits.store.group("prod") is not None
