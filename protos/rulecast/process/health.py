"""Asks a service of this machine whether it can do its work: a container's health check, with no curl in the image."""

import http.client
import json
import ssl
from dataclasses import replace
from enum import StrEnum
from typing import Final

from rulecast.process.addresses import HostPort

TIMEOUT: Final = 5.0
"""Seconds that the answer may take."""

_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Question(StrEnum):
    """What is asked: whether it can do its work, or only whether it has not got stuck."""

    READY = "/health/ready"
    LIVE = "/health/live"


def why_not(question: Question, listen: HostPort, tls: bool = False, timeout: float = TIMEOUT) -> str | None:
    """What the service says; None when the answer is yes.

    listen: as in the service's settings. tls: whether it speaks TLS there. Never raises for what it does or does not.
    """
    asked = replace(listen, host=_EVERY_ADDRESS.get(listen.host, listen.host))
    connection = _connection(asked, tls, timeout)
    try:
        connection.request("GET", question)
        answer = connection.getresponse()
        body = answer.read(65536)
    except TimeoutError:
        return f"{asked} did not answer within {timeout:g} s"
    except (OSError, http.client.HTTPException) as error:
        return f"{asked} does not answer: {_words(error)}"
    finally:
        connection.close()
    return None if answer.status == http.client.OK else _reason(answer.status, body)


def _connection(asked: HostPort, tls: bool, timeout: float) -> http.client.HTTPConnection:
    if not tls:
        return http.client.HTTPConnection(asked.host, asked.port, timeout=timeout)
    context = ssl.create_default_context()
    # it asks the process beside it, by an address that is in no certificate, and tells it nothing
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
