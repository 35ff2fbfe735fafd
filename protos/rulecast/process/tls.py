"""Certificates of a server: checked at start, and taken up anew when their files change.

A new certificate is only taken as a whole: while what is on disk does not fit together, the one before stays in use.
"""

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from prometheus_client import CollectorRegistry

from rulecast.process.metrics import CounterOf, GaugeOf
from rulecast.process.settings import Section
from rulecast.process.supervise import CanNotStart

LOOK_EVERY: Final = 5.0
"""Seconds between two looks at the files."""

EXPIRY: Final = GaugeOf(
    "rulecast_tls_certificate_expiry_timestamp_seconds",
    "When the server's certificate in use is no longer valid, as a Unix time.",
)
RELOADS: Final = CounterOf(
    "rulecast_tls_reloads_total",
    "Certificates found changed on disk, by result: ok, or failed where the ones before stay in use.",
    ("result",),
)

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Tls(Section):
    """A server's certificate. The files are read again when they change.

    certificate: PEM, with the intermediate certificates behind it. key: PEM, without a passphrase.
    client_ca: PEM; with it every client has to show a certificate of one of these authorities.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


class WrongCertificate(CanNotStart):
    """A certificate can not be used; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class Material:
    """What the files hold, fit to be used. ends: when the certificate, or one behind it, is no longer valid."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None
    ends: datetime


def now() -> datetime:
    return datetime.now(UTC)


def load(tls: Tls, at: datetime) -> Material:
    """Reads and checks the files. Raises WrongCertificate."""
    certificate, key = read_file(tls.certificate, "tls.certificate"), read_file(tls.key, "tls.key")
    ends = check_pair(certificate, tls.certificate, key, tls.key, at)
    client_ca = None
    if tls.client_ca is not None:
        client_ca = read_file(tls.client_ca, "tls.client_ca")
        certificates_in(client_ca, tls.client_ca)
    return Material(certificate, key, client_ca, ends)


def read_file(path: Path, setting: str) -> bytes:
    """Raises WrongCertificate, with the setting that names the file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongCertificate(f"{setting}: {path} can not be read: {error.strerror}") from error


def check_pair(certificate: bytes, path: Path, key: bytes, key_path: Path, at: datetime) -> datetime:
    """When the certificate, or one behind it, is no longer valid. Raises WrongCertificate, for another's key too."""
    chain = certificates_in(certificate, path)
    _check_key(chain[0], path, key, key_path)
    for each in chain:
        _check_time(each, path, at)
    return min(each.not_valid_after_utc for each in chain)


def certificates_in(pem: bytes, path: Path) -> list[x509.Certificate]:
    """All certificates of a PEM file, at least one. Raises WrongCertificate."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise WrongCertificate(
            f"{path} holds no certificate in PEM: it begins with -----BEGIN CERTIFICATE-----"
        ) from error


def _check_key(certificate: x509.Certificate, path: Path, pem: bytes, key_path: Path) -> None:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise WrongCertificate(f"{key_path} has a passphrase, and nobody is there to enter it: remove it") from error
    except ValueError as error:
        raise WrongCertificate(
            f"{key_path} holds no private key in PEM: it begins with -----BEGIN PRIVATE KEY"
        ) from error
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise WrongCertificate(f"{key_path} is not the key of the first certificate in {path}")


def _check_time(certificate: x509.Certificate, path: Path, at: datetime) -> None:
    if at >= certificate.not_valid_after_utc:
        raise WrongCertificate(f"{path} has expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: renew it")
    if at < certificate.not_valid_before_utc:
        begins = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise WrongCertificate(f"{path} is not valid before {begins}: look at the clock of this machine")


class ServerCertificates:
    """The certificates in use. Raises WrongCertificate when built.

    clock: the time, for the dates in certificates.
    """

    def __init__(self, tls: Tls, registry: CollectorRegistry, clock: Callable[[], datetime] = now) -> None:
        self._tls = tls
        self._clock = clock
        self._material = load(tls, clock())
        self._context = _context(self._material)
        self._grpc = _configuration(self._material)
        self._complained = ""
        EXPIRY.make(registry).set_function(self._ends)
        self._reloads = RELOADS.make(registry)
        for result in ("ok", "failed"):
            self._reloads.labels(result)

    def for_grpc(self) -> grpc.ServerCredentials:
        """Each new connection gets the certificates that are in use by then."""
        return grpc.dynamic_ssl_server_credentials(
            self._grpc,
            lambda: self._grpc,
            require_client_authentication=self._material.client_ca is not None,
        )

    def for_http(self) -> ssl.SSLContext:
        """The same for HTTP, where a client may leave its certificate out: `client_certificate_required` decides."""
        context = _context(self._material)

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _first: ssl.SSLContext) -> None:
            connection.context = self._context

        context.sni_callback = choose  # it is called without a name too
        return context

    def _ends(self) -> float:
        return self._material.ends.timestamp()

    async def run(self, stop: asyncio.Event) -> None:
        """Looks at the files again and again, until `stop`."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await stop.wait()
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Takes up what the files hold now, if it differs from what is in use and is fit to be used."""
        try:
            material = load(self._tls, self._clock())
            if material != self._material:
                self._context, self._grpc = _context(material), _configuration(material)
                self._material = material
                self._reloads.labels("ok").inc()
                _log.info(
                    "certificate taken up", file=str(self._tls.certificate), valid_until=material.ends.isoformat()
                )
            self._complained = ""
        except WrongCertificate as error:
            if self._complained != str(error):
                self._complained = str(error)
                self._reloads.labels("failed").inc()
                _log.error("certificate not taken up: the one before stays in use", error=str(error))


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.client_ca
    )


def _context(material: Material) -> ssl.SSLContext:
    """Raises WrongCertificate for what this machine's OpenSSL does not take."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # it only reads files, and those that were checked may have changed meanwhile
    with tempfile.TemporaryDirectory(prefix="rulecast-tls-") as folder:
        path = Path(folder, "server.pem")
        path.touch(mode=0o600)
        path.write_bytes(material.key + b"\n" + material.certificate)
        try:
            context.load_cert_chain(path)
        except ssl.SSLError as error:
            raise WrongCertificate(f"tls.certificate: it can not be used: {error.reason}") from error
    if material.client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=material.client_ca.decode("ascii", "ignore"))
    return context
