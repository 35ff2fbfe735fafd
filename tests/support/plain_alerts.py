"""What must fire for the series of a plain world, worked out by hand for a few queries, and the test promtool runs."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.support.plain_worlds import PlainWorld, Recipe, Rule, Settings, Value
from tests.support.promtool import alert_test, escaped

THRESHOLD = {"threshold": "NUMBER"}

RECIPES = (
    Recipe("constant", "METRIC > 50", {}),
    Recipe("not equal", 'METRIC{mode!="{{ .text }}"} > {{ .threshold }}', {**THRESHOLD, "text": "STRING"}),
    Recipe("equal", "METRIC{mode=~'{{ .text }}'} > {{ .threshold }}", {**THRESHOLD, "text": "STRING"}),
    Recipe("pattern", 'METRIC{mode=~"{{ .pattern }}"} >= {{ .threshold }}', {**THRESHOLD, "pattern": "REGEX"}),
    Recipe("maximum", "max by (instance) (METRIC) > {{ .threshold }}", THRESHOLD, ("instance",)),
    Recipe(
        "maximum by",
        "max by (instance, {{ .label }}) (METRIC) > {{ .threshold }}",
        {**THRESHOLD, "label": "LABEL_NAME"},
        ("instance", "mode"),
    ),
    Recipe("window", "avg_over_time(METRIC[{{ .window }}]) > {{ .threshold }}", {**THRESHOLD, "window": "DURATION"}),
    Recipe("named", "{{ .metric }} > {{ .threshold }} # no {more}", {**THRESHOLD, "metric": "METRIC_NAME"}),
    Recipe(
        "joined",
        'METRIC > {{ .threshold }} and on (instance)\n  STATE{state="{{ .text }}"}',
        {**THRESHOLD, "text": "STRING"},
    ),
    Recipe("excluded", "METRIC > {{ .threshold }} unless on (instance) QUIET", THRESHOLD, excludes=("quiet_*",)),
    Recipe(
        "manual",
        'METRIC{__scope__="on"} > {{ .threshold }} unless on (instance) QUIET',
        THRESHOLD,
        scope_mode="SCOPE_MODE_MANUAL",
    ),
    Recipe("off", 'METRIC > {{ .threshold }} unless on (instance) QUIET{__scope__="off"}', THRESHOLD),
)


@dataclass(frozen=True)
class Subject:
    """Something that has one series of every metric.

    labels: of its series, `instance` included. values: of the metric of each key, the same all the time.
    states: the label `state` of a second metric, by key. quiet: the keys for which it has a series that silences.
    """

    labels: Mapping[str, str]
    values: Mapping[str, int] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    quiet: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Alert:
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def metric(kind: str, key: str) -> str:
    return f"{kind}_{key.replace('-', '_')}"


def query_of(recipe: Recipe, key: str) -> str:
    """The query with the metrics of a key."""
    names = {"METRIC": metric("value", key), "STATE": metric("state", key), "QUIET": metric("quiet", key)}
    return re.sub("|".join(names), lambda found: names[found.group()], recipe.query)


def holds(recipe: Recipe, key: str, subject: Subject, settings: Settings) -> bool:
    """Whether the query, with these settings and before any scoping, has the subject in its result."""
    threshold = float(settings.get("parameters.threshold", 50.0))
    value, mode = subject.values[key], subject.labels.get("mode", "")
    match recipe.name:
        case "not equal":
            return value > threshold and mode != settings["parameters.text"]
        case "equal":
            return value > threshold and mode == settings["parameters.text"]
        case "pattern":
            matched = re.fullmatch(str(settings["parameters.pattern"]), mode) is not None
            return value >= threshold and matched
        case "joined":
            return value > threshold and subject.states[key] == settings["parameters.text"]
        case "excluded" | "manual" | "off":
            return value > threshold and key not in subject.quiet
        case _:
            return value > threshold


def alert_of(world: PlainWorld, id: str, subject: Subject, annotation: str) -> Alert | None:
    """The alert that a rule raises for a subject that it evaluates. None: it does not fire within ten minutes.

    annotation: what Rulecast adds, as the rule's file has it.
    """
    rule, settings = world.rules[id], world.settings(id)
    if not holds(rule.spec.recipe, rule.key, subject, settings) or settings.get("for_duration") == "1h":
        return None
    keeps = rule.spec.recipe.keeps
    labels = {name: text for name, text in subject.labels.items() if keeps is None or name in keeps}
    labels |= added_labels(world, rule, settings, subject) | {"alertname": rule.spec.alert_name}
    annotations = {name: expanded(text, rule, settings, subject) for name, text in texts(settings, "annotations.")}
    annotations |= {"rulecast_rule": annotation}
    return Alert(rule.spec.alert_name, without_empty(labels), without_empty(annotations))


def without_empty(texts: Mapping[str, str]) -> dict[str, str]:
    """To Prometheus an empty label is none; a rule's takes that of the series away."""
    return {name: text for name, text in texts.items() if text}


