"""Ports for tests."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.local.process import free_port

__all__ = ["free_port", "taken_port"]


@contextmanager
def taken_port() -> Iterator[int]:
    """A port of 127.0.0.1 on which something else is listening."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
