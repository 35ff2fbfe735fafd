"""What edits leave in the database is what rendering everything anew would give, and what the API says of it is so.

Random worlds are made through the use cases on a real database, then edited at random. Each edit renders only what it
can change; in the end the stored files must be those of a full rendering, and GetEffectiveRules must name, for every
series, the rule of the plain second reading of DESIGN 1 (`oracle.py`).
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from deploy.local.postgres import PostgresServer
from rule_service.domain.model import AlertRule, Config, Group
from rule_service.domain.render import RenderedRule
from rule_service.usecases.ports_check import CheckFailure
from rule_service.usecases.rules import RuleDraft
from rulecast.errors import AlreadyExists, FailedPrecondition, NotFound
from tests.property import oracle
from tests.property.test_worlds import rule_files
from tests.property.worlds import LABEL_VALUES, World, worlds
from tests.support.edits import DO, Edits, open_edits
from tests.support.postgres import fresh_database
from tests.support.rendering import render_key
from tests.support.store import open_database

IN_TEST = 30
IN_PROVE = 400
AT_ONCE = 6
"""Edits of which none waits for another."""


@dataclass(frozen=True)
class Step:
    """One edit; `at` chooses what it is done to, `to` what it becomes."""

    kind: str
    at: int
    to: int


KINDS = (
    "threshold",
    "inherit",
    "enabled",
    "priority",
    "delete",
    "move",
    "move",
    "value",
    "value",
    "policy",
    "drop group",
)

steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(KINDS),
        st.integers(0, 999),
        st.integers(0, 999),
    ),
    min_size=3,
    max_size=25,
)


frequent_steps = st.lists(
    st.builds(
        Step,
        # mostly those that leave others alone
        st.sampled_from(
            [*(["threshold", "inherit"] * 4), "enabled", "enabled", "priority", "delete", "value", "policy"]
        ),
        st.integers(0, 999),
        st.integers(0, 999),
    ),
    min_size=2 * AT_ONCE,
    max_size=8 * AT_ONCE,
)


@st.composite
def dense_worlds(draw: st.DrawFn) -> World:
    """With some rules: edits at once then meet each other's keys and files, or not quite."""
    world = draw(worlds().filter(lambda each: sum(len(key.rules) for key in each.keys) >= AT_ONCE))
    return replace(world, keys=tuple(replace(key, groups=all_groups(world)) for key in world.keys))


@st.composite
def sparse_worlds(draw: st.DrawFn) -> World:
    """Few rules, so that most edits concern one key and not the other: what is left out of an edit then shows."""
    world = draw(worlds())
    rules = [rule.id for key in world.keys for rule in key.rules]
    ids = draw(st.lists(st.sampled_from(rules), min_size=1, max_size=6)) if rules else []
    keys = tuple(
        replace(key, rules=tuple(rule for rule in key.rules if rule.id in ids), groups=all_groups(world))
        for key in world.keys
    )
    return World(keys, world.series[::4])


def all_groups(world: World) -> dict[str, Group]:
    return {id: group for key in world.keys for id, group in key.groups.items()}


async def make(edits: Edits, world: World) -> None:
    """Saves the world: namespaces, groups from the top, then rules."""
    for namespace in {each.id: each for key in world.keys for each in key.namespaces.values()}.values():
        await edits.namespaces.create(namespace, DO)
    made: set[str] = set()
    waiting = list(all_groups(world).values())
    while waiting:
        ready = [group for group in waiting if group.parent_id is None or group.parent_id in made]
        for group in ready:
            await edits.groups.create(group, DO)
            made.add(group.id)
        waiting = [group for group in waiting if group.id not in made]
    for key in world.keys:
        for rule in key.rules:
            await edits.rules.create(draft(rule), DO)


def draft(rule: AlertRule) -> RuleDraft:
    return RuleDraft(
        rule.id,
        rule.scope,
        key=rule.key,
        spec=rule.spec,
        config=rule.config,
        merge_strategy=rule.merge_strategy,
        priority=rule.priority,
        enabled=rule.enabled,
    )


async def do(edits: Edits, step: Step, world: World) -> None:
    """One edit, on whatever is there. Raises what refuses it."""
    rules = sorted(rule.id for key in world.keys for rule in key.rules)
    groups = sorted({id for key in world.keys for id in key.groups})
    namespaces = sorted({id for key in world.keys for id in key.namespaces})
    changes: dict[str, Callable[[AlertRule], AlertRule]] = {
        "threshold": lambda rule: replace(rule, config=Config(parameters={"threshold": float(step.to % 100)})),
        "inherit": lambda rule: replace(rule, config=Config()),
        "enabled": lambda rule: replace(rule, enabled=not rule.enabled),
        "priority": lambda rule: replace(rule, priority=step.to % 3),
    }
    if step.kind in changes and (id := await live_rule(edits, rules, step.at)):
        await edits.rules.update(id, "", changes[step.kind], DO)
    elif step.kind == "delete" and (id := await live_rule(edits, rules, step.at)):
        await edits.rules.delete(id, "", DO)
    elif step.kind == "policy" and namespaces:
        id = namespaces[step.at % len(namespaces)]
        await edits.namespaces.update(id, "", lambda r: replace(r.value, policy_priority=step.to % 3), DO)
    elif step.kind == "value" and (id := await some_group(edits, groups, step.at)):
        value = LABEL_VALUES[step.to % len(LABEL_VALUES)]
        await edits.groups.update(id, "", lambda r: replace(r.value, label_value=value), DO)
    elif step.kind == "move" and (id := await some_group(edits, groups, step.at)):
        parent = await some_parent(edits, groups, id, step.to)
        await edits.groups.update(id, "", lambda r: replace(r.value, parent_id=parent), DO)
    elif step.kind == "drop group" and (id := await some_group(edits, groups, step.at)):
        await edits.groups.delete(id, "", True, DO)


