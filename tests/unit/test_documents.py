"""The documents: the same in every language, with links that lead somewhere, and examples that are well formed."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from rulecast.reasons import Reason
from tests.support.documents import DOCS, TRANSLATED, Block, Document, Heading, anchors, read_document

LANGUAGES = ("en", "kr")
EVERY = [Path("../README.md"), *sorted(path.relative_to(DOCS) for path in DOCS.rglob("*.md"))]
KINDS = {
    "sh",
    "sh refused",
    "sh operator",
    "yaml",
    "yaml prometheus",
    "json",
    "json answer",
    "mermaid",
    "text",
    "promql",
}
"""What a fenced block can be. `sh` and `sh refused` are run by `tests/e2e`; `sh operator` needs other machines."""
SAME_IN_EVERY_LANGUAGE = KINDS - {"mermaid", "text"}


def documents(name: str) -> list[Document]:
    return [read_document(DOCS / language / name) for language in LANGUAGES]


def test_every_document_is_there_in_every_language() -> None:
    assert sorted(path.name for path in (DOCS / "kr").glob("*.md")) == TRANSLATED


@pytest.mark.parametrize("name", TRANSLATED)
def test_documents_have_one_structure_in_every_language(name: str) -> None:
    english, korean = documents(name)
    assert [_shape(part) for part in korean.parts] == [_shape(part) for part in english.parts]


@pytest.mark.parametrize("name", TRANSLATED)
def test_examples_are_the_same_in_every_language(name: str) -> None:
    english, korean = ([_example(block) for block in document.blocks] for document in documents(name))
    assert korean == english


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translation_is_in_its_language(name: str) -> None:
    prose = re.sub(r"```.*?```", "", (DOCS / "kr" / name).read_text(), flags=re.DOTALL)
    assert len(re.findall(r"[가-힣]", prose)) > len(prose) / 8


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_index_names_every_page(language: str) -> None:
    index = read_document(DOCS / language / "README.md")
    named = {(index.path.parent / link.partition("#")[0]).resolve() for link in index.links}
    pages = {path.resolve() for path in [*(DOCS / language).glob("*.md"), *(DOCS / "en" / "reference").glob("*.md")]}
    assert pages - {index.path.resolve()} <= named


@pytest.mark.parametrize("path", EVERY, ids=str)
def test_links_lead_to_something_that_is_there(path: Path) -> None:
    document = read_document(DOCS / path)
    for link in document.links:
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (document.path.parent / file).resolve() if file else document.path
        assert target.exists(), f"{path}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(read_document(target)), f"{path}: {link}"


@pytest.mark.parametrize("path", EVERY, ids=str)
def test_variables_and_reasons_are_there(path: Path) -> None:
    """What looks like one of ours. `RULECAST_DATABASE` is the reader's own, the other one that of the benchmarks."""
    settings = (DOCS / "en" / "reference" / "settings.md").read_text()
    known = {*re.findall(r"`([A-Z_0-9]+)`", settings), *Reason, "RULECAST_DATABASE", "RULECAST_BENCH_PROMETHEUS"}
    named = re.findall(
        r"\b(?:RULE_SERVICE|DEPLOYER|PROMETHEUS|PROMTOOL|RULECAST)_[A-Z_0-9]+\b", (DOCS / path).read_text()
    )
    assert not set(named) - known


@pytest.mark.parametrize("name", TRANSLATED)
def test_examples_are_well_formed(name: str, promtool: Path, tmp_path: Path) -> None:
    for block in read_document(DOCS / "en" / name).blocks:
        where = f"{name}:{block.line}"
        assert block.info in KINDS, f"{where}: {block.info!r} is not among {sorted(KINDS)}"
        match block.info.split():
            case ["json", *_]:
                json.loads(block.text)
            case ["yaml"]:
                assert yaml.safe_load(block.text) is not None, where
            case ["yaml", "prometheus"]:
                config = tmp_path / "prometheus.yml"
                config.write_text(block.text)
                done = subprocess.run(
                    [promtool, "check", "config", config], capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{where}: {done.stdout}{done.stderr}"
            case ["sh", *_]:
                done = subprocess.run(["sh", "-n"], input=block.text, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{where}: {done.stderr}"


def _shape(part: object) -> object:
    match part:
        case Heading(level, _):
            return f"heading {level}"
        case Block(info, _, _):
            return f"block {info}"
        case table:
            return table


def _example(block: Block) -> str:
    """Its text where that is the same in every language, without the comments."""
    if block.info not in SAME_IN_EVERY_LANGUAGE:
        return ""
    return re.sub(r"(?m)^# .*$", "#", block.text)
