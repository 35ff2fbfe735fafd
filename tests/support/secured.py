"""A rule service that wants to know who calls, and a token for each role."""

import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from rule_service.store.migrate import migrate
from rulecast.rpc.access import AUTHORIZATION
from tests.support.system import Replica, replica

ROLES = ("viewer", "editor", "admin", "deployer")
PASSWORD = "hunter2-of-the-database"


@dataclass
class Secured:
    """database: with a password in its URL, which the server does not ask for. tokens: by role."""

    replica: Replica
    database: str
    audit: Path
    tokens: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`rule-service token ...`, on the same database."""
        return subprocess.run(
            [sys.executable, "-m", "rule_service", "token", *arguments],
            capture_output=True,
            text=True,
            env={"PATH": "", "RULE_SERVICE_DATABASE_URL": self.database},
            timeout=60,
            check=False,
        )

    def token(self, role: str, *arguments: str, name: str = "") -> str:
        """A new one."""
        done = self.command("create", "--role", role, "--name", name or f"the-{role}", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def logged(self) -> str:
        return self.replica.child.log.read_text() + self.audit.read_text()


def bearer(token: str | None) -> grpc.aio.Metadata | None:
    return None if token is None else grpc.aio.Metadata((AUTHORIZATION, f"Bearer {token}"))


def id_of(token: str) -> str:
    return token.split("_")[1]


async def raw_call(channel: Any, method: Any, token: str | None, request: bytes = b"") -> grpc.StatusCode:
    """The code that a method answers. method: its descriptor."""
    while True:
        code, details = await _raw_call(channel, method, token, request)
        # grpc's own word on a message for which the server did not wait; what the server has said is lost with it
        if details != "Internal error from Core":
            return code


async def _raw_call(channel: Any, method: Any, token: str | None, request: bytes) -> tuple[grpc.StatusCode, str]:
    path = f"/{method.containing_service.full_name}/{method.name}"
    metadata = bearer(token)
    try:
        match method.client_streaming, method.server_streaming:
            case False, False:
                await channel.unary_unary(path)(request, metadata=metadata, timeout=60)
            case False, True:
                async for _ in channel.unary_stream(path)(request, metadata=metadata, timeout=60):
                    pass
            case _:
                call = channel.stream_stream(path)(iter((request,)), metadata=metadata, timeout=60)
                async for _ in call:
                    pass
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


@asynccontextmanager
async def secured(
    folder: Path,
    database: str,
    promtool: Path,
    settings: Mapping[str, str] | None = None,
    credentials: grpc.ChannelCredentials | None = None,
) -> AsyncIterator[Secured]:
    """Started, with the tokens of all roles; ended afterwards. credentials: of a service that speaks TLS."""
    url = database.replace("@", f":{PASSWORD}@", 1)
    audit = folder / "audit.log"
    one = replica(
        folder,
        url,
        promtool,
        settings={
            "RULE_SERVICE_SECURITY_AUTHENTICATION": "true",
            "RULE_SERVICE_AUDIT_FILE": str(audit),
            **(settings or {}),
        },
    )
    up = Secured(one, url, audit)
    if credentials is not None:
        await one.channel.close()
        one.channel = grpc.aio.secure_channel(one.address, credentials)
    try:
        await migrate(url)
        up.tokens.update({role: up.token(role) for role in ROLES})
        await one.start()
        yield up
    finally:
        await one.child.stop()
        await one.channel.close()
