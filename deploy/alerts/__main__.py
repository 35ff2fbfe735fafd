"""`python -m deploy.alerts [--check]`."""

import argparse
import sys

from deploy import alerts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.alerts", description=alerts.__doc__)
    parser.add_argument("--check", action="store_true", help="only tell whether the file is out of date")
    fresh = alerts.text()
    if not parser.parse_args().check:
        alerts.FILE.write_text(fresh)
    elif not alerts.FILE.exists() or alerts.FILE.read_text() != fresh:
        sys.exit(f"deploy/alerts/{alerts.FILE.name} is out of date, run `make reference`")


if __name__ == "__main__":
    main()
