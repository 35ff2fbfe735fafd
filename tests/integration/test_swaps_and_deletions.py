"""A bundle and a rollback in which names change hands while others go: what went can come back as it was."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from rule_service.domain.model import AlertTemplate, Group, Namespace, Target
from rule_service.usecases.ports import Kept
from rule_service.usecases.rollback import Everything
from tests.support.bundles import BundleText
from tests.support.edits import DO, Edits, open_edits

BEFORE = """
namespaces:
  - {id: a, label: la}
  - {id: b, label: lb, policy_priority: 3}
  - {id: gone, label: lg, description: on its way}
groups:
  - {id: top, namespace_id: a, label_value: top}
  - {id: one, parent_id: top, label_value: "1"}
  - {id: two, parent_id: top, label_value: "2"}
  - {id: old, parent_id: one, label_value: "3"}
  - {id: older, parent_id: old, label_value: "4"}
  - {id: b1, namespace_id: b, label_value: x}
  - {id: in-gone, namespace_id: gone, label_value: g}
targets:
  - {id: stays, hostname: stays.example, group_ids: [one, b1]}
  - {id: goes, hostname: goes.example, labels: {rack: "7"}, group_ids: [b1, in-gone, old]}
templates:
  - id: disk
    spec: {alert_name: DiskFull, severity: warning, query: disk_free_bytes < 100}
rules:
  - {id: r-one, template_id: disk, key: k1, scope: {group_id: one}}
  - {id: r-two, template_id: disk, key: k2, scope: {group_id: one}}
  - {id: r-old, template_id: disk, key: k1, scope: {group_id: old}, config: {for_duration: 7m}}
  - {id: r-all, template_id: disk, key: k1, scope: {global: {}}}
"""
# la and lb change hands, and a new namespace gets the label of the one that goes; so do label values and keys
AFTER = """
namespaces:
  - {id: a, label: lb}
  - {id: b, label: la, policy_priority: 3}
  - {id: new, label: lg}
groups:
  - {id: two, namespace_id: a, label_value: "1"}
  - {id: one, parent_id: two, label_value: "3"}
  - {id: top, parent_id: one, label_value: "4"}
  - {id: b1, namespace_id: b, label_value: x}
targets:
  - {id: stays, hostname: goes.example, group_ids: [b1, top]}
rules:
  - {id: r-one, key: k2, scope: {group_id: one}, spec: SPEC}
  - {id: r-two, key: k1, scope: {group_id: one}, spec: SPEC}
  - {id: r-new, key: k1, scope: {global: {}}, spec: SPEC}
""".replace("SPEC", "{alert_name: DiskFull, severity: warning, query: disk_free_bytes < 1}")
GONE: tuple[tuple[type[Namespace] | type[Group] | type[Target] | type[AlertTemplate], str], ...] = (
    (Namespace, "gone"),
    (Group, "in-gone"),
    (Group, "old"),
    (Group, "older"),
    (Target, "goes"),
    (AlertTemplate, "disk"),
)

Change = Callable[[Edits, BundleText], Awaitable[None]]


async def by_a_bundle(edits: Edits, text: BundleText) -> None:
    await text.apply(AFTER, "SYNC", owner="base")


async def by_a_rollback(edits: Edits, text: BundleText) -> None:
    await edits.rollback.roll_back(1, Everything(), DO)


@pytest_asyncio.fixture
async def edits(database: str, promtool: Path) -> AsyncIterator[Edits]:
    """Revision 1 is AFTER, revision 2 is BEFORE."""
    async with open_edits(database, promtool) as opened:
        for content in (AFTER, BEFORE):
            await BundleText(opened).apply(content, "SYNC", owner="base")
        yield opened


async def stored(edits: Edits, kind: type[Kept], id: str) -> Kept:
    return (await edits.store.resources_by_id(kind, [id]))[id].value


@pytest.mark.parametrize("change", [by_a_bundle, by_a_rollback])
async def test_what_went_is_kept_as_it_was_and_comes_back(edits: Edits, change: Change) -> None:
    was = {(kind, id): await stored(edits, kind, id) for kind, id in GONE}
    rules = await edits.store.rules_by_id(["r-old", "r-all"])
    await change(edits, BundleText(edits))

    for (kind, id), value in was.items():
        record = (await edits.store.resources_by_id(kind, [id]))[id]
        assert (id, record.value, record.deleted_at is not None) == (id, value, True)
    for id, before in rules.items():
        deleted = (await edits.store.rules_by_id([id]))[id]
        assert (id, deleted.value, deleted.deleted_at is not None) == (id, before.value, True)
    one, stays = await edits.store.group("one"), await edits.store.target("stays")
    assert one is not None
    assert stays is not None
    assert (one.value.label_value, one.value.parent_id, stays.value.group_ids) == ("3", "two", ("b1", "top"))

    await edits.namespaces.update("new", "", lambda record: replace(record.value, label="other"), DO)
    for id in ("one", "top"):
        await edits.groups.update(id, "", lambda record: replace(record.value, label_value=record.value.id), DO)
    await edits.rules.delete("r-new", "", DO)
    back = {
        "gone": (await edits.namespaces.undelete("gone", "", DO)).value.value,
        "in-gone": (await edits.groups.undelete("in-gone", "", DO)).value.value,
        "old": (await edits.groups.undelete("old", "", DO)).value.value,
        "older": (await edits.groups.undelete("older", "", DO)).value.value,
        "goes": (await edits.targets.undelete("goes", "", DO)).value.value,
        "disk": (await edits.templates.undelete("disk", "", DO)).value.value,
    }
    assert back == {id: value for (_, id), value in was.items()}
    for id, before in rules.items():
        assert (await edits.rules.undelete(id, "", DO)).value.record.value == before.value
    assert await edits.exprs({"group-old.yml"}) == {"group-old.yml": ['disk_free_bytes{lb=~"3|4"} < 100']}
