"""promtool as a library: check rule files in one process, and understand what it says.

promtool has the last word on what Prometheus loads; both services ask it. Understood are the wordings of 2.42 to 3.x.
Nothing passes by accident: a file is good only if promtool says so of that very file.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rulecast.errors import Position, Unavailable
from rulecast.reasons import Reason

MAX_OUTPUT = 16 * 1024 * 1024
"""Bytes of output that are read; a run that prints more is not trusted."""

MAX_MESSAGE = 4096
"""Characters of one failure's message."""

# Linux limits the arguments of a process to a quarter of the stack limit, 2 MiB by default, environment included.
_MAX_ARGUMENTS = 1024 * 1024
# Measured on two busy cores: 0.8 us for a byte of our rules (330 of them are a rule) and 0.1 ms for a file.
_SECONDS_PER_BYTE = 5e-6
_SECONDS_PER_FILE = 1e-3
_TAIL = 500

HOW_TO_GET_IT = (
    "install your distribution's package 'prometheus', or unpack a Prometheus release, which holds promtool, "
    "and set PROMTOOL_PATH to it"
)

_VERSION = re.compile(r"promtool, version (\S+)")
_VERDICT = re.compile(r"  (?:(?P<good>SUCCESS: \d+ rules? found)|(?P<bad>FAILED:))")
_CONFIG_SECTION = re.compile(r"^Checking ", re.MULTILINE)
_CONFIG_FAILURE = re.compile(r"^ *FAILED:(?P<words>.*)", re.MULTILINE | re.DOTALL)
_POSITION = re.compile(r"(\d+):(\d+): ")
_RULE = re.compile(r'group "(?P<group>(?:[^"\\]|\\.)*)", rule (?P<number>\d+), "(?P<rule>(?:[^"\\]|\\.)*)": ')
_REPEATED_GROUP = re.compile(r'groupname: "(?P<group>(?:[^"\\]|\\.)*)" is repeated')
_YAML_LINE = re.compile(r"(?:yaml: |^\s*)line (\d+): ", re.MULTILINE)
_QUERY_POSITION = re.compile(r"could not parse expression: (\d+):(\d+): ")
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))")
_SHORT_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class PromtoolFailure:
    """One thing that promtool refuses, as far as its text tells.

    message: its words, without the place; at most MAX_MESSAGE characters.
    line, column: where in the file, both from 1.
    rule_number: which rule of the group, from 1.
    query_position: where in the rule's expression, for an expression that does not parse.
    """

    file: Path
    message: str
    line: int | None = None
    column: int | None = None
    group: str | None = None
    rule_number: int | None = None
    rule_name: str | None = None
    query_position: Position | None = None


def find_promtool(configured: str | None = None) -> Path:
    """The promtool to use: the configured path or command name, else the one on PATH.

    Raises Unavailable (PROMTOOL_MISSING), saying how to get one.
    """
    found = shutil.which(configured or "promtool")
    if found is None:
        raise _missing(f"{configured!r} is not a program that can be run" if configured else "it is not on PATH")
    return Path(found)


class Promtool:
    """The promtool at `path`.

    timeout: seconds that one process may take; then it is killed. Over many rules it may take longer: 5 s for a
    megabyte, and 1 s for a thousand files.
    """

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self._path = path
        self._timeout = timeout

    async def check_rules(self, files: Sequence[Path]) -> tuple[PromtoolFailure, ...]:
        """What is wrong with these rule files; nothing, if Prometheus can load them all.

        All files go to one process, as far as the system's limit on arguments allows. Raises Unavailable with
        PROMTOOL_MISSING, PROMTOOL_TIMEOUT, or PROMTOOL_UNUSABLE when it does not give a verdict on every file.
        """
        failures: list[PromtoolFailure] = []
        for some in _within_argument_limit(files):
            seconds = await self._patience(some)
            code, output = await self._run("check", "rules", "--lint=none", *map(str, some), seconds=seconds)
            failures.extend(_verdicts(some, code, output))
        return tuple(failures)

    async def check_config(self, config: Path, rule_files: Sequence[Path]) -> tuple[PromtoolFailure, ...]:
        """What keeps Prometheus from loading this configuration and the files that it names, rule files included.

        rule_files: those that it is known to name, since the more there are the longer it takes. Raises as
        `check_rules` does.
        """
        if not await asyncio.to_thread(config.exists):
            return (PromtoolFailure(config, "there is no such file"),)
        seconds = await self._patience(rule_files)
        code, output = await self._run("check", "config", "--lint=none", str(config), seconds=seconds)
        failures = tuple(_config_failures(output))
        if code not in (0, 1) or bool(failures) != (code == 1):
            raise _unusable(f"gave no verdict on {config}", code, output)
        return failures

    async def _patience(self, files: Sequence[Path]) -> float:
        size = await asyncio.to_thread(_size, files)
        return max(self._timeout, _SECONDS_PER_BYTE * size + _SECONDS_PER_FILE * len(files))

    async def version(self) -> str:
        """Its version, e.g. `2.42.0+ds`. Raises as `check_rules` does."""
        code, output = await self._run("--version")
        found = _VERSION.search(output)
        if code != 0 or found is None:
            raise _unusable("did not tell its version", code, output)
        return found[1]

    async def _run(self, *arguments: str, seconds: float | None = None) -> tuple[int, str]:
        """Exit code (-N if signal N ended it) and all it printed, in the order it was printed.

        seconds: how long it may take; None is the timeout.
        """
        try:
            # a group of its own, so that all it may have started can be killed with it; not a session, which Linux
            # schedules apart from us (autogroup): on a busy machine that made one run take half as long again
            process = await asyncio.create_subprocess_exec(
                self._path,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                process_group=0,
            )
        except OSError as error:
            raise _missing(f"{str(self._path)!r} can not be run ({error.strerror})") from error
        limit = self._timeout if seconds is None else seconds
        finished = False
        try:
            async with asyncio.timeout(limit):
                output = await _read(process)
                code = await process.wait()
            finished = True
            return code, output.decode(errors="replace")
        except TimeoutError as error:
            raise Unavailable.of(
                "",
                Reason.PROMTOOL_TIMEOUT,
                f"{self._path} did not answer within {limit:g} s and was killed: "
                "the machine may be overloaded, or the program hangs",
            ) from error
        finally:
            if not finished:
                await _kill(process)


