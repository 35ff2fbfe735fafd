"""The deployer's settings: what they mean, and what holds when they are not set."""

import re
import socket
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from rulecast.process.addresses import HostPort
from rulecast.process.logs import LogFormat, LogLevel
from rulecast.process.settings import Env, Section
from rulecast.process.settings_types import Address, Duration, SecretUrl, with_scheme

PREFIX: Final = "DEPLOYER"

_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SERVED: Final = re.compile(rf"(?:namespace|group)/{_ID.pattern}")


def id_of_host(host: str) -> str:
    """The host's name, made a valid id."""
    return re.sub(r"[^a-z0-9]+", "-", host.lower())[:63].strip("-") or "deployer"


def _checked_id(value: str) -> str:
    if _ID.fullmatch(value) is None:
        raise ValueError("an id is made of a-z, 0-9 and '-', at most 63 characters, a letter or digit at both ends")
    return value


def _checked_serves(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if _SERVED.fullmatch(value) is None:
            raise ValueError(f"{value!r} is neither namespace/<id> nor group/<id>")
    return values


def _not_empty(addresses: tuple[HostPort, ...]) -> tuple[HostPort, ...]:
    if not addresses:
        raise ValueError("at least one address is needed, e.g. 127.0.0.1:50051")
    return addresses


class Prometheus(Section):
    """The Prometheus beside this deployer. These variables have no prefix: `PROMETHEUS_URL`.

    url: may hold a user and a password. rule_path: the directory that the deployer owns; Prometheus's `rule_files` has
    to load `<rule_path>/*.yml`. rule_path_seen_as: where Prometheus sees that directory, if elsewhere.
    reload_enabled: whether the deployer reloads Prometheus; where not, somebody else has to.
    validate_rules: whether promtool checks the files first.
    reload_timeout: giving up does not stop a reload, so short ones only make things worse.
    health_check_enabled: whether `/-/ready` is asked before a reload. pid_file: whom to send SIGHUP where the HTTP
    reload is switched off; default: the process called prometheus that listens on the URL's port.
    promtool_timeout: for one run over all files that changed.
    """

    url: Annotated[SecretUrl, with_scheme("http", "https")] = SecretUrl("http://localhost:9090")
    rule_path: Path = Path("/etc/prometheus/rules/generated")
    rule_path_seen_as: str | None = None
    reload_enabled: bool = True
    reload_timeout: Annotated[Duration, Field(ge=1)] = 30.0
    validate_rules: bool = True
    health_check_enabled: bool = True
    pid_file: Path | None = None
    promtool_path: Annotated[str | None, Env("PROMTOOL_PATH"), Field(description="default: the one on PATH")] = None
    promtool_timeout: Annotated[Duration, Env("PROMTOOL_TIMEOUT"), Field(ge=1)] = 30.0


class Logs(Section):
    """level: what is less important is left out. format: auto is console on a terminal, and json elsewhere."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.AUTO


class Settings(Section):
    """id: the deployer's name, by default the host's; two must not share one. rule_service: tried in turn.

    serves: `namespace/<id>` and `group/<id>` whose files it takes; empty means all.
    grpc_listen, http_listen: on loopback unless said otherwise, since nobody has to say who they are yet.
    min_reload_interval: between two reloads; what is edited meanwhile shares the next one. backups: generations kept.
    drift_interval: between two comparisons of the disk and Prometheus with what they should be.
    """

    id: Annotated[str, AfterValidator(_checked_id)] = Field(default_factory=lambda: id_of_host(socket.gethostname()))
    rule_service: Annotated[tuple[Address, ...], AfterValidator(_not_empty)] = (HostPort("127.0.0.1", 50051),)
    serves: Annotated[tuple[str, ...], AfterValidator(_checked_serves)] = ()
    prometheus: Annotated[Prometheus, Env("PROMETHEUS")] = Prometheus()
    grpc_listen: Address = HostPort("127.0.0.1", 50052)
    http_listen: Address = HostPort("127.0.0.1", 8081)
    min_reload_interval: Annotated[Duration, Field(le=600)] = 0.2
    backups: Annotated[int, Field(ge=1, le=1000)] = 5
    drift_interval: Annotated[Duration, Field(ge=1)] = 30.0
    logs: Annotated[Logs, Env("DEPLOYER_LOG")] = Logs()
