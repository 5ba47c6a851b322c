"""
The PROXY protocol's header: one, the beginning of one, or none; and what we write is read as it was meant.
"""

from __future__ import annotations

from typing import Final

from fuzz.pieces import prefixes
from sptls.proxy_header import NeedMore, NoHeader, ProxyHeader, header, parse

SEEDS: Final = (
    header(("192.0.2.1", 1234), ("198.51.100.1", 443)),
    header(("2001:db8::1", 1234), ("192.0.2.1", 443)),
    header(("2001:db8::1", 1), ("2001:db8::2", 2))[:30],
    b"PROXY TCP4 192.0.2.1 198.51.100.1 1234 443\r\nGET /",
    b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1234 443\r\n",
    b"PROXY UNKNOWN ffff::1\r\n",
    b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
)


def check(data: bytes) -> None:
    """
    See that every beginning of *data* is read as the whole allows, and that addresses survive being written again.
    """
    whole = parse(data)
    assert isinstance(whole, ProxyHeader | NeedMore | NoHeader)
    for part in prefixes(data):
        answer = parse(part)
        if isinstance(answer, NeedMore):
            assert answer.total_bytes > len(part)
            assert answer.total_bytes <= len(data) or not isinstance(whole, ProxyHeader)
        else:
            assert answer == whole
    if isinstance(whole, ProxyHeader):
        assert whole.size <= len(data)
        if whole.source and whole.destination:
            again = parse(header(whole.source, whole.destination))
            assert isinstance(again, ProxyHeader)
            assert (whole.source, whole.destination) == (again.source, again.destination)
