"""
The PROXY protocol's header: where a connection came from, as a load balancer says it before the connection's bytes.

Decides whether bytes are a header, version 1 or 2, the beginning of one (how many bytes it takes to know more), or
none; and makes one of version 2. Total: any bytes give one of the three, in linear time, and what is no header is known
from its first wrong byte on. Whom a header is believed from is not decided here.

HAProxy's proxy-protocol.txt: §2.1 (version 1), §2.2 (version 2).
"""

from __future__ import annotations

import ipaddress
import re
from struct import Struct
from typing import Final

import attrs

from sptls.addresses import HIGHEST_PORT

# §2.1: the longest line there can be, its CR LF included. The shortest is "PROXY UNKNOWN\r\n".
_MAX_LINE_BYTES: Final = 107
_MIN_LINE_BYTES: Final = 15
_LINE_START: Final = b"PROXY "
# An IPv6 address is of hexadecimal digits, colons, and dots; a zone ("%eth0") is of no use to anybody else.
_LINE: Final = re.compile(rb"PROXY (?P<family>TCP[46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ([0-9]{1,5}) ([0-9]{1,5})\r\n")
_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN( [^\r\n]*)?\r\n")

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_PREFIX_BYTES: Final = 16
# What stands behind the addresses (TLVs: a certificate's names, a cloud's identifiers) takes a few hundred bytes.
# The format's own 64 KiB would be kept in the kernel for whoever is slow.
MAX_HEADER_BYTES: Final = 4096
_VERSION_2: Final = 0x20
_LOCAL, _PROXY = 0, 1
_HIGHEST_FAMILY, _HIGHEST_TRANSPORT = 3, 2  # AF_UNIX, DGRAM
_TCP4, _TCP6 = 0x11, 0x21

_prefix = Struct(">12sBBH")
_ports = Struct(">HH")

Endpoint = tuple[str, int]
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@attrs.frozen
class ProxyHeader:
    """
    A whole header, of *size* bytes: IP address and port of the client, and of where it connected to. An IPv4 address
    that is mapped into IPv6 is told as IPv4.

    Both are None where the connection is the sender's own (LOCAL) or is of a kind that has no such addresses (UNKNOWN,
    UNSPEC, UNIX): then the peer is the client.
    """

    size: int
    source: Endpoint | None = None
    destination: Endpoint | None = None


@attrs.frozen
class NeedMore:
    """
    The beginning of a header that takes at least *total_bytes*, counted from its first byte.
    """

    total_bytes: int


@attrs.frozen
class NoHeader:
    """
    No header, because of *reason*, a fixed sentence.
    """

    reason: str


def parse(data: bytes) -> ProxyHeader | NeedMore | NoHeader:
    """
    Tell what *data*, everything that the peer has sent so far, is; bytes after the header are left alone.
    """
    if not data:
        return NeedMore(_MIN_LINE_BYTES)
    if data.startswith(SIGNATURE[: len(data)]):
        return _binary(data)
    if data[: len(_LINE_START)] == _LINE_START[: len(data)]:
        return _line(data)
    return NoHeader("neither version's first bytes")


def header(source: Endpoint, destination: Endpoint) -> bytes:
    """
    Give the header of version 2 for a connection from *source* to *destination*.

    Where only one is an IPv6 address, the other is written as one mapped into IPv6 (RFC 4291 §2.5.5.2).
    """
    addresses = [ipaddress.ip_address(host) for host, _ in (source, destination)]
    if all(address.version == 4 for address in addresses):
        family, packed = _TCP4, [address.packed for address in addresses]
    else:
        family, packed = _TCP6, [_as_ipv6(address) for address in addresses]
    content = b"".join(packed) + _ports.pack(source[1], destination[1])
    return _prefix.pack(SIGNATURE, _VERSION_2 | _PROXY, family, len(content)) + content


def _text(address: _Address) -> str:
    return str(address if address.version == 4 else address.ipv4_mapped or address)


def _as_ipv6(address: _Address) -> bytes:
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


def _binary(data: bytes) -> ProxyHeader | NeedMore | NoHeader:
    """
    Read a header of version 2 (§2.2).
    """
    if len(data) < _PREFIX_BYTES:
        return NeedMore(_PREFIX_BYTES)
    _, command, kind, length = _prefix.unpack_from(data)
    if command not in {_VERSION_2 | _LOCAL, _VERSION_2 | _PROXY}:
        return NoHeader("a version or command that there is not")
    if kind >> 4 > _HIGHEST_FAMILY or kind & 0xF > _HIGHEST_TRANSPORT:
        return NoHeader("an address family or transport that there is not")
    size = _PREFIX_BYTES + length
    if size > MAX_HEADER_BYTES:
        return NoHeader(f"more than {MAX_HEADER_BYTES} bytes")
    address_bytes = {_TCP4: 4, _TCP6: 16}.get(kind)
    if command == _VERSION_2 | _LOCAL or address_bytes is None:
        return NeedMore(size) if len(data) < size else ProxyHeader(size)
    if length < 2 * address_bytes + _ports.size:
        return NoHeader("too short for its addresses")
    if len(data) < size:
        return NeedMore(size)
    at = _PREFIX_BYTES + address_bytes
    hosts = [_text(ipaddress.ip_address(data[begin : begin + address_bytes])) for begin in (_PREFIX_BYTES, at)]
    source_port, destination_port = _ports.unpack_from(data, at + address_bytes)
    return ProxyHeader(size, (hosts[0], source_port), (hosts[1], destination_port))


def _line(data: bytes) -> ProxyHeader | NeedMore | NoHeader:
    """
    Read a header of version 1 (§2.1).
    """
    end = data.find(b"\n", 0, _MAX_LINE_BYTES) + 1
    if not end:
        if len(data) >= _MAX_LINE_BYTES:
            return NoHeader(f"a line of more than {_MAX_LINE_BYTES} bytes")
        return NeedMore(max(len(data) + 1, _MIN_LINE_BYTES))
    line = data[:end]
    if _UNKNOWN.fullmatch(line):
        return ProxyHeader(end)
    match = _LINE.fullmatch(line)
    if match is None:
        return NoHeader("a line that is not spelled as it must be")
    family, *hosts = (text.decode("ascii") for text in match.groups()[:3])
    ports = [int(text) for text in match.groups()[3:] if text == b"%d" % int(text)]
    parse_host = ipaddress.IPv4Address if family == "TCP4" else ipaddress.IPv6Address
    try:
        source, destination = (_text(parse_host(host)) for host in hosts)
    except ValueError:
        return NoHeader("an address that is none")
    if len(ports) < 2 or max(ports) > HIGHEST_PORT:
        return NoHeader("a port that is none")
    return ProxyHeader(end, (source, ports[0]), (destination, ports[1]))