async def _read(process: asyncio.subprocess.Process) -> bytes:
    if process.stdout is None:
        raise AssertionError("the process was started without a pipe")
    output = bytearray()
    while piece := await process.stdout.read(65536):
        output += piece
        if len(output) > MAX_OUTPUT:
            raise _unusable(f"printed more than {MAX_OUTPUT} bytes", None, output[:_TAIL].decode(errors="replace"))
    return bytes(output)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kills it and what it started: also when it has ended itself, but something it started holds the pipe."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _within_argument_limit(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    start, size = 0, 0
    for index, file in enumerate(files):
        needed = len(os.fsencode(file)) + 9  # its pointer and the closing NUL
        if size + needed > _MAX_ARGUMENTS:
            yield files[start:index]
            start, size = index, 0
        size += needed
    if start < len(files):
        yield files[start:]


def _size(files: Sequence[Path]) -> int:
    """In bytes. promtool is the one to say that a file is missing."""
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += file.stat().st_size
    return total


def _config_failures(output: str) -> Iterator[PromtoolFailure]:
    for section in _CONFIG_SECTION.split(output)[1:]:
        file, _, words = section.partition("\n")
        if found := _CONFIG_FAILURE.search(words):
            message = " ".join(found["words"].split()).removeprefix(f"{file}: ")
            yield PromtoolFailure(Path(file), message[:MAX_MESSAGE] or "promtool does not say why")


def _verdicts(files: Sequence[Path], code: int, output: str) -> list[PromtoolFailure]:
    sections = _sections(files, output)
    if code not in (0, 1) or len(sections) != len(files):
        raise _unusable("gave no verdict on every file", code, output)
    failures: list[PromtoolFailure] = []
    for file, lines in zip(files, sections, strict=True):
        verdict = _VERDICT.fullmatch(lines[0]) if lines else None
        if verdict is None:
            raise _unusable(f"gave no verdict on {file}", code, output)
        if verdict["bad"]:
            failures.extend(_failures(file, lines[1:]))
    if bool(failures) != (code == 1):
        raise _unusable("says one thing and exits with another", code, output)
    return failures


def _sections(files: Sequence[Path], output: str) -> list[list[str]]:
    """What is printed about each file, in the order of `files`.

    Only the heading of the next file begins a section: no text in a message can pass for that of another file.
    """
    sections: list[list[str]] = []
    for line in output.split("\n"):
        if len(sections) < len(files) and line == f"Checking {files[len(sections)]}":
            sections.append([])
        elif sections:
            sections[-1].append(line)
    return sections


def _failures(file: Path, lines: Sequence[str]) -> list[PromtoolFailure]:
    """One for each line that begins with the file's name; other lines go on with the message before."""
    messages: list[str] = []
    prefix = f"{file}: "
    for line in lines:
        if line.startswith(prefix):
            messages.append(line.removeprefix(prefix))
        elif messages and line:
            messages[-1] += "\n" + line
        elif line:
            messages.append(line)
    return [_failure(file, message) for message in dict.fromkeys(messages)] or [
        PromtoolFailure(file, "promtool refuses the file without saying why")
    ]


def _failure(file: Path, message: str) -> PromtoolFailure:
    line = column = None
    while position := _POSITION.match(message):
        # 3.x prints 0:0 where it does not know, at times before the right place
        if line is None and position[1] != "0":
            line, column = int(position[1]), int(position[2])
        message = message[position.end() :]
    group = rule_name = rule_number = None
    if rule := _RULE.match(message):
        group, rule_number, rule_name = _unquoted(rule["group"]), int(rule["number"]), _unquoted(rule["rule"])
        message = message[rule.end() :]
    elif repeated := _REPEATED_GROUP.match(message):
        group = _unquoted(repeated["group"])
    elif line is None and (yaml_line := _YAML_LINE.search(message)):
        line = int(yaml_line[1])
    query = _QUERY_POSITION.match(message)
    return PromtoolFailure(
        file,
        message[:MAX_MESSAGE],
        line,
        column,
        group,
        rule_number,
        rule_name,
        Position(int(query[1]), int(query[2])) if query else None,
    )


def _unquoted(text: str) -> str:
    """The inside of a string that Go quoted."""
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code is None:
        return _SHORT_ESCAPES.get(found[4], found[4])
    return chr(int(code, 16))


def _missing(why: str) -> Unavailable:
    return Unavailable.of("", Reason.PROMTOOL_MISSING, f"promtool is needed to check rules, but {why}: {HOW_TO_GET_IT}")


def _unusable(what: str, code: int | None, output: str) -> Unavailable:
    how = "" if code is None else f" (exit code {code})" if code >= 0 else f" (ended by signal {-code})"
    said = output.strip()[-_TAIL:]
    return Unavailable.of("", Reason.PROMTOOL_UNUSABLE, f"promtool {what}{how}; it said: {said or 'nothing'}")
