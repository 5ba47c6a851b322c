"""
Tests for `sptls.addresses`.
"""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.addresses import Networks, ip_address, is_address, plain_host

PRIVATE = Networks([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")])


def test_mapped_ipv4_reads_as_ipv4() -> None:
    """
    A client of a socket for both is an IPv4 client.
    """
    assert "192.0.2.1" == plain_host("::ffff:192.0.2.1")


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "::ffff:0:1", ""])
def test_any_other_address_is_left_alone(host: str) -> None:
    """
    Nothing else is changed.
    """
    assert host == plain_host(host)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", None),
        ("010.0.0.1", None),
        ("10.0.0.1:80", None),
        ("unknown", None),
        ("", None),
    ],
)
def test_an_address_has_one_spelling(text: str, address: str | None) -> None:
    """
    What is none is None.
    """
    assert address == ip_address(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("fe80::1%eth0", True),
        ("::", True),
        ("192.0.2.256", False),
        ("a.example", False),
        ("a1", False),
        ("a:b", False),
        ("", False),
    ],
)
def test_an_address_is_told_from_a_name(text: str, expected: bool) -> None:
    """
    With a zone too: it is no name either.
    """
    assert expected == is_address(text)


@pytest.mark.parametrize("host", ["10.0.0.1", "10.255.255.255", "::ffff:10.0.0.1", "fd12::1", "fd12::1%eth0"])
def test_an_address_is_in_its_network(host: str) -> None:
    """
    Whatever its spelling; asked again, the answer is the same.
    """
    assert (True, True) == (host in PRIVATE, host in PRIVATE)


@pytest.mark.parametrize("host", ["11.0.0.1", "fe80::1", "::10.0.0.1", "localhost", "%eth0", ""])
def test_any_other_address_is_in_none(host: str) -> None:
    """
    Nor is what is no address.
    """
    assert (False, False) == (host in PRIVATE, host in PRIVATE)


def test_answers_are_remembered_within_bounds() -> None:
    """
    A scan of the whole of IPv6 takes no memory.
    """
    networks = Networks([ipaddress.ip_network("::/64")])
    assert all(f"::{number:x}" in networks for number in range(3000))
    assert len(networks._answers) <= 1024


def test_no_networks_are_none() -> None:
    """
    So that nothing is asked where nothing is configured.
    """
    some = Networks.some((ipaddress.ip_network("10.0.0.0/8"),))
    assert (None, True) == (Networks.some(()), some is not None and "10.1.2.3" in some)


@given(st.text())
def test_any_text_gets_an_answer(host: str) -> None:
    """
    Nothing is raised, and what is no address is in no network.
    """
    assert host not in PRIVATE or ip_address(host.partition("%")[0]) is not None
