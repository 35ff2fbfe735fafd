"""Checks scoping on a corpus of PromQL expressions: `python -m tests.corpus FILE [--promtool PATH]`.

Each line of FILE is a JSON object with `expr` and the verdicts of a Prometheus parser: `valid` (as released) and
`valid_all_features` (with every feature flag; `valid` where missing). For each expression that is valid in either
sense the scope is added, once with two labels and once with two matchers on one label, and it must hold that

- the scanner finds as many selectors as promql-parser, and each of them gets both matchers;
- without the added text the result is the original, and promql-parser reads the same tree without the added matchers;
- scoping again changes nothing;
- promtool accepts the result wherever it accepts the original.

For the others it must hold that the scanner refuses them or not, but does not fail. Prints `N checked, M wrong` and
each wrong one; exits non-zero if one is wrong or none was checked.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import promql_parser
import yaml

from rule_service.domain.matchers import Matcher, MatchOp
from rule_service.domain.model import ScopeMode
from rule_service.domain.promql.check import Verdict, check_query
from rule_service.domain.promql.scoping import Scoped, scope_query
from rule_service.domain.promql.selectors import find_selectors
from rulecast.errors import RulecastError

SCOPES = (
    (Matcher("rulecast_group", MatchOp.EQUAL, "g1"), Matcher("rulecast_env", MatchOp.NOT_EQUAL, 'a"\\b')),
    (Matcher("rulecast_group", MatchOp.EQUAL, "g1"), Matcher("rulecast_group", MatchOp.NOT_REGEX, r"g2|g\.3")),
)


@dataclass(frozen=True)
class Expression:
    text: str
    valid: bool


def read(lines: Iterable[str]) -> list[Expression]:
    expressions = []
    for line in lines:
        if line.strip():
            entry = json.loads(line)
            expressions.append(Expression(entry["expr"], entry["valid"] or entry.get("valid_all_features", False)))
    return expressions


def scoped(text: str, scope: tuple[Matcher, ...]) -> Scoped:
    return scope_query(text, scope, mode=ScopeMode.AUTO, exclude_metrics=())


def wrong_with(expression: Expression) -> list[str]:
    """What is wrong with scoping this expression, as far as this process can tell; empty if nothing is."""
    try:
        selectors = find_selectors(expression.text)
    except RulecastError as error:
        return [f"refused: {error}"] if expression.valid else []
    if not expression.valid:
        return []
    verdict = _verdict(expression.text)
    wrong = []
    if verdict is Verdict.ACCEPTED and (count := _tree(expression.text).count("VectorSelector{")) != len(selectors):
        wrong.append(f"{len(selectors)} selectors found, promql-parser finds {count}")
    for scope in SCOPES:
        wrong += _wrong_in_scope(expression.text, scope, verdict)
    return wrong


def _verdict(text: str) -> Verdict:
    try:
        return check_query(text).verdict
    except RulecastError:
        return Verdict.UNKNOWN


def _wrong_in_scope(text: str, scope: tuple[Matcher, ...], verdict: Verdict) -> Iterator[str]:
    result = scoped(text, scope)
    added = ",".join(str(matcher) for matcher in scope)
    if result.selectors_scoped != result.selectors_total or result.text.count(added) != result.selectors_total:
        yield f"of {result.selectors_total} selectors {result.text.count(added)} carry the scope: {result.text}"
    if without_added(result.text, added, text) != text:
        yield f"more was changed than added: {result.text}"
    if (again := scoped(result.text, scope).text) != result.text:
        yield f"scoping again gives {again}"
    if verdict is Verdict.ACCEPTED:
        yield from _wrong_in_tree(text, result, scope)


def without_added(changed: str, added: str, original: str) -> str:
    """`changed` without the scope and the comma or braces that came with it, told by what `original` has there."""
    first, *others = changed.split(added)
    restored = first
    for other in others:
        if restored.endswith(","):
            restored = restored[:-1]
        elif restored.endswith("{") and not original.startswith("{", len(restored) - 1):
            restored, other = restored[:-1], other.removeprefix("}")
        restored += other
    return restored


def _wrong_in_tree(text: str, result: Scoped, scope: tuple[Matcher, ...]) -> Iterator[str]:
    try:
        tree = _tree(result.text)
    except ValueError as error:
        yield f"promql-parser rejects {result.text}: {error}"
        return
    for matcher in scope:
        tree, count = _matcher_in_tree(matcher).subn("", tree)
        if count != result.selectors_total:
            yield f"in promql-parser's tree {count} of {result.selectors_total} selectors have {matcher}: {result.text}"
    if tree != _tree(text):
        yield f"promql-parser reads another tree: {result.text}"


def _tree(text: str) -> str:
    """promql-parser's tree of `text`, written out in full, without white space."""
    return re.sub(r"\s", "", repr(promql_parser.parse(text)))


def _matcher_in_tree(matcher: Matcher) -> re.Pattern[str]:
    ops = {MatchOp.EQUAL: "Equal", MatchOp.NOT_EQUAL: "NotEqual", MatchOp.NOT_REGEX: r'NotRe\(Regex\("[^"]*",\),\)'}
    value = re.escape(json.dumps(matcher.value))
    return re.compile(rf'Matcher\{{op:{ops[matcher.op]},name:"{matcher.label}",value:{value},\}},')


def rejected_by_promtool(texts: list[str], promtool: Path) -> dict[int, str]:
    """Indexes of the expressions that promtool rejects as a rule's, with its message; all in one run."""
    rules = [{"record": "rulecast:corpus", "expr": text} for text in texts]
    with tempfile.TemporaryDirectory(prefix="rulecast-corpus-") as directory:
        file = Path(directory) / "rules.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "corpus", "rules": rules}]}, width=sys.maxsize))
        run = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    rejected = {
        int(found["rule"]) - 1: found["message"]
        for found in re.finditer(r'group "corpus", rule (?P<rule>\d+), "[^"]*": (?P<message>.*)', run.stderr)
    }
    if run.returncode and not rejected:
        raise RuntimeError(f"promtool says nothing about any rule: {run.stderr[:2000]}")
    return rejected


def wrong_by_promtool(texts: list[str], promtool: Path) -> Iterator[tuple[str, str]]:
    """The expressions that promtool accepts, but not when scoped, with what is wrong."""
    changed = [scoped(text, scope).text for text in texts for scope in SCOPES]
    rejected = rejected_by_promtool(texts + changed, promtool)
    for index, text in enumerate(texts):
        for scope in range(len(SCOPES)):
            at = len(texts) + index * len(SCOPES) + scope
            if index not in rejected and at in rejected:
                yield text, f"promtool rejects {changed[at - len(texts)]}: {rejected[at]}"


def check(expressions: list[Expression], promtool: Path) -> list[tuple[str, str]]:
    """Every expression that is wrong, with what is wrong with it."""
    found = [(each.text, "; ".join(wrong)) for each in expressions if (wrong := wrong_with(each))]
    failed = {text for text, _ in found}
    found += wrong_by_promtool([each.text for each in expressions if each.valid and each.text not in failed], promtool)
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.corpus")
    parser.add_argument("file", type=Path)
    parser.add_argument("--promtool", type=Path, default=Path("promtool"), help="default: the one on PATH")
    options = parser.parse_args(arguments)
    with options.file.open(encoding="utf-8") as lines:
        expressions = read(lines)
    wrong = check(expressions, options.promtool)
    for text, why in wrong:
        print(f"wrong: {text!r}: {why}")
    checked = sum(each.valid for each in expressions)
    print(f"{checked} checked, {len({text for text, _ in wrong})} wrong")
    return 0 if checked and not wrong else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
