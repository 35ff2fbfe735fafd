"""What Prometheus is told to scrape of one target."""

from collections.abc import Mapping
from typing import Any

import pytest

from rule_service.domain.model import Exporter, Target
from rule_service.usecases.discover import ScrapeTarget, scrapes_of
from rule_service.usecases.ports import PlacedTarget

NODE = Exporter("node", 9100)
POSTGRES = Exporter("postgres", 9187, "/pg", "https")


def scrapes(
    *exporters: Exporter, membership: Mapping[str, str] | None = None, exporter: str | None = None, **facts: Any
) -> list[ScrapeTarget]:
    facts.setdefault("hostname", "web-1.example.com")
    return list(scrapes_of(PlacedTarget(Target("web-1", exporters=exporters, **facts), membership or {}), exporter))


def test_an_exporter_is_scraped_at_the_address_under_the_name_of_the_host() -> None:
    assert scrapes(NODE, address="10.0.0.1") == [
        ScrapeTarget("10.0.0.1:9100", {"instance": "web-1.example.com", "exporter": "node"})
    ]


def test_without_an_address_the_hostname_is_it() -> None:
    assert [each.address for each in scrapes(NODE)] == ["web-1.example.com:9100"]


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("::1", "[::1]"),
        ("fe80::1%eth0", "[fe80::1%eth0]"),
        ("[::1]", "[::1]"),
        ("a.b", "a.b"),
        ("a.b:22", "a.b"),
        ("[::1]:22", "[::1]"),
    ],
)
def test_the_port_is_the_exporters_and_an_ipv6_address_is_bracketed_once(address: str, host: str) -> None:
    assert [each.address for each in scrapes(NODE, address=address)] == [f"{host}:9100"]


def test_path_and_scheme_are_said_only_where_they_are_not_the_default() -> None:
    node, postgres = scrapes(NODE, POSTGRES)
    assert not {name for name in node.labels if name.startswith("__")}
    assert postgres.labels == {
        "instance": "web-1.example.com",
        "exporter": "postgres",
        "__metrics_path__": "/pg",
        "__scheme__": "https",
    }


def test_two_exporters_of_one_name_are_two_instances() -> None:
    found = scrapes(NODE, Exporter("gpu", 9400), Exporter("gpu", 9401))
    assert [each.labels["instance"] for each in found] == [
        "web-1.example.com",
        "web-1.example.com:9400",
        "web-1.example.com:9401",
    ]


def test_a_filter_leaves_the_exporters_of_that_name_as_they_are() -> None:
    gpus = (Exporter("gpu", 9400), Exporter("gpu", 9401))
    everything = scrapes(NODE, *gpus)
    assert scrapes(NODE, *gpus, exporter="gpu") == everything[1:]
    assert scrapes(NODE, *gpus, exporter="disk") == []


def test_the_namespaces_have_the_last_word_on_a_label_and_the_target_the_word_before() -> None:
    (found,) = scrapes(
        NODE,
        labels={"instance": "web", "rack": "r1", "env": "dev"},
        membership={"env": "prod", "exporter": "east"},
    )
    assert found.labels == {"instance": "web", "exporter": "east", "rack": "r1", "env": "prod"}
