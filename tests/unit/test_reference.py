"""The reference pages: complete, and true to the code that raises and reads."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from deploy.reference.__main__ import FOLDER, PAGES, ROOT
from deploy.reference.errors import sections
from deploy.reference.settings import without_meaning
from deployer_service import settings as deployer
from rule_service import settings as rule
from rule_service.api.http.comments import load_comments
from rulecast import errors
from rulecast.reason_guide import GUIDE
from rulecast.reasons import Reason

SOURCES = [
    path
    for folder in ("rule_service", "deployer_service", "protos/rulecast")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not path.name.startswith(("reasons", "reason_guide")) and "_pb2" not in path.name
]


def used_as() -> dict[str, set[str]]:
    """By reason: each function or error that it is given to, e.g. `InvalidInput.of`."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            for child in ast.iter_child_nodes(node):
                if (
                    isinstance(child, ast.Attribute)
                    and isinstance(child.value, ast.Name)
                    and child.value.id == "Reason"
                ):
                    found[child.attr].add(ast.unparse(node.func) if isinstance(node, ast.Call) else "")
    return found


USED = used_as()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_gives(name: str) -> None:
    assert (ROOT / FOLDER / name).read_text() == PAGES[name](), "run `make reference`"


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_given_by_something_and_explained(reason: Reason) -> None:
    assert USED[reason.name], "nothing gives it: it can go only if no release had it"
    assert reason in GUIDE, "say in rulecast/reason_guide.py what it means and what to do"


@pytest.mark.parametrize("reason", Reason)
def test_the_guide_knows_every_kind_of_error_that_has_the_reason(reason: Reason) -> None:
    kinds = {use.removesuffix(".of") for use in USED[reason.name] if use.endswith(".of")}
    assert kinds <= {kind.__name__ for kind in GUIDE[reason].kinds}


def test_the_guide_says_nothing_of_reasons_that_there_are_not() -> None:
    assert set(GUIDE) == set(Reason)
    assert [reason for _, members in sections() for reason in members] == list(Reason)


def test_every_kind_of_error_is_in_the_tree_and_has_a_code() -> None:
    kinds = {kind for guide in GUIDE.values() for kind in guide.kinds} | {errors.RulecastError}
    tree = (errors.__doc__ or "").split()
    assert kinds == {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)}
    assert all(kind.__name__ in tree for kind in kinds)


@pytest.mark.parametrize(
    ("model", "prefix"), [(rule.Settings, rule.PREFIX), (deployer.Settings, deployer.PREFIX)], ids=("rule", "deployer")
)
def test_every_setting_has_a_meaning(model: type[rule.Settings] | type[deployer.Settings], prefix: str) -> None:
    assert not without_meaning(model, prefix), "say it in the docstring of the section, or as the field's description"


def test_every_method_and_every_service_has_a_comment() -> None:
    page = PAGES["api.md"]()
    for name, comment in load_comments().items():
        if name.count(".") == 3 and "Service." in name:
            assert comment.splitlines()[0] in page, name
    assert "](#)" not in page


def test_links_lead_to_headings() -> None:
    page = PAGES["api.md"]()
    headings = {line.lstrip("# ").lower().replace(".", "") for line in page.splitlines() if line.startswith("#")}
    linked = {part.partition(")")[0] for part in page.split("](#")[1:]}
    assert linked <= headings
    assert {Path(part.partition(")")[0]).name for part in page.split("](")[1:] if not part.startswith("#")} <= set(
        PAGES
    )
