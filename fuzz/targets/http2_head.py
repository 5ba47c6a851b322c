"""
An HTTP/2 request's fields: refused, or a request that HTTP/1's own strict reader takes for the same one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fuzz.forwarded import check_forwarded
from sptls.config import LimitsConfig
from sptls.proxy.head import Malformed
from sptls.proxy.http2_head import are_trailers, request_head

if TYPE_CHECKING:
    from sptls.proxy.fields import Fields

_LIMITS: Final = LimitsConfig(head_bytes=2048, target_bytes=1024, body_bytes=10_000)
_LETTERS: Final = {b"m": b":method", b"s": b":scheme", b"p": b":path", b"a": b":authority", b"h": b"host"}


def _packed(*fields: tuple[bytes, bytes]) -> bytes:
    """
    Give *fields* as `_fields` reads them.
    """
    return b"".join(bytes((len(name),)) + name + bytes((len(value),)) + value for name, value in fields)


_PLAIN: Final = ((b"m", b"GET"), (b"s", b"https"), (b"a", b"a.example"), (b"p", b"/f/a"))
SEEDS: Final = (
    b"\x01" + _packed(*_PLAIN, (b"user-agent", b"x"), (b"cookie", b"a=b"), (b"cookie", b"c=d")),
    b"\x00" + _packed((b"m", b"POST"), *_PLAIN[1:], (b"content-length", b"5"), (b"expect", b"100-continue")),
    b"\x00" + _packed(*_PLAIN[:2], (b"h", b"a.example:443"), (b"p", b"/"), (b"te", b"trailers"), (b"x_y", b" z ")),
    b"\x01" + _packed(*_PLAIN, (b"x", b"y\r\nz: 1")),
    b"\x01" + _packed(*_PLAIN, (b"transfer-encoding", b"chunked"), (b":x", b"y")),
)


def check(data: bytes) -> None:
    """
    See that what is accepted goes on as one request.
    """
    ends, fields = bool(data[:1] != b"\0"), _fields(data[1:])
    head = request_head(fields, ends, _LIMITS)
    if isinstance(head, Malformed):
        assert 400 <= head.status <= 599
    else:
        assert not ends or not (head.chunked or head.content_length)
        check_forwarded(head)
    are_trailers(fields)


def _fields(data: bytes) -> Fields:
    """
    Give fields of *data*: a length and a name, a length and a value, and so on; letters stand for pseudo-fields.
    """
    texts, at = list[bytes](), 0
    while at < len(data):
        texts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    pairs = zip(texts[::2], texts[1::2], strict=False)
    return [(_LETTERS.get(name, name), value) for name, value in pairs]