async def do_alone(edits: Edits, step: Step, world: World) -> None:
    """An edit that the state forbids is refused and changes nothing."""
    before = await edits.files()
    try:
        await do(edits, step, world)
    except (AlreadyExists, FailedPrecondition):
        assert await edits.files() == before


async def do_beside_others(edits: Edits, step: Step, world: World) -> None:
    """What it is done to may be gone by then."""
    with suppress(AlreadyExists, FailedPrecondition, NotFound):
        await do(edits, step, world)


async def live_rule(edits: Edits, ids: Sequence[str], at: int) -> str | None:
    records = [await edits.store.rule(id) for id in ids]
    live = [record.value.id for record in records if record is not None and record.deleted_at is None]
    return live[at % len(live)] if live else None


async def some_group(edits: Edits, ids: Sequence[str], at: int) -> str | None:
    there = [id for id in ids if await edits.store.group(id) is not None]
    return there[at % len(there)] if there else None


async def some_parent(edits: Edits, ids: Sequence[str], id: str, at: int) -> str | None:
    """A group of the same namespace, perhaps one below, or none."""
    records = [await edits.store.group(each) for each in ids]
    own = next(record for record in records if record is not None and record.value.id == id)
    beside = [record.value.id for record in records if record and record.value.namespace_id == own.value.namespace_id]
    return [None, *(each for each in beside if each != id)][at % len(beside)]


async def check_files(edits: Edits, world: World) -> list[RenderedRule]:
    """The stored files are those of a full rendering."""
    now = await edits.store.key_worlds([key.key for key in world.keys])
    rendered = [rule for key in now.values() for rule in render_key(key)]
    assert await edits.files() == rule_files(rendered)
    return rendered


async def check_answers(edits: Edits, world: World, rendered: Sequence[RenderedRule]) -> None:
    """For every series the API names the oracle's winners, and what they are rendered to."""
    exprs = {rule.rule_id: rule.expr for rule in rendered}
    now = await edits.store.key_worlds([key.key for key in world.keys])
    for labels in world.series:
        winners = ((key.key, oracle.winner(key, labels)) for key in now.values())
        expected = {key: (won.id, won.enabled, exprs.get(won.id)) for key, won in winners if won is not None}
        answer = await edits.understanding.effective_for_labels(labels, None)
        assert {
            each.rule.key: (each.rule.id, each.rule.enabled, each.rendered.expr if each.rendered else None)
            for each in answer.rules
        } == expected


async def run(server: PostgresServer, world: World, todo: Sequence[Step]) -> None:
    async with fresh_database(server) as database, open_edits(database, None) as edits:
        await make(edits, world)
        await check_files(edits, world)
        for step in todo:
            await do_alone(edits, step, world)
            # after each: the next one may render anew what this one forgot
            rendered = await check_files(edits, world)
        await check_answers(edits, world, rendered)


class Content:
    """Implements `RuleChecker`: with one every edit is tried first, and this one takes no time to find nothing."""

    async def check(self, rules: Sequence[RenderedRule]) -> tuple[CheckFailure, ...]:
        return ()


async def run_at_once(server: PostgresServer, world: World, todo: Sequence[Step]) -> None:
    """Several at a time: each is tried while others are committed, and reads from memory what these leave alone."""
    async with fresh_database(server) as url, open_database(url) as database:
        edits = Edits(database, Content())
        await make(edits, world)
        for at in range(0, len(todo), AT_ONCE):
            await asyncio.gather(*(do_beside_others(edits, step, world) for step in todo[at : at + AT_ONCE]))
            await check_files(edits, world)


COMMON = settings(
    deadline=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=(
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
        HealthCheck.function_scoped_fixture,
    ),
)


@pytest.mark.timeout(600)
@given(sparse_worlds(), steps)
@settings(COMMON, max_examples=IN_TEST)
def test_edits_lead_where_rendering_everything_leads(
    postgres_server: PostgresServer, world: World, todo: list[Step]
) -> None:
    asyncio.run(run(postgres_server, world, todo))


@pytest.mark.timeout(600)
@given(dense_worlds(), frequent_steps)
@settings(COMMON, max_examples=IN_TEST)
def test_edits_at_once_lead_where_rendering_everything_leads(
    postgres_server: PostgresServer, world: World, todo: list[Step]
) -> None:
    asyncio.run(run_at_once(postgres_server, world, todo))


@pytest.mark.prove
@pytest.mark.timeout(7_200)
@given(dense_worlds(), frequent_steps)
@settings(COMMON, max_examples=IN_PROVE)
def test_edits_at_once_of_hundreds_of_worlds(postgres_server: PostgresServer, world: World, todo: list[Step]) -> None:
    asyncio.run(run_at_once(postgres_server, world, todo))


@pytest.mark.prove
@pytest.mark.timeout(7_200)
@given(sparse_worlds(), steps)
@settings(COMMON, max_examples=IN_PROVE)
def test_edits_of_hundreds_of_worlds(postgres_server: PostgresServer, world: World, todo: list[Step]) -> None:
    asyncio.run(run(postgres_server, world, todo))
