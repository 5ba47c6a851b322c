"""
What goes to a tracking service is one request, for a reader that knows nothing of the one that came.
"""

from __future__ import annotations

from typing import Final

from sptls.config import LimitsConfig, UpstreamConfig
from sptls.names import HostName
from sptls.proxy.head import RequestHead, parse_request
from sptls.proxy.headers import for_upstream
from sptls.proxy.route import Site

_SITE: Final = Site(HostName("a.example"), UpstreamConfig())
_LIMITS: Final = LimitsConfig(head_bytes=1 << 20, target_bytes=1 << 20)


def check_forwarded(request: RequestHead) -> None:
    """
    See what would be sent on of *request*, where it has a host that could lead somewhere.
    """
    if request.host is not None:
        check_head(for_upstream(request, _SITE, b"192.0.2.1", b"https"), request)


def check_head(sent: bytes, request: RequestHead) -> None:
    """
    See that *sent* is read as *request*: its end, method, target, host, length, and nothing of the connection's.
    """
    assert sent.index(b"\r\n\r\n") == len(sent) - 4
    again = parse_request(sent, _LIMITS)
    assert isinstance(again, RequestHead), again
    assert (request.method, request.origin_target, request.authority) == (again.method, again.target, again.authority)
    assert (request.content_length, request.chunked, len(sent)) == (again.content_length, again.chunked, again.size)
    names = [name.lower().replace(b"_", b"-") for name, _ in again.fields]
    assert 1 == names.count(b"host") == names.count(b"x-forwarded-for") == names.count(b"x-forwarded-proto")
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert not {b"connection", b"upgrade", b"te", b"expect", b"forwarded", b"x-real-ip"} & set(names)
