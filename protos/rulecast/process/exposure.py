"""Whether a service may listen where it is told to: unprotected only on loopback, or where that was said."""

from collections.abc import Mapping
from typing import Annotated, Final

import structlog
from pydantic import Field

from rulecast.process.addresses import HostPort, is_loopback
from rulecast.process.settings import Section
from rulecast.process.supervise import CanNotStart
from rulecast.process.tls import Tls

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Security(Section):
    """Who has to say who they are, and whether it can be overheard.

    authentication: whether every call needs a token. Default: yes, unless all addresses are on loopback. Other hosts
        may only be let in without one where they have to show a certificate (`tls.client_ca`).
    plain_text: other hosts may connect without TLS, since it ends at something before this service.
    insecure: other hosts may connect with neither token nor TLS.
    metrics_open: `/metrics` answers without a token.
    """

    authentication: bool | None = None
    plain_text: bool = False
    insecure: Annotated[bool, Field(description="no tokens and no TLS, on any address")] = False
    metrics_open: bool = True

    def needs_tokens(self, listens: Mapping[str, HostPort]) -> bool:
        """listens: the addresses, by the name of their setting."""
        if self.insecure:
            return False
        return self.authentication if self.authentication is not None else bool(exposed(listens))


class Unprotected(CanNotStart):
    """The service would be open to other hosts; the message says what to set."""


_WAYS_OUT: Final = "keep to loopback (127.0.0.1), or set `security.insecure: true` ({prefix}_SECURITY_INSECURE=true)"


def exposed(listens: Mapping[str, HostPort]) -> dict[str, HostPort]:
    """Those that other hosts can reach."""
    return {name: address for name, address in listens.items() if not is_loopback(address.host)}


def shows_certificates(tls: Tls | None) -> bool:
    """Whether every client has to show a certificate."""
    return tls is not None and tls.client_ca is not None


def check_exposure(security: Security, listens: Mapping[str, HostPort], tls: Tls | None, prefix: str) -> None:
    """Raises Unprotected. prefix: of the service's variables in the environment."""
    open_to_others = exposed(listens)
    if not open_to_others:
        return
    name, address = next(iter(open_to_others.items()))
    if security.insecure:
        _log.warning("security is off, as it was told to be: whoever reaches it may do everything", listen=str(address))
        return
    out = _WAYS_OUT.format(prefix=prefix)
    if not (security.needs_tokens(listens) or shows_certificates(tls)):
        raise Unprotected(
            f"{name} {address} can be reached from other hosts and nobody would have to say who they are: leave out "
            f"`security.authentication: false`, {out}"
        )
    if tls is None and not security.plain_text:
        raise Unprotected(
            f"{name} {address} can be reached from other hosts, and tokens would be sent in plain text: set "
            f"`tls.certificate` and `tls.key`; or `security.plain_text: true` if TLS ends before this service; or {out}"
        )
