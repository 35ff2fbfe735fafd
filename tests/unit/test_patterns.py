"""Regular expressions mean the same in every Python that is supported."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.process import REPOSITORY

POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[0-9,]+\})\+")
FOLDERS = ("protos/rulecast", "rule_service", "deployer_service", "deploy")
FILES = [path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.py")) if "_pb2" not in path.name]


def repeated(source: str) -> Iterator[str]:
    """The literals in which a group is repeated possessively."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and POSSESSIVE_GROUP.search(node.value):
            yield node.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_group_is_repeated_possessively(path: Path) -> None:
    """Python 3.11.0 to 3.11.4, Debian 12's and Ubuntu 22.04's among them, match `(?:ab|a)*+` wrongly.

    What a failed last try has taken is not given back. `(?>(?:ab|a)*)` means the same and is right in all of them.
    """
    assert list(repeated(path.read_text())) == []


@pytest.mark.parametrize("pattern", ["(?:ab)*+", "(?:ab)++", "(?:ab)?+", "(?:ab){2,3}+"])
def test_it_would_be_seen(pattern: str) -> None:
    assert list(repeated(f"X = r'{pattern}'")) == [pattern]
    assert list(repeated(f"X = rf'{{Y}}{pattern}'".replace("{2,3}", "{{2,3}}"))) == [pattern]
    assert list(repeated("X = r'(?>(?:ab)*)[a-z]++'")) == []
