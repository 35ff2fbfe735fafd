"""From a rule and its world to the alerting rule that Prometheus evaluates (DESIGN 1.3)."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from rule_service.domain.durations import format_duration, parse_duration
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
    ScopeMode,
)
from rule_service.domain.names import check_rule_label
from rule_service.domain.promql.check import Checked, check_query, check_with_matchers
from rule_service.domain.promql.limits import MAX_BYTES
from rule_service.domain.promql.scoping import Scoped, scope_query
from rule_service.domain.promql.scoping_lint import ScopingWarning, lint_scoping
from rule_service.domain.promql.selectors import find_selectors
from rule_service.domain.remembered import remembered
from rule_service.domain.rule_yaml import rule_fragment
from rule_service.domain.scope import ScopeMatchers, in_words, scope_matchers
from rule_service.domain.template import render_query, render_text
from rule_service.domain.warning import RuleWarning, WarningCode
from rulecast.errors import InvalidInput, LimitExceeded
from rulecast.reasons import Reason

RULE_ANNOTATION = "rulecast_rule"
"""`<rule id>@<digest>`: by it a deployer proves which content Prometheus runs. No config may set it."""

MAX_SCOPED_BYTES = 1024 * 1024
"""Of one expression with its scope matchers."""

_MATCHES_EVERYTHING = "at least one non-empty matcher"
"""In promql-parser's words for `{}` and `{job=~".*"}`, which Prometheus refuses until a scope is added."""

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
        scope_labels=frozenset(namespace.label for namespace in index.world.namespaces.values()),
    )


def render(source: RenderInput) -> RenderedRule:
    """The rule as Prometheus gets it.

    Raises InvalidInput or LimitExceeded with the fields `query`, `labels[...]`, `annotations[...]`, `parameters[...]`
    or a duration's name: for a template that does not render, a query that is no PromQL, cannot be scoped, or never
    matches in its scope, and a label that is reserved.
    """
    config, spec = source.config, source.spec
    query = render_query(spec.query, spec.parameters, config.parameters, "query")
    scoped, warnings = _scope(query, source)
    labels = _labels(source)
    annotations = _texts(source, "annotations", config.annotations)
    for_duration = _duration(config.for_duration, "for_duration")
    keep_firing_for = _duration(config.keep_firing_for, "keep_firing_for")
    interval = _duration(config.interval, "interval")
    digest = _digest(
        spec.alert_name, scoped.text, for_duration, keep_firing_for, interval, _sorted(labels), _sorted(annotations)
    )
    annotations[RULE_ANNOTATION] = f"{source.rule_id}@{digest}"
    text = rule_fragment(
        spec.alert_name,
        scoped.text,
        for_duration=for_duration,
        keep_firing_for=keep_firing_for,
        labels=labels,
        annotations=annotations,
    )
    return RenderedRule(
        source.rule_id,
        source.key,
        source.scope,
        spec.alert_name,
        query,
        scoped.text,
        for_duration,
        keep_firing_for,
        interval,
        labels,
        annotations,
        digest,
        text,
        (*source.config_warnings, *warnings),
    )


def _group_label(scope: Scope, index: WorldIndex) -> tuple[str, str] | None:
    """An aggregation may have dropped the group's label, so the rule adds it; unless several values are covered."""
    if not isinstance(scope, GroupScope) or index.has_children(scope.group_id):
        return None
    return index.namespace_of(scope).label, index.world.groups[scope.group_id].label_value


def _scope(query: str, source: RenderInput) -> tuple[Scoped, tuple[RuleWarning, ...]]:
    checked = _checked(query)
    # the one mistake that scoping would hide, even from promtool, which is asked about the result
    if _MATCHES_EVERYTHING in checked.message:
        message = f"{checked.message}: give each selector a metric name, or a matcher that an empty value does not pass"
        raise InvalidInput.of("query", Reason.QUERY_INVALID, message)
    own, every, spec = source.matchers.own, source.matchers.all, source.spec
    scoped = scope_query(query, every, mode=spec.scope_mode, exclude_metrics=spec.scope_exclude_metrics, own_scope=own)
    _check_scoped(scoped.text, checked)
    return scoped, tuple(_query_warnings(query, scoped, source, checked.message))


# not of what they are with their scopes: those are all different
_checked = remembered(8_192)(check_query)


def _check_scoped(text: str, before: Checked) -> None:
    size = len(text.encode())
    if size > MAX_SCOPED_BYTES:
        message = (
            f"with the matchers of its scope the query has {size} bytes: at most {MAX_SCOPED_BYTES} are allowed; "
            "use fewer selectors, or fewer groups with rules of their own"
        )
        raise LimitExceeded.of("query", Reason.TOO_LARGE, message, limit=str(MAX_SCOPED_BYTES))
    # the limit on what an author writes is not one on what many groups add to it
    if size <= MAX_BYTES:
        check_with_matchers(text, before)
    else:
        find_selectors(text)


@remembered(8_192)
def _risks(
    query: str, mode: ScopeMode, exclude_metrics: tuple[str, ...], scope_labels: frozenset[str]
) -> tuple[ScopingWarning, ...]:
    return tuple(lint_scoping(query, mode=mode, exclude_metrics=exclude_metrics, scope_labels=scope_labels))


def _query_warnings(query: str, scoped: Scoped, source: RenderInput, parser_says: str) -> Iterator[RuleWarning]:
    spec = source.spec
    if parser_says:
        yield RuleWarning(
            WarningCode.PARSER_DISAGREES, f"promql-parser refuses this query ({parser_says}); promtool decides"
        )
    if source.matchers.own:
        for risk in _risks(query, spec.scope_mode, spec.scope_exclude_metrics, source.scope_labels):
            yield RuleWarning(risk.risk, risk.message, risk.position)
    elif source.matchers.all and not scoped.selectors_scoped:
        yield RuleWarning(
            WarningCode.EVERYWHERE,
            "no selector is scoped, so this global rule also fires where another rule of its key applies",
        )
    own_labels = {matcher.label for matcher in source.matchers.own}
    for conflict in scoped.conflicts:
        if conflict.matcher.label in own_labels:
            yield RuleWarning(
                WarningCode.SCOPE_LABEL_IN_QUERY,
                f"the query itself asks for {conflict.matcher}; the scope, {in_words(source.scope)}, is asked for too",
                conflict.position,
            )


def _labels(source: RenderInput) -> dict[str, str]:
    for name in source.config.labels:
        check_rule_label(name, f"labels[{name}]", source.scope_labels)
    labels = _texts(source, "labels", source.config.labels)
    if source.group_label is not None:
        label, value = source.group_label
        # as the value of a parameter, so that braces in it are no template action
        labels[label] = render_text("{{ .value }}", (_VALUE,), {_VALUE.name: value}, f"labels[{label}]")
    return labels


def _texts(source: RenderInput, section: str, texts: Mapping[str, str]) -> dict[str, str]:
    """Rendered; the empty ones are left out, as Prometheus would do."""
    parameters = source.spec.parameters
    rendered = (
        (name, render_text(text, parameters, source.config.parameters, f"{section}[{name}]"))
        for name, text in texts.items()
    )
    return {name: text for name, text in rendered if text}


def _duration(text: str | None, field: str) -> str | None:
    milliseconds = parse_duration(text, field) if text is not None else 0
    return format_duration(milliseconds) if milliseconds else None


def _digest(*fields: str | list[tuple[str, str]] | None) -> str:
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:16]


def _sorted(values: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(values.items())
