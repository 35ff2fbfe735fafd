"""What a write would do, in detail: what the dry half of an edit sees before and after it, compared."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from rule_service.domain.diff import changed_identities
from rule_service.domain.file_diff import diff_files
from rule_service.domain.layout import parse_file_name
from rule_service.domain.model import Group, GroupScope, KeyWorld, Target
from rule_service.domain.render import RenderedRule
from rule_service.domain.serving import serves
from rule_service.domain.winners import Series, Side, changed_winners
from rule_service.usecases.change import (
    FileChange,
    FileChangeKind,
    Listed,
    Preview,
    PreviewedFile,
    PreviewedRule,
    RaisedWarning,
)
from rule_service.usecases.ports import Transaction
from rule_service.usecases.ports_changes import ResourceChange
from rule_service.usecases.ports_fates import DeployerFacts

T = TypeVar("T")

LISTED = 200
"""Of each sort at most."""
DIFF_LINES = 500
"""Of one file at most."""
ALL_DIFF_LINES = 5_000


@dataclass(frozen=True, slots=True)
class About:
    """What has to be looked at to see what an edit does. keys: those whose winners may be others."""

    keys: frozenset[str]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """One side of an edit. contents: of the files that are shown. rules: all of the files that change."""

    contents: Mapping[str, bytes]
    rules: Sequence[RenderedRule]
    worlds: Mapping[str, KeyWorld]
    series: Mapping[str, Series]
    deployers: Sequence[DeployerFacts]
    groups: Mapping[str, Group]


async def about(transaction: Transaction, keys: Collection[str], changes: Sequence[ResourceChange]) -> frozenset[str]:
    """The keys whose winners may be others: those that render differently, and those around targets that change."""
    targets = [each for change in changes for each in (change.before, change.after) if isinstance(each, Target)]
    if not targets:
        return frozenset(keys)
    lineage = await transaction.group_with_ancestors({id for target in targets for id in target.group_ids})
    namespaces = {group.namespace_id for group in lineage.values()}
    around = await transaction.rules_for_series(list(lineage), list(namespaces), None)
    return frozenset(keys) | {each.rule.key for each in around}


async def look(transaction: Transaction, at: About) -> Look:
    """What there is now."""
    contents = {}
    for name in at.files[:LISTED]:
        file = await transaction.file(name)
        if file is not None:
            contents[name] = file.content
    deployers = await transaction.deployers()
    scopes = [scope for name in at.files if (scope := parse_file_name(name)) is not None]
    scopes += [scope for deployer in deployers for scope in deployer.serves]
    ids = {scope.group_id for scope in scopes if isinstance(scope, GroupScope)}
    return Look(
        contents=contents,
        rules=await transaction.rendered_of_files(at.files),
        worlds=await transaction.key_worlds(at.keys),
        series=await transaction.series_of_targets() if at.keys else {},
        deployers=deployers,
        groups=await transaction.group_with_ancestors(ids),
    )


def compare(
    before: Look,
    after: Look,
    files: Sequence[FileChange],
    resources: Sequence[ResourceChange],
    warnings: Sequence[RaisedWarning],
) -> Preview:
    """The preview. Takes a while for a large change."""
    takers = {each.name: _takers(each.name, before, after) for each in files}
    rules = sorted(_rules(before, after, takers), key=lambda each: (each.rule.file_name, each.rule.rule_id))
    winners = changed_winners(Side(before.worlds, before.series), Side(after.worlds, after.series))
    return Preview(
        _first(resources),
        Listed(tuple(_files(before, after, files, takers)), len(files)),
        _first(rules),
        _first_of(winners),
        _first(changed_identities(before.rules, after.rules)),
        _first(warnings),
    )


def _takers(name: str, before: Look, after: Look) -> tuple[str, ...]:
    scope = parse_file_name(name)
    groups = {**before.groups, **after.groups}
    taking = (each.id for each in after.deployers if scope is not None and serves(each.serves, scope, groups))
    return tuple(sorted(taking))


def _files(
    before: Look, after: Look, files: Sequence[FileChange], takers: Mapping[str, tuple[str, ...]]
) -> Iterator[PreviewedFile]:
    left = ALL_DIFF_LINES
    for change in files[:LISTED]:
        name = change.name
        diff = diff_files(name, before.contents.get(name), after.contents.get(name), min(left, DIFF_LINES))
        left -= diff.text.count("\n")
        yield PreviewedFile(change, diff, takers[name])


def _rules(before: Look, after: Look, takers: Mapping[str, tuple[str, ...]]) -> Iterator[PreviewedRule]:
    old, new = ({rule.rule_id: rule for rule in side.rules} for side in (before, after))
    for id, rule in new.items():
        if id not in old:
            yield PreviewedRule(rule, FileChangeKind.ADDED, takers[rule.file_name])
        elif (old[id].digest, old[id].file_name) != (rule.digest, rule.file_name):
            yield PreviewedRule(rule, FileChangeKind.MODIFIED, takers[rule.file_name])
    for id, rule in old.items():
        if id not in new:
            yield PreviewedRule(rule, FileChangeKind.DELETED, takers[rule.file_name])


def _first(values: Sequence[T]) -> Listed[T]:
    return Listed(tuple(values[:LISTED]), len(values))


def _first_of(values: Iterator[T]) -> Listed[T]:
    first = tuple(islice(values, LISTED))
    return Listed(first, len(first) + sum(1 for _ in values))
