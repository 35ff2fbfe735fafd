"""The difference of two rule files: a unified diff that leads from the one to the other."""

import re

from hypothesis import given
from hypothesis import strategies as st

from rule_service.domain.file_diff import diff_files
from rule_service.domain.layout import assemble_file
from rule_service.domain.model import GlobalScope
from rule_service.domain.rule_yaml import rule_fragment
from rule_service.usecases.ports_rendered import Fragment

NO_LIMIT = 1_000_000


def file(rules: dict[str, tuple[str, str | None]]) -> bytes:
    """rules: by id; the expression and the interval."""
    fragments = [Fragment(id, id, interval, text(id, expr)) for id, (expr, interval) in rules.items()]
    return assemble_file(GlobalScope(), fragments).content


def text(id: str, expr: str) -> str:
    annotations = {"rulecast_rule": f"{id}@0123456789abcdef", "summary": "the same\nfor all"}
    return rule_fragment("A", expr, for_duration="5m", keep_firing_for=None, labels={}, annotations=annotations)


def patched(before: list[str], diff: str) -> list[str]:
    """As `patch` does it; checks every line that it meets."""
    result: list[str] = []
    at = 0
    for line in diff.splitlines()[2:]:
        if found := re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@", line):
            start = int(found[1]) - (found[2] != "0")
            result += before[at:start]
            at = start
            continue
        sign, rest = line[0], line[1:]
        if sign in " -":
            assert before[at] == rest
            at += 1
        if sign in " +":
            result.append(rest)
    return result + before[at:]


RULES = st.dictionaries(
    st.sampled_from([f"r{number}" for number in range(12)]),
    st.tuples(st.sampled_from(["up", "down", "a\n + b\n + c"]), st.sampled_from([None, None, "1m"])),
    max_size=12,
)


@given(RULES, RULES)
def test_the_diff_leads_from_the_one_to_the_other(
    one: dict[str, tuple[str, str | None]], other: dict[str, tuple[str, str | None]]
) -> None:
    before, after = file(one), file(other)
    diff = diff_files("global.yml", before, after, NO_LIMIT)
    assert patched(before.decode().splitlines(), diff.text) == after.decode().splitlines()


def test_one_line_is_shown_with_what_is_around_it() -> None:
    rules: dict[str, tuple[str, str | None]] = {f"r{number}": ("up", None) for number in range(5)}
    diff = diff_files("global.yml", file(rules), file({**rules, "r3": ("down", None)}), NO_LIMIT)
    lines = diff.text.splitlines()
    assert lines[:2] == ["--- global.yml", "+++ global.yml"]
    assert [line for line in lines[2:] if line[0] in "-+"] == ["-        expr: up", "+        expr: down"]
    assert len(lines) == 2 + 1 + 3 + 2 + 3


def test_a_file_that_is_new_or_gone_is_shown_whole() -> None:
    content = file({"a": ("up", None)})
    count = len(content.splitlines())
    new = diff_files("global.yml", None, content, NO_LIMIT).text.splitlines()
    assert new[:3] == ["--- /dev/null", "+++ global.yml", f"@@ -0,0 +1,{count} @@"]
    gone = diff_files("global.yml", content, None, NO_LIMIT).text.splitlines()
    assert gone[:3] == ["--- global.yml", "+++ /dev/null", f"@@ -1,{count} +0,0 @@"]
    assert len(new) == len(gone) == 3 + count


def test_what_is_too_long_is_cut_and_counted() -> None:
    content = file({f"r{number}": ("up", None) for number in range(100)})
    whole = diff_files("global.yml", None, content, NO_LIMIT)
    cut = diff_files("global.yml", None, content, 50)
    assert (len(cut.text.splitlines()), whole.left_out) == (50, 0)
    assert whole.text.startswith(cut.text)
    assert cut.left_out == len(whole.text.splitlines()) - 50


def test_a_file_of_which_every_rule_is_another_is_no_trouble() -> None:
    one, other = (file({f"r{number}": (expr, None) for number in range(5_000)}) for expr in ("up", "down"))
    diff = diff_files("global.yml", one, other, NO_LIMIT).text.splitlines()
    assert sum(line == "+        expr: down" for line in diff) == 5_000
