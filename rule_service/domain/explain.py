"""Why a rule does what it does: the answers of GetEffectiveRules and ExplainRule, assembled.

What is said here is computed by the functions that render the files, so it cannot differ from them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rule_service.domain.index import WorldIndex
from rule_service.domain.layout import group_name
from rule_service.domain.merge import Merged, merge_config
from rule_service.domain.model import AlertRule, KeyWorld
from rule_service.domain.render import RenderedRule, render_rule
from rule_service.domain.resolve import Resolution, resolve
from rule_service.domain.scope import ScopeMatchers, in_words, own_values, scope_matchers
from rule_service.domain.warning import RuleWarning, WarningCode
from rulecast.errors import RulecastError


@dataclass(frozen=True, slots=True)
class Explanation:
    """One rule, and what becomes of it.

    rendered: None for a disabled rule, which is in no file. warnings: of the rule as it is, or would be if it were
    enabled. resolution, verdict: for the labels asked about; what all candidates of the key come to, and a sentence on
    this rule. None and "" where no labels were given.
    """

    rule: AlertRule
    merged: Merged
    matchers: ScopeMatchers
    rendered: RenderedRule | None
    warnings: tuple[RuleWarning, ...]
    resolution: Resolution | None = None
    verdict: str = ""

    def group_name(self, beside: int) -> str | None:
        """The Prometheus group the rule is in. beside: the rules of its file with its interval, itself included."""
        if self.rendered is None:
            return None
        return group_name(self.rule.scope, self.rule.key, self.rendered.interval, beside)


def explain_rule(rule: AlertRule, index: WorldIndex, labels: Mapping[str, str] | None = None) -> Explanation:
    """All about one rule; with labels also whether it evaluates a series that has them, and if not, why not."""
    resolution = resolve(index.world, labels) if labels is not None else None
    rendered = render_rule(rule, index) if rule.enabled else None
    merged = merge_config(rule, index)
    return Explanation(
        rule=rule,
        merged=merged,
        matchers=scope_matchers(rule, index),
        rendered=rendered,
        warnings=rendered.warnings if rendered is not None else _warnings_of_disabled(rule, merged, index),
        resolution=resolution,
        verdict=_verdict(rule, index, labels, resolution) if labels is not None and resolution is not None else "",
    )


def effective_rules(worlds: Iterable[KeyWorld], labels: Mapping[str, str]) -> tuple[tuple[AlertRule, Merged], ...]:
    """For each key the rule that evaluates a series with these labels, by key; an alert that is off is among them.

    Of each world only the rules whose scope holds the series are needed.
    """
    effective = []
    for world in sorted(worlds, key=lambda each: each.key):
        winner = resolve(world, labels).winner
        if winner is not None:
            effective.append((winner, merge_config(winner, WorldIndex(world))))
    return tuple(effective)


def _warnings_of_disabled(rule: AlertRule, merged: Merged, index: WorldIndex) -> tuple[RuleWarning, ...]:
    """What it is rendered from may have changed since it was saved (docs/decisions/0012)."""
    try:
        return render_rule(rule, index).warnings
    except RulecastError as error:
        can_not = (
            RuleWarning(
                WarningCode.CAN_NOT_BE_ENABLED,
                f"it is disabled, and can not be enabled as it is: {each.field}: {each.message}",
                each.position,
            )
            for each in error.violations
        )
        return (*merged.warnings, *can_not)


def _verdict(rule: AlertRule, index: WorldIndex, labels: Mapping[str, str], resolution: Resolution) -> str:
    for candidate in resolution.candidates:
        if candidate.rule is rule:
            return candidate.why
    return _why_outside(rule, index, labels)


def _why_outside(rule: AlertRule, index: WorldIndex, labels: Mapping[str, str]) -> str:
    for label, values in own_values(rule, index).items():
        value = labels.get(label, "")
        if value not in values:
            has = f'has {label}="{value}"' if value else f'has no label "{label}"'
            return f"not a candidate: the series {has}, so {in_words(rule.scope)} does not hold it"
    raise AssertionError(f"rule {rule.id!r} holds the series, so it is a candidate")
