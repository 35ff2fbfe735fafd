"""Writes requirements.lock from pyproject.toml: `python -m deploy.lock`.

The lock holds every package of the project, its extras and its build backend, each with the hashes of its files, for
every platform. `deploy/bootstrap.sh` installs it with plain pip and `--require-hashes`.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = "uv==0.13.9"
EXTRAS = ("local", "tracing", "dev")
BUILD = ("editables==0.5",)  # what hatchling needs for an editable install, besides itself
MINIMUM_PYTHON = "3.11"


def build_requirements(pyproject: str) -> list[str]:
    """What building the project needs: it is installed without build isolation, so the lock has to hold it too."""
    backend: list[str] = tomllib.loads(pyproject)["build-system"]["requires"]
    return [*backend, *BUILD]


def main() -> None:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", UV], check=True)
    command = [
        *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--upgrade"),
        *("--python-version", MINIMUM_PYTHON, "--custom-compile-command", "make lock"),
        *(f"--extra={name}" for name in EXTRAS),
        *("--output-file", "requirements.lock", "pyproject.toml", "-"),
    ]
    wanted = "\n".join(build_requirements((ROOT / "pyproject.toml").read_text()))
    subprocess.run(command, cwd=ROOT, input=wanted, text=True, check=True)


if __name__ == "__main__":
    main()
