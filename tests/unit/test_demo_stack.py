"""Ports, Prometheus's configuration, and the claim on the data folder."""

import os
from pathlib import Path

import pytest
import yaml

from deploy.local.stack import prometheus_config, usable_port
from deploy.local.up import DataUnusable, claimed
from tests.support.ports import free_port, taken_port
from tests.support.promtool import promtool


def test_the_preferred_port_is_taken_if_it_is_free() -> None:
    preferred = free_port()
    assert usable_port(preferred) == preferred


def test_another_port_is_taken_if_the_preferred_one_is_not_free() -> None:
    with taken_port() as taken:
        other = usable_port(taken)
        assert other not in (0, taken)
        assert usable_port(other) == other


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    config, services = tmp_path / "prometheus.yml", tmp_path / "services.json"
    services.write_text("[]")
    text = prometheus_config(tmp_path / "rules", "http://127.0.0.1:8080", services)
    config.write_text(text)
    done = promtool("check", "config", str(config), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    assert jobs["node"]["http_sd_configs"][0]["url"] == "http://127.0.0.1:8080/api/v1/sd/prometheus"


def test_one_at_a_time_may_use_a_data_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    refused = pytest.raises(DataUnusable, match=f"another one is running in .*data, process {os.getpid()}")
    with claimed(data), refused, claimed(data):
        pass
    with claimed(data):
        assert data.is_dir()
