"""
A request's head: one status for a fault however it arrives, and one request for a strict reader upstream.
"""

from __future__ import annotations

from typing import Final

from fuzz.forwarded import check_forwarded
from fuzz.oracle import check_request
from fuzz.pieces import prefixes
from sptls.config import LimitsConfig
from sptls.proxy.head import NEED_MORE, Malformed, RequestHead, parse_request

_LIMITS: Final = LimitsConfig(head_bytes=2048, target_bytes=1024, body_bytes=10_000)

SEEDS: Final = (
    b"GET /f/a%2F~~?target=http%3A%2F%2Fx HTTP/1.1\r\nHost: click.example.com\r\nUser-Agent: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close, x\r\nX: y\r\n\r\n0\r\n\r\n",
    b'GET http://a.example:80/x?y HTTP/1.0\r\nCookie: a="\x01"\r\n\r\n',
    b"\r\nOPTIONS https://[::1] HTTP/1.7\r\nHost: [::1]:443\r\nX_Forwarded_For: 1\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    b"\x16\x03\x01",
)


def check(data: bytes) -> None:
    """
    See that every beginning of *data* is read as the whole allows, and that h11 and what we send upstream agree.
    """
    whole = parse_request(data, _LIMITS)
    assert whole == parse_request(bytearray(data), _LIMITS)
    for part in prefixes(data):
        answer = parse_request(part, _LIMITS)
        if isinstance(answer, Malformed):
            assert isinstance(whole, Malformed)
            assert answer.status == whole.status
        elif isinstance(answer, RequestHead):
            assert answer == whole
        else:
            assert answer is NEED_MORE
    if isinstance(whole, RequestHead):
        assert whole.size <= len(data)
        check_forwarded(whole)
        check_request(whole, data)
