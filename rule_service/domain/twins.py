"""Rules of different keys whose alerts nobody can tell apart.

An alert is its name and its labels: Alertmanager takes two with the same as one, so that the annotations of one
replace those of the other, and the end of one ends both; in Prometheus they share one `ALERTS` series. Where they are
about other series all is well, and only their authors know: so it is warned of. `promtool check rules` does as much (an
error with `--lint-fatal` alone).
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

from rule_service.domain.rule_yaml import identity_in, name_in
from rule_service.domain.warning import RuleWarning, WarningCode

NAMED_AT_MOST = 5


class RuleText(Protocol):
    """What is kept of a rendered rule."""

    @property
    def rule_id(self) -> str: ...
    @property
    def text(self) -> str: ...


def warnings_of_twins(rules: Iterable[RuleText], asked: Collection[str]) -> Iterator[tuple[str, RuleWarning]]:
    """A warning for each rule asked about, by id, that has the alert name and labels of another one of its file."""
    named = [(name_in(rule.text), rule) for rule in rules]
    names = {name for name, rule in named if rule.rule_id in asked}
    alike: dict[tuple[str, str], list[str]] = {}
    for name, rule in named:
        if name in names:
            alike.setdefault(identity_in(rule.text), []).append(rule.rule_id)
    for ids in alike.values():
        for id in ids:
            if id in asked and len(ids) > 1:
                yield id, _warning([each for each in ids if each != id])


def _warning(others: list[str]) -> RuleWarning:
    named = ", ".join(f'"{id}"' for id in sorted(others)[:NAMED_AT_MOST])
    more = f" and {len(others) - NAMED_AT_MOST} more" if len(others) > NAMED_AT_MOST else ""
    rules = "rule" if len(others) == 1 else "rules"
    return RuleWarning(
        WarningCode.SAME_IDENTITY,
        f"its alerts have the same name and labels as those of {rules} {named}{more} at this scope, so an Alertmanager "
        "takes two for the same series as one: give it another alert name, or a label of its own",
    )
