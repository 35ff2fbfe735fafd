"""What a rule is configured with, and where each value is from (DESIGN 1.2)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

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


_Value = tuple[str, str, ParameterValue]
"""Section, name and value of something that a config sets; the section of a single value is empty."""


def merge_config(rule: AlertRule, index: WorldIndex) -> Merged:
    """The complete config of a rule, by its merge strategy and those of the rules above it."""
    declared = {parameter.name for parameter in rule.spec.parameters}
    found: dict[tuple[str, str], list[Setting]] = {}
    warnings: list[RuleWarning] = []
    for source, origin, values in _layers(rule, _inherited(rule, index)):
        for section, name, value in values:
            if section == "parameters" and name not in declared and source is not rule:
                warnings.append(_undeclared(rule, source, name))
                continue
            found.setdefault((section, name), []).append(Setting(value, source.id, source.scope, origin))
    return Merged(_config(found), found, tuple(warnings), tuple(_misfits(rule, found)))


def _inherited(rule: AlertRule, index: WorldIndex) -> tuple[AlertRule, ...]:
    """The rules above whose configs count: from the last one on that says override."""
    if rule.merge_strategy is MergeStrategy.OVERRIDE:
        return ()
    lineage = index.lineage(rule.scope)
    overriding = [at for at, each in enumerate(lineage) if each.merge_strategy is MergeStrategy.OVERRIDE]
    return lineage[overriding[-1] :] if overriding else lineage


def _layers(rule: AlertRule, inherited: Iterable[AlertRule]) -> Iterator[tuple[AlertRule, Origin, Iterable[_Value]]]:
    """Whatever sets values, the weakest first."""
    spec = rule.spec
    defaults = ((each.name, each.default) for each in spec.parameters)
    yield rule, Origin.PARAMETER_DEFAULT, [("parameters", name, value) for name, value in defaults if value is not None]
    if spec.severity:
        yield rule, Origin.TEMPLATE_DEFAULTS, [("labels", "severity", spec.severity)]
    yield rule, Origin.TEMPLATE_DEFAULTS, _values(spec.defaults)
    for each in inherited:
        yield each, Origin.CONFIG, _values(each.config)
    yield rule, Origin.CONFIG, _values(rule.config)


def _values(config: Config) -> Iterator[_Value]:
    if config.for_duration is not None:
        yield "", "for_duration", config.for_duration
    if config.keep_firing_for is not None:
        yield "", "keep_firing_for", config.keep_firing_for
    if config.interval is not None:
        yield "", "interval", config.interval
    for name, text in config.labels.items():
        yield "labels", name, text
    for name, text in config.annotations.items():
        yield "annotations", name, text
    for name, value in config.parameters.items():
        yield "parameters", name, value


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
