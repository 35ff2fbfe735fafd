"""Reads rule directories over and over, as a Prometheus that may load at any moment would, and tells what it saw.

`python -m tests.support.watcher LASTING FOLDER...` reads until SIGTERM and then prints one JSON object. LASTING is
JSON: the file names that must be there at any time once they were there, each with the ids of rules that it must hold.
"""

import hashlib
import json
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.local.process import REPOSITORY, Child

PAUSE = 0.001
"""Seconds between two rounds: the machine is needed by others too."""
_RULE_ID = re.compile(r"([a-z0-9-]+)@")


@dataclass
class Sight:
    """reads: how many files were read. versions: the SHA-256 of each version of each file, in hexadecimal.

    torn: what was not a whole rule file. absent: what had to be there and was not.
    """

    reads: int
    versions: dict[str, list[str]]
    torn: list[str]
    absent: list[str]

    def unknown(self, known: Mapping[str, set[str]]) -> list[str]:
        """The versions that nobody has made."""
        return [
            f"{name} {sha256}"
            for name, seen in self.versions.items()
            for sha256 in seen
            if sha256 not in known.get(name, ())
        ]


@asynccontextmanager
async def watching(
    log: Path, folders: Sequence[Path], lasting: Mapping[str, Sequence[str]]
) -> AsyncIterator[list[Sight]]:
    """What was seen is in the list after the end of the block. The folders may not be there yet."""
    command = [sys.executable, "-m", __name__, json.dumps(lasting), *map(str, folders)]
    child = Child("watcher", command, log=log, folder=REPOSITORY)
    child.start()
    sights: list[Sight] = []
    try:
        await child.until(lambda: "watching" in child.output(), timeout=60.0)
        yield sights
    finally:
        await child.stop()
    last = child.output(1)
    if child.exit_code != 0 or not last.startswith("{"):
        raise child.failure("has not told what it saw")
    sights.append(Sight(**json.loads(last)))


class Watcher:
    def __init__(self, folders: Sequence[Path], lasting: Mapping[str, Sequence[str]]) -> None:
        self._folders = folders
        self._lasting = lasting
        self._seen: set[tuple[Path, str]] = set()
        self._rules: dict[str, frozenset[str] | None] = {}
        self.sight = Sight(0, {}, [], [])

    def look(self) -> None:
        for folder in self._folders:
            self._look_at(folder)

    def _look_at(self, folder: Path) -> None:
        names = {path.name for path in folder.glob("*.yml")}
        names.update(name for name in self._lasting if (folder, name) in self._seen)
        for name in names:
            try:
                content = (folder / name).read_bytes()
            except FileNotFoundError:
                if (folder, name) in self._seen:
                    self.sight.absent.append(f"{folder / name}")
                continue
            self._judge(folder, name, content)

    def _judge(self, folder: Path, name: str, content: bytes) -> None:
        self.sight.reads += 1
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 not in self._rules:
            self._rules[sha256] = rules_of(content)
            self.sight.versions.setdefault(name, []).append(sha256)
        rules = self._rules[sha256]
        if rules is None:
            self.sight.torn.append(f"{folder / name}: {content[-200:]!r}")
        elif name in self._lasting:
            self._seen.add((folder, name))
            missing = set(self._lasting[name]) - rules
            if missing:
                self.sight.absent.append(f"{folder / name}: {sorted(missing)}")


def rules_of(content: bytes) -> frozenset[str] | None:
    """The ids of the rules in a file; None where it is not a whole one."""
    try:
        document: Any = yaml.load(content, yaml.CSafeLoader)
        rules = [rule for group in document["groups"] for rule in group["rules"]]
        ids = [_RULE_ID.match(rule["annotations"]["rulecast_rule"]) for rule in rules]
    except (yaml.YAMLError, UnicodeError, TypeError, KeyError, AttributeError):
        return None
    if not content.endswith(b"\n") or not ids or None in ids:
        return None
    return frozenset(found[1] for found in ids if found)


def main() -> None:
    lasting, *folders = sys.argv[1:]
    watcher = Watcher([Path(folder) for folder in folders], json.loads(lasting))
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    print("watching", flush=True)
    while not ended:
        watcher.look()
        time.sleep(PAUSE)
    print(json.dumps(vars(watcher.sight)), flush=True)


if __name__ == "__main__":
    main()
