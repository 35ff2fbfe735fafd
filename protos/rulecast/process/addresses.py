"""Addresses as people write them: `host:port`, `[::1]:port`."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Self

_BARE_IPV6: Final = re.compile(r"[0-9a-fA-F.]*:[0-9a-fA-F:.]*")


@dataclass(frozen=True, slots=True)
class HostPort:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, which says what would be right."""
        host, colon, port = text.strip().rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif _BARE_IPV6.fullmatch(host):
            raise ValueError(f"{text!r}: write an IPv6 address in brackets, e.g. [::1]:50051")
        elif ":" in host:
            colon = ""
        if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535 or _odd(host):
            raise ValueError(f"{text!r} is not an address: write host:port, e.g. 127.0.0.1:50051")
        return cls(host, int(port))


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to it. A name other than localhost may be anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _odd(host: str) -> bool:
    return any(char.isspace() or char in "/@?#,'\"" or not char.isprintable() for char in host)
