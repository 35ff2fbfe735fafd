"""The rule service's settings: what they mean, and what holds when they are not set."""

from typing import Annotated

from pydantic import Field

from rulecast.process.addresses import HostPort
from rulecast.process.logs import LogFormat, LogLevel
from rulecast.process.settings import Env, Section
from rulecast.process.settings_types import Address, Duration, SecretUrl

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
    """retention: how long revisions are kept."""

    retention: Annotated[Duration, Field(gt=0)] = 90 * 86_400.0


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


class Logs(Section):
    """level: what is less important is left out. format: auto is console on a terminal, and json elsewhere."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.AUTO


class Settings(Section):
    """grpc_listen, http_listen: on loopback unless said otherwise, since nobody has to say who they are yet."""

    database: Database
    grpc_listen: Address = HostPort("127.0.0.1", 50051)
    http_listen: Address = HostPort("127.0.0.1", 8080)
    promtool: Promtool = Promtool()
    stream: Stream = Stream()
    history: History = History()
    limits: Limits = Limits()
    logs: Annotated[Logs, Env("RULE_SERVICE_LOG")] = Logs()