def added_labels(world: PlainWorld, rule: Rule, settings: Settings, subject: Subject) -> dict[str, str]:
    """The rule's labels, and that of a group without children."""
    labels = {name: expanded(text, rule, settings, subject) for name, text in texts(settings, "labels.")}
    if rule.place.level == "group" and not world.children(rule.place.id):
        part = world.groups[rule.place.id]
        labels[world.namespaces[part.namespace].label] = part.value
    return labels


def texts(settings: Settings, prefix: str) -> Iterator[tuple[str, str]]:
    """The labels or annotations that are left when the empty ones are gone."""
    for path, value in settings.items():
        if path.startswith(prefix) and value != "":
            yield path.removeprefix(prefix), str(value)


def expanded(text: str, rule: Rule, settings: Settings, subject: Subject) -> str:
    """What a reader of the alert sees: a value that looks like a template action stays what it is."""
    actions = {"{{ $labels.instance }}": subject.labels["instance"], "{{ $value }}": str(subject.values[rule.key])}
    actions |= {f"{{{{ .{name} }}}}": written(settings[f"parameters.{name}"]) for name in rule.spec.holes}
    return re.sub(r"\{\{.*?\}\}", lambda found: actions[found.group()], text)


def written(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else value


def promtool_test(
    files: Iterable[str],
    subjects: Iterable[Subject],
    keys: Sequence[str],
    names: Iterable[str],
    alerts: Sequence[Alert],
) -> str:
    """A test for promtool: these series, and at ten minutes these alerts and no other with one of these names."""
    lines = ["rule_files: [" + ", ".join(escaped(name) for name in files) + "]\n", "evaluation_interval: 1m\n"]
    lines += ["tests:\n  - interval: 1m\n    input_series:\n"]
    for subject in subjects:
        for key in keys:
            lines += series_lines(subject, key)
    lines += ["    alert_rule_test:\n"]
    for name in sorted({*names, *(alert.name for alert in alerts)}):
        lines += alert_test(name, [(each.labels, each.annotations) for each in alerts if each.name == name])
    return "".join(lines)


def series_lines(subject: Subject, key: str) -> Iterator[str]:
    labels = dict(subject.labels)
    yield one_series(metric("value", key), labels, subject.values[key])
    yield one_series(metric("state", key), {**labels, "state": subject.states[key]}, 1)
    if key in subject.quiet:
        yield one_series(metric("quiet", key), {"instance": labels["instance"]}, 1)


def one_series(name: str, labels: Mapping[str, str], value: int) -> str:
    pairs = ",".join(f"{label}={quoted(text)}" for label, text in labels.items() if text)
    return f"      - {{series: {escaped(f'{name}{{{pairs}}}')}, values: '{value}x10'}}\n"


def quoted(text: str) -> str:
    """A PromQL string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'
