"""The deployer's settings: their names, their defaults, what is refused."""

from pathlib import Path

import pytest
import yaml

from deployer_service.__main__ import main
from deployer_service.settings import PREFIX, Settings, id_of_host
from rulecast.process.addresses import HostPort
from rulecast.process.logs import LogFormat, LogLevel
from rulecast.process.settings import load_settings
from rulecast.process.settings_file import SettingsError


def load(**environment: str) -> Settings:
    return load_settings(Settings, PREFIX, None, environment).settings


def problem(**environment: str) -> str:
    with pytest.raises(SettingsError) as raised:
        load(**environment)
    [found] = raised.value.problems
    return found


def test_what_holds_when_nothing_is_set() -> None:
    settings = load()

    prometheus = settings.prometheus
    assert prometheus.url.get_secret_value() == "http://localhost:9090"
    assert prometheus.rule_path == Path("/etc/prometheus/rules/generated")
    assert (prometheus.reload_enabled, prometheus.reload_timeout) == (True, 30.0)
    assert (prometheus.validate_rules, prometheus.health_check_enabled) == (True, True)
    assert settings.rule_service == (HostPort("127.0.0.1", 50051),)
    assert settings.serves == ()
    assert settings.grpc_listen.host == settings.http_listen.host == "127.0.0.1"


def test_every_variable() -> None:
    settings = load(
        PROMETHEUS_URL="https://me:secret@prometheus:9090/base",
        PROMETHEUS_RULE_PATH="/rules",
        PROMETHEUS_RULE_PATH_SEEN_AS="/etc/prometheus/rules",
        PROMETHEUS_RELOAD_ENABLED="false",
        PROMETHEUS_RELOAD_TIMEOUT="45s",
        PROMETHEUS_VALIDATE_RULES="false",
        PROMETHEUS_HEALTH_CHECK_ENABLED="false",
        PROMETHEUS_PID_FILE="/run/prometheus.pid",
        PROMTOOL_PATH="/opt/promtool",
        PROMTOOL_TIMEOUT="2m",
        PROMETHEUS_CONFIG_PATH="/etc/prometheus/prometheus.yml",
        DEPLOYER_ID="eu-1",
        DEPLOYER_RULE_SERVICE="a:1,b:2",
        DEPLOYER_SERVES="namespace/env,group/prod",
        DEPLOYER_GRPC_LISTEN="0.0.0.0:1",
        DEPLOYER_HTTP_LISTEN="[::]:2",
        DEPLOYER_MIN_RELOAD_INTERVAL="1s",
        DEPLOYER_BACKUPS="9",
        DEPLOYER_DRIFT_INTERVAL="1m",
        DEPLOYER_LOG_LEVEL="debug",
        DEPLOYER_LOG_FORMAT="json",
    )

    prometheus = settings.prometheus
    assert prometheus.url.get_secret_value() == "https://me:secret@prometheus:9090/base"
    assert (prometheus.rule_path, prometheus.rule_path_seen_as) == (Path("/rules"), "/etc/prometheus/rules")
    assert (prometheus.reload_enabled, prometheus.reload_timeout) == (False, 45.0)
    assert (prometheus.validate_rules, prometheus.health_check_enabled) == (False, False)
    assert (prometheus.pid_file, prometheus.promtool_path) == (Path("/run/prometheus.pid"), "/opt/promtool")
    assert prometheus.promtool_timeout == 120.0
    assert prometheus.config_path == Path("/etc/prometheus/prometheus.yml")
    assert settings.id == "eu-1"
    assert settings.rule_service == (HostPort("a", 1), HostPort("b", 2))
    assert settings.serves == ("namespace/env", "group/prod")
    assert (settings.grpc_listen, settings.http_listen) == (HostPort("0.0.0.0", 1), HostPort("::", 2))
    assert (settings.min_reload_interval, settings.backups, settings.drift_interval) == (1.0, 9, 60.0)
    assert (settings.logs.level, settings.logs.format) == (LogLevel.DEBUG, LogFormat.JSON)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("DEPLOYER_ID", "../../x", "letter or digit at both ends"),
        ("DEPLOYER_SERVES", "group/prod,prod", "'prod' is neither namespace/<id> nor group/<id>"),
        ("DEPLOYER_RULE_SERVICE", "http://rules:50051", "is not an address: write host:port"),
        ("DEPLOYER_RULE_SERVICE", ",", "at least one address"),
        ("DEPLOYER_BACKUPS", "0", "greater than or equal to 1"),
        ("PROMETHEUS_URL", "localhost:9090", "begins with http:// or https://"),
        ("PROMETHEUS_RELOAD_TIMEOUT", "30", "written with its unit"),
        ("PROMETHEUS_VALIDATE_RULES", "perhaps", "valid boolean"),
        ("DEPLOYER_RULE_SERVICES", "a:1", "did you mean DEPLOYER_RULE_SERVICE?"),
        ("PROMETHEUS_VALIDATE_RULE", "false", "did you mean PROMETHEUS_VALIDATE_RULES?"),
    ],
)
def test_what_is_wrong_is_said(variable: str, value: str, says: str) -> None:
    found = problem(**{variable: value})

    assert variable in found
    assert says in found


@pytest.mark.parametrize(
    ("host", "id"),
    [
        ("web-1", "web-1"),
        ("Web_1.Example.COM", "web-1-example-com"),
        ("-x-", "x"),
        ("日本", "deployer"),
        ("a" * 99, "a" * 63),
    ],
)
def test_the_host_gives_the_id(host: str, id: str) -> None:
    assert id_of_host(host) == id
    assert load(DEPLOYER_ID=id).id == id


def test_check_config_prints_each_value_with_its_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "deployer.yaml"
    file.write_text("id: eu-1\nprometheus:\n  url: http://me:hunter2@localhost:9090\n")
    monkeypatch.setenv("PROMETHEUS_RULE_PATH", "/rules")

    assert main(["check-config", "--config", str(file)]) == 0

    printed = capsys.readouterr().out
    assert "hunter2" not in printed
    assert yaml.safe_load(printed)["prometheus"]["rule_path"] == "/rules"
    assert f'id: "eu-1"  # {file}:1\n' in printed


def test_wrong_settings_end_with_what_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "deployer.yaml"
    file.write_text("prometheus:\n  ulr: x\n")

    assert main(["serve", "--config", str(file)]) == 2

    assert capsys.readouterr().err == (
        f"{file}:2: there is no setting 'prometheus.ulr'; did you mean prometheus.url?\n"
    )


def test_it_does_not_start_without_promtool(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMTOOL_PATH", str(tmp_path / "promtool"))
    monkeypatch.setenv("PROMETHEUS_RULE_PATH", str(tmp_path / "rules"))

    assert main(["serve"]) == 1

    said = capsys.readouterr().err
    assert "install your distribution's package" in said
    assert "PROMETHEUS_VALIDATE_RULES=false" in said
    assert not (tmp_path / "rules").exists()
