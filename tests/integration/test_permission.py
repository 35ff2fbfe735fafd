"""What an editor of certain namespaces may change, by whatever way: checked on what an edit really changes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from rule_service.api.access import METHODS
from rule_service.domain.model import (
    Exporter,
    GlobalScope,
    Group,
    GroupScope,
    Namespace,
    NamespaceScope,
    Scope,
    Target,
)
from rule_service.usecases.bundle_plan import Bundle, How, Mode
from rule_service.usecases.change import WriteOptions
from rule_service.usecases.ports import Record
from rule_service.usecases.rebase import RulesOfTemplate, TheseRules
from rule_service.usecases.rollback import Everything, OneRule, RulesOfGroup
from rule_service.usecases.rules import RuleDraft
from rulecast.errors import PermissionDenied
from rulecast.reasons import Reason
from rulecast.rpc.access import Access
from tests.support.edits import CPU, CPU_TEMPLATE, DO, Edits, open_edits

MINE = WriteOptions("mine", "Test", namespaces=frozenset({"env"}))
MINE_TRIED = replace(MINE, validate_only=True)

Act = Callable[[Edits, WriteOptions], Awaitable[Any]]


@pytest_asyncio.fixture
async def edits(database: str) -> AsyncIterator[Edits]:
    """Namespaces env (prod, and dev below it) and team (blue), a rule at each scope, targets in one or both.

    Deleted: the groups ours-gone of env and red of team, the rule red-gone, the target blue-gone, a template, a
    namespace.
    """
    async with open_edits(database, None) as opened:
        await opened.namespaces.create(Namespace("env", "env"), DO)
        await opened.namespaces.create(Namespace("team", "team"), DO)
        for group in (
            Group("prod", "env", "prod"),
            Group("dev", "env", "dev", parent_id="prod"),
            Group("blue", "team", "blue"),
        ):
            await opened.groups.create(group, DO)
        await opened.templates.create(CPU_TEMPLATE, DO)
        scopes: dict[str, Scope] = {
            "all": GlobalScope(),
            "env": NamespaceScope("env"),
            "prod": GroupScope("prod"),
            "team": NamespaceScope("team"),
            "blue": GroupScope("blue"),
        }
        for id, scope in scopes.items():
            await opened.rule(scope, id)
        for id, groups in (("ours", ("prod",)), ("both", ("prod", "blue")), ("free", ())):
            await opened.targets.create(Target(id, f"{id}.example", group_ids=groups), DO)
        await leave_behind(opened)
        yield opened


async def leave_behind(edits: Edits) -> None:
    """One deleted resource of each kind."""
    await edits.namespaces.create(Namespace("gone", "gone"), DO)
    await edits.namespaces.delete("gone", "", DO)
    for group in (Group("ours-gone", "env", "ours-gone"), Group("red", "team", "red")):
        await edits.groups.create(group, DO)
        await edits.groups.delete(group.id, "", False, DO)
    await edits.rules.create(RuleDraft("blue-gone", GroupScope("blue"), key="gone", spec=CPU), DO)
    await edits.rules.delete("blue-gone", "", DO)
    await edits.targets.create(Target("blue-gone", "gone.example", group_ids=("blue",)), DO)
    await edits.targets.delete("blue-gone", "", DO)
    await edits.groups.create(Group("empty", "team", "empty", owner="them"), DO)
    await edits.templates.create(replace(CPU_TEMPLATE, id="gone"), DO)
    await edits.templates.delete("gone", "", DO)


def renamed(record: Any) -> Any:
    return replace(record.value, description="other")


def disabled(rule: Any) -> Any:
    return replace(rule, enabled=False)


def moved_to(*groups: str) -> Callable[[Any], Target]:
    return lambda record: replace(record.value, group_ids=groups)


def scraped(record: Record[Target]) -> Target:
    return replace(record.value, exporters=(Exporter("node", 9100),))


def at(id: str, scope: Scope, key: str = "mine") -> RuleDraft:
    return RuleDraft(id, scope, key=key, spec=CPU)


def applied(bundle: Bundle, mode: Mode = Mode.UPSERT, owner: str = "", *, take_over: bool = False) -> Act:
    return lambda edits, how: edits.bundles.apply(bundle, How(mode, owner, take_over), how)


ALLOWED: dict[str, Act] = {
    "a group": lambda edits, how: edits.groups.create(Group("lab", "env", "lab"), how),
    "another text of a group": lambda edits, how: edits.groups.update("dev", "", renamed, how),
    "a group deleted with all that is in it": lambda edits, how: edits.groups.delete("prod", "", True, how),
    "a rule at a group": lambda edits, how: edits.rule(GroupScope("dev"), "new", how),
    "a rule at the namespace, changed": lambda edits, how: edits.rules.update("env", "", disabled, how),
    "a rule deleted": lambda edits, how: edits.rules.delete("prod", "", how),
    "a target": lambda edits, how: edits.targets.create(Target("new", "new.example", group_ids=("dev",)), how),
    "a target changed": lambda edits, how: edits.targets.update("ours", "", scraped, how),
    "a target deleted": lambda edits, how: edits.targets.delete("ours", "", how),
    "a target of others too, moved here": lambda edits, how: edits.targets.update(
        "both", "", moved_to("dev", "blue"), how
    ),
    "a rule switched off": lambda edits, how: edits.rules.switch("prod", "", False, how),
    "a group brought back": lambda edits, how: edits.groups.undelete("ours-gone", "", how),
    "a bundle": applied(Bundle(groups=(Group("lab", "env", "lab"),), rules=(at("lab-rule", GroupScope("lab")),))),
    "rules rebased by name": lambda edits, how: edits.rebase.rebase(TheseRules(("env", "prod")), how),
}

REFUSED: dict[str, Act] = {
    "a group elsewhere": lambda edits, how: edits.groups.create(Group("pink", "team", "pink"), how),
    "a group elsewhere, changed": lambda edits, how: edits.groups.update("blue", "", renamed, how),
    "a group elsewhere, deleted": lambda edits, how: edits.groups.delete("blue", "", True, how),
    "a rule for everything": lambda edits, how: edits.rules.update("all", "", disabled, how),
    "a rule at another namespace": lambda edits, how: edits.rules.update("team", "", disabled, how),
    "a rule at another group": lambda edits, how: edits.rules.delete("blue", "", how),
    "a new rule for everything": lambda edits, how: edits.rules.create(
        RuleDraft("new", GlobalScope(), key="other", spec=CPU), how
    ),
    "a namespace": lambda edits, how: edits.namespaces.create(Namespace("mine", "mine"), how),
    "its own namespace": lambda edits, how: edits.namespaces.update("env", "", renamed, how),
    "a template": lambda edits, how: edits.templates.update("cpu", "", renamed, how),
    "a target of others too": lambda edits, how: edits.targets.update("both", "", scraped, how),
    "a target of others too, deleted": lambda edits, how: edits.targets.delete("both", "", how),
    "a target taken from others": lambda edits, how: edits.targets.update("both", "", moved_to("prod"), how),
    "a target of nobody": lambda edits, how: edits.targets.update("free", "", scraped, how),
    "a new target of nobody": lambda edits, how: edits.targets.create(Target("new", "new.example"), how),
    "everything rolled back": lambda edits, how: edits.rollback.roll_back(1, Everything(), how),
    "a group elsewhere, rolled back": lambda edits, how: edits.rollback.roll_back(5, RulesOfGroup("blue"), how),
    "a rule elsewhere, rolled back": lambda edits, how: edits.rollback.roll_back(5, OneRule("blue"), how),
    "a rule for everything, switched off": lambda edits, how: edits.rules.switch("all", "", False, how),
    "a rule elsewhere, switched off": lambda edits, how: edits.rules.switch("blue", "", False, how),
    "a namespace brought back": lambda edits, how: edits.namespaces.undelete("gone", "", how),
    "a group elsewhere, brought back": lambda edits, how: edits.groups.undelete("red", "", how),
    "a rule elsewhere, brought back": lambda edits, how: edits.rules.undelete("blue-gone", "", how),
    "a target elsewhere, brought back": lambda edits, how: edits.targets.undelete("blue-gone", "", how),
    "a template brought back": lambda edits, how: edits.templates.undelete("gone", "", how),
    "a namespace purged": lambda edits, how: edits.namespaces.purge("gone", "", how),
    "a group purged": lambda edits, how: edits.groups.purge("red", "", how),
    "a rule purged": lambda edits, how: edits.rules.purge("blue-gone", "", how),
    "a target purged": lambda edits, how: edits.targets.purge("blue-gone", "", how),
    "a template purged": lambda edits, how: edits.templates.purge("gone", "", how),
    "the library": lambda edits, how: edits.templates.load_library(["host-down"], how),
    "a bundle with a template": applied(Bundle(templates=(replace(CPU_TEMPLATE, id="new"),))),
    "a bundle with a namespace": applied(Bundle(namespaces=(Namespace("mine", "mine"),))),
    "a bundle of its own and of others": applied(
        Bundle(rules=(at("mine", GroupScope("dev")), at("theirs", GroupScope("blue"), key="other")))
    ),
    "a bundle that takes over what others made": applied(
        Bundle(groups=(Group("empty", "team", "empty"),)), owner="us", take_over=True
    ),
    "a bundle that deletes what others made": applied(Bundle(), Mode.SYNC, owner="them"),
    "all rules of a template rebased": lambda edits, how: edits.rebase.rebase(RulesOfTemplate("cpu"), how),
}


async def outdate(edits: Edits) -> None:
    """The template moves on, so that there is something to rebase."""
    other = replace(CPU, query="cpu_percent >= {{ .threshold }}")
    await edits.templates.update("cpu", "", lambda record: replace(record.value, spec=other), DO)


@pytest.mark.parametrize("what", ALLOWED)
async def test_what_is_within_is_allowed(edits: Edits, what: str) -> None:
    await outdate(edits)
    before = await edits.store.revision()
    await ALLOWED[what](edits, MINE)
    assert await edits.store.revision() == before + 1


@pytest.mark.parametrize("what", REFUSED)
async def test_what_concerns_others_is_refused_and_nothing_is_changed(edits: Edits, what: str) -> None:
    await outdate(edits)
    before = await edits.store.revision(), await edits.files()
    for how in (MINE, MINE_TRIED):
        with pytest.raises(PermissionDenied) as refused:
            await REFUSED[what](edits, how)
        assert refused.value.reason is Reason.NAMESPACE_NOT_ALLOWED
        assert "(env)" in str(refused.value)
    assert (await edits.store.revision(), await edits.files()) == before


def test_every_write_that_such_an_editor_may_call_is_tried_here() -> None:
    """The gate refuses it all others. A method that is new among these needs its cases above."""
    assert {path.rpartition("/")[2] for path, needed in METHODS.items() if needed is Access.EDITOR} == {
        *("CreateGroup", "UpdateGroup", "DeleteGroup", "UndeleteGroup"),
        *("CreateTarget", "UpdateTarget", "DeleteTarget", "UndeleteTarget"),
        *("CreateAlertRule", "UpdateAlertRule", "DeleteAlertRule", "UndeleteAlertRule"),
        *("EnableAlertRule", "DisableAlertRule", "RebaseAlertRules"),
        *("Rollback", "ApplyBundle", "PreviewChange"),
    }


async def test_a_rule_that_is_gone_for_good_may_have_been_anybodys(edits: Edits) -> None:
    await edits.rules.delete("prod", "", DO)
    with pytest.raises(PermissionDenied):
        await edits.rules.purge("prod", "", MINE)
    await edits.rules.purge("prod", "", DO)


async def test_an_edit_is_checked_on_what_it_does_when_it_is_committed(
    edits: Edits, database: str, promtool: Path
) -> None:
    """A target of its own that somebody else takes into another group between the dry run and the commit."""
    tried = 0

    def change(record: Record[Target]) -> Target:
        nonlocal tried
        tried += 1
        if tried == 1:
            return scraped(record)
        return replace(scraped(record), group_ids=("prod", "blue"))

    before = await edits.store.revision()
    # only where promtool is asked is an edit tried first
    async with open_edits(database, promtool) as checked:
        with pytest.raises(PermissionDenied):
            await checked.targets.update("ours", "", change, MINE)
    assert (tried, await edits.store.revision()) == (2, before)
