"""Rule files for tests of the deployer, of the shape that the rule service renders."""

from collections.abc import Iterable, Mapping

from deployer_service.state import Batch, Put


def rule_file(*rules: str, expr: str = "up == 0", group: str = "g", version: int = 0) -> bytes:
    """A rule file with these rules by id. version: goes into the annotation, as the digest of a changed rule does."""
    lines = ["groups:", f"  - name: {group}", "    rules:"]
    for rule in rules:
        lines += [
            f"      - alert: Alert_{rule.replace('-', '_')}",
            f"        expr: {expr}",
            "        annotations:",
            f'          rulecast_rule: "{rule}@{version:016x}"',
        ]
    return ("\n".join(lines) + "\n").encode()


BROKEN = rule_file("broken", expr="up == == 0")
"""What promtool refuses."""


def batch(
    puts: Mapping[str, bytes], deletes: Iterable[str] = (), *, revision: int = 1, mass_deletion_allowed: bool = False
) -> Batch:
    return Batch(
        {name: Put.of(content, revision) for name, content in puts.items()},
        frozenset(deletes),
        revision,
        mass_deletion_allowed,
    )
