"""Asks a service of this machine whether it can do its work: a container's health check, with no curl in the image."""

import http.client
import json
import ssl
from dataclasses import replace
from typing import Final

from rulecast.process.addresses import HostPort

TIMEOUT: Final = 5.0
"""Seconds that the answer may take."""

_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def why_not_ready(listen: HostPort, *, tls: bool = False, timeout: float = TIMEOUT) -> str | None:
    """What `/health/ready` says; None when the service is ready.

    listen: where the service listens for HTTP, as in its settings; tls: whether it speaks TLS there. Never raises for
    what the service does or does not.
    """
    asked = replace(listen, host=_EVERY_ADDRESS.get(listen.host, listen.host))
    connection = _connection(asked, timeout, tls=tls)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        body = answer.read(65536)
    except TimeoutError:
        return f"{asked} did not answer within {timeout:g} s"
    except (OSError, http.client.HTTPException) as error:
        return f"{asked} does not answer: {_words(error)}"
    finally:
        connection.close()
    return None if answer.status == http.client.OK else _reason(answer.status, body)


def _connection(asked: HostPort, timeout: float, *, tls: bool) -> http.client.HTTPConnection:
    if not tls:
        return http.client.HTTPConnection(asked.host, asked.port, timeout=timeout)
    # nothing secret is sent to it. Its certificate is for names that others call it by, and may be another than that on
    # disk: while a renewed one can not be used the service goes on with the one before, and is no less healthy
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(asked.host, asked.port, timeout=timeout, context=context)


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _reason(status: int, body: bytes) -> str:
    """The service's own words, where they are there."""
    try:
        return str(json.loads(body)["why"])
    except (ValueError, KeyError, TypeError):
        return f"it answered with the status {status}"
