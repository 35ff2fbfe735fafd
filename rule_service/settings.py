"""The rule service's settings: what they mean, and what holds when they are not set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from rulecast.process.addresses import HostPort
from rulecast.process.exposure import Security
from rulecast.process.logs import LogFormat, LogLevel
from rulecast.process.settings import Env, Section
from rulecast.process.settings_types import Address, Duration, SecretUrl
from rulecast.process.tls import Tls

PREFIX = "RULE_SERVICE"


class Database(Section):
    """PostgreSQL 14 or newer.

    pool_size: connections of one replica.
    """

    url: Annotated[SecretUrl, Field(description="postgresql://user:password@host:port/database")]
    pool_size: Annotated[int, Field(ge=2, le=200)] = 10
    migrate: Annotated[bool, Field(description="bring the schema up to date at start")] = True


class Promtool(Section):
    """promtool's word on every rule, before it is saved.

    enabled: whether it is asked at all. timeout: for one run.
    """

    enabled: Annotated[bool, Env("PROMETHEUS_VALIDATE_RULES")] = True
    path: Annotated[str | None, Env("PROMTOOL_PATH"), Field(description="default: the one on PATH")] = None
    timeout: Annotated[Duration, Field(gt=0)] = 30.0
    at_once: Annotated[int, Field(ge=1, le=64, description="processes at a time")] = 2


class Stream(Section):
    """The stream to the deployers.

    heartbeat: between two signs of life; three that are missing end a stream. ack_timeout: for a deployer's answer to
    an update. max_age: of one stream.
    """

    heartbeat: Annotated[Duration, Field(gt=0, le=60)] = 10.0
    ack_timeout: Annotated[Duration, Field(gt=0)] = 120.0
    max_age: Annotated[Duration, Field(gt=0, description="then deployers are asked to connect again")] = 1800.0


class History(Section):
    """retention: how long revisions are kept, and tokens that have expired or were revoked."""

    retention: Annotated[Duration, Field(gt=0)] = 90 * 86_400.0


class Deleted(Section):
    """What was deleted. retention: how long it can be brought back."""

    retention: Annotated[Duration, Field(gt=0)] = 30 * 86_400.0


class Limits(Section):
    """How much one request may hold, and how many calls are worked on at once. Whoever is over one is told its name."""

    request_bytes: Annotated[int, Field(ge=65_536, le=67_108_864, description="of one request, over gRPC and HTTP")] = (
        4_194_304
    )
    page_size: Annotated[int, Field(ge=100, le=10_000, description="entries of one page of a list")] = 1_000
    rules_per_call: Annotated[int, Field(ge=1, le=10_000, description="ids that one call names")] = 1_000
    labels: Annotated[int, Field(ge=1, le=1_000, description="of one rule, template or target")] = 64
    annotations: Annotated[int, Field(ge=1, le=1_000, description="of one rule or template")] = 64
    parameters: Annotated[int, Field(ge=1, le=1_000, description="of one template or rule")] = 64
    exporters: Annotated[int, Field(ge=1, le=1_000, description="of one target")] = 64
    calls_at_once: Annotated[
        int, Field(ge=1, le=100_000, description="worked on by one replica, those that wait for a rollout too")
    ] = 1_000


class Targets(Section):
    """What is said of monitored hosts."""

    stale_after: Annotated[Duration, Field(gt=0, description="without a heartbeat, then a target is STALE")] = 300.0


class Bundles(Section):
    """How large a bundle may be that is applied or exported at once.

    max_resources: of all kinds together.
    """

    max_resources: Annotated[int, Field(ge=1, le=100_000)] = 5_000
    max_bytes: Annotated[int, Field(ge=1, le=4_000_000, description="of its text; a request has at most 4 MiB")] = (
        4_000_000
    )
    max_values: Annotated[int, Field(ge=1, le=10_000_000, description="keys and values of its text")] = 500_000


class Logs(Section):
    """level: what is less important is left out. format: auto is console on a terminal, and json elsewhere."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.AUTO


class RateLimits(Section):
    """Of one caller: a token, or another host's address where there are none.

    reads_per_second, writes_per_second: on average; 0 is no limit. read_burst, write_burst: at once, after a pause.
    """

    reads_per_second: Annotated[float, Field(ge=0)] = 500.0
    read_burst: Annotated[int, Field(ge=1)] = 2000
    writes_per_second: Annotated[float, Field(ge=0)] = 100.0
    write_burst: Annotated[int, Field(ge=1)] = 1000


class Audit(Section):
    """file: takes the audit log too, a JSON object a line; it is opened anew where it was moved away."""

    file: Path | None = None


class Settings(Section):
    """grpc_listen, http_listen: on loopback, where nobody has to say who they are, unless said otherwise."""

    database: Database
    grpc_listen: Address = HostPort("127.0.0.1", 50051)
    http_listen: Address = HostPort("127.0.0.1", 8080)
    promtool: Promtool = Promtool()
    stream: Stream = Stream()
    history: History = History()
    deleted: Deleted = Deleted()
    limits: Limits = Limits()
    targets: Targets = Targets()
    bundles: Bundles = Bundles()
    logs: Annotated[Logs, Env("RULE_SERVICE_LOG")] = Logs()
    tls: Tls | None = None
    security: Security = Security()
    rate_limits: RateLimits = RateLimits()
    audit: Audit = Audit()

    @property
    def listens(self) -> Mapping[str, HostPort]:
        """The addresses, by the name of their setting."""
        return {"grpc_listen": self.grpc_listen, "http_listen": self.http_listen}
