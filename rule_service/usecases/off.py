"""Rules that are off: in no file, and checked all the same, since nothing invalid is saved (docs/decisions/0012)."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from rule_service.domain.index import WorldIndex
from rule_service.domain.model import AlertRule, AlertSpec, Config, KeyWorld, Scope
from rule_service.domain.render import RenderedRule
from rule_service.domain.sample import sample_of_rule
from rule_service.usecases.blame import together, with_fields
from rule_service.usecases.ports import Transaction
from rule_service.usecases.ports_changes import ResourceChange
from rulecast.errors import RulecastError


async def samples_of_off(
    transaction: Transaction, changes: Iterable[ResourceChange], fields: Mapping[str, str]
) -> tuple[RenderedRule, ...]:
    """What the rules that the changes have saved switched off would be in files, by what they say themselves: for
    promtool to see.

    Only those that are new or say something else than before: switching off is never refused. Asked once the changes
    are made.
    fields: where in the request a rule stands, by its id. Raises what rendering raises, of all of them at once.
    """
    off = [rule for change in changes if (rule := _off_and_new(change)) is not None]
    if not off:
        return ()
    worlds = await transaction.key_worlds({rule.key for rule in off})
    # takes a while for many
    return await asyncio.to_thread(_rendered, worlds.values(), {rule.id for rule in off}, fields)


class _Said(NamedTuple):
    """All of a rule that decides what it renders to by itself."""

    key: str
    scope: Scope
    spec: AlertSpec
    config: Config


def _off_and_new(change: ResourceChange) -> AlertRule | None:
    """The rule that the change has made, if it is off and says something that no rule of its id said before."""
    before, after = change.before, change.after
    if not isinstance(after, AlertRule) or after.enabled:
        return None
    return None if isinstance(before, AlertRule) and _said(before) == _said(after) else after


def _said(rule: AlertRule) -> _Said:
    return _Said(rule.key, rule.scope, rule.spec, rule.config)


def _rendered(worlds: Iterable[KeyWorld], ids: Collection[str], fields: Mapping[str, str]) -> tuple[RenderedRule, ...]:
    rendered, errors = [], []
    for world in worlds:
        index = WorldIndex(world)
        for rule in world.rules:
            if rule.id in ids:
                try:
                    rendered.append(sample_of_rule(rule, index))
                except RulecastError as error:
                    errors.append(with_fields(error, rule.id, fields))
    if errors:
        raise together(errors)
    return tuple(rendered)
