"""The kinds of values that settings have beyond those of pydantic."""

import re
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, PlainSerializer, Secret
from pydantic_core import core_schema

from rulecast.process.addresses import HostPort

_UNITS: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|d|h|m|s)")
_MASK: Final = "***"


def parse_duration(given: object) -> float:
    """Seconds from `30s`, `1m30s`, `100ms`. Raises ValueError."""
    text = given.strip() if isinstance(given, str) else ""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("a duration is written with its unit: d, h, m, s or ms, e.g. 30s, 1m30s, 100ms")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def show_duration(seconds: float) -> str:
    """As `parse_duration` reads it, in the largest unit that leaves no fraction."""
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        size = round(_UNITS[unit] * 1000)
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def mask_url(url: str) -> str:
    """The URL without its password, in the user part or in the query."""
    try:
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        name, colon, _ = user.partition(":")
        query = urlencode(
            [(key, _MASK if "password" in key.lower() else value) for key, value in parse_qsl(parts.query, True)],
            safe="*/",
            quote_via=quote,
        )
        return urlunsplit(parts._replace(netloc=f"{name}{':' + _MASK if colon else ''}{at}{host}", query=query))
    except ValueError:
        return _MASK


class SecretUrl(Secret[str]):
    """A URL that may hold a password. `str()` and printing mask it; `get_secret_value()` is the URL."""

    def _display(self) -> str:
        return mask_url(self.get_secret_value())


def with_scheme(*schemes: str) -> AfterValidator:
    """For `Annotated[SecretUrl, with_scheme("http", "https")]`: a URL of one of these schemes, and with a host."""

    def check(url: SecretUrl) -> SecretUrl:
        try:
            parts = urlsplit(url.get_secret_value())
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in schemes or not (parts.netloc or parts.query):
            raise ValueError(f"a URL is expected that begins with {' or '.join(f'{name}://' for name in schemes)}")
        return url

    return AfterValidator(check)


class _AddressSchema:
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda given: given if isinstance(given, HostPort) else HostPort.parse(str(given)),
            serialization=core_schema.to_string_ser_schema(),
        )


Duration = Annotated[float, BeforeValidator(parse_duration), PlainSerializer(show_duration, when_used="json")]
"""Seconds; written with a unit, e.g. `30s`."""

Address = Annotated[HostPort, _AddressSchema]
"""`host:port`."""
