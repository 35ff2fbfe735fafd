"""What promtool of 2.42 and of 3.x prints, and what is made of it. A script plays promtool."""

import shlex
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from rulecast.errors import Position, Unavailable
from rulecast.process.promtool import MAX_MESSAGE, MAX_OUTPUT, Promtool, find_promtool
from rulecast.reasons import Reason
from tests.support.processes import is_running
from tests.support.waiting import wait_for

FILE = Path("/rules/group-a.yml")
OTHER = Path("/rules/group-b.yml")
Script = Callable[[str], Promtool]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    def make(body: str, timeout: float = 30.0) -> Promtool:
        path = tmp_path / "promtool"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return Promtool(path, timeout)

    return make


def printing(text: str, code: int = 1) -> str:
    return f"printf '%s' {shlex.quote(text)}\nexit {code}"


def failed(*lines: str, end: str = "\n") -> str:
    return "\n".join((f"Checking {FILE}", "  FAILED:", *lines)) + end


@pytest.mark.parametrize("end", ["\n\n", "\n"], ids=["2.42", "3.x"])
async def test_a_bad_expression(script: Script, end: str) -> None:
    words = 'group "g", rule 2, "B": could not parse expression: 1:7: parse error: unexpected <op:==>'
    (failure,) = await script(printing(failed(f"{FILE}: 7:11: {words}", end=end))).check_rules([FILE])
    assert (failure.file, failure.line, failure.column) == (FILE, 7, 11)
    assert (failure.group, failure.rule_number, failure.rule_name) == ("g", 2, "B")
    assert failure.message == "could not parse expression: 1:7: parse error: unexpected <op:==>"
    assert failure.query_position == Position(1, 7)


async def test_names_that_look_like_the_syntax_around_them(script: Script) -> None:
    line = rf'{FILE}: 7:11: group "h \"q\", rule 9, \"x", rule 2, "B\\\", rule 7, \"x: \u00e9\n\x07": bad'
    (failure,) = await script(printing(failed(line))).check_rules([FILE])
    assert failure.group == 'h "q", rule 9, "x'
    assert failure.rule_number == 2
    assert failure.rule_name == 'B\\", rule 7, "x: é\n\a'
    assert failure.message == "bad"


@pytest.mark.parametrize(
    ("line", "place", "message"),
    [
        (f'{FILE}: group "g", rule 1, "A": invalid label name: a-b', (None, None, "g"), "invalid label name: a-b"),
        (f'{FILE}: 0:0: 7:12: group "g", rule 2, "": no expr', (7, 12, "g"), "no expr"),
        (f'{FILE}: 6:3: groupname: "g" is repeated in the same file', (6, 3, "g"), 'groupname: "g" is repeated'),
        (f'{FILE}: 0:0: groupname: "g" is repeated in the same file', (None, None, "g"), 'groupname: "g" is repeated'),
        (f"{FILE}: yaml: line 2: did not find expected node", (2, None, None), "yaml: line 2: did not find"),
        (f'{FILE}: not a valid duration string: "5 minutes"', (None, None, None), "not a valid duration string"),
    ],
)
async def test_places(
    script: Script, line: str, place: tuple[int | None, int | None, str | None], message: str
) -> None:
    (failure,) = await script(printing(failed(line))).check_rules([FILE])
    assert (failure.line, failure.column, failure.group) == place
    assert failure.message.startswith(message)


async def test_a_message_of_several_lines_is_one_and_a_repeated_one_is_told_once(script: Script) -> None:
    lines = (f"{FILE}: yaml: unmarshal errors:", "  line 3: field foo not found", "  line 7: field bar not found")
    (failure,) = await script(printing(failed(*lines, *lines))).check_rules([FILE])
    assert failure.line == 3
    assert failure.message.endswith("line 7: field bar not found")


async def test_each_bad_file_is_named_and_the_good_ones_are_not(script: Script) -> None:
    text = f"Checking {OTHER}\n  SUCCESS: 1 rules found\n\n" + failed(f"{FILE}: one", f"{FILE}: two")
    failures = await script(printing(text)).check_rules([OTHER, FILE])
    assert [(failure.file, failure.message) for failure in failures] == [(FILE, "one"), (FILE, "two")]


async def test_text_in_a_message_does_not_pass_for_another_file(script: Script) -> None:
    text = failed(f"{FILE}: bad", f"{OTHER}: innocent", f"Checking {FILE}", "  SUCCESS: 1 rules found")
    text += f"Checking {OTHER}\n  SUCCESS: 1 rules found\n"
    failures = await script(printing(text)).check_rules([FILE, OTHER])
    assert {failure.file for failure in failures} == {FILE}


