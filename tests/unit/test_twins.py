"""Rules whose alerts have the same name and labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rule_service.domain.rule_yaml import GroupText, identity_in, rule_file, rule_fragment
from rule_service.domain.twins import warnings_of_twins
from rule_service.domain.warning import WarningCode
from tests.support.promtool import promtool

# what could be taken for another line of a fragment
LINES = (
    "a",
    "b: c",
    "",
    " ",
    "        labels:",
    "          x: y",
    "        expr: up",
    "\n",
    "  labels:\n",
    '"',
    "\u2028",
)
texts = st.lists(st.sampled_from(LINES), min_size=1, max_size=4).map("\n".join)
label_sets = st.dictionaries(st.sampled_from(["severity", "team"]), texts, max_size=2)


@dataclass(frozen=True)
class Kept:
    rule_id: str
    text: str


def fragment(name: str, labels: Mapping[str, str], expr: str = "up", summary: str = "s") -> str:
    annotations = {"summary": summary}
    return rule_fragment(name, expr, for_duration="5m", keep_firing_for=None, labels=labels, annotations=annotations)


@given(texts, texts, label_sets, label_sets, st.lists(texts, min_size=4, max_size=4))
@settings(deadline=None)
def test_two_fragments_have_one_identity_where_name_and_labels_are_the_same(
    name: str, other: str, labels: dict[str, str], others: dict[str, str], rest: list[str]
) -> None:
    identity = identity_in(fragment(name, labels, rest[0], rest[1]))
    assert identity_in(fragment(name, labels, rest[2], rest[3])) == identity
    assume((name, labels) != (other, others))
    assert identity_in(fragment(other, others, rest[0], rest[1])) != identity


def test_those_asked_about_are_told_of_all_others() -> None:
    rules = [
        Kept("one", fragment("A", {"severity": "page"})),
        Kept("two", fragment("A", {"severity": "page"}, "down")),
        Kept("three", fragment("A", {"severity": "page"}, summary="other")),
        Kept("labels", fragment("A", {"severity": "page", "team": "x"})),
        Kept("name", fragment("B", {"severity": "page"})),
    ]
    [(id, warning)] = warnings_of_twins(rules, {"two", "labels", "name"})
    assert (id, warning.code) == ("two", WarningCode.SAME_IDENTITY)
    assert 'those of rules "one", "three" at this scope' in warning.message


def test_promtool_finds_the_same_ones(tmp_path: Path) -> None:
    rules = [fragment("A", {"severity": "page"}), fragment("A", {"severity": "page"}, "down"), fragment("A", {})]
    for names, expected in ((rules[:2], 3), (rules[1:], 0)):
        (tmp_path / "rules.yml").write_text(rule_file(["x"], [GroupText("g", None, names)]))
        done = promtool("check", "rules", "--lint-fatal", "rules.yml", cwd=tmp_path)
        assert (done.returncode, "duplicate rule(s)" in done.stdout + done.stderr) == (expected, expected == 3)


def test_of_very_many_some_are_named() -> None:
    rules = [Kept(f"r{number}", fragment("A", {})) for number in range(9)]
    [(_, warning)] = warnings_of_twins(rules, {"r0"})
    assert 'rules "r1", "r2", "r3", "r4", "r5" and 3 more at' in warning.message
