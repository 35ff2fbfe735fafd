"""What an edit renders: the rules that it reaches, read and rendered inside its transaction."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, assert_never

from rule_service.domain.index import WorldIndex
from rule_service.domain.model import AlertRule, GroupScope, KeyWorld
from rule_service.domain.reach import (
    AboveGroups,
    AtGroups,
    Everything,
    Reach,
    Settings,
    Standing,
    rules_above_groups,
    rules_at,
    rules_at_or_below,
)
from rule_service.domain.render import RenderedRule, RenderInput, in_files, render, render_input
from rule_service.usecases.blame import together, with_fields
from rule_service.usecases.ports import Transaction
from rule_service.usecases.ports_changes import ResourceChange
from rule_service.usecases.ports_rendered import Parts
from rulecast.errors import RulecastError

T = TypeVar("T")

_OfKey = tuple[KeyWorld, Sequence[AlertRule]]
"""Rules of one key, with its world."""

RENDERED_INLINE = 20
"""Up to so many rules are rendered on the event loop; more take long enough to go to a thread."""


@dataclass(frozen=True, slots=True)
class Edited(Generic[T]):
    """What an edit did in its transaction.

    keys: the alerts whose rules may render differently now. reach: which of their rules.
    resources: what changed. files: to be assembled whether or not a rule of theirs is rendered differently.
    samples: further rules for promtool to see. fields: where in the request a rule stands, by rule id.
    answered: the revision in which the same request has done it before.
    """

    value: T
    resources: tuple[ResourceChange, ...] = ()
    keys: frozenset[str] = frozenset()
    reach: Reach = field(default_factory=Everything)
    files: frozenset[str] = frozenset()
    samples: tuple[RenderedRule, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    answered: int = 0


@dataclass(frozen=True, slots=True)
class Differences:
    """new: the rules that are rendered to something else than what is stored. gone: those that are to be in no file.

    files: those that a rule comes into, leaves, or changes in.
    """

    new: tuple[RenderedRule, ...] = ()
    gone: tuple[RenderedRule, ...] = ()
    files: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.new or self.gone)


class Renderer:
    """Renders for one edit, and remembers what: as a rule the edit runs again on the same rules."""

    def __init__(self) -> None:
        self._done: dict[str, tuple[RenderInput, RenderedRule]] = {}

    async def differences(self, transaction: Transaction, edited: Edited[T]) -> Differences:
        """Raises what rendering raises, in terms of the request."""
        if not edited.keys:
            return Differences()
        reached = await _reached(transaction, edited)
        after = await self._rendered(reached.rules, edited.fields)
        before = reached.before
        new = tuple(rule for id, rule in after.items() if before.get(id) != rule)
        gone = tuple(rule for id, rule in before.items() if id not in after)
        left = (before[rule.rule_id] for rule in new if rule.rule_id in before)
        return Differences(new, gone, frozenset(rule.file_name for rule in (*new, *gone, *left)))

    async def _rendered(self, rules: Sequence[_OfKey], fields: Mapping[str, str]) -> dict[str, RenderedRule]:
        if sum(len(of_key) for _, of_key in rules) <= RENDERED_INLINE:
            return self._all(rules, fields)
        return await asyncio.to_thread(self._all, rules, fields)

    def _all(self, rules: Iterable[_OfKey], fields: Mapping[str, str]) -> dict[str, RenderedRule]:
        """By rule id. Raises what is wrong with any of them, all at once."""
        rendered, errors = {}, []
        for world, of_key in rules:
            index = WorldIndex(world)
            for rule in in_files(of_key):
                try:
                    rendered[rule.id] = self._one(rule, index)
                except RulecastError as error:
                    errors.append(with_fields(error, rule.id, fields))
        if errors:
            raise together(errors)
        return rendered

    def _one(self, rule: AlertRule, index: WorldIndex) -> RenderedRule:
        source = render_input(rule, index)
        done = self._done.get(rule.id)
        if done is None or done[0] != source:
            done = self._done[rule.id] = source, render(source)
        return done[1]


@dataclass(frozen=True, slots=True)
class _Reached:
    """rules: those to render. before: what is stored as rendered of all that is reached."""

    rules: Sequence[_OfKey]
    before: Mapping[str, RenderedRule]


async def _reached(transaction: Transaction, edited: Edited[T]) -> _Reached:
    keys, reach = edited.keys, edited.reach
    match reach:
        case Everything():
            worlds = await transaction.key_worlds(keys)
            before = await transaction.rendered_of_keys(keys)
            return _Reached([(world, world.rules) for world in worlds.values()], before)
        case AboveGroups():
            worlds = await transaction.key_worlds(keys)
            stored = await transaction.rendered_of_keys(keys)
            before = {id: rule for id, rule in stored.items() if not isinstance(rule.scope, GroupScope)}
            return _Reached([(world, rules_above_groups(world)) for world in worlds.values()], before)
        case AtGroups(group_ids):
            parts = await transaction.parts_of_worlds(keys, group_ids)
            rules: list[_OfKey] = [(world, rules_at(world, group_ids)) for world in parts.worlds.values()]
            return _Reached(rules, _stored(parts, rules, group_ids))
        case Settings(group_id):
            parts = await transaction.parts_of_worlds(keys, [group_id])
            rules = [(world, rules_at_or_below(world, group_id)) for world in parts.worlds.values()]
            return _Reached(rules, _stored(parts, rules, [group_id]))
        case Standing(group_id):
            parts = await transaction.parts_of_worlds(keys, [group_id])
            return _Reached(await _around(transaction, keys, parts.worlds, group_id), parts.rendered)
        case _:
            assert_never(reach)


async def _around(
    transaction: Transaction, keys: Collection[str], parts: Mapping[str, KeyWorld], group_id: str
) -> list[_OfKey]:
    """All rules of the parts. For those that are not at or below the group, a part does not say what they exclude."""
    if all(len(rules_at_or_below(part, group_id)) == len(part.rules) for part in parts.values()):
        return [(part, part.rules) for part in parts.values()]
    ids = {rule.id for part in parts.values() for rule in part.rules}
    worlds = await transaction.key_worlds(keys)
    return [(world, [rule for rule in world.rules if rule.id in ids]) for world in worlds.values()]


def _stored(parts: Parts, rules: Iterable[_OfKey], group_ids: Collection[str]) -> dict[str, RenderedRule]:
    """What is stored of these rules, and of those that were at the groups before."""
    ids = {rule.id for _, of_key in rules for rule in of_key}
    scopes = {GroupScope(id) for id in group_ids}
    return {id: rule for id, rule in parts.rendered.items() if id in ids or rule.scope in scopes}
