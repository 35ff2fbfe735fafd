"""Names of things, and the texts Prometheus can hold."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rule_service.domain import names
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason

Check = Callable[[str, str], None]

LEGAL: list[tuple[Check, list[str]]] = [
    (names.check_id, ["a", "0", "high-cpu", "a--b", "x" * 63]),
    (names.check_label_name, ["a", "_", "A9_z", "group", "__name__", "x" * 200]),
    (names.check_annotation_name, ["summary", "runbook_url"]),
    (names.check_metric_name, ["up", "job:up:sum", ":x", "_"]),
    (names.check_parameter_name, ["threshold", "a1_b", "x" * 63]),
    (names.check_alert_name, ["HighCPU", "High CPU: 80 %", "높은 CPU", "x" * 200]),
    (names.check_severity, ["warning", "P1", "page-me", "x" * 63]),
    (names.check_hostname, ["web-1", "web-1.example.com", "10.0.0.1", "my_host", "a" * 63 + ".b"]),
    (names.check_namespace_label, ["env", "group_id"]),
    (names.check_label_value, ["", "a\nb", "é \U0001f600 \u2028", "x" * 2048]),
    (names.check_annotation, ["", "{{ $value }}", "x" * 8192]),
]

INVALID, REQUIRED = Reason.FIELD_INVALID, Reason.FIELD_REQUIRED
ILLEGAL: list[tuple[Check, str, Reason, str]] = [
    (names.check_id, "", REQUIRED, "production"),
    (names.check_id, "High CPU!", Reason.ID_INVALID, '"high-cpu"'),
    (names.check_id, "-a-", Reason.ID_INVALID, '"a"'),
    (names.check_id, "../../x", Reason.ID_INVALID, '"x"'),
    (names.check_id, "a\n", Reason.ID_INVALID, '"a"'),
    (names.check_id, "x" * 64, Reason.ID_INVALID, f'"{"x" * 63}"'),
    (names.check_id, "한글", Reason.ID_INVALID, '"production"'),
    (names.check_label_name, "", Reason.LABEL_NAME_INVALID, "instance_type"),
    (names.check_label_name, "a-b.c", Reason.LABEL_NAME_INVALID, '"a_b_c"'),
    (names.check_label_name, "9a", Reason.LABEL_NAME_INVALID, '"_9a"'),
    (names.check_label_name, "é", Reason.LABEL_NAME_INVALID, "instance_type"),
    (names.check_label_name, "a\n", Reason.LABEL_NAME_INVALID, "a_"),
    (names.check_label_name, "job:x", Reason.LABEL_NAME_INVALID, "job_x"),
    (names.check_annotation_name, "run book", Reason.LABEL_NAME_INVALID, '"run_book"'),
    (names.check_metric_name, "a-b", INVALID, "node_load1"),
    (names.check_metric_name, "", INVALID, "node_load1"),
    (names.check_parameter_name, "Threshold", INVALID, "threshold"),
    (names.check_parameter_name, "_a", INVALID, "threshold"),
    (names.check_parameter_name, "x" * 64, INVALID, "63"),
    (names.check_alert_name, " \t", REQUIRED, "HighCPU"),
    (names.check_alert_name, "a\nb", INVALID, "U+000A at character 2"),
    (names.check_alert_name, "a\x85", INVALID, "U+0085"),
    (names.check_alert_name, "a\0", INVALID, "NUL"),
    (names.check_alert_name, "x" * 201, Reason.TOO_LARGE, "at most 200"),
    (names.check_severity, "", REQUIRED, "warning"),
    (names.check_severity, "very bad", INVALID, "warning"),
    (names.check_severity, "x" * 64, INVALID, "63"),
    (names.check_hostname, "", REQUIRED, "web-1.example.com"),
    (names.check_hostname, "web-1:9100", INVALID, "without a port"),
    (names.check_hostname, "-a", INVALID, "web-1"),
    (names.check_hostname, "a..b", INVALID, "web-1"),
    (names.check_hostname, "a.", INVALID, "web-1"),
    (names.check_hostname, "x" * 64, INVALID, "63 between dots"),
    (names.check_hostname, ".".join(["x" * 60] * 5), INVALID, "253"),
    (names.check_namespace_label, "severity", Reason.LABEL_RESERVED, "set by every rule"),
    (names.check_namespace_label, "alertname", Reason.LABEL_RESERVED, "Prometheus"),
    (names.check_namespace_label, "a-b", Reason.LABEL_NAME_INVALID, "a_b"),
    (names.check_label_value, "a\0b", INVALID, "NUL"),
    (names.check_label_value, "ab\ud800", INVALID, "U+D800 stands alone at character 3"),
    (names.check_label_value, "x" * 2049, Reason.TOO_LARGE, "at most 2048"),
    (names.check_annotation, "x" * 8193, Reason.TOO_LARGE, "at most 8192"),
]


@pytest.mark.parametrize(("check", "value"), [(check, value) for check, values in LEGAL for value in values])
def test_legal_names_and_texts_pass(check: Check, value: str) -> None:
    check(value, "field")


@pytest.mark.parametrize(("check", "value", "reason", "message"), ILLEGAL)
def test_others_are_refused_with_what_would_be_right(check: Check, value: str, reason: Reason, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check(value, "thing.name")
    [violation] = refused.value.violations
    assert (violation.field, violation.reason) == ("thing.name", reason)
    assert message in violation.message
    assert violation.message.isprintable()


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("alertname", "Prometheus"),
        ("__name__", "'__'"),
        ("__x", "'__'"),
        ("env", "which group of a namespace"),
        ("group_id", "which group of a namespace"),
    ],
)
def test_a_rule_may_not_set_a_label_that_tells_something_else(label: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        names.check_rule_label(label, "rule.config.labels", {"env", "group_id"})
    assert refused.value.reason is Reason.LABEL_RESERVED
    assert message in str(refused.value)


@pytest.mark.parametrize("label", ["severity", "team", "_x", "env2"])
def test_a_rule_may_set_any_other_label(label: str) -> None:
    names.check_rule_label(label, "rule.config.labels", {"env", "group_id"})


@given(st.text(max_size=100))
def test_a_suggested_id_is_one(value: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        names.check_id(value + "!", "id")
    suggested = str(refused.value).rpartition("e.g. ")[2].strip('"')
    names.check_id(suggested, "id")
