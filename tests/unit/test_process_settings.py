"""Settings: what is read, what is refused and in which words, what is printed."""

from pathlib import Path
from typing import Annotated

import pytest
import yaml
from pydantic import Field

from rulecast.process.addresses import HostPort
from rulecast.process.logs import LogLevel
from rulecast.process.settings import CONFIG_VARIABLE, Env, Loaded, Section, load_settings, print_settings
from rulecast.process.settings_file import SettingsError
from rulecast.process.settings_types import (
    Address,
    Duration,
    SecretUrl,
    mask_url,
    parse_duration,
    show_duration,
    with_scheme,
)


class Prometheus(Section):
    url: SecretUrl = SecretUrl("http://localhost:9090")
    reload_timeout: Duration = 30.0
    reload_enabled: bool = True
    pid_file: Path | None = None


class Log(Section):
    level: LogLevel = LogLevel.INFO


class Example(Section):
    listen: Address = HostPort("127.0.0.1", 8080)
    serves: tuple[str, ...] = ()
    workers: Annotated[int, Field(ge=1)] = 4
    database_url: SecretUrl = SecretUrl("postgresql://app@localhost/app")
    prometheus: Annotated[Prometheus, Env("PROMETHEUS")] = Prometheus()
    promtool: Annotated[Path | None, Env("PROMTOOL_PATH")] = None
    log: Log = Log()


def load(file: Path | None = None, /, **environment: str) -> Loaded[Example]:
    return load_settings(Example, "EXAMPLE", file, environment)


def problems(file: Path | None = None, /, **environment: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(file, **environment)
    return raised.value.problems


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "example.yaml"


def test_nothing_set_is_the_defaults() -> None:
    loaded = load()

    assert loaded.settings == Example()
    assert set(loaded.sources.values()) == {"default"}


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(file: Path) -> None:
    file.write_text("prometheus:\n  url: http://file:1\n  reload_timeout: 45s\nserves: [a, b]\n")

    loaded = load(file, PROMETHEUS_URL="http://env:2", EXAMPLE_LOG_LEVEL="debug")

    settings = loaded.settings
    assert settings.prometheus.url.get_secret_value() == "http://env:2"
    assert settings.prometheus.reload_timeout == 45.0
    assert settings.serves == ("a", "b")
    assert settings.log.level is LogLevel.DEBUG
    assert loaded.sources[("prometheus", "url")] == "environment PROMETHEUS_URL"
    assert loaded.sources[("prometheus", "reload_timeout")] == f"{file}:3"
    assert loaded.sources[("prometheus", "reload_enabled")] == "default"


def test_the_environment_names_the_file(file: Path) -> None:
    file.write_text("workers: 7\n")

    assert load(None, **{CONFIG_VARIABLE: str(file)}).settings.workers == 7


def test_values_of_the_environment_are_read_by_their_kind() -> None:
    settings = load(
        EXAMPLE_SERVES="namespace/env, group/prod,",
        EXAMPLE_LISTEN="[::1]:9",
        EXAMPLE_WORKERS="9",
        PROMETHEUS_RELOAD_ENABLED="false",
        PROMETHEUS_RELOAD_TIMEOUT="1m30s",
        PROMTOOL_PATH="/usr/bin/promtool",
    ).settings

    assert settings.serves == ("namespace/env", "group/prod")
    assert settings.listen == HostPort("::1", 9)
    assert settings.workers == 9
    assert settings.prometheus.reload_enabled is False
    assert settings.prometheus.reload_timeout == 90.0
    assert settings.promtool == Path("/usr/bin/promtool")


def test_a_variable_set_to_nothing_is_not_set() -> None:
    assert load(EXAMPLE_WORKERS=" ", PROMETHEUS_PID_FILE="").settings == Example()


def test_a_section_with_everything_commented_out_is_empty(file: Path) -> None:
    file.write_text("prometheus:\n  # url: http://x\nlog:\n")

    assert load(file, PROMETHEUS_RELOAD_TIMEOUT="31s").settings.prometheus.reload_timeout == 31.0


def test_an_empty_file_is_the_defaults(file: Path) -> None:
    file.write_text("# nothing yet\n")

    assert load(file).settings == Example()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prometheus:\n  ulr: x\n", "{file}:2: there is no setting 'prometheus.ulr'; did you mean prometheus.url?"),
        (
            "reload_timeout: 30s\n",
            "{file}:1: there is no setting 'reload_timeout'; did you mean prometheus.reload_timeout?",
        ),
        ("log:\n  zzz: 1\n", "{file}:2: there is no setting 'log.zzz'; there are: log.level"),
        ("workers: 0\n", "{file}:1: 'workers': Input should be greater than or equal to 1 (given: 0)"),
        (
            "prometheus:\n  reload_timeout: 30\n",
            "{file}:2: 'prometheus.reload_timeout': a duration is written with its unit: d, h, m, s or ms, "
            "e.g. 30s, 1m30s, 100ms (given: 30)",
        ),
        ("listen: nowhere\n", "{file}:1: 'listen': 'nowhere' is not an address: write host:port, e.g. 127.0.0.1:50051"),
        ("workers: 1\nlog: {}\nworkers: 2\n", "{file}:3: 'workers' is set already in line 1: remove one of them"),
        ("- a\n", "{file}: a mapping of settings is expected"),
        ("a: [\n", "{file} is not valid YAML: "),
        ("log: loud\n", "{file}:1: 'log': "),
    ],
)
def test_what_is_wrong_in_the_file_is_named(file: Path, text: str, problem: str) -> None:
    file.write_text(text)

    [found] = problems(file)

    assert found.startswith(problem.format(file=file))


