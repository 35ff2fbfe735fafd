"""Validate: one promtool run over all staged files. A bad file is rejected alone; the good ones go on."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deployer_service.pipeline.contents import Unreadable, version_of
from deployer_service.pipeline.ports import Checker, RuleDirectory
from deployer_service.state import Files, FileVersion, Put, Rejected, Why
from rulecast.reasons import Reason


@dataclass(frozen=True, slots=True)
class Validated:
    versions: Files
    rejected: Mapping[str, Rejected]


async def validate(directory: RuleDirectory, checker: Checker | None, puts: Mapping[str, Put]) -> Validated:
    """checker: None where validation is switched off. Raises Unavailable when promtool can not tell."""
    # promtool is another process: meanwhile a thread reads what Prometheus will have to report
    reading = asyncio.get_running_loop().run_in_executor(None, _versions, puts)
    paths = {name: directory.stored_path(put.sha256) for name, put in puts.items()}
    try:
        refused = await check_files(checker, paths) if checker else {}
    finally:
        versions = await reading
    rejected = {name: Rejected(why) for name, why in refused.items()}
    rejected.update(
        {name: Rejected(why) for name, why in versions.items() if isinstance(why, Why) and name not in rejected}
    )
    good = {name: version for name, version in versions.items() if isinstance(version, FileVersion)}
    return Validated({name: version for name, version in good.items() if name not in rejected}, rejected)


async def check_files(checker: Checker, paths: Mapping[str, Path]) -> dict[str, Why]:
    """The files that promtool refuses, by name. Equal contents at one path are checked once."""
    refused = await checker.check(tuple(dict.fromkeys(paths.values())))
    return {
        name: replace(refused[path], message=f"{name}: {refused[path].message}")
        for name, path in paths.items()
        if path in refused
    }


def _versions(puts: Mapping[str, Put]) -> dict[str, FileVersion | Why]:
    return {name: _version(name, put) for name, put in puts.items()}


def _version(name: str, put: Put) -> FileVersion | Why:
    try:
        return version_of(put.content, put.sha256, put.revision)
    except Unreadable as error:
        return Why(Reason.PROMTOOL_CHECK_FAILED, f"{name}: {error}")
