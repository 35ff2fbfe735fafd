"""Every string arrives unchanged, in PyYAML and in Prometheus, and files stay readable."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rule_service.domain.rule_yaml import GroupText, rule_file, rule_fragment
from tests.support.promtool import alert_test, promtool

# What has a meaning somewhere in YAML, or is read differently by one reader or another.
PIECES = (
    *(
        "a",
        "b c",
        " ",
        "  ",
        "\t",
        "\n",
        "\n\n",
        "\r",
        "\r\n",
        ": ",
        ":",
        " #",
        "#",
        "- ",
        "-",
        "? ",
        "{",
        "}",
        "[",
        "]",
    ),
    *(",", "&", "*", "!", "|", ">", "'", '"', "\\", "%", "@", "`", "=", "<<", "~", "...", "---", "1", "1e3", "0x1f"),
    *("yes", "no", "on", "off", "true", "null", "y", "1:30", "2001-01-01", ".inf", "\x01", "\x7f", "\x80", "\x85"),
    *("\x9f", "\xa0", "é", "\u2028", "\u2029", "\u3000", "\ufeff", "\ufffd", "\ufffe", "\uffff", "😀", "\U0010ffff"),
)
HOSTILE = (
    *(
        "",
        *PIECES,
        " lead",
        "trail ",
        "a: b",
        "a #b",
        "a:",
        "a\n",
        "a\n\n",
        "\na",
        "\n a",
        "a\n\tb\n",
        "\ta\nb",
        "a\n \nb",
    ),
    *(
        "a\n\n  b\n\nc",
        "a \nb \n",
        "# comment\nup",
        "a\n---\nb",
        "a\n...\nb\n",
        "'quoted'",
        '"quoted"',
        "it's",
        "C:\\new",
    ),
    *("x" * 5_000, "word " * 2_000, "line\n" * 500, "a\nb\u2028c", "a\r\nb", "No", "NULL", "True", "!!str x", "|\n a"),
)
characters = st.characters(codec="utf-8", exclude_characters="\0")
texts = st.lists(st.one_of(st.sampled_from(PIECES), characters), max_size=12).map("".join)


def written(expr: str, value: str) -> tuple[str, dict[str, Any]]:
    """A file with the strings in every place one can be, and what must be read from it."""
    fragment = rule_fragment(
        value, expr, for_duration="5m", keep_firing_for=None, labels={"y": value}, annotations={"on": value, "a": expr}
    )
    rule = {"alert": value, "expr": expr, "for": "5m", "labels": {"y": value}, "annotations": {"on": value, "a": expr}}
    text = rule_file(["head"], [GroupText("g/1m/0", "1m", [fragment]), GroupText("g/default/0", None, [fragment])])
    return text, {
        "groups": [{"name": "g/1m/0", "interval": "1m", "rules": [rule]}, {"name": "g/default/0", "rules": [rule]}]
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings_arrive_in_pyyaml(text: str) -> None:
    file, expected = written(text, text)
    assert yaml.load(file, yaml.CSafeLoader) == expected
    assert yaml.load(file, yaml.SafeLoader) == expected


@given(texts, texts)
@settings(max_examples=1_000, deadline=None)
@example("a\nb", "\x85")
def test_every_string_arrives_in_pyyaml(expr: str, value: str) -> None:
    file, expected = written(expr, value)
    assert yaml.load(file.encode(), yaml.CSafeLoader) == expected


def arrives_in_prometheus(strings: Sequence[str], directory: Path) -> None:
    """One rule for each string, and a test that knows it by its code points alone."""
    fragments: list[str] = []
    tests: list[str] = []
    for at, text in enumerate(strings):
        fragments.append(
            rule_fragment(
                f"Alert{at}", "vector(1)", for_duration=None, keep_firing_for=None, labels={}, annotations={"on": text}
            )
        )
        tests.extend(alert_test(f"Alert{at}", [({}, {"on": text})]))
    (directory / "rules.yml").write_text(rule_file(["x"], [GroupText("g", None, fragments)]), encoding="utf-8")
    (directory / "test.yml").write_text(
        "rule_files: [rules.yml]\ntests:\n  - interval: 1m\n    alert_rule_test:\n" + "".join(tests), encoding="utf-8"
    )
    done = promtool("test", "rules", "test.yml", cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hostile_strings_arrive_in_prometheus(tmp_path: Path) -> None:
    arrives_in_prometheus([text for text in HOSTILE if text], tmp_path)


def test_every_plane_and_every_small_character_arrives_in_prometheus(tmp_path: Path) -> None:
    codes = [*range(1, 0x300), *range(0x2000, 0x2070), *range(0xFE00, 0x10000), *range(0x10000, 0x110000, 0x1FFF)]
    arrives_in_prometheus([f"a{chr(code)}b" for code in codes if not 0xD800 <= code < 0xE000], tmp_path)


@given(st.lists(texts.filter(bool), min_size=40, max_size=40))
@settings(max_examples=8, deadline=None)
def test_every_string_arrives_in_prometheus(tmp_path_factory: pytest.TempPathFactory, strings: list[str]) -> None:
    plain = [text.replace("{{", "{") for text in strings]
    arrives_in_prometheus(plain, tmp_path_factory.mktemp("rules"))


def test_what_a_person_sees() -> None:
    fragment = rule_fragment(
        "HighCPU",
        '100 - avg by (instance) (\n  rate(idle{mode="idle"}[5m])  # share\n) * 100 > 80\n',
        for_duration="5m",
        keep_firing_for="10m",
        labels={"severity": "critical", "team": "yes"},
        annotations={"summary": "{{ $labels.instance }}: CPU at {{ $value }} %", "page": "no: #1"},
    )
    assert rule_file(["One line."], [GroupText("global/1m/0", "1m", [fragment])]) == (
        "# One line.\n"
        "groups:\n"
        "  - name: global/1m/0\n"
        "    interval: 1m\n"
        "    rules:\n"
        "      - alert: HighCPU\n"
        "        expr: |\n"
        "          100 - avg by (instance) (\n"
        '            rate(idle{mode="idle"}[5m])  # share\n'
        "          ) * 100 > 80\n"
        "        for: 5m\n"
        "        keep_firing_for: 10m\n"
        "        labels:\n"
        "          severity: critical\n"
        '          team: "yes"\n'
        "        annotations:\n"
        '          page: "no: #1"\n'
        '          summary: "{{ $labels.instance }}: CPU at {{ $value }} %"\n'
    )
