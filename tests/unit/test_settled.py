"""What rules with the same settings share, and what is never taken for the same."""

from dataclasses import replace
from typing import Any

import pytest

from rule_service.domain.model import AlertSpec, Config, Parameter, ParameterType, ParameterValue
from rule_service.domain.settled import LONGEST, Settled, settled
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason

SPEC = AlertSpec("Alert", "warning", "cpu > {{ .threshold }}", (Parameter("threshold", ParameterType.NUMBER),))
NO_LABELS: frozenset[str] = frozenset()


def of(threshold: ParameterValue, spec: AlertSpec = SPEC, **config: Any) -> Settled:
    return settled(spec, Config(parameters={"threshold": threshold}, **config), frozenset({"env"}), None)


def test_the_same_settings_are_looked_at_once() -> None:
    assert of(90.0, labels={"a": "b"}) is of(90.0, labels={"a": "b"})
    assert of(90.0, labels={"a": "b"}) is not of(90.0, labels={"a": "c"})
    assert settled(SPEC, Config(), NO_LABELS, "env") is not settled(SPEC, Config(), NO_LABELS, "cluster")


def test_an_equal_alert_is_another_one() -> None:
    assert of(90.0) is not of(90.0, replace(SPEC))


def test_what_is_true_is_not_1() -> None:
    assert of(1.0).query.text == of(1).query.text == "cpu > 1"
    for _ in range(2):
        with pytest.raises(InvalidInput) as refused:
            of(True).query.scope((), ())
        assert refused.value.reason is Reason.PARAMETER_TYPE


def test_what_is_wrong_is_raised_each_time() -> None:
    wrong = of(90.0, labels={"env": "prod"}, annotations={"summary": "{{ .other }}"})
    for _ in range(2):
        assert wrong.query.text == "cpu > 90"
        with pytest.raises(InvalidInput) as refused:
            wrong.texts.digested.filled()
        assert [each.field for each in refused.value.violations] == ["labels[env]"]


@pytest.mark.parametrize("place", ["labels", "annotations", "query", "value"])
def test_long_texts_take_no_memory(place: str) -> None:
    long = "x" * (LONGEST + 1)
    spec = SPEC if place != "query" else replace(SPEC, query=f"{SPEC.query} # {long}")
    config = {place: {"a": long}} if place in ("labels", "annotations") else {}
    value = long if place == "value" else 90.0
    assert of(value, spec, **config) is not of(value, spec, **config)


def test_the_digest_and_the_file_have_a_blank_for_each_thing_that_differs() -> None:
    texts = settled(SPEC, Config("5m", labels={"z": "1"}, annotations={"s": "é"}), NO_LABELS, "env").texts
    assert texts.digested.filled("<expr>", "<env>") == (
        '["Alert", <expr>, "5m", null, null, [["env", <env>], ["z", "1"]], [["s", "\\u00e9"]]]'
    )
    assert texts.written.filled("<expr>", "<env>", "<proof>") == (
        "      - alert: Alert\n        expr: <expr>\n        for: 5m\n        labels:\n          env: <env>\n"
        '          z: "1"\n        annotations:\n          rulecast_rule: <proof>\n          s: "é"\n'
    )
