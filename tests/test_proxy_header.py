"""
Tests for `sptls.proxy_header`: HAProxy's proxy-protocol.txt, example by example and rule by rule.
"""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.proxy_header import MAX_HEADER_BYTES, SIGNATURE, NeedMore, NoHeader, ProxyHeader, header, parse

LINE = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
PARSED = (("192.0.2.1", 56324), ("198.51.100.2", 443))
IPV4 = st.ip_addresses(v=4).map(str)
IPV6 = st.ip_addresses(v=6).map(str).filter(lambda text: not text.startswith("::ffff:"))
PORTS = st.integers(0, 65535)


def binary(command: int, kind: int, content: bytes) -> bytes:
    """
    Give a header of version 2.
    """
    return SIGNATURE + bytes((command, kind)) + len(content).to_bytes(2) + content


ADDRESSES = bytes((192, 0, 2, 1, 198, 51, 100, 2)) + (56324).to_bytes(2) + (443).to_bytes(2)


def test_version_1() -> None:
    """
    Both ends are told; what follows is left alone.
    """
    assert ProxyHeader(len(LINE), *PARSED) == parse(LINE + b"\x16\x03\x01")


def test_version_1_of_ipv6() -> None:
    """
    §2.1: in hexadecimal, of any case; told in the one spelling.
    """
    line = b"PROXY TCP6 2001:DB8:0:0::1 ::1 1 65535\r\n"
    assert ProxyHeader(len(line), ("2001:db8::1", 1), ("::1", 65535)) == parse(line)


@pytest.mark.parametrize("rest", [b"", b" ffff:f...f:ffff ffff:f...f:ffff 65535 65535", b" \x01"])
def test_version_1_unknown(rest: bytes) -> None:
    """
    §2.1: what stands behind UNKNOWN is not looked at, and the peer is the client.
    """
    line = b"PROXY UNKNOWN" + rest + b"\r\n"
    assert ProxyHeader(len(line)) == parse(line + b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 65536\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 080 443\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.2 1 443\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.2 1 443\r\n",
        b"PROXY TCP4 ::1 ::1 1 443\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 1 443\r\n",
        b"PROXY TCP6 ::1%lo ::1 1 443\r\n",
        b"PROXY TCP5 192.0.2.1 198.51.100.2 1 443\r\n",
        b"PROXY tcp4 192.0.2.1 198.51.100.2 1 443\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY \r\n",
        b"PROXY\r\n",
        b"proxy TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\r\n\r\n\0\r\nQUIT\r",
        b" ",
    ],
)
def test_what_is_spelled_otherwise_is_no_header(line: bytes) -> None:
    """
    A reader that forgives reads another address than the sender meant.
    """
    assert isinstance(parse(line), NoHeader)


