"""Verify: what Prometheus says that it runs is what our files say. A 200 from a reload proves nothing."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from deployer_service.pipeline.contents import Unreadable, difference, fingerprint, rules_in
from deployer_service.pipeline.ports import Loaded, LoadedRules, Prometheus, RuleDirectory
from deployer_service.state import Files, FileVersion, Why
from rulecast.reasons import Reason


@dataclass(frozen=True, slots=True)
class Verified:
    """wrong: the files that Prometheus does not run as they should be. prints: see `Loaded`, of the others."""

    wrong: Mapping[str, Why]
    prints: Mapping[str, bytes]


async def verify(directory: RuleDirectory, prometheus: Prometheus, files: Files, names: frozenset[str]) -> Verified:
    """How Prometheus runs these files; a name not in `files` should be gone.

    Raises Unavailable when Prometheus does not answer.
    """
    loaded = await prometheus.loaded(names)
    wrong = await asyncio.to_thread(_wrong, files, names, loaded)
    words = {name: Why(Reason.NOT_LOADED, await _words(directory, files.get(name), name, loaded)) for name in wrong}
    return Verified(words, {name: seen for name, seen in loaded.prints.items() if name not in words})


def _wrong(files: Files, names: frozenset[str], loaded: Loaded) -> list[str]:
    return [name for name in sorted(names) if not _runs(files.get(name), loaded.rules.get(name))]


def _runs(version: FileVersion | None, running: LoadedRules | None) -> bool:
    if version is None:
        return running is None
    return fingerprint(running or Counter()) == version.fingerprint


async def _words(directory: RuleDirectory, version: FileVersion | None, name: str, loaded: Loaded) -> str:
    running = loaded.rules.get(name, Counter())
    if version is None:
        return f"{name} was deleted, but Prometheus still runs {running.total()} rules of it"
    content = await directory.content(version.sha256)
    try:
        expected = rules_in(content or b"")
    except Unreadable:
        expected = Counter()
    words = f"Prometheus runs {running.total()} of {version.rules} rules of {name}"
    if details := difference(expected, running):
        words += f": it {details}"
    if loaded.elsewhere and not running:
        words += f"; it has files of such names in {', '.join(loaded.elsewhere)}, which is not {directory.path}"
    return words
