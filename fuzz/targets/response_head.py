"""
A response's head: what goes to a client is one head, with the same status, for HTTP/1 and HTTP/2.
"""

from __future__ import annotations

from typing import Final

from fuzz.oracle import check_response
from fuzz.pieces import prefixes
from sptls.config import LimitsConfig
from sptls.proxy.body import response_body
from sptls.proxy.head import NEED_MORE, Malformed, RequestHead, ResponseHead, parse_request, parse_response
from sptls.proxy.headers import client_fields, for_client

_HEAD_BYTES: Final = 2048

SEEDS: Final = (
    b"HTTP/1.1 302 Moved Temporarily\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x\r\nX: y\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
    b"HTTP/1.0 200\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    b"ICY 200 OK\r\n\r\n",
)


def _request(method: bytes) -> RequestHead:
    head = parse_request(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n", LimitsConfig())
    assert isinstance(head, RequestHead)
    return head


_REQUESTS: Final = [_request(b"GET"), _request(b"HEAD")]


def check(data: bytes) -> None:
    """
    See that every beginning of *data* is read as the whole allows, by h11 as by us, and what clients get of it.
    """
    whole = parse_response(data, _HEAD_BYTES)
    assert whole == parse_response(bytearray(data), _HEAD_BYTES)
    for part in prefixes(data):
        answer = parse_response(part, _HEAD_BYTES)
        if isinstance(answer, Malformed):
            assert isinstance(whole, Malformed)
        else:
            assert answer in (NEED_MORE, whole)
    if isinstance(whole, ResponseHead):
        check_response(whole, data)
        for request in _REQUESTS:
            _check_for_clients(whole, request)


def _check_for_clients(head: ResponseHead, request: RequestHead) -> None:
    sent = for_client(head, request, response_body(head, request.method), keep_alive=True)
    assert sent.index(b"\r\n\r\n") == len(sent) - 4
    again = parse_response(sent, 2 * len(sent))
    assert isinstance(again, ResponseHead)
    assert (head.status, head.reason, len(sent)) == (again.status, again.reason, again.size)
    status, *fields = client_fields(head)
    assert (b":status", b"%d" % head.status) == status
    for name, value in fields:
        assert name == name.lower()
        assert not {*b"\r\n\0: "} & {*name}
        assert not {*b"\r\n\0"} & {*value}
