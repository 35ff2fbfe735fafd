"""The second run of an edit is answered from memory what nobody has changed since, and asks for everything else."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from rule_service.domain.model import AlertRule, GlobalScope, Group, GroupScope, KeyWorld, Namespace, Scope
from rule_service.usecases.memory import Memory
from rule_service.usecases.ports import Transaction
from rule_service.usecases.ports_changes import Touched
from rule_service.usecases.ports_rendered import Parts
from tests.support.worlds import rule

KEY = "high-cpu"
ENV = Namespace("env", "env")
GROUPS = {id: Group(id, "env", id, parent) for id, parent in (("prod", None), ("web", "prod"), ("dev", None))}


class Database:
    """Answers with the number of the question, so that an old answer is told from a new one."""

    def __init__(self, revision: int = 7, touched: Sequence[Touched] | None = (), parts: Parts | None = None) -> None:
        self.asked: list[str] = []
        self._revision = revision
        self._touched = touched
        self._parts = parts

    async def revision(self) -> int:
        return self._revision

    async def touched(self, after: int, before: int) -> Sequence[Touched] | None:
        self.asked.append(f"touched {after} {before}")
        return self._touched

    def __getattr__(self, name: str) -> Any:
        async def answer(*args: Any) -> Any:
            self.asked.append(name)
            return self._parts if name == "parts_of_worlds" else f"{name} {len(self.asked)}"

        return answer


def world(*rules: AlertRule) -> KeyWorld:
    """Of these rules, with the groups around them."""
    ids = {each.scope.group_id for each in rules if isinstance(each.scope, GroupScope)}
    around = {
        id: group for id, group in GROUPS.items() if {id, group.parent_id} & ids or (id == "prod" and "web" in ids)
    }
    return KeyWorld(KEY, {"env": ENV}, around, rules)


async def edit(transaction: Transaction, group: str = "web") -> list[Any]:
    """As one of a group's rule asks."""
    return [
        await transaction.rule("mine"),
        await transaction.all_namespaces(),
        await transaction.update_rule(rule(f"group:{group}", id="mine")),
        await transaction.parts_of_worlds([KEY], [group]),
        await transaction.ingredients([f"group-{group}.yml"]),
    ]


async def recalled(
    revision: int, touched: Sequence[Touched] | None = (), parts: Parts | None = None
) -> tuple[Memory, Database]:
    """What the second run of that edit asks the database, at this revision."""
    memory = Memory()
    mine = parts or Parts({KEY: world(rule("group:web", id="mine"))}, {})
    first = await edit(await memory.record(cast(Transaction, Database(parts=mine))))
    database = Database(revision, touched, mine)
    second = await edit(await memory.recall(cast(Transaction, database), revision))
    if "rule" not in database.asked:
        assert second[:2] == first[:2]
        assert second[3:] == first[3:]
    return memory, database


WRITES_ALONE = ["update_rule"]
EVERYTHING = ["rule", "all_namespaces", "update_rule", "parts_of_worlds", "ingredients"]


async def test_nothing_is_read_again_where_nobody_was_in_between() -> None:
    _, database = await recalled(8)
    assert database.asked == WRITES_ALONE


def touched_rule(scope: Scope, *, id: str = "other", key: str = KEY, namespace_id: str | None = "env") -> Touched:
    return Touched("rule", id, key, scope, namespace_id if isinstance(scope, GroupScope) else None)


@pytest.mark.parametrize(
    "touched",
    [
        (),
        (Touched("target", "web-1"),),
        (touched_rule(GlobalScope(), key="other"),),
        (touched_rule(GroupScope("web"), key="other"), Touched("file", "group-dev.yml")),
        (touched_rule(GroupScope("dev")), Touched("file", "group-dev.yml"), Touched("file", "global.yml")),
    ],
)
async def test_nothing_is_read_again_where_what_was_changed_is_of_no_concern(touched: Sequence[Touched]) -> None:
    _, database = await recalled(11, touched)
    assert database.asked == ["touched 7 11", *WRITES_ALONE]


@pytest.mark.parametrize(
    "touched",
    [
        None,
        (Touched(""),),
        (Touched("namespace", "dc"),),
        (Touched("group", "dev"),),
        (Touched("template", "cpu"),),
        (touched_rule(GroupScope("dev"), id="mine", key="other"),),
        (touched_rule(GlobalScope()),),
        (touched_rule(GroupScope("web")),),
        (touched_rule(GroupScope("prod")),),
        (touched_rule(GroupScope("a"), namespace_id="dc"),),
        (touched_rule(GroupScope("gone"), namespace_id=None),),
        (Touched("target", "web-1"), Touched("file", "group-web.yml")),
    ],
)
async def test_everything_is_read_again_where_it_may_be_another(touched: Sequence[Touched] | None) -> None:
    _, database = await recalled(11, touched)
    assert database.asked == ["touched 7 11", *EVERYTHING]


async def test_around_a_group_without_a_rule_any_rule_of_the_key_counts() -> None:
    """As after a deletion: what is above and below it is not in the world."""
    _, database = await recalled(11, (touched_rule(GroupScope("dev")),), Parts({KEY: world()}, {}))
    assert database.asked == ["touched 7 11", *EVERYTHING]


async def test_a_run_that_goes_another_way_is_answered_from_memory_no_more() -> None:
    memory, _ = await recalled(8)
    database = Database(8, (), Parts({KEY: world()}, {}))
    await edit(await memory.recall(cast(Transaction, database), 8), "prod")
    assert database.asked == ["update_rule", "parts_of_worlds", "ingredients"]


async def test_what_was_forgotten_is_read_again() -> None:
    memory, _ = await recalled(8)
    memory.forget()
    database = Database(8)
    await edit(await memory.recall(cast(Transaction, database), 8))
    assert database.asked == EVERYTHING