def test_every_problem_is_told_at_once(file: Path) -> None:
    file.write_text("workers: many\nlog:\n  levle: info\n")

    assert len(problems(file, EXAMPLE_WORKRS="1")) == 3


def test_a_wrong_file_stays_wrong_when_the_environment_sets_a_part_of_it(file: Path) -> None:
    file.write_text("prometheus: 5\n")

    [problem] = problems(file, PROMETHEUS_URL="http://x")

    assert "'prometheus'" in problem


def test_a_missing_file_is_an_error_that_names_the_nearest(file: Path) -> None:
    file.write_text("")

    [by_option] = problems(file.with_name("exampel.yaml"))
    [by_variable] = problems(None, **{CONFIG_VARIABLE: "/nowhere/at/all.yaml"})

    assert by_option.endswith(f"(--config): No such file or directory; did you mean {file}?")
    assert by_variable == f"/nowhere/at/all.yaml ({CONFIG_VARIABLE}): No such file or directory"


def test_a_file_that_is_not_text_is_an_error(file: Path) -> None:
    file.write_bytes(b"workers: \xff\n")

    assert problems(file) == [f"{file} is not UTF-8: invalid start byte at byte 9"]


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [("EXAMPLE_LOGLEVEL", "EXAMPLE_LOG_LEVEL"), ("PROMETHEUS_RELAOD_TIMEOUT", "PROMETHEUS_RELOAD_TIMEOUT")],
)
def test_an_unknown_variable_is_an_error_that_names_the_nearest(variable: str, nearest: str) -> None:
    assert problems(None, **{variable: "1"}) == [
        f"environment {variable}: there is no such setting; did you mean {nearest}?"
    ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PROMETHEUS_MULTIPROC_DIR", "/tmp"),
        ("EXAMPLE_SERVICE_HOST", "10.0.0.1"),
        ("EXAMPLE_SERVICE_PORT_GRPC", "50051"),
        ("EXAMPLE_PORT", "tcp://10.0.0.1:50051"),
        ("EXAMPLE_PORT_50051_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_variables_that_others_own_are_left_alone(variable: str, value: str) -> None:
    assert load(None, **{variable: value}).settings == Example()


def test_a_port_variable_of_a_person_is_not_taken_for_one_of_kubernetes() -> None:
    assert problems(EXAMPLE_PORT="50051") != []


def test_a_wrong_value_of_a_secret_is_not_repeated() -> None:
    class Strict(Section):
        url: Annotated[SecretUrl, with_scheme("postgresql", "postgres")]

    with pytest.raises(SettingsError) as raised:
        load_settings(Strict, "EXAMPLE", None, {"EXAMPLE_URL": "mysql://app:hunter2@db"})

    assert raised.value.problems == [
        "environment EXAMPLE_URL: 'url': a URL is expected that begins with postgresql:// or postgres://"
    ]


@pytest.mark.parametrize("url", ["postgresql://app@db/app", "postgres:///app?host=/run/postgresql"])
def test_urls_of_the_right_scheme(url: str) -> None:
    class Strict(Section):
        url: Annotated[SecretUrl, with_scheme("postgresql", "postgres")]

    loaded = load_settings(Strict, "EXAMPLE", None, {"EXAMPLE_URL": url})

    assert loaded.settings.url.get_secret_value() == url


def test_a_value_that_is_needed_is_asked_for_by_both_names() -> None:
    class Needy(Section):
        name: str

    with pytest.raises(SettingsError) as raised:
        load_settings(Needy, "EXAMPLE", None, {})

    assert raised.value.problems == ["'name' is needed: set it in the file, or EXAMPLE_NAME in the environment"]


def test_printed_settings_are_yaml_with_sources_and_without_secrets(file: Path) -> None:
    file.write_text("database_url: postgresql://app:hunter2@db/app?sslpassword=hunter3\n")

    printed = print_settings(load(file, PROMETHEUS_URL="http://me:hunter4@localhost:9090"))

    assert "hunter" not in printed
    read = yaml.safe_load(printed)
    assert read["database_url"] == "postgresql://app:***@db/app?sslpassword=***"
    assert read["prometheus"]["url"] == "http://me:***@localhost:9090"
    assert read["prometheus"]["reload_timeout"] == "30s"
    assert read["listen"] == "127.0.0.1:8080"
    assert f"# {file}:1\n" in printed
    assert "# environment PROMETHEUS_URL\n" in printed
    assert 'level: "info"  # default\n' in printed


def test_secrets_are_masked_in_what_python_shows() -> None:
    settings = Example(database_url=SecretUrl("postgresql://app:hunter2@db/app"))

    assert "hunter2" not in f"{settings!r} {settings} {settings.database_url}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("1m30s", 90.0), ("100ms", 0.1), ("1.5h", 5400.0), ("0s", 0.0), (" 2d ", 172800.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "5 minutes", "-1s", "1s ago", "s", None, 30, "1e3s"])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="with its unit"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(90.0, "90s"), (0.1, "100ms"), (3600.0, "1h"), (0.0, "0s"), (86400.0, "1d")]
)
def test_durations_are_shown_as_they_are_written(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("http://localhost:9090", "http://localhost:9090"),
        ("postgresql://u:p%40ss@h:5/db", "postgresql://u:***@h:5/db"),
        ("postgresql://u@/db?host=/run/pg&password=x", "postgresql://u@/db?host=/run/pg&password=***"),
        ("http://u:a@b@h/", "http://u:***@h/"),
        ("http://[broken", "***"),
    ],
)
def test_passwords_in_urls_are_masked(url: str, masked: str) -> None:
    assert mask_url(url) == masked


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":1", "host:x", "host:65536", "::1:50051", "a b:1", "http://h:1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|brackets"):
        HostPort.parse(text)
