"""From a rule and its world to the alerting rule that Prometheus evaluates (DESIGN 1.3)."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from rule_service.domain.index import WorldIndex
from rule_service.domain.layout import file_name
from rule_service.domain.merge import merge_config
from rule_service.domain.model import (
    AlertRule,
    AlertSpec,
    Config,
    GroupScope,
    Parameter,
    ParameterType,
    Scope,
)
from rule_service.domain.promql.ready import ReadyQuery
from rule_service.domain.promql.scoping import Scoped
from rule_service.domain.remembered import remembered
from rule_service.domain.rule_yaml import expr_scalar, value_scalar
from rule_service.domain.scope import ScopeMatchers, in_words, scope_matchers
from rule_service.domain.settled import RULE_ANNOTATION, json_text, settled
from rule_service.domain.template import render_text
from rule_service.domain.warning import RuleWarning, WarningCode
from rulecast.errors import InvalidInput

_VALUE = Parameter("value", ParameterType.STRING)


@dataclass(frozen=True, slots=True)
class RenderInput:
    """All that a rendered rule depends on: two equal inputs render to the same bytes.

    config: merged. group_label: the label that a group without children adds to its rules, and its value.
    scope_labels: the labels of the namespaces, which no config may set.
    """

    rule_id: str
    key: str
    scope: Scope
    spec: AlertSpec
    config: Config
    config_warnings: tuple[RuleWarning, ...]
    matchers: ScopeMatchers
    group_label: tuple[str, str] | None
    scope_labels: frozenset[str]


@dataclass(frozen=True, slots=True)
class RenderedRule:
    """One alerting rule as it stands in its file.

    source_query: rendered, before its scope is added; expr: with it. for_duration, keep_firing_for, interval: None
    where left out. digest: 16 hex digits over every field Prometheus sees. text: its YAML in the file.
    """

    rule_id: str
    key: str
    scope: Scope
    alert_name: str
    source_query: str
    expr: str
    for_duration: str | None
    keep_firing_for: str | None
    interval: str | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    digest: str
    text: str
    warnings: tuple[RuleWarning, ...]

    @property
    def file_name(self) -> str:
        return file_name(self.scope)


def in_files(rules: Iterable[AlertRule]) -> tuple[AlertRule, ...]:
    """Those of these rules that are in a file: a rule that is off is in none."""
    return tuple(rule for rule in rules if rule.enabled)


def render_rule(rule: AlertRule, index: WorldIndex) -> RenderedRule:
    """One rule, enabled or not. Raises as `render_input` and `render` do."""
    return render(render_input(rule, index))


def render_input(rule: AlertRule, index: WorldIndex) -> RenderInput:
    """Gathers what a rule is rendered from. Raises InvalidInput where it inherits what its parameters do not allow."""
    merged = merge_config(rule, index)
    if merged.misfits:
        raise InvalidInput(merged.misfits)
    return RenderInput(
        rule_id=rule.id,
        key=rule.key,
        scope=rule.scope,
        spec=rule.spec,
        config=merged.config,
        config_warnings=merged.warnings,
        matchers=scope_matchers(rule, index),
        group_label=_group_label(rule.scope, index),
        scope_labels=index.labels,
    )


def render(source: RenderInput) -> RenderedRule:
    """The rule as Prometheus gets it.

    Raises InvalidInput or LimitExceeded with the fields `query`, `labels[...]`, `annotations[...]`, `parameters[...]`
    or a duration's name: for a template that does not render, a query that is no PromQL, cannot be scoped, or never
    matches in its scope, and a label that is reserved.
    """
    label, value = source.group_label or (None, "")
    alike = settled(source.spec, source.config, source.scope_labels, label)
    query = alike.query
    scoped = query.scope(source.matchers.all, source.matchers.own)
    texts = alike.texts
    added = {} if label is None else {label: _label_text(value, label)}
    digest = _digest(texts.digested.filled(*map(json_text, (scoped.text, *added.values()))))
    proof = f"{source.rule_id}@{digest}"
    return RenderedRule(
        source.rule_id,
        source.key,
        source.scope,
        source.spec.alert_name,
        query.text,
        scoped.text,
        texts.for_duration,
        texts.keep_firing_for,
        texts.interval,
        {**texts.labels, **added},
        {**texts.annotations, RULE_ANNOTATION: proof},
        digest,
        texts.written.filled(expr_scalar(scoped.text), *map(value_scalar, (*added.values(), proof))),
        (*source.config_warnings, *_query_warnings(query, scoped, source)),
    )


def _group_label(scope: Scope, index: WorldIndex) -> tuple[str, str] | None:
    """An aggregation may have dropped the group's label, so the rule adds it; unless several values are covered."""
    if not isinstance(scope, GroupScope) or index.has_children(scope.group_id):
        return None
    return index.namespace_of(scope).label, index.world.groups[scope.group_id].label_value


def _query_warnings(query: ReadyQuery, scoped: Scoped, source: RenderInput) -> Iterator[RuleWarning]:
    if query.message:
        yield RuleWarning(
            WarningCode.PARSER_DISAGREES, f"promql-parser refuses this query ({query.message}); promtool decides"
        )
    if source.matchers.own:
        for risk in query.outline.risks:
            yield RuleWarning(risk.risk, risk.message, risk.position)
    elif source.matchers.all and not scoped.selectors_scoped:
        yield RuleWarning(
            WarningCode.EVERYWHERE,
            "no selector is scoped, so this global rule also fires where another rule of its key applies",
        )
    for conflict in scoped.conflicts:
        if any(conflict.matcher.label == matcher.label for matcher in source.matchers.own):
            yield RuleWarning(
                WarningCode.SCOPE_LABEL_IN_QUERY,
                f"the query itself asks for {conflict.matcher}; the scope, {in_words(source.scope)}, is asked for too",
                conflict.position,
            )


# as the value of a parameter, so that braces in it are no template action
@remembered(8_192)
def _label_text(value: str, label: str) -> str:
    return render_text("{{ .value }}", (_VALUE,), {_VALUE.name: value}, f"labels[{label}]")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
