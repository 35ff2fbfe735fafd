"""Changes one comparison after another in a copy of the code, and requires that `test_worlds.py` notices each.

Run by hand or by `make prove`: `python -m tests.property.mutate [WORD]`, WORD choosing mutations by name.
Prints one line for each mutation and exits with 1 if one survives.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
COPIED = ("protos", "rule_service", "deployer_service", "deploy", "tests", "pyproject.toml")
TEST = "tests/property/test_worlds.py"
DOMAIN = Path("rule_service/domain")


class Mutation(NamedTuple):
    """Replaces the only occurrence of `old` in a module by `new`."""

    name: str
    module: str
    old: str
    new: str


MUTATIONS = (
    # between namespaces
    Mutation("priority: a lower one wins", "scope.py", "rule.priority if wins_ties", "-rule.priority if wins_ties"),
    Mutation("priority: ties are won by both", "scope.py", "else rule.priority + 1", "else rule.priority + 2"),
    Mutation("priority: ties are won by neither", "scope.py", "else rule.priority + 1", "else rule.priority"),
    Mutation(
        "priority: > for >= among groups", "index.py", "speaker.priority >= priority", "speaker.priority > priority"
    ),
    Mutation(
        "priority: < for >= among groups", "index.py", "speaker.priority >= priority", "speaker.priority < priority"
    ),
    Mutation(
        "priority: > for >= among namespaces",
        "scope.py",
        "other.priority >= _least_winning_priority",
        "other.priority > _least_winning_priority",
    ),
    Mutation(
        "policy_priority: a lower one wins",
        "scope.py",
        "(-namespace.policy_priority, n",
        "(namespace.policy_priority, n",
    ),
    Mutation("policy_priority: > for <", "scope.py", "namespace.id) < (-home", "namespace.id) > (-home"),
    Mutation(
        "policy_priority: not asked",
        "scope.py",
        "(-namespace.policy_priority, namespace.id) < (-home.policy_priority, home.id)",
        "namespace.id < home.id",
    ),
    Mutation(
        "name: not asked",
        "scope.py",
        "(-namespace.policy_priority, namespace.id) < (-home.policy_priority, home.id)",
        "namespace.policy_priority > home.policy_priority",
    ),
    # levels and depth
    Mutation(
        "level: a namespace does not hide the global rule",
        "scope.py",
        "if index.rule_at(NamespaceScope(namespace.id))",
        "if None",
    ),
    Mutation(
        "level: groups do not hide the global rule",
        "scope.py",
        "        return _WITHOUT_LABEL\n    return index.unspoken(namespace.id)\n\n\ndef _beside_namespace",
        "        return _WITHOUT_LABEL\n    return ValueSet.all()\n\n\ndef _beside_namespace",
    ),
    Mutation(
        "level: groups do not hide their namespace",
        "scope.py",
        "index.unspoken(namespace.id).intersect(ValueSet.present())",
        "ValueSet.present()",
    ),
    Mutation(
        "level: groups do not hide other namespaces",
        "scope.py",
        "        return _WITHOUT_LABEL\n    return index.unspoken(namespace.id)\n\n\ndef _beside_group",
        "        return _WITHOUT_LABEL\n    return ValueSet.all()\n\n\ndef _beside_group",
    ),
    Mutation(
        "level: a namespace takes series without its label",
        "scope.py",
        "index.unspoken(namespace.id).intersect(ValueSet.present())",
        "index.unspoken(namespace.id)",
    ),
    Mutation(
        "depth: the shallow rule speaks",
        "index.py",
        "self.rule_at(GroupScope(group.id)) or inherited",
        "inherited or self.rule_at(GroupScope(group.id))",
    ),
    Mutation(
        "depth: descendants are not covered",
        "index.py",
        "self.rule_at(GroupScope(group.id)) or inherited",
        "self.rule_at(GroupScope(group.id))",
    ),
    Mutation(
        "depth: deeper rules keep their series twice",
        "scope.py",
        "return index.spoken_by(rule)",
        "return own_values(rule, index)[home.label]",
    ),
    # disabled rules
    Mutation(
        "disabled: not a candidate", "index.py", "for rule in world.rules}", "for rule in world.rules if rule.enabled}"
    ),
    Mutation(
        "disabled: rendered all the same",
        "render.py",
        "for rule in rules if rule.enabled)",
        "for rule in rules)",
    ),
    # coverage and quoting
    Mutation(
        "coverage: a group's own value only",
        "index.py",
        "open_groups.extend(",
        "open_groups[:0] and open_groups.extend(",
    ),
    Mutation(
        "quoting: none in regular expressions", "matchers.py", 'return _META.sub(r"\\\\\\g<0>", value)', "return value"
    ),
    Mutation("label: added although there are children", "render.py", " or index.has_children(scope.group_id)", ""),
    Mutation(
        "label: never added", "render.py", "added = {} if label is None else {label:", "added = {} if True else {label:"
    ),
    # the definition in words
    Mutation("resolve: a lower priority wins", "resolve.py", "(-self.priority, ", "(self.priority, "),
    Mutation(
        "resolve: a lower policy_priority wins", "resolve.py", "-self.policy_priority, ", "self.policy_priority, "
    ),
    Mutation(
        "resolve: name not asked",
        "resolve.py",
        "-self.policy_priority, self.namespace_id)",
        '-self.policy_priority, "")',
    ),
    Mutation(
        "resolve: the shallow rule speaks",
        "resolve.py",
        "(-holder.level, holder.height)",
        "(-holder.level, -holder.height)",
    ),
    Mutation(
        "resolve: the lowest level wins",
        "resolve.py",
        "(-holder.level, holder.height)",
        "(holder.level, holder.height)",
    ),
    Mutation(
        "resolve: disabled is no candidate",
        "resolve.py",
        "for rule in world.rules}",
        "for rule in world.rules if rule.enabled}",
    ),
    Mutation(
        "resolve: a missing label is in the namespace",
        "resolve.py",
        "        if not value:\n            continue\n",
        "",
    ),
    # merging
    Mutation(
        "merge: override is not asked", "merge.py", "if rule.merge_strategy is MergeStrategy.OVERRIDE:", "if None:"
    ),
    Mutation(
        "merge: override above is not asked",
        "merge.py",
        "if each.merge_strategy is MergeStrategy.OVERRIDE]",
        "if None]",
    ),
    Mutation("merge: from the first that overrides", "merge.py", "overriding[-1]", "overriding[0]"),
    Mutation(
        "merge: the wider rule wins",
        "merge.py",
        "parameters.update(config.parameters)",
        "parameters = {**config.parameters, **parameters}",
    ),
    Mutation(
        "merge: parents from the bottom", "index.py", "reversed(list(self.ancestors(group)))", "self.ancestors(group)"
    ),
    Mutation(
        "merge: the namespace is left out",
        "index.py",
        "self._rules_at([GlobalScope(), NamespaceScope(namespace_id)])",
        "self._rules_at([GlobalScope()])",
    ),
    Mutation(
        "merge: the global rule is left out",
        "index.py",
        "self._rules_at([GlobalScope(), NamespaceScope(namespace_id)])",
        "self._rules_at([NamespaceScope(namespace_id)])",
    ),
)


def survives(mutation: Mutation, copy: Path) -> bool:
    """Whether the property test still passes with the mutation in place."""
    module = copy / DOMAIN / mutation.module
    original = module.read_text()
    assert original.count(mutation.old) == 1, f"{mutation.name}: {mutation.old!r} is not once in {mutation.module}"
    module.write_text(original.replace(mutation.old, mutation.new))
    arguments = (
        "-q",
        "-x",
        "--noconftest",
        "-p",
        "no:cacheprovider",
        "-m",
        "not prove",
        "tests/property/test_worlds.py",
    )
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments], cwd=copy, capture_output=True, text=True, check=False
        )
    finally:
        module.write_text(original)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode == 0


def main(word: str = "") -> int:
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="rulecast-mutate-") as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        test = copy / TEST
        # what fails need not be made small
        test.write_text(test.read_text().replace(", Phase.shrink", ""))
        for mutation in MUTATIONS:
            if word in mutation.name:
                survived = survives(mutation, copy)
                survivors += survived
                print(f"{'SURVIVED' if survived else 'caught  '}  {mutation.name}", flush=True)
    print(f"{survivors} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
