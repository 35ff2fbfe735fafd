"""The corpus command notices what is wrong."""

import json
from pathlib import Path

import pytest

from rule_service.domain.matchers import Matcher
from rule_service.domain.promql.scoping import Scoped
from tests import corpus
from tests.corpus import Expression, main, read, without_added, wrong_with


def write(folder: Path, *entries: dict[str, object]) -> str:
    file = folder / "corpus.jsonl"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + "\n")
    return str(file)


def test_expressions_valid_with_any_features_are_checked() -> None:
    lines = ['{"expr": "a", "valid": false, "valid_all_features": true}', "", '{"expr": "b", "valid": true}']
    assert read(lines) == [Expression("a", valid=True), Expression("b", valid=True)]


def test_a_right_corpus(tmp_path: Path, promtool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(
        tmp_path,
        {"expr": 'sum(rate(foo{a="😀\u0085"}[5m])) # c', "valid": True, "valid_all_features": True},
        {"expr": "a + fill(0) b", "valid": False, "valid_all_features": True},
        {"expr": "a +", "valid": False, "valid_all_features": False},
    )
    assert main([file, f"--promtool={promtool}"]) == 0
    assert capsys.readouterr().out == "2 checked, 0 wrong\n"


def test_an_empty_corpus_proves_nothing(tmp_path: Path, promtool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, {"expr": "a +", "valid": False})
    assert main([file, f"--promtool={promtool}"]) == 1
    assert capsys.readouterr().out == "0 checked, 0 wrong\n"


def test_a_valid_expression_that_is_refused_is_wrong(
    tmp_path: Path, promtool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, {"expr": "a b", "valid": True}, {"expr": "a", "valid": True})
    assert main([file, f"--promtool={promtool}"]) == 1
    assert capsys.readouterr().out.splitlines()[0].startswith("wrong: 'a b': refused: query: unexpected b")


BREAKS = {
    "a selector is missed": lambda text, added: text.replace("{" + added + "}", "", 1),
    "a space is lost": lambda text, added: text.replace(" ", "", 1),
    "a matcher is lost": lambda text, added: text.replace('b="c",', "", 1),
    "a matcher is changed": lambda text, added: text.replace('"c"', '"d"', 1),
}


@pytest.mark.parametrize("name", BREAKS)
def test_broken_scoping_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = corpus.scoped

    def broken(text: str, scope: tuple[Matcher, ...]) -> Scoped:
        result = right(text, scope)
        text = BREAKS[name](result.text, ",".join(map(str, scope)))
        return Scoped(text, result.selectors_total, result.selectors_scoped, result.conflicts)

    expression = Expression('sum(a) + b{b="c"}', valid=True)
    assert wrong_with(expression) == []
    monkeypatch.setattr(corpus, "scoped", broken)
    assert wrong_with(expression) != []


def test_promtool_has_a_word(promtool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(corpus.wrong_by_promtool(["up", "rate(up)"], promtool)) == []
    monkeypatch.setattr(corpus, "scoped", lambda text, scope: Scoped(text + "{", 1, 1, ()))
    assert [text for text, _ in corpus.wrong_by_promtool(["up", "rate(up)"], promtool)] == ["up", "up"]


@pytest.mark.parametrize(
    ("changed", "original"),
    [
        ("a{M}", "a"),
        ("a{M}", "a{}"),
        ('a{b="c",M}', 'a{b="c"}'),
        ('a{b="c",M,}', 'a{b="c",}'),
        ("a{M} + b{M}", "a + b{}"),
    ],
)
def test_added_text_is_told_from_the_original(changed: str, original: str) -> None:
    assert without_added(changed, "M", original) == original
    assert without_added(changed.replace("a", "x"), "M", original) != original
