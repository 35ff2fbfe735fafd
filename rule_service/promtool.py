"""promtool's word on rendered rules, before they are saved."""

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rule_service.domain.render import RenderedRule
from rule_service.domain.rule_yaml import GroupText, recording_fragment, rule_file
from rule_service.usecases.ports_check import CheckFailure
from rulecast.errors import RulecastError, Unavailable
from rulecast.process.promtool import Promtool, PromtoolFailure
from rulecast.reasons import Reason

LARGE = 500
"""Rules of a call that has a process of its own, since that takes a while; what has fewer goes in company."""

RULES_AT_ONCE = 5_000
"""Rules of several calls that go to one process."""


_Answer = tuple[CheckFailure, ...]


class RunWatch(Protocol):
    """Is told of every run of promtool."""

    def promtool_ran(self, seconds: float) -> None: ...

    def promtool_failed(self, reason: Reason) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    rules: Sequence[RenderedRule]
    answer: asyncio.Future[_Answer | None]


class PromtoolChecker:
    """At most `at_once` processes at a time: each takes a core.

    A process takes about 30 ms to start, and each rule far less. So there is one process at a time for all the small
    calls: those that come while it runs share the next, and many edits at once cost hardly more than one.
    folder: for temporary files; None is the system's. watch: is told of every run.
    """

    def __init__(
        self, promtool: Promtool, at_once: int, folder: Path | None = None, watch: RunWatch | None = None
    ) -> None:
        self._promtool = promtool
        self._folder = folder
        self._watch = watch
        self._slots = asyncio.Semaphore(at_once)
        self._company = asyncio.Lock()
        self._waiting: deque[_Call] = deque()

    async def check(self, rules: Sequence[RenderedRule]) -> tuple[CheckFailure, ...]:
        """At most one failure for each rule. Raises Unavailable (PROMTOOL_MISSING, PROMTOOL_TIMEOUT)."""
        if len(rules) > LARGE:
            async with self._slots:
                return _found(await self._run(rules))
        while True:
            answer = await self._in_company(_Call(rules, asyncio.get_running_loop().create_future()))
            if answer is not None:
                return answer

    async def _in_company(self, call: _Call) -> _Answer | None:
        """The answer to a call; None where whoever had taken it along was cancelled."""
        self._waiting.append(call)
        try:
            async with self._company, self._slots:
                await asyncio.sleep(0)  # those that come in the same moment go together
                if call in self._waiting:
                    await self._check_waiting()
            return await call.answer
        finally:
            if call in self._waiting:
                self._waiting.remove(call)

    async def _check_waiting(self) -> None:
        """Answers those that wait, as many as go into one process."""
        calls = self._taken()
        answers: Sequence[_Answer | None] = [None] * len(calls)
        try:
            answers = _apart(calls, await self._run([rule for call in calls for rule in call.rules]))
        except RulecastError as error:
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(error)
        finally:
            for call, answer in zip(calls, answers, strict=True):
                if not call.answer.done():
                    call.answer.set_result(answer)

    def _taken(self) -> list[_Call]:
        calls: list[_Call] = []
        rules = 0
        while self._waiting and (not calls or rules + len(self._waiting[0].rules) <= RULES_AT_ONCE):
            calls.append(self._waiting.popleft())
            rules += len(calls[-1].rules)
        return calls

    async def _run(self, rules: Sequence[RenderedRule]) -> list[CheckFailure | None]:
        """The first failure of each of these rules, in their order."""
        file = await asyncio.to_thread(_written, rules, self._folder)
        try:
            failures = await self._watched(file)
        finally:
            file.unlink(missing_ok=True)
        first: list[CheckFailure | None] = [None] * len(rules)
        for failure in reversed(failures):
            if failure.group is None:
                raise AssertionError(f"promtool refuses the file as a whole: {failure.message}")
            at = int(failure.group)
            first[at] = CheckFailure(rules[at].rule_id, failure.message, failure.query_position)
        return first

    async def _watched(self, file: Path) -> Sequence[PromtoolFailure]:
        start = time.perf_counter()
        try:
            failures = await self._promtool.check_rules([file])
        except Unavailable as error:
            if self._watch is not None:
                self._watch.promtool_failed(error.reason)
            raise
        if self._watch is not None:
            self._watch.promtool_ran(time.perf_counter() - start)
        return failures


def _apart(calls: Sequence[_Call], failures: Sequence[CheckFailure | None]) -> list[_Answer]:
    """What was found of all their rules, to each its own."""
    answers: list[_Answer] = []
    at = 0
    for call in calls:
        own = failures[at : at + len(call.rules)]
        at += len(call.rules)
        answers.append(_found(own))
    return answers


def _found(failures: Sequence[CheckFailure | None]) -> _Answer:
    return tuple(each for each in failures if each is not None)


def _written(rules: Sequence[RenderedRule], folder: Path | None) -> Path:
    """A new file that promtool can check."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix="check-", suffix=".yml", dir=folder, delete=False
    ) as file:
        file.write(_as_file(rules))
    return Path(file.name)


def _as_file(rules: Sequence[RenderedRule]) -> str:
    """One group for each rule, named by its number, so that what promtool says of a group is of that rule.

    In front of the rule stands its query before scoping: matchers make `{}` valid, which Prometheus refuses.
    """
    groups = (
        GroupText(f"{at}", rule.interval, [recording_fragment("unscoped", rule.source_query), rule.text])
        for at, rule in enumerate(rules)
    )
    return rule_file((), groups)
