"""deploy/compose.yaml and the sample configuration that it mounts; `make test-images` starts it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.demo import HOSTS
from deploy.local.process import REPOSITORY
from deploy.local.story import PUBLISHED
from deployer_service import settings as deployer_settings
from rule_service import settings as rule_service_settings
from rulecast.process.exposure import check_exposure
from rulecast.process.settings import Section, load_settings
from rulecast.process.settings_types import parse_duration
from tests.support.promtool import promtool

DEPLOY = REPOSITORY / "deploy"
RULES = "/etc/prometheus/rules/generated"


def default(found: re.Match[str]) -> str:
    return found[2]


def read() -> Mapping[str, Any]:
    """The services, with the default of each variable in its place."""
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", default, (DEPLOY / "compose.yaml").read_text())
    assert "${" not in text
    services: Mapping[str, Any] = yaml.safe_load(text)["services"]
    return services


SERVICES = read()
OURS = ("migrate", "rule-service", "deployer", "exporter", "demo")


def mounts(service: str) -> dict[str, tuple[str, bool]]:
    """By the place in the container: the volume or file, and whether it is read-only."""
    found = {}
    for volume in SERVICES[service].get("volumes", []):
        source, target, *mode = volume.split(":")
        found[target] = (source, mode == ["ro"])
    return found


def settings_of(service: str, model: type[Section], prefix: str) -> Any:
    environment = dict(SERVICES[service]["environment"])
    source, read_only = mounts(service)[environment.pop("RULECAST_CONFIG")]
    assert read_only
    return load_settings(model, prefix, DEPLOY / source, environment).settings


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_image_has_a_fixed_version(service: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+[\w.-]*", SERVICES[service]["image"])


@pytest.mark.parametrize("service", sorted(set(SERVICES) - {"postgres"}))
def test_all_but_postgresql_run_read_only_and_with_no_capability(service: str) -> None:
    described = SERVICES[service]
    assert described["read_only"] is True
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]


def test_what_is_published_is_on_loopback_and_where_the_demo_says() -> None:
    ports = {port for service in SERVICES.values() for port in service.get("ports", [])}
    assert all(port.startswith("127.0.0.1:") for port in ports)
    published = {port.rpartition(":")[0] for port in ports} - {"127.0.0.1:9093"}
    assert published == {
        PUBLISHED.rule_service,
        PUBLISHED.deployer,
        *(
            url.removeprefix("http://")
            for url in (PUBLISHED.prometheus, PUBLISHED.rule_service_http, PUBLISHED.deployer_http)
        ),
    }


def test_the_database_can_be_reached_by_the_rule_service_alone() -> None:
    beside = {name for name, service in SERVICES.items() if "database" in service["networks"]}
    assert beside == {"postgres", "migrate", "rule-service"}
    assert "ports" not in SERVICES["postgres"]


@pytest.mark.parametrize("service", ["rule-service", "migrate"])
def test_the_rule_services_settings_are_good(service: str) -> None:
    settings = settings_of(service, rule_service_settings.Settings, rule_service_settings.PREFIX)
    assert "@postgres:5432/rulecast" in settings.database.url.get_secret_value()
    assert settings.database.migrate is False  # the service `migrate` has done it
    assert (settings.grpc_listen.port, settings.http_listen.port) == (50051, 8080)


def test_the_schema_is_migrated_before_the_rule_service_starts() -> None:
    assert SERVICES["migrate"]["command"] == ["migrate"]
    assert SERVICES["migrate"]["image"] == SERVICES["rule-service"]["image"]
    assert SERVICES["rule-service"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


def test_the_deployers_settings_are_good_and_name_the_other_services() -> None:
    settings = settings_of("deployer", deployer_settings.Settings, deployer_settings.PREFIX)
    assert [str(address) for address in settings.rule_service] == ["rule-service:50051"]
    assert settings.prometheus.url.get_secret_value() == "http://prometheus:9090"
    assert str(settings.prometheus.rule_path) == RULES
    assert f"--deployer={settings.id}" in SERVICES["demo"]["command"]


def test_prometheus_reads_the_rules_that_the_deployer_writes() -> None:
    assert mounts("deployer")[RULES] == ("rules", False)
    assert mounts("prometheus")[RULES] == ("rules", True)
    assert "--web.enable-lifecycle" in SERVICES["prometheus"]["command"]
    # the volume takes on the owner of the first one's folder
    assert "deployer" in SERVICES["prometheus"]["depends_on"]


def test_the_demo_plays_the_hosts_of_make_up() -> None:
    hosts = [host for group in HOSTS.values() for host in group]
    assert SERVICES["exporter"]["command"] == ["deploy.local.exporter", "--listen", "0.0.0.0:9100", *hosts]


def test_only_one_place_says_that_it_is_insecure() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    for variable, services in (
        ("RULE_SERVICE_SECURITY_INSECURE", {"migrate", "rule-service"}),
        ("DEPLOYER_SECURITY_INSECURE", {"deployer"}),
    ):
        assert text.count(variable) == 1
        assert services <= {name for name, its in SERVICES.items() if variable in its.get("environment", {})}


@pytest.mark.parametrize(
    ("service", "model", "prefix"),
    [
        ("rule-service", rule_service_settings.Settings, rule_service_settings.PREFIX),
        ("deployer", deployer_settings.Settings, deployer_settings.PREFIX),
    ],
)
def test_a_service_may_listen_where_it_is_told_to(service: str, model: type[Section], prefix: str) -> None:
    settings = settings_of(service, model, prefix)
    check_exposure(settings.security, settings.listens, settings.tls, prefix)
    assert settings.security.insecure  # and for no other reason


def test_prometheus_accepts_its_configuration_and_finds_its_targets_by_rulecast() -> None:
    source, _ = mounts("prometheus")["/etc/prometheus/prometheus.yml"]
    done = promtool("check", "config", str(DEPLOY / source), cwd=DEPLOY)
    assert done.returncode == 0, done.stdout + done.stderr
    config = yaml.safe_load((DEPLOY / source).read_text())
    assert config["rule_files"] == [f"{RULES}/*.yml"]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert jobs["node"]["http_sd_configs"][0]["url"] == "http://rule-service:8080/api/v1/sd/prometheus"
    named = {
        target.partition(":")[0]
        for job in jobs.values()
        for part in job.get("static_configs", [])
        for target in part["targets"]
    }
    assert named <= {*SERVICES, "localhost"}


def test_alertmanagers_configuration_is_good_as_far_as_can_be_told_without_amtool() -> None:
    source, _ = mounts("alertmanager")["/etc/alertmanager/alertmanager.yml"]
    config = yaml.safe_load((DEPLOY / source).read_text())
    assert config.keys() == {"route", "receivers"}
    route = config["route"]
    assert route["receiver"] in {receiver["name"] for receiver in config["receivers"]}
    assert all(parse_duration(route[name]) > 0 for name in ("group_wait", "group_interval", "repeat_interval"))


def test_every_file_that_is_mounted_is_there() -> None:
    sources = [source for service in SERVICES for source, _ in mounts(service).values() if source.startswith("./")]
    assert len(sources) == 5
    assert all((DEPLOY / Path(source)).is_file() for source in sources)
