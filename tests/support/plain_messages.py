"""The things of a plain world as the API takes them, and its configs as the API gives them."""

from rulecast.v1 import common_pb2, rule_pb2, template_pb2
from tests.support.plain_alerts import query_of
from tests.support.plain_worlds import EVERYWHERE, Place, Rule, Settings, Spec
from tests.support.system import global_scope


def scope_message(place: Place) -> common_pb2.Scope:
    match place.level:
        case "namespace":
            return common_pb2.Scope(namespace_id=place.id)
        case "group":
            return common_pb2.Scope(group_id=place.id)
        case _:
            return global_scope()


def place_of(scope: common_pb2.Scope) -> Place:
    level = scope.WhichOneof("level")
    if level == "namespace_id":
        return Place("namespace", scope.namespace_id)
    return Place("group", scope.group_id) if level == "group_id" else EVERYWHERE


def put_settings(config: template_pb2.AlertConfig, settings: Settings) -> None:
    for path, value in settings.items():
        kind, _, name = path.partition(".")
        if kind == "parameters" and isinstance(value, float):
            config.parameters[name].number_value = value
        elif kind == "parameters":
            config.parameters[name].string_value = str(value)
        elif name:
            getattr(config, kind)[name] = value
        else:
            setattr(config, kind, value)


def settings_of(config: template_pb2.AlertConfig) -> Settings:
    found: Settings = {}
    for name in ("for_duration", "keep_firing_for", "interval"):
        if text := getattr(config, name):
            found[name] = text
    found |= {f"labels.{name}": text for name, text in config.labels.items()}
    found |= {f"annotations.{name}": text for name, text in config.annotations.items()}
    for name, value in config.parameters.items():
        found[f"parameters.{name}"] = getattr(value, str(value.WhichOneof("kind")))
    return found


def spec_message(spec: Spec, key: str) -> template_pb2.AlertSpec:
    message = template_pb2.AlertSpec(
        alert_name=spec.alert_name,
        severity=spec.severity,
        query=query_of(spec.recipe, key),
        scope_mode=template_pb2.ScopeMode.Value(spec.recipe.scope_mode),
        scope_exclude_metrics=spec.recipe.excludes,
    )
    for name, kind in spec.recipe.parameters.items():
        parameter = message.parameters.add(name=name, type=template_pb2.Parameter.Type.Value(kind))
        default = spec.holes[name]
        if isinstance(default, float):
            parameter.default.number_value = default
        elif default is not None:
            parameter.default.string_value = default
    put_settings(message.default_config, spec.defaults)
    return message


def rule_message(id: str, rule: Rule) -> rule_pb2.AlertRule:
    """A new rule: from its template if it has one, else with its own spec."""
    message = rule_pb2.AlertRule(
        id=id,
        scope=scope_message(rule.place),
        merge_strategy=rule_pb2.OVERRIDE if rule.override else rule_pb2.MERGE_STRATEGY_UNSPECIFIED,
        priority=rule.priority,
        enabled=rule.enabled,
    )
    put_settings(message.config, rule.config)
    if rule.template:
        message.template_id = rule.template
    else:
        message.key = rule.key
        message.spec.CopyFrom(spec_message(rule.spec, rule.key))
    return message
