"""A connection to PostgreSQL whose other end is gone without a word is noticed, by both ends.

A cut cable, a host that lost its power or a firewall that forgot the connection send nothing. Without this, whoever
gets such a connection from the pool waits for the whole timeout of a statement, and the server keeps the session.
"""

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final

import asyncpg

IDLE: Final = 10
"""Seconds of silence after which the kernel asks whether the other end is still there."""
INTERVAL: Final = 5
"""Seconds between two such questions without an answer."""
UNANSWERED: Final = 3
"""So many of them end the connection."""
UNACKNOWLEDGED: Final = 15
"""Seconds for which data that was sent may wait until the other kernel has it. A slow statement is no matter."""

SERVER_SETTINGS: Final = {
    "tcp_keepalives_idle": str(IDLE),
    "tcp_keepalives_interval": str(INTERVAL),
    "tcp_keepalives_count": str(UNANSWERED),
    "tcp_user_timeout": str(UNACKNOWLEDGED * 1000),
}
"""The same at the server's end. It ignores them for a Unix socket."""

# not every system has all of them
_OPTIONS: Final = (
    ("TCP_KEEPIDLE", IDLE),
    ("TCP_KEEPINTVL", INTERVAL),
    ("TCP_KEEPCNT", UNANSWERED),
    ("TCP_USER_TIMEOUT", UNACKNOWLEDGED * 1000),
)


if TYPE_CHECKING:  # generic in its stubs only
    _Connection = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection


class WatchedConnection(_Connection):
    """asyncpg sets no such option itself, and shows its socket to nobody else."""

    def __init__(self, protocol: Any, transport: asyncio.BaseTransport, *args: Any, **kwargs: Any) -> None:
        super().__init__(protocol, transport, *args, **kwargs)
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
            self.watch(connected)

    @staticmethod
    def watch(connected: socket.socket) -> None:
        """Has the kernel look after a TCP connection."""
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _OPTIONS:
            option = getattr(socket, name, None)
            if option is not None:
                connected.setsockopt(socket.IPPROTO_TCP, option, value)