async def test_a_refusal_without_words_is_a_refusal(script: Script) -> None:
    (failure,) = await script(printing(failed())).check_rules([FILE])
    assert "without saying why" in failure.message


async def test_long_messages_are_cut(script: Script) -> None:
    (failure,) = await script(printing(failed(f"{FILE}: {'x' * 10_000}"))).check_rules([FILE])
    assert len(failure.message) == MAX_MESSAGE


async def test_success(script: Script) -> None:
    promtool = script(printing(f"Checking {FILE}\n  SUCCESS: 0 rules found\n\n", 0))
    assert await promtool.check_rules([FILE]) == ()


async def test_no_file_needs_no_process() -> None:
    assert await Promtool(Path("/nowhere/promtool")).check_rules([]) == ()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("exit 0", "gave no verdict on every file (exit code 0); it said: nothing"),
        (printing("promtool: error: path does not exist"), "path does not exist"),
        (printing(f"Checking {FILE}\n", 0), f"gave no verdict on {FILE}"),
        (printing(f"Checking {FILE}\n  SUCCESS: 1 rules found\n", 1), "says one thing and exits with another"),
        (printing(failed(f"{FILE}: bad"), 0), "says one thing and exits with another"),
        (printing(failed(f"{FILE}: bad"), 3), "exit code 3"),
        ("kill -9 $$", "ended by signal 9"),
        (f"head -c {MAX_OUTPUT + 100_000} /dev/zero", "printed more than"),
        (printing("x" * 10_000 + "the end", 7), "the end"),
    ],
)
async def test_nothing_passes_by_accident(script: Script, body: str, words: str) -> None:
    with pytest.raises(Unavailable, match=words.replace("(", r"\(").replace(")", r"\)")) as caught:
        await script(body).check_rules([FILE])
    assert caught.value.reason is Reason.PROMTOOL_UNUSABLE
    assert len(str(caught.value)) < 1000


async def test_a_hanging_one_is_killed_with_all_it_started(script: Callable[..., Promtool], tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    promtool = script(f"sleep 600 & echo $! > {pids}; echo $$ >> {pids}; wait", timeout=0.5)
    with pytest.raises(Unavailable, match=r"did not answer within 0\.5 s") as caught:
        await promtool.check_rules([FILE])
    assert caught.value.reason is Reason.PROMTOOL_TIMEOUT
    await wait_for(lambda: not any(is_running(int(pid)) for pid in pids.read_text().split()))


async def test_one_that_ends_but_leaves_a_process_on_its_pipe(script: Callable[..., Promtool], tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    promtool = script(f"sleep 600 & echo $! > {pids}; exit 0", timeout=0.5)
    with pytest.raises(Unavailable, match="did not answer"):
        await promtool.check_rules([FILE])
    await wait_for(lambda: not is_running(int(pids.read_text())))


@pytest.mark.parametrize(("files", "words"), [([], "0.1"), ([b"x"] * 3, "0.1"), ([b"x" * 100_000, b""], "0.502")])
async def test_the_more_there_is_to_check_the_longer_it_may_take(
    script: Callable[..., Promtool], tmp_path: Path, files: list[bytes], words: str
) -> None:
    paths = [tmp_path / f"{number}.yml" for number in range(len(files))]
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content)
    promtool = script("exec sleep 600", timeout=0.1)
    with pytest.raises(Unavailable, match=f"did not answer within {words} s"):
        await promtool.check_config(tmp_path, paths)
    if paths:
        with pytest.raises(Unavailable, match=f"did not answer within {words} s"):
            await promtool.check_rules(paths)


async def test_a_missing_one_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="PROMTOOL_PATH") as caught:
        await Promtool(tmp_path / "promtool").check_rules([FILE])
    assert caught.value.reason is Reason.PROMTOOL_MISSING


async def test_version(script: Script) -> None:
    assert await script(printing("promtool, version 3.5.3+ds1 (branch: x)\n", 0)).version() == "3.5.3+ds1"


async def test_no_version(script: Script) -> None:
    with pytest.raises(Unavailable, match="did not tell its version") as caught:
        await script(printing("usage", 0)).version()
    assert caught.value.reason is Reason.PROMTOOL_UNUSABLE


def test_finding_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="not on PATH"):
        find_promtool()
    program = tmp_path / "promtool"
    program.symlink_to("/bin/sh")
    assert find_promtool() == program
    assert find_promtool(str(program)) == program
    with pytest.raises(Unavailable, match="'/nowhere/promtool' is not a program"):
        find_promtool("/nowhere/promtool")
