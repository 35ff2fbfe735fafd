"""What is declared of the metrics: conventions, bounded labels, and the reference page."""

import re

import pytest

import deployer_service.metrics
import rule_service.metrics
import rulecast.rpc.metrics
from deploy.metrics import PAGE, SECTIONS, names, page
from rulecast.process.metrics import Metric, declared

ALL = [metric for _, _, module in SECTIONS for metric in declared(module)]
BOUNDED = {
    "deployer",
    "grpc_code",
    "grpc_method",
    "grpc_service",
    "grpc_type",
    "kind",
    "method",
    "outcome",
    "python",
    "reason",
    "result",
    "service",
    "source",
    "state",
    "step",
    "version",
}
"""Labels whose values are those of an enum, a method of ours, a program's version or a deployer's id."""


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_names_and_meanings_follow_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"(rulecast|grpc_server)_[a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.kind != "histogram" or metric.name.endswith("_seconds")
    assert metric.meaning.endswith(".")
    assert "|" not in metric.meaning, "it stands in a table"
    assert set(metric.labels) <= BOUNDED


def test_no_name_is_declared_twice() -> None:
    assert len({metric.name for metric in ALL}) == len(ALL)


def test_each_service_declares_what_it_has_in_one_module() -> None:
    assert {metric.name for metric in declared(deployer_service.metrics)} == {
        metric.name for metric in ALL if metric.name.startswith("rulecast_deployer_")
    }
    assert declared(rule_service.metrics)
    assert {metric.name for metric in declared(rulecast.rpc.metrics)} >= {"grpc_server_handled_total"}


def test_the_reference_page_is_what_the_code_gives() -> None:
    assert PAGE.read_text() == page()


def test_a_histogram_is_asked_for_by_its_series() -> None:
    assert {"rulecast_promtool_seconds_bucket", "rulecast_promtool_seconds_count", "rulecast_ready"} <= names()
    assert "rulecast_promtool_seconds" not in names()
