"""Writes requirements.lock from pyproject.toml: `python -m deploy.lock`.

The lock holds every package of the project, its extras and its build backend, each with the hashes of its files, for
every platform. `deploy/bootstrap.sh` installs it with plain pip and `--require-hashes`.

Two parts of it are written beside the container files, for images that hold nothing else: `runtime.lock`, what the
services need to run, and `build.lock`, what building the project needs. They are cut from requirements.lock with no
network: `--parts` writes them alone, `--check` tells whether they are up to date.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PARTS = ROOT / "deploy" / "docker"
UV = "uv==0.13.9"
EXTRAS = ("local", "tracing", "dev")
BUILD = ("editables==0.5",)  # what hatchling needs for an editable install, besides itself
MINIMUM_PYTHON = "3.11"

_HEAD = "# A part of requirements.lock, made by `make lock`.\n"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VIA = re.compile(r"    #(?: via)? +(\S.*)")


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of the lock. text: its lines, without comments. via: the packages that ask for it."""

    name: str
    text: str
    via: frozenset[str]


def build_requirements(project: Mapping[str, Any]) -> list[str]:
    """What building the project needs: it is installed without build isolation, so the lock has to hold it too."""
    backend: list[str] = project["build-system"]["requires"]
    return [*backend, *BUILD]


def runtime_requirements(project: Mapping[str, Any]) -> list[str]:
    """What an image holds: what the services need, and what sends traces where somebody sets an endpoint."""
    needed: list[str] = project["project"]["dependencies"]
    tracing: list[str] = project["project"]["optional-dependencies"]["tracing"]
    return [*needed, *tracing]


def package_name(requirement: str) -> str:
    """`aiohttp` of `aiohttp>=3.12`, in the form in which names are compared."""
    found = _NAME.match(requirement)
    if found is None:
        raise ValueError(f"{requirement!r} does not begin with the name of a package")
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def locked(lock: str) -> Iterator[Locked]:
    """The packages of a lock, in its order."""
    for text in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]:
        via = [found[1] for found in map(_VIA.fullmatch, text.splitlines()) if found]
        lines = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("    #"))
        yield Locked(package_name(text), lines, frozenset(package_name(each) for each in via if _NAME.match(each)))


def part(lock: str, wanted: Set[str]) -> str:
    """The lock of these packages and of all that they need. Raises ValueError for one that the lock does not hold."""
    packages = {package.name: package for package in locked(lock)}
    if missing := wanted - packages.keys():
        raise ValueError(f"requirements.lock has no {', '.join(sorted(missing))}: run `make lock`")
    taken = set(wanted)
    while more := {name for name, package in packages.items() if name not in taken and package.via & taken}:
        taken |= more
    return _HEAD + "".join(package.text for name, package in packages.items() if name in taken)


def parts(lock: str, project: Mapping[str, Any]) -> dict[Path, str]:
    """What each part has to be. Raises ValueError as `part` does."""
    runtime = {package_name(each) for each in runtime_requirements(project)}
    backend = {package_name(each) for each in project["build-system"]["requires"]}
    return {PARTS / "runtime.lock": part(lock, runtime), PARTS / "build.lock": part(lock, backend)}


def _compile(project: Mapping[str, Any]) -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", UV], check=True)
    command = [
        *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--upgrade"),
        *("--python-version", MINIMUM_PYTHON, "--custom-compile-command", "make lock"),
        *(f"--extra={name}" for name in EXTRAS),
        *("--output-file", "requirements.lock", "pyproject.toml", "-"),
    ]
    subprocess.run(command, cwd=ROOT, input="\n".join(build_requirements(project)), text=True, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.lock", description=__doc__)
    parser.add_argument("--parts", action="store_true", help="only cut the parts anew from requirements.lock")
    parser.add_argument("--check", action="store_true", help="only tell which parts are out of date")
    arguments = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    if not (arguments.parts or arguments.check):
        _compile(project)
    try:
        wanted = parts(LOCK.read_text(), project)
    except ValueError as error:
        sys.exit(str(error))
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if arguments.check and stale:
        listing = "\n".join(f"  {path.relative_to(ROOT)}" for path in stale)
        sys.exit(f"out of date, run `python -m deploy.lock --parts`:\n{listing}")
    for path in stale:
        path.write_text(wanted[path])


if __name__ == "__main__":
    main()
