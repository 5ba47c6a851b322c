"""
X-Forwarded-For of a trusted proxy: an address in its one spelling, or the peer's, whatever clients wrote before it.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from sptls.addresses import Networks
from sptls.proxy.forwarded import believed

_PROXIES: Final = Networks([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8:1::/48")])
_PEER: Final = b"10.0.0.1"

SEEDS: Final = (
    b"198.51.100.7\nhttps",
    b"evil, 198.51.100.7, 10.0.0.2\nHTTP",
    b"[2001:db8::7]:1234 , 2001:db8:1::1\nws",
    b"::ffff:198.51.100.7,\n",
    b"10.0.0.3,10.0.0.2\nhttp\nhttps",
)


def check(data: bytes) -> None:
    """
    See that what is believed is an address, and that what stands before one that is no proxy's changes nothing.
    """
    chain, *schemes = data.split(b"\n")
    fields = [(b"X-Forwarded-For", chain), *((b"X-Forwarded-Proto", scheme) for scheme in schemes)]
    address, scheme = believed(fields, _PROXIES, _PEER, b"https")
    assert scheme in {b"http", b"https"}
    assert address == _PEER or address.decode() == str(ipaddress.ip_address(address.decode()))
    if address != _PEER and address.decode() not in _PROXIES:
        assert address == believed([(b"x-forwarded-for", b"192.0.2.66"), *fields], _PROXIES, _PEER, b"https")[0]
