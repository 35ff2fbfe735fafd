"""Under which address a host is reached: a name, an IPv4 or an IPv6 address, each with a port or without."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from rule_service.domain.names import is_hostname
from rule_service.domain.wording import shown
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason

_BRACKETED = re.compile(r"\[([^][]*)\](?::([0-9]{1,5}))?")
_WITH_PORT = re.compile(r"([^:]*)(?::([0-9]{1,5}))?")
_ZONE = re.compile(r"[a-zA-Z0-9_.-]+")
_NUMBERS = re.compile(r"[0-9.]+")
MAX_PORT = 65_535


def check_address(value: str, field: str) -> None:
    """Raises InvalidInput for anything else than the forms of `host_of`; a port is 1 to 65535."""
    if problem := _problem(value):
        raise InvalidInput.of(
            field,
            Reason.FIELD_INVALID,
            f"{shown(value)} is not an address: {problem}; write a hostname or an IP address, with a port if need be, "
            "e.g. web-1.example.com, 10.0.0.1:22 or [2001:db8::1]:22",
        )


def host_of(address: str) -> str:
    """The host of `host`, `host:port`, `10.0.0.1`, `10.0.0.1:22`, `::1`, `[::1]` and `[::1]:22`, brackets kept.

    A bare IPv6 address gets brackets, so that a port can follow.
    """
    if _is_ipv6(address):
        return f"[{address}]"
    if bracketed := _BRACKETED.fullmatch(address):
        return f"[{bracketed[1]}]"
    named = _WITH_PORT.fullmatch(address)
    return named[1] if named else address


def _problem(address: str) -> str | None:
    """What is wrong with it."""
    if _is_ipv6(address):
        return None
    if address.startswith("["):
        found = _BRACKETED.fullmatch(address)
        if found is None or not _is_ipv6(found[1]):
            return "what is in brackets is no IPv6 address, or something else than a port follows"
    else:
        found = _WITH_PORT.fullmatch(address)
        if found is None:
            return "after the host there is something else than a port, or it is an IPv6 address that is not right"
        if _NUMBERS.fullmatch(found[1]) and not _is_ipv4(found[1]):
            return "its host is no IPv4 address, though it is all numbers"
        if not is_hostname(found[1]):
            return "its host has other characters than letters, digits, '-', '_' and '.', or is too long"
    if found[2] is not None and not 1 <= int(found[2]) <= MAX_PORT:
        return f"{found[2]} is not a port from 1 to {MAX_PORT}"
    return None


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    address, percent, zone = text.partition("%")
    if percent and not _ZONE.fullmatch(zone):
        return False
    try:
        IPv6Address(address)
    except AddressValueError:
        return False
    return True
