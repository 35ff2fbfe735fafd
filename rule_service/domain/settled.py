"""What an alert becomes with one config, whatever the scope: found once for all rules that have the same settings.

What differs between these rules is left open: the scope's matchers, the value of the one label that tells the group,
and the proof with the rule's id.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from rule_service.domain.durations import format_duration, parse_duration
from rule_service.domain.form import BLANK, Form
from rule_service.domain.model import AlertSpec, Config, ParameterValue
from rule_service.domain.names import check_rule_label
from rule_service.domain.promql.ready import ReadyQuery, ready_query
from rule_service.domain.remembered import Same, remembered
from rule_service.domain.rule_yaml import rule_form
from rule_service.domain.template import render_query, render_text

RULE_ANNOTATION = "rulecast_rule"
"""`<rule id>@<digest>`: by it a deployer proves which content Prometheus runs. No config may set it."""

json_text = json.JSONEncoder().encode
"""`json.dumps` of a text, without looking at its settings each time."""

LONGEST = 4_096
"""Characters of the texts of what is remembered. Memory is for what comes often."""


@dataclass(frozen=True, slots=True)
class Texts:
    """All but the expression. Without the group's label, and without the proof.

    digested: what the digest is made of, with blanks for the expression and the value of the group's label, as JSON.
    written: as `rule_form` says, with blanks for these two and the proof.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    for_duration: str | None
    keep_firing_for: str | None
    interval: str | None
    digested: Form
    written: Form


class Settled:
    """An alert with one config: its query, then its texts, each found when it is first asked for.

    What is wrong with a part is raised each time, and so in the same order for every rule.
    """

    def __init__(self, spec: AlertSpec, config: Config, scope_labels: frozenset[str], group_label: str | None) -> None:
        self._spec = spec
        self._config = config
        self._scope_labels = scope_labels
        self._group_label = group_label
        self._query: ReadyQuery | None = None
        self._texts: Texts | None = None

    @property
    def query(self) -> ReadyQuery:
        """Raises InvalidInput or LimitExceeded for the field `query`."""
        if self._query is None:
            spec = self._spec
            rendered = render_query(spec.query, spec.parameters, self._config.parameters, "query")
            modes = spec.scope_mode, spec.scope_exclude_metrics, self._scope_labels
            self._query = ready_query(rendered.text, rendered.outline, *modes)
        return self._query

    @property
    def texts(self) -> Texts:
        """Raises InvalidInput for the fields `labels[...]`, `annotations[...]` and a duration's name."""
        if self._texts is None:
            self._texts = self._find_texts()
        return self._texts

    def _find_texts(self) -> Texts:
        config = self._config
        for name in config.labels:
            check_rule_label(name, f"labels[{name}]", self._scope_labels)
        labels = self._rendered("labels", config.labels)
        annotations = self._rendered("annotations", config.annotations)
        for_duration = _duration(config.for_duration, "for_duration")
        keep_firing_for = _duration(config.keep_firing_for, "keep_firing_for")
        interval = _duration(config.interval, "interval")
        open_labels = labels if self._group_label is None else {**labels, self._group_label: None}
        alert_name = self._spec.alert_name
        digested = _digested(alert_name, (for_duration, keep_firing_for, interval), open_labels, annotations)
        written = rule_form(
            alert_name,
            for_duration=for_duration,
            keep_firing_for=keep_firing_for,
            labels=open_labels,
            annotations={**annotations, RULE_ANNOTATION: None},
        )
        return Texts(labels, annotations, for_duration, keep_firing_for, interval, digested, written)

    def _rendered(self, section: str, texts: Mapping[str, str]) -> dict[str, str]:
        """Without the empty ones, as Prometheus would do."""
        parameters, values = self._spec.parameters, self._config.parameters
        rendered = ((name, render_text(text, parameters, values, f"{section}[{name}]")) for name, text in texts.items())
        return {name: text for name, text in rendered if text}


def settled(spec: AlertSpec, config: Config, scope_labels: frozenset[str], group_label: str | None) -> Settled:
    """config: merged. scope_labels: those of the namespaces, which no config may set. group_label: one that rules add.

    Remembered by the very alert, which rules of one template share, and by each value of the config and its type.
    """
    values = tuple(config.parameters.items())
    size = len(spec.query) + _size(config.labels) + _size(config.annotations)
    size += sum([len(value) for _, value in values if isinstance(value, str)])
    if size > LONGEST:
        return Settled(spec, config, scope_labels, group_label)
    labels, annotations = tuple(config.labels.items()), tuple(config.annotations.items())
    durations = (config.for_duration, config.keep_firing_for, config.interval)
    # to Python 1, 1.0 and True are one
    types = tuple([type(value) for _, value in values])
    return _remembered(Same(spec), scope_labels, group_label, durations, labels, annotations, values, types)


# the texts and numbers that a config consists of, since a config itself can not be hashed
@lru_cache(maxsize=8_192)
def _remembered(
    spec: Same[AlertSpec],
    scope_labels: frozenset[str],
    group_label: str | None,
    durations: tuple[str | None, str | None, str | None],
    labels: tuple[tuple[str, str], ...],
    annotations: tuple[tuple[str, str], ...],
    values: tuple[tuple[str, ParameterValue], ...],
    types: tuple[type, ...],
) -> Settled:
    config = Config(*durations, dict(labels), dict(annotations), dict(values))
    return Settled(spec.value, config, scope_labels, group_label)


def _size(texts: Mapping[str, str]) -> int:
    return sum(map(len, texts.values()))


def _duration(text: str | None, field: str) -> str | None:
    return _formatted(text, field) if text is not None else None


@remembered(1_024)
def _formatted(text: str, field: str) -> str | None:
    milliseconds = parse_duration(text, field)
    return format_duration(milliseconds) if milliseconds else None


def _digested(
    alert_name: str, durations: Iterable[str | None], labels: Mapping[str, str | None], annotations: Mapping[str, str]
) -> Form:
    """As `json.dumps` writes a list of all these, maps as sorted lists of pairs; the expression comes second."""
    name = json_text(alert_name)
    written = ", ".join([json_text(each) if each is not None else "null" for each in durations])
    return Form(f"[{name}, {BLANK}, {written}, {_pairs(labels)}, {_pairs(annotations)}]")


def _pairs(texts: Mapping[str, str | None]) -> str:
    pairs = [
        f"[{json_text(name)}, {json_text(text) if text is not None else BLANK}]" for name, text in sorted(texts.items())
    ]
    return f"[{', '.join(pairs)}]"
