"""The deployer's settings: what they mean, and what holds when they are not set."""

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from rulecast.process.addresses import HostPort
from rulecast.process.exposure import Security
from rulecast.process.logs import LogFormat, LogLevel
from rulecast.process.settings import Env, Section
from rulecast.process.settings_types import Address, Duration, SecretUrl, with_scheme
from rulecast.process.tls import Tls

PREFIX: Final = "DEPLOYER"

_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
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


def _checked_hashes(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if _SHA256.fullmatch(value) is None:
            raise ValueError("a SHA-256 is 64 digits of a-f and 0-9; `deployer-service token` prints one")
    return values


class Prometheus(Section):
    """The Prometheus beside this deployer. These variables have no prefix: `PROMETHEUS_URL`.

    url: may hold a user and a password. rule_path: the directory that the deployer owns; Prometheus's `rule_files` has
    to load `<rule_path>/*.yml`. rule_path_seen_as: where Prometheus sees that directory, if elsewhere.
    reload_enabled: whether the deployer reloads Prometheus; where not, somebody else has to.
    validate_rules: whether promtool checks the files first.
    reload_timeout: giving up does not stop a reload, so short ones only make things worse.
    health_check_enabled: whether `/-/ready` is asked before a reload. pid_file: whom to send SIGHUP where the HTTP
    reload is switched off; default: the process called prometheus that listens on the URL's port.
    promtool_timeout: for one run over all files that changed; over many rules it may take longer.
    config_path: Prometheus's own configuration, as this deployer sees it. If set, `promtool check config` has to accept
    it before files are put in place: it, and what it names, has to be readable under the same paths here.
    """

    url: Annotated[SecretUrl, with_scheme("http", "https")] = SecretUrl("http://localhost:9090")
    rule_path: Path = Path("/etc/prometheus/rules/generated")
    rule_path_seen_as: str | None = None
    reload_enabled: bool = True
    reload_timeout: Annotated[Duration, Field(ge=1)] = 30.0
    validate_rules: bool = True
    health_check_enabled: bool = True
    pid_file: Path | None = None
    config_path: Path | None = None
    promtool_path: Annotated[str | None, Env("PROMTOOL_PATH"), Field(description="default: the one on PATH")] = None
    promtool_timeout: Annotated[Duration, Env("PROMTOOL_TIMEOUT"), Field(ge=1)] = 30.0


class Upstream(Section):
    """The way to the rule service. The files are read anew for each connection.

    token_file: holds the token of this deployer, which has its id for a name. ca: the authorities that have signed the
    rule service's certificate, PEM. tls: with the authorities that this
    machine trusts, where there is no `ca`. certificate, key: to show to a rule service that asks for one, PEM.
    server_name: in the rule service's certificate, where it is not that of the address.
    """

    token_file: Path | None = None
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken: whoever names a certificate means it."""
        return self.tls or self.ca is not None or self.certificate is not None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`certificate` and `key` belong together: set both, or neither")
        return self


class Api(Section):
    """The deployer's own gRPC service.

    token_sha256: of each token that may call it, in hex; `deployer-service token` makes one.
    """

    token_sha256: Annotated[tuple[str, ...], AfterValidator(_checked_hashes)] = ()


class Audit(Section):
    """file: takes the audit log too, a JSON object a line; it is opened anew where it was moved away."""

    file: Path | None = None


class Logs(Section):
    """level: what is less important is left out. format: auto is console on a terminal, and json elsewhere."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.AUTO


class Settings(Section):
    """id: the deployer's name, by default the host's; two must not share one. rule_service: tried in turn.

    serves: `namespace/<id>` and `group/<id>` whose files it takes; empty means all.
    grpc_listen, http_listen: on loopback, where nobody has to say who they are, unless said otherwise.
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
    upstream: Upstream = Upstream()
    api: Api = Api()
    tls: Tls | None = None
    security: Security = Security()
    audit: Audit = Audit()

    @property
    def listens(self) -> Mapping[str, HostPort]:
        """The addresses, by the name of their setting."""
        return {"grpc_listen": self.grpc_listen, "http_listen": self.http_listen}
