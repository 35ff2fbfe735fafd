"""The real promtool, for tests that take Prometheus's word."""

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from deploy.local.cache import cache_dir
from deploy.local.parts import find_prometheus

TIMEOUT_SECONDS = 120


def promtool(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs promtool and answers what it said."""
    return subprocess.run(
        [_program(), *arguments], cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )


@cache
def _program() -> Path:
    """The one beside the Prometheus of the other tests, fetched if there is none on this machine."""
    return find_prometheus(cache_dir()).promtool


def escaped(text: str) -> str:
    """A double-quoted YAML scalar made of code points alone: nothing in it depends on how a reader takes a style."""
    return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'


def mapping(values: Mapping[str, str]) -> str:
    """A YAML flow mapping of escaped strings."""
    return "{" + ", ".join(f"{escaped(name)}: {escaped(value)}" for name, value in values.items()) + "}"


def alert_test(
    alert_name: str, expected: Sequence[tuple[Mapping[str, str], Mapping[str, str]]], eval_time: str = "10m"
) -> Iterable[str]:
    """The lines of one `alert_rule_test`: exactly these alerts, as (labels, annotations), fire at the time."""
    yield f"      - eval_time: {eval_time}\n        alertname: {escaped(alert_name)}\n"
    yield "        exp_alerts:\n" if expected else "        exp_alerts: []\n"
    for labels, annotations in expected:
        yield f"          - exp_labels: {mapping(labels)}\n            exp_annotations: {mapping(annotations)}\n"
