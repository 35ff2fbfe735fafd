"""Writes `docs/en/reference/*.md`. `--check` writes nothing and exits with 1 if a page is not what the code gives."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.reference.api import api_page
from deploy.reference.errors import errors_page
from deploy.reference.settings import settings_page

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = Path("docs/en/reference")
PAGES: dict[str, Callable[[], str]] = {"api.md": api_page, "errors.md": errors_page, "settings.md": settings_page}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell which pages are out of date")
    check = parser.parse_args().check
    stale = []
    for name, make in PAGES.items():
        path, text = ROOT / FOLDER / name, make()
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            sys.stdout.write(f"wrote {FOLDER / name}\n")
    if check and stale:
        listing = "\n".join(f"  {FOLDER / name}" for name in stale)
        sys.exit(f"reference pages are out of date, run `make reference`:\n{listing}")


if __name__ == "__main__":
    main()
