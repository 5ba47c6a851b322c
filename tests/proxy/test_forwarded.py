from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.addresses import Networks
from sptls.proxy.forwarded import believed

PROXIES = Networks([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")])
PEER = b"10.0.0.1"
CHAIN = b"X-Forwarded-For"


def client(*chain: bytes) -> bytes:
    """
    Give the address that is found when each of *chain* is a field.
    """
    return believed([(CHAIN, value) for value in chain], PROXIES, PEER, b"http")[0]


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        (b"192.0.2.1", b"192.0.2.1"),
        (b"192.0.2.1, 198.51.100.1", b"198.51.100.1"),
        (b"192.0.2.1, 10.9.9.9 ,\t10.1.1.1", b"192.0.2.1"),
        (b"nonsense, 192.0.2.1,10.1.1.1", b"192.0.2.1"),
        (b"2001:DB8::1, fd00::7", b"2001:db8::1"),
        (b"::ffff:192.0.2.1", b"192.0.2.1"),
        (b"[2001:db8::1]:4711", b"2001:db8::1"),
        (b"[2001:db8::1]", b"2001:db8::1"),
        (b"192.0.2.1:4711, ::ffff:10.0.0.2", b"192.0.2.1"),
        (b",, 192.0.2.1 , ,", b"192.0.2.1"),
    ],
)
def test_the_right_most_that_is_no_proxy(chain: bytes, expected: bytes) -> None:
    """
    What stands before it was written by nobody who is trusted.
    """
    assert expected == client(chain)


@pytest.mark.parametrize("chain", [b"10.2.2.2, 10.1.1.1", b"10.2.2.2"])
def test_the_first_where_all_are_proxies(chain: bytes) -> None:
    """
    A client of the same network; nginx's real_ip does so.
    """
    assert b"10.2.2.2" == client(chain)


@pytest.mark.parametrize(
    "chain",
    [
        b"",
        b" , ",
        b"unknown",
        b"192.0.2.1, unknown",
        b"192.0.2.1, _hidden, 10.1.1.1",
        b"192.0.2.256",
        b"192.0.2.1 198.51.100.1",
        b"192.0.2.1:",
        b"192.0.2.1:8a",
        b"[192.0.2.1]",
        b"[2001:db8::1",
        b"[2001:db8::1]x",
        b"[2001:db8::1]:",
        b"2001:db8::1%eth0",
        b'"192.0.2.1"',
        b"\xff",
        b"192.0.2.1," + b"10.1.1.1," * 40,
    ],
)
def test_what_is_no_address_names_the_peer(chain: bytes) -> None:
    """
    Whatever stands before it; so does a chain that is no chain.
    """
    assert PEER == client(chain)


def test_several_fields_are_one_list() -> None:
    """
    RFC 9110 §5.3: in their order, whatever their case; other fields are none of it.
    """
    fields = [(b"x-forwarded-for", b"192.0.2.1"), (b"X_Forwarded_For", b"6.6.6.6"), (b"X-FORWARDED-FOR", b"10.1.1.1")]
    assert (b"192.0.2.1", b"http") == believed(fields, PROXIES, PEER, b"http")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"https"], b"https"),
        ([b"HTTP"], b"http"),
        ([], b"ours"),
        ([b"https, http"], b"ours"),
        ([b"https", b"https"], b"ours"),
        ([b"ftp"], b"ours"),
        ([b""], b"ours"),
    ],
)
def test_a_scheme_counts_where_it_is_one(values: list[bytes], expected: bytes) -> None:
    """
    Else it is the connection's own.
    """
    fields = [(b"X-Forwarded-Proto", value) for value in values]
    assert (PEER, expected) == believed(fields, PROXIES, PEER, b"ours")


@given(st.lists(st.binary() | st.sampled_from([b"10.0.0.1", b"192.0.2.1", b"::1", b"[::1]:1", b"10.0.0.1,"])))
def test_any_bytes_give_an_address(values: list[bytes]) -> None:
    """
    One of the chain's, or the peer's.
    """
    found = client(*values)
    assert str(ipaddress.ip_address(found.decode())) == found.decode()
