"""The hosts that the demo exporter plays."""

import re
from collections.abc import Mapping
from importlib.resources import files

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.exporter import BUSY, CORES, DemoExporter, metrics_path, metrics_text
from tests.support.ports import taken_port

NOW = 1_790_000_000.0

Series = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


def series(now: float) -> Series:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics_text("web-1", now))
        for sample in family.samples
    }


def counters(now: float) -> Series:
    names = re.findall(r"# TYPE (\S+) counter", metrics_text("web-1", now))
    return {key: value for key, value in series(now).items() if key[0] in names}


def test_every_cpu_is_busy_for_the_stated_part_of_the_time() -> None:
    before, after = series(NOW), series(NOW + 30)
    idle = [key for key in after if key[0] == "node_cpu_seconds_total" and ("mode", "idle") in key[1]]
    assert len(idle) == CORES
    for key in idle:
        assert (after[key] - before[key]) / 30 == pytest.approx(1 - BUSY, abs=1e-4)


def test_the_modes_of_a_cpu_add_up_to_the_time_that_passed() -> None:
    before, after = series(NOW), series(NOW + 30)
    first = [key for key in after if key[0] == "node_cpu_seconds_total" and ("cpu", "0") in key[1]]
    assert sum(after[key] - before[key] for key in first) == pytest.approx(30, abs=1e-3)


def test_no_counter_falls_when_the_demo_is_started_anew() -> None:
    earlier, later = counters(NOW), counters(NOW + 0.5)
    assert len(earlier) > CORES
    assert all(later[key] >= value for key, value in earlier.items())


def test_the_templates_for_node_exporters_find_their_metrics() -> None:
    library = files("rule_service.library").joinpath("node.yaml").read_text()
    queries = "\n".join(re.findall(r"query: \|-\n((?: {6}.*\n)+)", library))
    named = set(re.findall(r"\bnode_\w+", queries))
    without = {"node_md_disks", "node_md_disks_required"}  # the hosts have no RAID
    assert len(named) > 20
    assert {name for name, _ in series(NOW)} >= named - without


async def test_it_serves_its_hosts_and_no_others_on_another_port_when_its_own_is_taken() -> None:
    with taken_port() as taken:
        exporter = DemoExporter(["web-1"], taken, clock=lambda: NOW)
        await exporter.start()
        try:
            assert exporter.port != taken
            async with aiohttp.ClientSession(base_url=f"http://127.0.0.1:{exporter.port}") as session:
                async with session.get(metrics_path("web-1")) as answer:
                    assert await answer.text() == metrics_text("web-1", NOW)
                async with session.get(metrics_path("web-9")) as answer:
                    assert answer.status == 404
        finally:
            await exporter.stop()
