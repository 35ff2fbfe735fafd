"""The text of bundles: read as the API means it, refused with path and place, and never a danger."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rule_service.api.text.read import read
from rule_service.api.text.tree import TextLimits, parse_json, parse_yaml
from rule_service.api.text.write import as_json, as_yaml
from rulecast.errors import InvalidInput, LimitExceeded, Position, RulecastError
from rulecast.v1 import bundle_pb2, common_pb2, rule_pb2, template_pb2

LIMITS = TextLimits(max_bytes=100_000, max_values=5_000)


def yaml(text: str) -> bundle_pb2.Bundle:
    bundle = bundle_pb2.Bundle()
    read(parse_yaml(text, LIMITS, "content"), bundle, "content", {"version", "template_version"})
    return bundle


def json_(text: str) -> bundle_pb2.Bundle:
    bundle = bundle_pb2.Bundle()
    read(parse_json(text, LIMITS, "content"), bundle, "content", {"version", "template_version"})
    return bundle


def refused(text: str, reader: Any = yaml) -> RulecastError:
    with pytest.raises(RulecastError) as error:
        reader(text)
    return error.value


def test_a_plain_scalar_is_what_its_place_needs() -> None:
    bundle = yaml(
        """
        rules:
          - id: 007
            priority: -5
            enabled: false
            merge_strategy: OVERRIDE
            scope: {global: {}}
            config:
              for_duration: 5m
              labels: {country: no, version: 1.10, empty: ""}
              parameters: {threshold: 80, tiny: 1e-3, window: 5m, text: "80", plus: +1, country: no}
        """
    )
    (rule,) = bundle.rules
    assert (rule.id, rule.priority, rule.enabled, rule.merge_strategy) == ("007", -5, False, rule_pb2.OVERRIDE)
    assert rule.scope.WhichOneof("level") == "global"
    assert dict(rule.config.labels) == {"country": "no", "version": "1.10", "empty": ""}
    values = {name: value.WhichOneof("kind") for name, value in rule.config.parameters.items()}
    assert values == {
        "threshold": "number_value",
        "tiny": "number_value",
        "window": "string_value",
        "text": "string_value",
        "plus": "number_value",
        "country": "string_value",
    }


def test_json_is_read_as_json() -> None:
    bundle = json_(
        '{"rules": [{"id": "\\ud83d\\ude00\\/", "templateId": "cpu", "config": {"parameters": {"a": 1e2}}}]}'
    )
    (rule,) = bundle.rules
    assert (rule.id, rule.template_id, rule.config.parameters["a"].number_value) == ("😀/", "cpu", 100.0)


def test_nothing_is_an_empty_bundle() -> None:
    for text in ("", "# only a comment", "{}", "null", "rules:\ngroups: ~\n"):
        assert yaml(text) == bundle_pb2.Bundle()
    assert json_("{}") == bundle_pb2.Bundle()


def test_fields_that_are_output_only_are_not_looked_at() -> None:
    bundle = yaml("rules: [{id: a, owner: me, metadata: {nonsense: 1}, warnings: 5, etag: r1, template_version: 2}]")
    assert bundle.rules[0] == rule_pb2.AlertRule(id="a", etag="r1", template_version=2)


WRONG = [
    ("rule: []", "rule", "did you mean 'rules'?", (1, 1)),
    ("rules:\n  - {id: a, tempalte_id: x}", "rules[0].tempalte_id", "did you mean 'template_id'?", (2, 13)),
    ("rules:\n  - scope: {globall: {}}", "rules[0].scope.globall", "did you mean 'global'?", (2, 13)),
    ("rules:\n  - scope: {global: {}, group_id: x}", "rules[0].scope.group_id", "only one of them", (2, 25)),
    ("rules: {id: a}", "rules", "a list is expected here, a map is not one", (1, 8)),
    ("rules: 5", "rules", 'a list is expected here, "5" is not one', (1, 8)),
    ("rules: [a]", "rules[0]", 'a map is expected here, "a" is not one', (1, 9)),
    ("rules:\n-", "rules[0]", "a map is expected here, nothing is not one", None),
    ("rules: [{id: [a]}]", "rules[0].id", "a single value is expected", (1, 14)),
    ("rules: [{enabled: yes}]", "rules[0].enabled", "write true or false", (1, 19)),
    ("rules: [{priority: 1.5}]", "rules[0].priority", "not a whole number", (1, 20)),
    ("rules: [{priority: 99999999999}]", "rules[0].priority", "not a whole number", (1, 20)),
    ("rules: [{merge_strategy: OVERIDE}]", "rules[0].merge_strategy", "did you mean 'OVERRIDE'?", (1, 26)),
    ("rules: [{config: {labels: [a]}}]", "rules[0].config.labels", "a map is expected", (1, 27)),
    ("rules: [{config: {labels: {a: }}}]", "rules[0].config.labels[a]", "no value", (1, 28)),
    ("rules: [{config: {parameters: {a: true}}}]", "rules[0].config.parameters[a]", 'write "true"', (1, 35)),
    ("rules: [{config: {parameters: {a: [1]}}}]", "rules[0].config.parameters[a]", "a number or a text", (1, 35)),
    ("rules: [{config: {parameters: {a: 1e999}}}]", "rules[0].config.parameters[a]", "finite", (1, 35)),
    ("rules: [{scope: {global: x}}]", "rules[0].scope.global", "write {}", (1, 26)),
    ("- a", "content", "a map is expected", (1, 1)),
    ("a: &x b\nrules: *x", "content", "alias *x", (2, 8)),
    ("rules: !!python/object:os.system []", "content", "tag", (1, 8)),
    ("rules: []\nrules: []", "content", "twice", (2, 1)),
    ("rules: []\n---\nrules: []", "content", "second document", (2, 1)),
    ("? [a]\n: b", "content", "a key is a name", (1, 3)),
    ("rules: [", "content", "not YAML", (2, 1)),
    ("rules:\n\t- a", "content", "not YAML", (2, 1)),
    ("<<: {rules: []}", "<<", "there is no field", (1, 1)),
    ("rules: [{id: \x07}]", "content", "not YAML", None),
    ("rules: \0", "content", "not YAML", None),
]


@pytest.mark.parametrize(("text", "field", "message", "place"), WRONG)
def test_what_is_wrong_is_told_with_its_path_and_place(
    text: str, field: str, message: str, place: tuple[int, int] | None
) -> None:
    error = refused(text)
    (violation,) = error.violations
    assert isinstance(error, InvalidInput)
    assert violation.field == field
    assert message in violation.message
    if place is not None:
        assert violation.position == Position(*place)


def test_everything_is_told_at_once() -> None:
    error = refused("rules: [{idd: a}, {id: b, priority: x}]\ngroup: []\ntargets: 5")
    assert [each.field for each in error.violations] == ["rules[0].idd", "rules[1].priority", "group", "targets"]


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ('{"rules": [{"id": 5}]}', "rules[0].id", "in quotes"),
        ('{"rules": [{"id": true}]}', "rules[0].id", "in quotes"),
        ('{"rules": [{"enabled": "true"}]}', "rules[0].enabled", "write true or false"),
        ('{"rules": [{"priority": "5"}]}', "rules[0].priority", "not a whole number"),
        ('{"rules": [{"config": {"parameters": {"a": false}}}]}', "rules[0].config.parameters[a]", "number or a text"),
        ('{"rules": [{"config": {"parameters": {"a": NaN}}}]}', "rules[0].config.parameters[a]", "finite"),
        ('{"rules": [{"template_id": "a", "templateId": "b"}]}', "rules[0].templateId", "only one of them"),
        ('{"rules": [], "rules": []}', "content", "twice"),
        ('{"rules": [}', "content", "not JSON"),
        ("[]", "content", "a map is expected"),
    ],
)
def test_json_is_refused_by_path(text: str, field: str, message: str) -> None:
    (violation,) = refused(text, json_).violations
    assert (violation.field, message in violation.message) == (field, True), violation


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reader", "kind"),
    [
        (BOMB, yaml, InvalidInput),
        ("[" * 50_000, yaml, InvalidInput),
        ("{a: " * 20_000, yaml, InvalidInput),
        ("- " * 40_000, yaml, InvalidInput),
        ("[" * 50_000, json_, InvalidInput),
        ('{"a":' * 15_000, json_, InvalidInput),
        ("[" * 40 + "]" * 40, json_, InvalidInput),
        ("a: [" + "x, " * 6_000 + "]", yaml, LimitExceeded),
        ('{"a": [' + "1, " * 6_000 + "1]}", json_, LimitExceeded),
        ("a: " + "x" * 100_000, yaml, LimitExceeded),
        ('"' + "x" * 100_000 + '"', json_, LimitExceeded),
    ],
    ids=range(11),
)
def test_bombs_are_defused(text: str, reader: Any, kind: type[RulecastError]) -> None:
    assert isinstance(refused(text, reader), kind)


def test_numbers_of_any_length_are_no_danger() -> None:
    digits = "1" * 50_000
    for text, reader in (
        (f"rules: [{{priority: {digits}}}]", yaml),
        (f'{{"rules": [{{"priority": {digits}}}]}}', json_),
    ):
        (violation,) = refused(text, reader).violations
        assert (violation.field, len(violation.message) < 300) == ("rules[0].priority", True)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@given(
    TEXTS,
    TEXTS,
    st.one_of(TEXTS, st.floats(allow_nan=False, allow_infinity=False)),
)
@example("", "a key of\ntwo lines", "")
def test_any_text_and_number_comes_back(label: str, query: str, value: str | float) -> None:
    rule = rule_pb2.AlertRule(
        id="r",
        scope=common_pb2.Scope(group_id=label or "g"),
        spec=template_pb2.AlertSpec(query=query, alert_name=label),
        config=template_pb2.AlertConfig(labels={"a": label, query: "x"}),
    )
    if isinstance(value, str):
        rule.config.parameters["p"].string_value = value
    else:
        rule.config.parameters["p"].number_value = value
    bundle = bundle_pb2.Bundle(rules=[rule])
    assert yaml(as_yaml(bundle)) == bundle
    assert json_(as_json(bundle)) == bundle


def test_a_text_is_the_same_whatever_order_its_maps_were_filled_in() -> None:
    one, other = (
        rule_pb2.AlertRule(config=template_pb2.AlertConfig(labels=dict.fromkeys(names, "x")))
        for names in (("b", "a", "c"), ("c", "b", "a"))
    )
    assert as_yaml(one) == as_yaml(other)
    assert list(json.loads(as_json(one))["config"]["labels"]) == ["a", "b", "c"]
