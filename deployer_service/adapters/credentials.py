"""How the deployer proves to the rule service who it is, and knows that it is the rule service."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import grpc
import structlog
from prometheus_client import CollectorRegistry

from deployer_service.metrics import UPSTREAM_CREDENTIALS_FAILURES
from deployer_service.settings import Upstream
from rulecast.process.supervise import CanNotStart
from rulecast.process.tls import certificates_in, check_pair, now, read_file
from rulecast.rpc.access import AUTHORIZATION
from rulecast.tokens import looks_like_one

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Credentials:
    """channel: None is plain text. server_name: in the certificate, where it is not that of the address."""

    channel: grpc.ChannelCredentials | None = None
    server_name: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


PLAIN: Final = Credentials()


class WrongToken(CanNotStart):
    """The token can not be used; the message names the file and says why, and never what is in it."""


class UpstreamCredentials:
    """Reads the files for each connection; what can not be used leaves what was read before.

    Raises WrongCertificate and WrongToken when built. clock: the time, for the dates in certificates.
    """

    def __init__(self, upstream: Upstream, registry: CollectorRegistry, clock: Callable[[], datetime] = now) -> None:
        self._upstream = upstream
        self._clock = clock
        self._last = load_credentials(upstream, clock())
        self._failures = UPSTREAM_CREDENTIALS_FAILURES.make(registry)

    def current(self) -> Credentials:
        try:
            self._last = load_credentials(self._upstream, self._clock())
        except CanNotStart as error:
            self._failures.inc()
            _log.error("token or certificate not taken up: the one before stays in use", error=str(error))
        return self._last


def load_credentials(upstream: Upstream, at: datetime) -> Credentials:
    """Raises WrongCertificate, and WrongToken."""
    metadata = () if upstream.token_file is None else ((AUTHORIZATION, f"Bearer {_token(upstream.token_file)}"),)
    if not upstream.secure:
        return Credentials(metadata=metadata)
    return Credentials(_channel(upstream, at), upstream.server_name, metadata)


def _channel(upstream: Upstream, at: datetime) -> grpc.ChannelCredentials:
    ca = certificate = key = None
    if upstream.ca is not None:
        ca = read_file(upstream.ca, "upstream.ca")
        certificates_in(ca, upstream.ca)
    if upstream.certificate is not None and upstream.key is not None:
        certificate = read_file(upstream.certificate, "upstream.certificate")
        key = read_file(upstream.key, "upstream.key")
        check_pair(certificate, upstream.certificate, key, upstream.key, at)
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise WrongToken(f"upstream.token_file: {path} can not be read: {error.strerror}") from error
    except UnicodeDecodeError:
        token = ""
    if not looks_like_one(token):
        raise WrongToken(f"upstream.token_file: {path} holds no token: it is one line that begins with rc_")
    return token
