"""Writes docs/en/reference/metrics.md from what the services declare: `python -m deploy.metrics`.

`--check` writes nothing and exits with 1 if the page is not what the code gives.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import deployer_service.metrics
import rule_service.metrics
import rulecast.process.telemetry
import rulecast.process.tls
import rulecast.rpc.metrics
from rulecast.process.metrics import Metric, declared
from rulecast.process.telemetry import make_registry

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "en" / "reference" / "metrics.md"

SECTIONS: Final = (
    ("Rule service", "Under `/metrics` of its HTTP address.", rule_service.metrics),
    ("Deployer", "Under `/metrics` of its HTTP address.", deployer_service.metrics),
    ("gRPC, of both services", "Labels and names are those that gRPC servers commonly have.", rulecast.rpc.metrics),
    (
        "The process, of both services",
        "Beside it, the client library's own: `process_*` and `python_*`.",
        rulecast.process.telemetry,
    ),
    ("Certificates, of both services", "Where `tls` is set.", rulecast.process.tls),
)


def names() -> frozenset[str]:
    """Every name that can be asked for: those of histograms with their endings, and the client library's own."""
    of_library = {sample.name for family in make_registry("any").collect() for sample in family.samples}
    ours = (name for _, _, module in SECTIONS for metric in declared(module) for name in _exposed(metric))
    return frozenset({*of_library, *ours})


def page() -> str:
    parts = [
        "# Metrics\n\nGenerated from the code by `make reference`; change `metrics.py` of the service, not this page.\n"
        "Durations are in seconds, times are Unix times. A label has few, known values; `deployer` has one for each"
        " deployer\nthat the rule service knows, until it is deleted.\n"
    ]
    for title, words, module in SECTIONS:
        rows = "".join(_row(metric) for metric in declared(module))
        parts.append(f"\n## {title}\n\n{words}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n{rows}")
    return "".join(parts)


def _exposed(metric: Metric) -> Iterable[str]:
    if metric.kind == "histogram":
        return (f"{metric.name}_{end}" for end in ("bucket", "sum", "count"))
    return (metric.name,)


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.metrics", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell whether the page is out of date")
    fresh = page()
    if parser.parse_args().check:
        if not PAGE.exists() or PAGE.read_text() != fresh:
            sys.exit(f"{PAGE.relative_to(ROOT)} is out of date, run `make reference`")
        return
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(fresh)


if __name__ == "__main__":
    main()
