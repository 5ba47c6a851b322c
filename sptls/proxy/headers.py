"""
Request and response fields across the proxy (RFC 9110 §7.6), and our own answers.

Fields keep their order, spelling and repeats; what concerns one connection only is dropped, and framing, Host and
the X-Forwarded fields are always ours, so nothing a client sends can displace them. Via is left out, as nginx does:
services compress and cache differently when they see it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Final

from sptls.proxy.body import CHUNKED, UNTIL_CLOSE, Chunked, Length, NoBody, UntilClose

if TYPE_CHECKING:
    from sptls.proxy.body import ResponseBody
    from sptls.proxy.fields import Fields
    from sptls.proxy.head import RequestHead, ResponseHead
    from sptls.proxy.route import Site

# RFC 9110 §7.6.1, and the fields that older software treats so. Content-Length is written anew, from what was checked.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# What announces trailers goes on where these may: with chunks.
_TRAILER = frozenset({b"trailer"})
_HSTS = frozenset({b"strict-transport-security"})
# By whether the service's HSTS is replaced, and by whether there are chunks.
_NOT_TO_CLIENT: Final = (
    (_HOP_BY_HOP, _HOP_BY_HOP - _TRAILER),
    (_HOP_BY_HOP | _HSTS, (_HOP_BY_HOP | _HSTS) - _TRAILER),
)
# What a client could use to look like another one, or like another tracking domain's.
_CLAIMS = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto", b"x-real-ip"}
)
# Expect: the 100 is ours to send, once the request is sure to be forwarded.
NEVER_FORWARDED: Final = _HOP_BY_HOP | _CLAIMS | {b"expect", b"host", b"http2-settings"}
# Services that take fields from CGI's variables can't tell `_` from `-` (nginx drops all such fields for that reason).
_NOT_UPSTREAM = frozenset(
    b"".join(b"%b%b" % pair for pair in zip(name.split(b"-"), (*marks, b""), strict=True))
    for name in NEVER_FORWARDED
    for marks in product((b"-", b"_"), repeat=name.count(b"-"))
)
_NOT_UPSTREAM_WITH_CHUNKS = _NOT_UPSTREAM - _TRAILER

# 503 is said where more requests wait for an upstream than may, or wait too long (`limits.upstream_connect_seconds`,
# 5 s): a crowd that has gone by then.
_RETRY_AFTER_SECONDS: Final = 5
_OTHER_STATUS = (b"Error", b"The request could not be answered.")
# The reasons are RFC 9110's, the sentences for a person who followed a link.
_STATUS: Final = {
    308: (b"Permanent Redirect", b"This page is at the same address with https."),
    400: (b"Bad Request", b"The request could not be understood."),
    404: (b"Not Found", b"There is no such page."),
    405: (b"Method Not Allowed", b"That is not possible here."),
    408: (b"Request Timeout", b"The request took too long."),
    413: (b"Content Too Large", b"The request is too large."),
    414: (b"URI Too Long", b"The link is too long."),
    417: (b"Expectation Failed", b"The request expects something that is not possible here."),
    421: (b"Misdirected Request", b"This address is not served here."),
    431: (b"Request Header Fields Too Large", b"The request is too large."),
    500: (b"Internal Server Error", b"Something went wrong here. Please try again in a minute."),
    501: (b"Not Implemented", b"That is not possible here."),
    502: (b"Bad Gateway", b"The page can't be reached right now. Please try again in a minute."),
    503: (b"Service Unavailable", b"The page can't be reached right now. Please try again in a minute."),
    504: (b"Gateway Timeout", b"The page is not answering right now. Please try again in a minute."),
    505: (b"HTTP Version Not Supported", b"The request could not be understood."),
}
_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
MONTHS: Final = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


def for_upstream(head: RequestHead, site: Site, peer: bytes, scheme: bytes) -> bytes:
    """
    Give the whole request head for *site*'s upstream; *peer* is the client's address, *scheme* ``http`` or ``https``.
    """
    host_field = site.upstream.host_field
    preserve = host_field == "preserve"
    host = head.authority if preserve else _upstream_host(site)
    pieces = [b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (head.method, head.origin_target, host)]
    dropped = _NOT_UPSTREAM_WITH_CHUNKS if head.chunked else _NOT_UPSTREAM
    pieces += _passed_on(head.fields, dropped, head.connection_options)
    pieces.append(b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (peer, scheme))
    if not preserve:
        pieces.append(b"X-Forwarded-Host: %b\r\n" % head.authority)
    if head.chunked:
        pieces.append(b"Transfer-Encoding: chunked\r\n")
    elif head.content_length is not None:
        pieces.append(b"Content-Length: %d\r\n" % head.content_length)
    pieces.append(b"\r\n")
    return b"".join(pieces)


def _upstream_host(site: Site) -> bytes:
    upstream = site.upstream
    host = upstream.url.partition("://")[2] if upstream.host_field == "upstream" else upstream.host_field
    return host.encode("ascii")


def _passed_on(fields: Fields, dropped: frozenset[bytes], connection_options: tuple[bytes, ...]) -> list[bytes]:
    """
    Give the lines of *fields* without those *dropped* or named as connection options.
    """
    if connection_options:
        dropped = dropped.union(connection_options)
    return [b"%b: %b\r\n" % field for field in fields if field[0].lower() not in dropped]


def client_framing(request: RequestHead, body: ResponseBody) -> ResponseBody:
    """
    Tell how a response with *body* at the upstream is framed for the client that sent *request*.

    `Chunked`: the caller frames with `body.chunk`; `UntilClose` (HTTP/1.0 clients): the connection can't be kept.
    """
    if type(body) is Length or type(body) is NoBody:
        return body
    return UNTIL_CLOSE if request.version == b"1.0" else CHUNKED


def for_client(
    head: ResponseHead, request: RequestHead, body: ResponseBody, keep_alive: bool, hsts: bytes | None = None
) -> bytes:
    """
    Give the whole response head for the client; *body* is the upstream's framing (`body.response_body`).

    Where *body*'s end can only be told by closing, Connection says so whatever *keep_alive* says. *hsts* replaces the
    upstream's Strict-Transport-Security (RFC 6797 §6.1); if it is empty, there is none.
    """
    framing = client_framing(request, body)
    pieces = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)]
    dropped = _NOT_TO_CLIENT[hsts is not None][type(framing) is Chunked]
    pieces += _passed_on(head.fields, dropped, head.connection_options)
    if hsts:
        pieces.append(b"Strict-Transport-Security: %b\r\n" % hsts)
    if head.status >= 200:
        pieces.append(_framing_fields(head, framing))
        pieces.append(_connection_field(request.version, keep_alive and not isinstance(framing, UntilClose)))
    pieces.append(b"\r\n")
    return b"".join(pieces)


def client_fields(head: ResponseHead, hsts: bytes | None = None) -> Fields:
    """
    Give the response fields for an HTTP/2 client (RFC 9113 §8.3.2), the status first; framing is its own.

    *hsts* replaces the upstream's Strict-Transport-Security; if it is empty, there is none.
    """
    dropped = _NOT_TO_CLIENT[hsts is not None][head.chunked]
    if head.connection_options:
        dropped = dropped.union(head.connection_options)
    fields = [(b":status", b"%d" % head.status)]
    for name, value in head.fields:
        lower = name.lower()
        if lower not in dropped:
            fields.append((lower, value))
    if head.content_length is not None and head.status != 204:
        fields.append((b"content-length", b"%d" % head.content_length))
    if hsts:
        fields.append((b"strict-transport-security", hsts))
    return fields


def _framing_fields(head: ResponseHead, framing: ResponseBody) -> bytes:
    if isinstance(framing, Chunked):
        return b"Transfer-Encoding: chunked\r\n"
    # An answer to HEAD and a 304 say how long the content would be; a 204 has none to speak of (RFC 9110 §8.6).
    if head.content_length is None or isinstance(framing, UntilClose) or head.status == 204:
        return b""
    return b"Content-Length: %d\r\n" % head.content_length


def _connection_field(version: bytes, keep_alive: bool) -> bytes:
    if not keep_alive:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if version == b"1.0" else b""


def own_response(
    status: int,
    content_type: bytes,
    content: bytes,
    request_method: bytes,
    *,
    keep_alive: bool = False,
    version: bytes = b"1.1",
    date: bytes = b"",
    retry_after_seconds: int | None = None,
    location: bytes | None = None,
    hsts: bytes | None = None,
) -> bytes:
    """
    Give a whole answer of our own, content included (but to HEAD); *version* is the request's, *date* is `http_date`'s.

    *hsts* is the Strict-Transport-Security of the domain that it is for (RFC 6797 §7.1), if it has one.
    """
    pieces = [b"HTTP/1.1 %d %b\r\n" % (status, _STATUS.get(status, _OTHER_STATUS)[0] if status != 200 else b"OK")]
    if date:
        pieces.append(b"Date: %b\r\n" % date)
    pieces.append(b"Content-Type: %b\r\nContent-Length: %d\r\n" % (content_type, len(content)))
    if status == 405:
        pieces.append(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n")  # RFC 9110 §15.5.6 wants it
    if retry_after_seconds is not None:
        pieces.append(b"Retry-After: %d\r\n" % retry_after_seconds)
    if location is not None:
        # Not to be remembered, as Cache-Control says: the domain may have to go back to http.
        pieces.append(b"Location: %b\r\n" % location)
    if hsts:
        pieces.append(b"Strict-Transport-Security: %b\r\n" % hsts)
    pieces += (b"Cache-Control: no-store\r\n", _connection_field(version, keep_alive), b"\r\n")
    if request_method != b"HEAD":
        pieces.append(content)
    return b"".join(pieces)


def error_page(
    status: int,
    request_method: bytes,
    *,
    keep_alive: bool = False,
    version: bytes = b"1.1",
    date: bytes = b"",
    location: bytes | None = None,
    hsts: bytes | None = None,
) -> bytes:
    """
    Give a whole answer that says *status* in plain words, without the proxy's name or version.

    A 503 says when to come again (RFC 9110 §15.6.4).
    """
    reason, sentence = _STATUS.get(status, _OTHER_STATUS)
    return own_response(
        status,
        b"text/plain; charset=utf-8",
        b"%d %b\n\n%b\n" % (status, reason, sentence),
        request_method,
        keep_alive=keep_alive,
        version=version,
        date=date,
        retry_after_seconds=_RETRY_AFTER_SECONDS if status == 503 else None,
        location=location,
        hsts=hsts,
    )


@lru_cache(maxsize=2)
def http_date(epoch_seconds: int) -> bytes:
    """
    Give a moment as the Date field wants it (IMF-fixdate, RFC 9110 §5.6.7); made once a second, then remembered.
    """
    moment = datetime.fromtimestamp(epoch_seconds, UTC)
    day, month = _DAYS[moment.weekday()], MONTHS[moment.month - 1]
    time_of_day = (moment.hour, moment.minute, moment.second)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (day, moment.day, month, moment.year, *time_of_day)
