"""The rule service's settings: what they mean, and what holds when they are not set."""

from typing import Annotated

from pydantic import Field

from rulecast.process.addresses import HostPort
from rulecast.process.logs import LogFormat, LogLevel
from rulecast.process.settings import Env, Section
from rulecast.process.settings_types import Address, Duration, SecretUrl

PREFIX = "RULE_SERVICE"


class Database(Section):
    """PostgreSQL 14 or newer."""

    url: Annotated[SecretUrl, Field(description="postgresql://user:password@host:port/database")]
    pool_size: Annotated[int, Field(ge=2, le=200)] = 10
    migrate: Annotated[bool, Field(description="bring the schema up to date at start")] = True


class Promtool(Section):
    """promtool's word on every rule, before it is saved."""

    enabled: Annotated[bool, Env("PROMETHEUS_VALIDATE_RULES")] = True
    path: Annotated[str | None, Env("PROMTOOL_PATH"), Field(description="default: the one on PATH")] = None
    timeout: Annotated[Duration, Field(gt=0)] = 30.0
    at_once: Annotated[int, Field(ge=1, le=64, description="processes at a time")] = 2


class Stream(Section):
    """The stream to the deployers."""

    heartbeat: Annotated[Duration, Field(gt=0, le=60)] = 10.0
    ack_timeout: Annotated[Duration, Field(gt=0)] = 120.0
    max_age: Annotated[Duration, Field(gt=0, description="then deployers are asked to connect again")] = 1800.0


class History(Section):
    """How long revisions are kept."""

    retention: Annotated[Duration, Field(gt=0)] = 90 * 86_400.0


class Bundles(Section):
    """How large a bundle may be that is applied or exported at once."""

    max_resources: Annotated[int, Field(ge=1, le=100_000)] = 5_000
    max_bytes: Annotated[int, Field(ge=1, le=4_000_000, description="of its text; a request has at most 4 MiB")] = (
        4_000_000
    )
    max_values: Annotated[int, Field(ge=1, le=10_000_000, description="keys and values of its text")] = 500_000


class Logs(Section):
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
    bundles: Bundles = Bundles()
    logs: Annotated[Logs, Env("RULE_SERVICE_LOG")] = Logs()
