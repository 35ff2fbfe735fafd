"""Checks at once share a promtool process, and each is told of its own rules alone. A script plays promtool."""

import asyncio
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from rule_service.domain.model import GlobalScope
from rule_service.domain.render import RenderedRule
from rule_service.promtool import PromtoolChecker
from rulecast.errors import Unavailable
from rulecast.process.promtool import Promtool
from rulecast.reasons import Reason
from tests.support.store import rendered
from tests.support.waiting import wait_for
from tests.support.worlds import rule

# takes note of each run, and waits until it may go on; then it refuses every rule whose text says `bad`
SCRIPT = r"""#!/usr/bin/env python3
import os, pathlib, re, sys, time
here = pathlib.Path(__file__).parent
file = sys.argv[-1]
(here / f"run-{os.getpid()}").write_text(open(file).read())
while not (here / "go").exists():
    time.sleep(0.01)
if (here / "broken").exists():
    sys.exit("no verdict")
print(f"Checking {file}")
groups = re.split(r"  - name: ", open(file).read())[1:]
bad = [re.match(r'["\']?(\d+)', group)[1] for group in groups if "bad" in group]
print("  FAILED:" if bad else "  SUCCESS: 1 rules found")
for name in bad:
    print(f'{file}: 1:1: group "{name}", rule 1, "x": could not parse expression: 1:5: it is bad')
sys.exit(1 if bad else 0)
"""


@dataclass
class Played:
    folder: Path
    checker: PromtoolChecker

    def runs(self) -> int:
        return len(list(self.folder.glob("run-*")))

    def go_on(self) -> None:
        (self.folder / "go").touch()


@pytest.fixture
def played(tmp_path: Path) -> Played:
    script = tmp_path / "promtool"
    script.write_text(SCRIPT)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return Played(tmp_path, PromtoolChecker(Promtool(script), at_once=1, folder=tmp_path))


def checked(id: str, words: str = "good") -> RenderedRule:
    return rendered(rule("global", id=id), scope=GlobalScope(), text=f"      - alert: {words}\n        expr: up\n")


async def test_those_that_wait_share_the_next_run(played: Played) -> None:
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(played.checker.check([checked("a")]), name="first")
        await wait_for(lambda: played.runs() == 1)
        good = [tasks.create_task(played.checker.check([checked(f"good-{at}")]), name=f"good {at}") for at in range(10)]
        bad = tasks.create_task(played.checker.check([checked("fine"), checked("worse", "bad")]), name="bad")
        played.go_on()
    assert played.runs() == 2
    assert [await each for each in (first, *good)] == [()] * 11
    (failure,) = await bad
    assert (failure.rule_id, failure.message.split(": ")[-1]) == ("worse", "it is bad")


async def test_who_is_cancelled_does_not_take_the_others_along(played: Played) -> None:
    async with asyncio.TaskGroup() as tasks:
        runs = [tasks.create_task(played.checker.check([checked("a")]), name="first")]
        await wait_for(lambda: played.runs() == 1)
        leader = tasks.create_task(played.checker.check([checked("b")]), name="leader")
        runs.append(tasks.create_task(played.checker.check([checked("c")]), name="with it"))
        await asyncio.sleep(0)
        runs[0].cancel()
        await wait_for(lambda: played.runs() == 2)
        leader.cancel()
        played.go_on()
    assert runs[0].cancelled()
    assert await runs[1] == ()


async def test_all_are_told_of_a_promtool_that_gives_no_verdict(played: Played) -> None:
    (played.folder / "broken").touch()
    played.go_on()
    answers = await asyncio.gather(
        *(played.checker.check([checked(f"r{at}")]) for at in range(3)), return_exceptions=True
    )
    assert [type(each) for each in answers] == [Unavailable] * 3
    assert {each.reason for each in answers if isinstance(each, Unavailable)} == {Reason.PROMTOOL_UNUSABLE}
    assert played.runs() == 1, "they came in the same moment"


async def test_a_large_check_does_not_keep_small_ones_waiting_and_these_share_a_run(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rule_service.promtool.LARGE", 2)
    checker = PromtoolChecker(Promtool(played.folder / "promtool"), at_once=3, folder=played.folder)
    async with asyncio.TaskGroup() as tasks:
        large = tasks.create_task(checker.check([checked("a"), checked("b", "bad"), checked("c", "bad")]), name="large")
        await wait_for(lambda: played.runs() == 1)
        small = [tasks.create_task(checker.check([checked("d")]), name="small")]
        await wait_for(lambda: played.runs() == 2)
        small += [tasks.create_task(checker.check([checked(f"e{at}")]), name=f"small {at}") for at in range(4)]
        played.go_on()
    assert played.runs() == 3
    assert [failure.rule_id for failure in await large] == ["b", "c"]
    assert [await each for each in small] == [()] * 5
