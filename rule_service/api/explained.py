"""Answers of GetEffectiveRules and ExplainRule to messages."""

from rule_service.api import encode
from rule_service.domain.explain import Explanation
from rule_service.domain.merge import Origin, Setting, TraceEntry
from rule_service.domain.resolve import Outcome
from rule_service.usecases.understand import Effective, EffectiveRule, Explained, source_of
from rulecast.v1 import rule_pb2 as pb

_ORIGINS = {
    Origin.PARAMETER_DEFAULT: pb.TracedValue.DEFAULTS,
    Origin.TEMPLATE_DEFAULTS: pb.TracedValue.DEFAULTS,
    Origin.CONFIG: pb.TracedValue.CONFIG,
}


def effective(value: Effective) -> pb.GetEffectiveRulesResponse:
    return pb.GetEffectiveRulesResponse(
        target_id=value.target_id, labels=value.labels, rules=[_effective_rule(each) for each in value.rules]
    )


def explanation(value: Explained) -> pb.ExplainRuleResponse:
    message = pb.ExplainRuleResponse(
        key=value.key, labels=value.labels, candidates=[_candidate(each) for each in value.candidates]
    )
    if value.shown is not None:
        rule = value.shown.rule
        message.rule_id = rule.id
        message.enabled = rule.enabled
        message.trace.extend(_traced(each) for each in value.shown.merged.trace)
        message.warnings.extend(encode.warning(each, rule.id) for each in value.shown.warnings)
        if value.shown.rendered is not None:
            message.rendered.CopyFrom(encode.rendered(value.shown.rendered, value.group or ""))
    return message


def _effective_rule(value: EffectiveRule) -> pb.EffectiveRule:
    rule, rendered = value.rule, value.rendered
    source, source_id = source_of(rule.scope)
    config = value.merged.config
    message = pb.EffectiveRule(
        key=rule.key,
        name=rule.spec.alert_name,
        severity=config.labels.get("severity", ""),
        source=source,
        source_id=source_id,
        rule_id=rule.id,
        enabled=rule.enabled,
    )
    message.config.CopyFrom(encode.config(config))
    if rendered is not None:
        message.query = rendered.expr
        encode.fill(message.labels, rendered.labels)
        encode.fill(message.annotations, rendered.annotations)
    return message


def _candidate(value: Explanation) -> pb.Candidate:
    rule = value.rule
    return pb.Candidate(
        rule_id=rule.id,
        scope=encode.scope(rule.scope),
        priority=rule.priority,
        enabled=rule.enabled,
        outcome=_outcome(value),
        why=value.verdict,
    )


def _outcome(value: Explanation) -> pb.Candidate.Outcome.ValueType:
    if value.resolution is None:
        return pb.Candidate.OUTCOME_UNSPECIFIED
    for candidate in value.resolution.candidates:
        if candidate.rule is value.rule:
            return pb.Candidate.WON if candidate.outcome is Outcome.WON else pb.Candidate.LOST
    return pb.Candidate.NOT_IN_SCOPE


def _traced(entry: TraceEntry) -> pb.TracedValue:
    setting = entry.setting
    return pb.TracedValue(
        path=entry.path,
        value=encode.parameter_value(setting.value),
        rule_id=setting.rule_id,
        scope=encode.scope(setting.scope),
        origin=_ORIGINS[setting.origin],
        replaced=[_replaced(each) for each in entry.replaced],
    )


def _replaced(setting: Setting) -> pb.ReplacedValue:
    return pb.ReplacedValue(
        value=encode.parameter_value(setting.value),
        rule_id=setting.rule_id,
        scope=encode.scope(setting.scope),
        origin=_ORIGINS[setting.origin],
    )
