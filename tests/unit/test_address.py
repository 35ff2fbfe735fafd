"""Under which address a host is reached: what is one, what host is in it, and what is refused with which words."""

import pytest

from rule_service.domain.address import check_address, host_of
from rulecast.errors import InvalidInput


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("web-1", "web-1"),
        ("web_1.example.com", "web_1.example.com"),
        ("web-1.example.com:22", "web-1.example.com"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1:1", "10.0.0.1"),
        ("10.0.0.1:65535", "10.0.0.1"),
        ("::1", "[::1]"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("fe80::1%eth0", "[fe80::1%eth0]"),
        ("[::1]", "[::1]"),
        ("[2001:db8::1]:22", "[2001:db8::1]"),
        ("[fe80::1%eth0.5]:22", "[fe80::1%eth0.5]"),
        ("::ffff:10.0.0.1", "[::ffff:10.0.0.1]"),
    ],
)
def test_an_address_has_a_host(address: str, host: str) -> None:
    check_address(address, "target.address")
    assert host_of(address) == host


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("", "other characters"),
        ("web 1", "other characters"),
        ("http://web-1", "something else than a port"),
        ("web-1/metrics", "other characters"),
        ("web-1:", "something else than a port"),
        ("web-1:http", "something else than a port"),
        ("web-1:0", "0 is not a port"),
        ("web-1:65536", "65536 is not a port"),
        ("web-1:99999999", "something else than a port"),
        (":22", "other characters"),
        ("user@web-1", "other characters"),
        ("10.0.0.256", "no IPv4 address"),
        ("10.0.0", "no IPv4 address"),
        ("10.0.0.1.1:22", "no IPv4 address"),
        ("12345", "no IPv4 address"),
        ("::1:22:zz", "IPv6 address that is not right"),
        ("1::2::3", "IPv6 address that is not right"),
        ("[::1", "in brackets"),
        ("[::1]22", "in brackets"),
        ("[10.0.0.1]:22", "in brackets"),
        ("[web-1]:22", "in brackets"),
        ("[::1]:70000", "70000 is not a port"),
        ("fe80::1%e th", "IPv6 address that is not right"),
        ("web-1\n", "other characters"),
        ("10.0.0.1\0", "other characters"),
        ("١٢٣.0.0.1", "other characters"),
        ("web-1:٢٢", "something else than a port"),
        ("a" * 64, "too long"),
        ("a." * 200 + "b", "too long"),
    ],
)
def test_anything_else_is_refused_with_what_would_be_right(address: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_address(address, "target.address")
    (violation,) = refused.value.violations
    assert violation.field == "target.address"
    assert problem in violation.message
    assert "e.g. web-1.example.com, 10.0.0.1:22 or [2001:db8::1]:22" in violation.message
