"""What a rule is configured with, and where each value is from (DESIGN 1.2)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from rule_service.domain.index import WorldIndex
from rule_service.domain.model import AlertRule, AlertSpec, Config, MergeStrategy, ParameterValue, Scope
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


class Setting(NamedTuple):
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


class Layer(NamedTuple):
    """What one part of a rule sets."""

    rule: AlertRule
    origin: Origin
    config: Config


@dataclass(frozen=True, slots=True)
class Merged:
    """config: complete; an empty label or annotation in it removes one.

    inherited: what the rules above set, the most general first. misfits: values that the rule inherits and its own
    parameters do not allow. With one it can not be rendered.
    """

    rule: AlertRule
    config: Config
    inherited: tuple[Layer, ...] = ()
    warnings: tuple[RuleWarning, ...] = ()
    misfits: tuple[Violation, ...] = ()

    @property
    def trace(self) -> tuple[TraceEntry, ...]:
        """One entry for each value of the config."""
        found: dict[tuple[str, str], list[Setting]] = {}
        for rule, origin, config in _layers(self.rule, self.inherited):
            for section, name, value in _values(config):
                found.setdefault((section, name), []).append(Setting(value, rule.id, rule.scope, origin))
        return tuple(
            TraceEntry(f"{section}.{name}" if section else name, settings[-1], tuple(settings[:-1]))
            for (section, name), settings in sorted(found.items(), key=_in_order_of_config)
        )


def merge_config(rule: AlertRule, index: WorldIndex) -> Merged:
    """The complete config of a rule, by its merge strategy and those of the rules above it."""
    above = _inherited(rule, index)
    if not above:
        return Merged(rule, _merged(rule.spec, (rule.spec.defaults, rule.config)))
    inherited = tuple(Layer(each, Origin.CONFIG, _declared(rule, each.config)) for each in above)
    config = _merged(rule.spec, (rule.spec.defaults, *(layer.config for layer in inherited), rule.config))
    return Merged(rule, config, inherited, tuple(_ignored(rule, above)), tuple(_misfits(rule, config, inherited)))


def _inherited(rule: AlertRule, index: WorldIndex) -> tuple[AlertRule, ...]:
    """The rules above whose configs count: from the last one on that says override."""
    if rule.merge_strategy is MergeStrategy.OVERRIDE:
        return ()
    lineage = index.lineage(rule.scope)
    if not lineage:
        return ()
    overriding = [at for at, each in enumerate(lineage) if each.merge_strategy is MergeStrategy.OVERRIDE]
    return lineage[overriding[-1] :] if overriding else lineage


def _declared(rule: AlertRule, config: Config) -> Config:
    """The config without parameters that the rule does not declare."""
    names = {parameter.name for parameter in rule.spec.parameters}
    if names.issuperset(config.parameters):
        return config
    return replace(config, parameters={name: value for name, value in config.parameters.items() if name in names})


def _ignored(rule: AlertRule, above: Iterable[AlertRule]) -> Iterator[RuleWarning]:
    names = {parameter.name for parameter in rule.spec.parameters}
    for source in above:
        for name in source.config.parameters:
            if name not in names:
                yield RuleWarning(
                    WarningCode.PARAMETER_IGNORED,
                    f'the parameter "{name}" set by rule "{source.id}" is ignored: '
                    f'rule "{rule.id}" declares no such parameter',
                )


def _layers(rule: AlertRule, inherited: Iterable[Layer]) -> Iterator[Layer]:
    """Whatever sets values, the weakest first."""
    yield Layer(rule, Origin.PARAMETER_DEFAULT, Config(parameters=_parameter_defaults(rule.spec)))
    yield Layer(rule, Origin.TEMPLATE_DEFAULTS, Config(labels=_severity(rule.spec)))
    yield Layer(rule, Origin.TEMPLATE_DEFAULTS, rule.spec.defaults)
    yield from inherited
    yield Layer(rule, Origin.CONFIG, rule.config)


def _parameter_defaults(spec: AlertSpec) -> dict[str, ParameterValue]:
    return {each.name: each.default for each in spec.parameters if each.default is not None}


def _severity(spec: AlertSpec) -> dict[str, str]:
    return {"severity": spec.severity} if spec.severity else {}


def _merged(spec: AlertSpec, configs: Iterable[Config]) -> Config:
    """configs: the weakest first."""
    for_duration = keep_firing_for = interval = None
    labels = _severity(spec)
    annotations: dict[str, str] = {}
    parameters = _parameter_defaults(spec)
    for config in configs:
        if config.for_duration is not None:
            for_duration = config.for_duration
        if config.keep_firing_for is not None:
            keep_firing_for = config.keep_firing_for
        if config.interval is not None:
            interval = config.interval
        labels.update(config.labels)
        annotations.update(config.annotations)
        parameters.update(config.parameters)
    return Config(for_duration, keep_firing_for, interval, labels, annotations, parameters)


def _values(config: Config) -> Iterator[tuple[str, str, ParameterValue]]:
    """Section, name and value of all that a config sets; the section of a single value is empty."""
    for name in _DURATIONS:
        if (duration := getattr(config, name)) is not None:
            yield "", name, duration
    for section in _MAPS:
        for name, value in getattr(config, section).items():
            yield section, name, value


def _in_order_of_config(item: tuple[tuple[str, str], Sequence[Setting]]) -> tuple[int, str]:
    section, name = item[0]
    return (_MAPS.index(section) + len(_DURATIONS), name) if section else (_DURATIONS.index(name), "")


def _misfits(rule: AlertRule, config: Config, inherited: Iterable[Layer]) -> Iterator[Violation]:
    declared = {parameter.name: parameter for parameter in rule.spec.parameters}
    set_by = {name: layer.rule for layer in inherited for name in layer.config.parameters}
    for name, value in config.parameters.items():
        if name in set_by and name not in rule.config.parameters:
            try:
                check_value(declared[name], value, f"parameters[{name}]")
            except InvalidInput as refused:
                inherits = f'rule "{rule.id}" would inherit this from rule "{set_by[name].id}": '
                yield from (replace(each, message=inherits + each.message) for each in refused.violations)
