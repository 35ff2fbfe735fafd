"""From the rules that differ to the files that do."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rule_service.domain.layout import RuleFile, assemble_file, group_name, parse_file_name
from rule_service.domain.model import Scope
from rule_service.domain.render import RenderedRule
from rule_service.domain.twins import warnings_of_twins
from rule_service.usecases.change import FileChange, FileChangeKind, Placed, RaisedWarning
from rule_service.usecases.ports import Transaction
from rule_service.usecases.ports_rendered import Fragment, Ingredients
from rule_service.usecases.rendering import Differences
from rulecast.digest import file_sha256


@dataclass(frozen=True, slots=True)
class Assembled:
    """files: those with other bytes than stored, to be stored. deleted: those whose last rule is gone.

    changes: all of them. placed: the rules that are rendered differently, each with its Prometheus group, by id.
    twins: warnings of those among them whose alerts are not to be told from those of others in their file.
    """

    files: Sequence[tuple[Scope, RuleFile]] = ()
    deleted: Sequence[str] = ()
    changes: tuple[FileChange, ...] = ()
    placed: Mapping[str, Placed] = field(default_factory=dict)
    twins: tuple[RaisedWarning, ...] = ()


_Rule = Fragment | RenderedRule


async def assemble(transaction: Transaction, differences: Differences, files: Collection[str] = ()) -> Assembled:
    """Puts together the files of the rules that differ, and these others, from stored texts and the new ones."""
    names = differences.files.union(files)
    if not names:
        return Assembled()
    ingredients = await transaction.ingredients(names)
    contents = _contents(ingredients, differences)
    changed: list[tuple[Scope, RuleFile]] = []
    changes: list[FileChange] = []
    for name in sorted(names):
        stored = ingredients[name].sha256
        if not contents[name]:
            if stored is not None:
                changes.append(FileChange(name, FileChangeKind.DELETED, 0, None))
            continue
        scope = _scope_of(name)
        file = assemble_file(scope, contents[name])
        digest = file_sha256(file.content)
        if stored != digest:
            kind = FileChangeKind.MODIFIED if stored is not None else FileChangeKind.ADDED
            changed.append((scope, file))
            changes.append(FileChange(name, kind, file.rule_count, digest))
    deleted = [each.name for each in changes if each.kind is FileChangeKind.DELETED]
    placed = _placed(differences, contents)
    return Assembled(changed, deleted, tuple(changes), placed, _twins(contents, placed))


def _contents(stored: Mapping[str, Ingredients], differences: Differences) -> dict[str, list[_Rule]]:
    """The rules of each file, as they are to be."""
    replaced = {rule.rule_id for rule in (*differences.new, *differences.gone)}
    contents: dict[str, list[_Rule]] = {
        name: [rule for rule in of_file.fragments if rule.rule_id not in replaced] for name, of_file in stored.items()
    }
    for rule in differences.new:
        contents[rule.file_name].append(rule)
    return contents


def _twins(contents: Mapping[str, Sequence[_Rule]], new: Collection[str]) -> tuple[RaisedWarning, ...]:
    found = (each for rules in contents.values() for each in warnings_of_twins(rules, new))
    return tuple(RaisedWarning(id, warning) for id, warning in found)


def _placed(differences: Differences, contents: Mapping[str, Sequence[_Rule]]) -> dict[str, Placed]:
    files = {rule.file_name for rule in differences.new}
    beside = {name: Counter(rule.interval for rule in contents[name]) for name in files}
    return {
        rule.rule_id: Placed(
            rule, group_name(rule.scope, rule.key, rule.interval, beside[rule.file_name][rule.interval])
        )
        for rule in differences.new
    }


def _scope_of(file_name: str) -> Scope:
    scope = parse_file_name(file_name)
    if scope is None:
        raise ValueError(f"not the name of a rule file: {file_name}")
    return scope
