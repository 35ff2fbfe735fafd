"""What a rule is configured with, and where each value is from (DESIGN 1.2)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from rule_service.domain.index import WorldIndex
from rule_service.domain.model import AlertRule, Config, MergeStrategy, ParameterValue, Scope
from rule_service.domain.parameters import check_value
from rule_service.domain.warning import RuleWarning, WarningCode
from rulecast.errors import InvalidInput, Violation

_DURATIONS = ("for_duration", "keep_firing_for", "interval")
_MAPS = ("labels", "annotations", "parameters")


class Origin(StrEnum):
    """Which part of a rule a value is from."""

    PARAMETER_DEFAULT = "parameter default"
    TEMPLATE_DEFAULTS = "template defaults"
    CONFIG = "config"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value as one rule set it."""

    value: ParameterValue
    rule_id: str
    scope: Scope
    origin: Origin


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """Where one value of a merged config is from.

    path: `for_duration`, `labels.team`, `parameters.threshold`. replaced: what it replaced, the oldest first.
    """

    path: str
    setting: Setting
    replaced: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True)
class Merged:
    """config: complete; an empty label or annotation in it removes one.

    settings: by section and name of each of its values, all that set it, the last one last.
    misfits: values that the rule inherits and its own parameters do not allow. With one it can not be rendered.
    """

    config: Config
    settings: Mapping[tuple[str, str], Sequence[Setting]]
    warnings: tuple[RuleWarning, ...]
    misfits: tuple[Violation, ...]

    @property
    def trace(self) -> tuple[TraceEntry, ...]:
        """One entry for each value of the config."""
        return tuple(
            TraceEntry(f"{section}.{name}" if section else name, settings[-1], tuple(settings[:-1]))
            for (section, name), settings in sorted(self.settings.items(), key=_in_order_of_config)
        )


@dataclass(frozen=True, slots=True)
class _Layer:
    rule: AlertRule
    origin: Origin
    config: Config


def merge_config(rule: AlertRule, index: WorldIndex) -> Merged:
    """The complete config of a rule, by its merge strategy and those of the rules above it."""
    inherited = _inherited(rule, index)
    layers = [*_own_defaults(rule), *(_Layer(each, Origin.CONFIG, each.config) for each in (*inherited, rule))]
    declared = {parameter.name for parameter in rule.spec.parameters}
    found: dict[tuple[str, str], list[Setting]] = {}
    warnings: list[RuleWarning] = []
    for layer in layers:
        for section, name, value in _values(layer.config):
            if section == "parameters" and name not in declared and layer.rule is not rule:
                warnings.append(_undeclared(rule, layer.rule, name))
                continue
            setting = Setting(value, layer.rule.id, layer.rule.scope, layer.origin)
            found.setdefault((section, name), []).append(setting)
    return Merged(_config(found), found, tuple(warnings), tuple(_misfits(rule, found)))


def _inherited(rule: AlertRule, index: WorldIndex) -> tuple[AlertRule, ...]:
    """The rules above whose configs count: from the last one on that says override."""
    if rule.merge_strategy is MergeStrategy.OVERRIDE:
        return ()
    lineage = index.lineage(rule.scope)
    overriding = [at for at, each in enumerate(lineage) if each.merge_strategy is MergeStrategy.OVERRIDE]
    return lineage[overriding[-1] :] if overriding else lineage


def _own_defaults(rule: AlertRule) -> tuple[_Layer, ...]:
    spec = rule.spec
    parameters = {each.name: each.default for each in spec.parameters if each.default is not None}
    severity = {"severity": spec.severity} if spec.severity else {}
    return (
        _Layer(rule, Origin.PARAMETER_DEFAULT, Config(parameters=parameters)),
        _Layer(rule, Origin.TEMPLATE_DEFAULTS, Config(labels=severity)),
        _Layer(rule, Origin.TEMPLATE_DEFAULTS, spec.defaults),
    )


def _values(config: Config) -> Iterator[tuple[str, str, ParameterValue]]:
    """Section, name and value of all that a config sets; the section of a single value is empty."""
    for name in _DURATIONS:
        duration = getattr(config, name)
        if duration is not None:
            yield "", name, duration
    for section in _MAPS:
        for name, value in getattr(config, section).items():
            yield section, name, value


def _in_order_of_config(item: tuple[tuple[str, str], Sequence[Setting]]) -> tuple[int, str]:
    section, name = item[0]
    return (_MAPS.index(section) + len(_DURATIONS), name) if section else (_DURATIONS.index(name), "")


def _config(found: Mapping[tuple[str, str], list[Setting]]) -> Config:
    single: dict[str, str] = {}
    texts: dict[str, dict[str, str]] = {"labels": {}, "annotations": {}}
    parameters: dict[str, ParameterValue] = {}
    for (section, name), settings in found.items():
        value = settings[-1].value
        if section == "parameters":
            parameters[name] = value
        else:
            (texts[section] if section else single)[name] = str(value)
    return Config(
        for_duration=single.get("for_duration"),
        keep_firing_for=single.get("keep_firing_for"),
        interval=single.get("interval"),
        labels=texts["labels"],
        annotations=texts["annotations"],
        parameters=parameters,
    )


def _misfits(rule: AlertRule, found: Mapping[tuple[str, str], list[Setting]]) -> Iterator[Violation]:
    parameters = {parameter.name: parameter for parameter in rule.spec.parameters}
    for (section, name), settings in found.items():
        setting = settings[-1]
        if section == "parameters" and setting.rule_id != rule.id:
            try:
                check_value(parameters[name], setting.value, f"parameters[{name}]")
            except InvalidInput as refused:
                inherits = f'rule "{rule.id}" would inherit this from rule "{setting.rule_id}": '
                yield from (replace(each, message=inherits + each.message) for each in refused.violations)


def _undeclared(rule: AlertRule, source: AlertRule, name: str) -> RuleWarning:
    return RuleWarning(
        WarningCode.PARAMETER_IGNORED,
        f'the parameter "{name}" set by rule "{source.id}" is ignored: rule "{rule.id}" declares no such parameter',
    )