def test_version_1_is_bounded() -> None:
    """
    §2.1: 107 bytes hold the longest line, CR LF included.
    """
    longest = b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"
    assert (ProxyHeader(107), 107) == (parse(longest), len(longest))
    assert NoHeader("a line of more than 107 bytes") == parse(b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n")
    assert NoHeader("a line of more than 107 bytes") == parse(longest[:-2] + b"xx")
    assert NeedMore(107) == parse(longest[:106])


def test_version_2() -> None:
    """
    Both ends are told; what follows is left alone.
    """
    data = binary(0x21, 0x11, ADDRESSES)
    assert ProxyHeader(28, *PARSED) == parse(data + b"\x16\x03\x01")


def test_version_2_of_ipv6() -> None:
    """
    An IPv4 address that is mapped into it is told as IPv4.
    """
    packed = ipaddress.IPv6Address("2001:db8::1").packed + ipaddress.IPv6Address("::ffff:192.0.2.1").packed
    data = binary(0x21, 0x21, packed + b"\0\x01\xff\xff")
    assert ProxyHeader(52, ("2001:db8::1", 1), ("192.0.2.1", 65535)) == parse(data)


def test_version_2_with_more_behind_the_addresses() -> None:
    """
    §2.2.8: whatever stands there is skipped.
    """
    data = binary(0x21, 0x11, ADDRESSES + b"\x04\0\x03abc" + b"\xff" * 300)
    assert ProxyHeader(len(data), *PARSED) == parse(data + b"rest")
    assert NeedMore(len(data)) == parse(data[:-1])


@pytest.mark.parametrize("content", [b"", ADDRESSES, b"\x04\0\0"])
@pytest.mark.parametrize(("command", "kind"), [(0x20, 0x00), (0x20, 0x11), (0x21, 0x00), (0x21, 0x31), (0x21, 0x12)])
def test_version_2_that_names_nobody(command: int, kind: int, content: bytes) -> None:
    """
    §2.2: LOCAL is the sender's own (a health check); UNSPEC, and what is no TCP, leave the peer as the client.
    """
    data = binary(command, kind, content)
    assert ProxyHeader(len(data)) == parse(data + b"rest")
    assert isinstance(parse(data[:-1]), NeedMore)


@pytest.mark.parametrize(("command", "kind"), [(0x11, 0x11), (0x22, 0x11), (0x31, 0x11), (0x21, 0x41), (0x21, 0x13)])
def test_version_2_that_there_is_not(command: int, kind: int) -> None:
    """
    §2.2: other versions, commands, families and transports must be refused.
    """
    assert isinstance(parse(binary(command, kind, ADDRESSES)), NoHeader)


def test_version_2_is_bounded() -> None:
    """
    Its length is known from its 16th byte on, and so is that it is too short or too long.
    """
    assert NoHeader("too short for its addresses") == parse(binary(0x21, 0x11, ADDRESSES[:-1])[:16])
    longest = binary(0x21, 0x11, ADDRESSES + b"\0" * (MAX_HEADER_BYTES - 28))
    assert ProxyHeader(MAX_HEADER_BYTES, *PARSED) == parse(longest)
    too_long = binary(0x21, 0x11, ADDRESSES + b"\0" * (MAX_HEADER_BYTES - 27))
    assert NoHeader(f"more than {MAX_HEADER_BYTES} bytes") == parse(too_long[:16])


@pytest.mark.parametrize("whole", [LINE, b"PROXY UNKNOWN\r\n", binary(0x21, 0x11, ADDRESSES), binary(0x20, 0, b"")])
def test_a_beginning_needs_more(whole: bytes) -> None:
    """
    At least one byte, and never more than there are, or a header with nothing behind it would be waited for in vain.
    """
    for size in range(len(whole)):
        found = parse(whole[:size])
        assert isinstance(found, NeedMore), size
        assert size < found.total_bytes <= len(whole)


@given(IPV4, IPV4, PORTS, PORTS)
def test_round_trip(source: str, destination: str, source_port: int, destination_port: int) -> None:
    """
    What is made reads as it was meant.
    """
    ends = (source, source_port), (destination, destination_port)
    assert ProxyHeader(28, *ends) == parse(header(*ends) + b"\x16")


@given(IPV6, IPV6, PORTS, PORTS)
def test_round_trip_of_ipv6(source: str, destination: str, source_port: int, destination_port: int) -> None:
    """
    The same with IPv6.
    """
    ends = (source, source_port), (destination, destination_port)
    found = parse(header(*ends))
    assert isinstance(found, ProxyHeader)
    assert 52 == found.size
    assert ends == (found.source, found.destination)


def test_both_families_in_one_header() -> None:
    """
    There is one family for both ends, so IPv4 is mapped into IPv6.
    """
    found = parse(header(("2001:db8::1", 1), ("192.0.2.1", 443)))
    assert ProxyHeader(52, ("2001:db8::1", 1), ("192.0.2.1", 443)) == found


@given(st.sampled_from([LINE, binary(0x21, 0x11, ADDRESSES), SIGNATURE, b"PROXY ", b""]), st.data(), st.binary())
def test_any_bytes_get_an_answer(whole: bytes, data: st.DataObject, rest: bytes) -> None:
    """
    A header is within what is there, and what needs more needs more than that; nothing is raised.
    """
    received = whole[: data.draw(st.integers(0, len(whole)))] + rest
    match parse(received):
        case ProxyHeader(size=size):
            assert size <= len(received)
        case NeedMore(total_bytes=total):
            assert len(received) < total <= MAX_HEADER_BYTES


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_header_stays_none(data: bytes, more: bytes) -> None:
    """
    What is refused is refused however it goes on.
    """
    if isinstance(parse(data), NoHeader):
        assert isinstance(parse(data + more), NoHeader)
