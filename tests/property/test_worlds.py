"""Exactly one rule for every series, in Prometheus itself.

Random worlds are rendered to files; promtool runs them with one synthetic series for each label set. The alerts that
fire, with their labels and annotations, must be those that the plain second reading of DESIGN 1 (`oracle.py`)
expects, and what `resolve` and `merge_config` say must be the same.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

from rule_service.domain.index import WorldIndex
from rule_service.domain.layout import assemble_file
from rule_service.domain.merge import merge_config
from rule_service.domain.model import AlertRule, GroupScope, KeyWorld, Scope
from rule_service.domain.render import RenderedRule
from rule_service.domain.resolve import resolve
from rule_service.domain.scope import own_values
from rule_service.domain.settled import RULE_ANNOTATION
from tests.property import oracle
from tests.property.worlds import (
    SPECS,
    TIED_BUT_FOR_THE_NAME,
    TIED_BUT_FOR_THE_POLICY_PRIORITY,
    VALUE,
    World,
    worlds,
)
from tests.support.promtool import alert_test, escaped, promtool
from tests.support.rendering import render_key

Alert = tuple[Mapping[str, str], Mapping[str, str]]

IN_TEST = 200
IN_PROVE = 5_000


def rule_files(rendered: Iterable[RenderedRule]) -> dict[str, bytes]:
    by_scope: dict[Scope, list[RenderedRule]] = {}
    for rule in rendered:
        by_scope.setdefault(rule.scope, []).append(rule)
    files = (assemble_file(scope, rules) for scope, rules in by_scope.items())
    return {file.name: file.content for file in files}


def expected_alerts(world: KeyWorld, series: Iterable[Mapping[str, str]], proofs: Mapping[str, str]) -> Iterator[Alert]:
    """The alerts of one key as the oracle reads DESIGN 1. proofs: the annotation that names each rendered rule."""
    for at, labels in enumerate(series):
        rule = oracle.winner(world, labels)
        assert rule is resolve(world, labels).winner
        if rule is None or not rule.enabled:
            continue
        config = oracle.merged(rule, world)
        threshold = config.parameters["threshold"]
        assert isinstance(threshold, float)
        if threshold < VALUE:
            yield alert(rule, config, world, {**labels, "target": f"t{at}"}, proofs)


def alert(
    rule: AlertRule, config: oracle.Expected, world: KeyWorld, series: Mapping[str, str], proofs: Mapping[str, str]
) -> Alert:
    texts = {"{{ .threshold }}": f"{config.parameters['threshold']:g}", "{{ $labels.target }}": series["target"]}
    annotations = dict(config.annotations)
    for placeholder, value in texts.items():
        annotations = {name: text.replace(placeholder, value) for name, text in annotations.items()}
    kept = {"target": series["target"]} if rule.key == "sum" else dict(series)
    labels = {**kept, **config.labels, **added_label(rule, world), "alertname": rule.spec.alert_name}
    return (
        {name: value for name, value in labels.items() if value},
        {name: text for name, text in annotations.items() if text} | {RULE_ANNOTATION: proofs[rule.id]},
    )


def added_label(rule: AlertRule, world: KeyWorld) -> dict[str, str]:
    """What the rule of a group without children adds."""
    if not isinstance(rule.scope, GroupScope):
        return {}
    group = world.groups[rule.scope.group_id]
    has_children = any(other.parent_id == group.id for other in world.groups.values())
    return {} if has_children else {world.namespaces[group.namespace_id].label: group.label_value}


def run_in_prometheus(world: World, directory: Path) -> None:
    lines = ["evaluation_interval: 30s\ntests:\n  - interval: 30s\n    input_series:\n"]
    for at, labels in enumerate(world.series):
        written = ",".join(f"{name}={escaped(value)}" for name, value in {**labels, "target": f"t{at}"}.items())
        lines.append(f"      - series: {escaped(f'x{{{written}}}')}\n        values: {VALUE}x2\n")
    lines.append("    alert_rule_test:\n")
    rendered: list[RenderedRule] = []
    for key in world.keys:
        rules = render_key(key)
        rendered.extend(rules)
        proofs = {rule.rule_id: rule.annotations[RULE_ANNOTATION] for rule in rules}
        expected = list(expected_alerts(key, world.series, proofs))
        lines.extend(alert_test(SPECS[key.key].alert_name, expected, eval_time="30s"))
    files = rule_files(rendered)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    (directory / "test").write_text(f"rule_files: [{', '.join(files)}]\n" + "".join(lines))
    done = promtool("test", "rules", "test", cwd=directory)
    if done.returncode:
        shown = "\n".join(f"--- {name}\n{content.decode()}" for name, content in files.items())
        pytest.fail(f"Prometheus disagrees\n{done.stdout}{done.stderr}\n{shown}")


def check(world: World, directory: Path) -> None:
    for key in world.keys:
        index = WorldIndex(key)
        for rule in key.rules:
            expected, merged = oracle.merged(rule, key), merge_config(rule, index).config
            assert merged.labels == expected.labels
            assert merged.annotations == expected.annotations
            assert merged.parameters == expected.parameters
            own = own_values(rule, index)
            for labels in world.series:
                in_scope = all(labels.get(label, "") in values for label, values in own.items())
                assert in_scope is oracle.holds(rule, key, labels)
    run_in_prometheus(world, directory)


COMMON = settings(
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example),
)


@given(worlds())
@example(TIED_BUT_FOR_THE_NAME)
@example(TIED_BUT_FOR_THE_POLICY_PRIORITY)
@settings(COMMON, max_examples=IN_TEST)
def test_every_series_has_the_rule_that_is_named_for_it(tmp_path_factory: pytest.TempPathFactory, world: World) -> None:
    check(world, tmp_path_factory.mktemp("world"))


@pytest.mark.prove
@pytest.mark.timeout(3_600)
@given(worlds())
@settings(COMMON, max_examples=IN_PROVE)
def test_every_series_of_thousands_of_worlds(tmp_path_factory: pytest.TempPathFactory, world: World) -> None:
    check(world, tmp_path_factory.mktemp("world"))
