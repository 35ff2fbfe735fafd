"""Rules that come back, go for good, and are found again, on a real database with a real promtool."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from rule_service.domain.model import AlertRule, Config, GlobalScope, Group, GroupScope, Namespace, NamespaceScope
from rule_service.usecases.filters import RuleFilter
from rule_service.usecases.rollback import OneRule
from rule_service.usecases.rules import RuleDraft
from rulecast.errors import AlreadyExists, Conflict, FailedPrecondition, NotFound
from rulecast.reasons import Reason
from tests.support.edits import CPU, CPU_TEMPLATE, DO, TRY, Edits, open_edits


@pytest_asyncio.fixture
async def edits(database: str, promtool: Path) -> AsyncIterator[Edits]:
    """The namespace env with the groups prod and dev, the template cpu, and its rules everywhere and for dev."""
    async with open_edits(database, promtool) as opened:
        await opened.namespaces.create(Namespace("env", "env"), DO)
        for group in (Group("prod", "env", "prod"), Group("dev", "env", "dev")):
            await opened.groups.create(group, DO)
        await opened.templates.create(CPU_TEMPLATE, DO)
        await opened.rule(GlobalScope(), "cpu-all")
        await opened.rule(GroupScope("dev"), "cpu-dev", config=Config(parameters={"threshold": 95.0}))
        yield opened


async def live(edits: Edits, id: str) -> AlertRule:
    record = await edits.store.rule(id)
    assert record is not None
    assert record.deleted_at is None
    return record.value


async def test_an_undeleted_rule_is_what_it_was_and_runs_again(edits: Edits) -> None:
    exprs, rule = await edits.exprs(), await live(edits, "cpu-dev")
    deleted = await edits.rules.delete("cpu-dev", "", DO)
    tried = await edits.rules.undelete("cpu-dev", deleted.value.record.etag, TRY)
    written = await edits.rules.undelete("cpu-dev", deleted.value.record.etag, DO)
    assert tried.change.files == written.change.files != ()
    assert await live(edits, "cpu-dev") == rule
    assert await edits.exprs() == exprs
    assert written.value.placed is not None
    assert written.value.record.created_at < written.value.record.updated_at


async def test_what_is_not_deleted_is_not_undeleted(edits: Edits) -> None:
    with pytest.raises(AlreadyExists) as refused:
        await edits.rules.undelete("cpu-dev", "", DO)
    assert refused.value.reason is Reason.RULE_NOT_DELETED
    with pytest.raises(NotFound):
        await edits.rules.undelete("nothing", "", DO)
    await edits.rules.delete("cpu-dev", "", DO)
    with pytest.raises(Conflict):
        await edits.rules.undelete("cpu-dev", "r1", DO)


async def test_a_rule_whose_key_was_taken_stays_deleted(edits: Edits) -> None:
    await edits.rules.delete("cpu-dev", "", DO)
    await edits.rule(GroupScope("dev"), "cpu-other")
    with pytest.raises(AlreadyExists, match='"cpu-other"') as refused:
        await edits.rules.undelete("cpu-dev", "", DO)
    assert (refused.value.reason, refused.value.violations[0].field) == (Reason.KEY_TAKEN, "rule.key")


@pytest.mark.parametrize(
    ("scope", "reason"),
    [(GroupScope("dev"), Reason.GROUP_NOT_FOUND), (NamespaceScope("team"), Reason.NAMESPACE_NOT_FOUND)],
)
async def test_a_rule_whose_scope_is_gone_stays_deleted(
    edits: Edits, scope: GroupScope | NamespaceScope, reason: Reason
) -> None:
    await edits.namespaces.create(Namespace("team", "team"), DO)
    await edits.rules.delete("cpu-dev", "", DO)
    await edits.rule(scope, "cpu-it")
    await edits.rules.delete("cpu-it", "", DO)
    await edits.groups.delete("dev", "", False, DO)
    await edits.namespaces.delete("team", "", DO)
    with pytest.raises(NotFound) as refused:
        await edits.rules.undelete("cpu-it", "", DO)
    assert (refused.value.reason, refused.value.violations[0].field) == (reason, "rule.scope")


async def test_a_purged_rule_is_gone_and_its_id_is_free(edits: Edits) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        await edits.rules.purge("cpu-dev", "", DO)
    assert refused.value.reason is Reason.RULE_NOT_DELETED
    await edits.rules.delete("cpu-dev", "", DO)
    files = await edits.files()
    await edits.rules.purge("cpu-dev", "", TRY)
    assert await edits.store.rule("cpu-dev") is not None
    change = await edits.rules.purge("cpu-dev", "", DO)
    assert (change.files, change.revision) == ((), await edits.store.revision())
    assert await edits.store.rule("cpu-dev") is None
    with pytest.raises(NotFound):
        await edits.rules.purge("cpu-dev", "", DO)
    await edits.rule(GroupScope("prod"), "cpu-dev")
    assert set(await edits.files()) == {*files, "group-prod.yml"}


async def test_a_purged_rule_can_be_gone_back_to_while_the_history_knows_it(edits: Edits) -> None:
    exprs, start, rule = await edits.exprs(), await edits.store.revision(), await live(edits, "cpu-dev")
    await edits.rules.delete("cpu-dev", "", DO)
    deleted_at = await edits.store.revision()
    await edits.rules.purge("cpu-dev", "", DO)
    await edits.rollback.roll_back(start, OneRule("cpu-dev"), DO)
    assert await live(edits, "cpu-dev") == rule
    assert await edits.exprs() == exprs
    await edits.rollback.roll_back(deleted_at, OneRule("cpu-dev"), DO)
    assert set(await edits.files()) == {"global.yml"}


async def test_rules_are_read_by_their_ids(edits: Edits) -> None:
    await edits.rules.delete("cpu-dev", "", DO)
    found = await edits.store.rules_by_id(["cpu-all", "cpu-dev", "nothing"])
    assert {id: record.deleted_at is not None for id, record in found.items()} == {"cpu-all": False, "cpu-dev": True}


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        (RuleFilter(severity="critical"), ["disk-env"]),
        (RuleFilter(severity="warning"), ["cpu-all", "cpu-dev", "cpu-team"]),
        (RuleFilter(namespace_id="env"), ["cpu-dev", "disk-env"]),
        (RuleFilter(namespace_id="team"), ["cpu-team"]),
        (RuleFilter(namespace_id="nothing"), []),
        (RuleFilter(text="DISK_percent"), ["disk-env"]),
        (RuleFilter(text="highcpu"), ["cpu-all", "cpu-dev", "cpu-team"]),
        (RuleFilter(text="why % not_"), ["disk-env"]),
        (RuleFilter(text="w%y"), []),
        (RuleFilter(text="-dev"), ["cpu-dev"]),
        (RuleFilter(text="cpu", namespace_id="env", severity="warning"), ["cpu-dev"]),
    ],
)
async def test_rules_are_found_by_what_is_in_them(edits: Edits, where: RuleFilter, ids: list[str]) -> None:
    await edits.namespaces.create(Namespace("team", "team"), DO)
    await edits.rule(NamespaceScope("team"), "cpu-team")
    disk = replace(CPU, alert_name="Disk", severity="critical", query="disk_percent > {{ .threshold }}")
    draft = RuleDraft("disk-env", NamespaceScope("env"), key="disk", spec=disk, description="Why % not_")
    await edits.rules.create(draft, DO)
    found = []
    after: str | None = ""
    while after is not None:
        page = await edits.store.rules(after, 1, where)
        found += [record.value.id for record in page.items]
        after = page.next_after
    assert found == ids
