"""
Another reader of HTTP/1, h11: what we take, it takes for the same.
"""

from __future__ import annotations

import h11

from sptls.proxy.fields import Fields
from sptls.proxy.head import RequestHead, ResponseHead


def check_request(head: RequestHead, data: bytes) -> None:
    """
    See that the head at the start of *data* is *head* for h11 too, and has content as we say.

    It refuses bytes from 0x80 on in a target, and an empty line before it.
    """
    if not head.target.isascii() or data.startswith(b"\r\n"):
        return
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(data[: head.size])
    event = reader.next_event()
    assert isinstance(event, h11.Request), event
    assert (head.method, head.target) == (event.method, event.target)
    assert _fields(head.fields) == _fields(event.headers.raw_items())
    assert head.version == (b"1.0" if event.http_version == b"1.0" else b"1.1")
    assert isinstance(reader.next_event(), h11.EndOfMessage) == (not head.chunked and not head.content_length)


def check_response(head: ResponseHead, data: bytes) -> None:
    """
    See that the head at the start of *data* is *head* for h11 too.
    """
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=b"GET", target=b"/", headers=[(b"Host", b"a.example")]))
    reader.receive_data(data[: head.size])
    event = reader.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse), event
    assert (head.status, head.reason) == (event.status_code, event.reason)
    assert _fields(head.fields) == _fields(event.headers.raw_items())


def _fields(fields: Fields) -> Fields:
    """
    Give *fields* as far as h11 changes none: a length that is told twice it tells once, and codings in lower case.
    """
    told = [(name, value.lower()) if name.lower() == b"transfer-encoding" else (name, value) for name, value in fields]
    lengths = [(b"content-length", value) for name, value in told if name.lower() == b"content-length"]
    return [*lengths[:1], *(field for field in told if field[0].lower() != b"content-length")]


def check_chunks(content: bytes, coded: bytes, *, finished: bool) -> None:
    """
    See that *content* is what h11 takes out of the *coded* chunks.
    """
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    reader.next_event()
    if coded:
        reader.receive_data(coded)
    read, ended = b"", False
    while (event := reader.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        read += event.data if isinstance(event, h11.Data) else b""
        ended |= isinstance(event, h11.EndOfMessage)
    assert (content, finished) == (read, ended)
