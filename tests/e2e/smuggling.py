"""
Tables of attacks on where a message ends and whom it is for, and of what looks like one and must go on working.
"""

from __future__ import annotations

from typing import Final

from tests.e2e.conftest import CLICK
from tests.e2e.recorder import Farewell

HOST: Final = b"Host: %b\r\n" % CLICK.encode()
# What an attacker wants the service to take for a request of its own.
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\n%b\r\n" % HOST
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_END: Final = b"0\r\n\r\n"


def _post(fields: bytes, content: bytes = b"") -> bytes:
    return b"POST /f/a HTTP/1.1\r\n" + HOST + fields + b"\r\n" + content


def _get(fields: bytes, first: bytes = b"GET /f/a HTTP/1.1", host: bytes = HOST) -> bytes:
    return first + b"\r\n" + host + fields + b"\r\n"


# Transfer-Encoding as somebody may read it and somebody else may not.
_CODINGS: Final = [
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked,", b"Transfer-Encoding: ,chunked", b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding: 'chunked'", b"Transfer-Encoding:",
    b"Transfer-Encoding: cow",
    b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: chunked\t", b"Transfer-Encoding:\vchunked",
    b"Transfer-Encoding: \x0cchunked", b"Transfer-Encoding: chunked\0", b"Transfer-Encoding: \xa0chunked",
    b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b" Transfer-Encoding: chunked",
    b"\tTransfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked",
    b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding\r\n : chunked", b"Transfer-\xc4ncoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\ntransfer-encoding: cow",
]  # fmt: skip
_LENGTHS: Final = [
    b"5, 5", b"5,6", b"5 5", b"+5", b"-5", b"-0", b"0x5", b"5e0", b"5.0", b"5_0", b"\"5\"", b"", b"five", b"\t5",
    b"5\t", b"5\v",
    b"\xb2", b"5;", b"99999999999999999999", b"18446744073709551621", b"5\0", b"\0",
]  # fmt: skip
# Of chunks whose content is "hello" for somebody.
_CHUNKS: Final = [
    b"5\nhello\n0\n\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhello!\r\n0\r\n\r\n",
    b"5\rhello\r\n0\r\n\r\n",
    b"5\r\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"5\v\r\nhello\r\n0\r\n\r\n", b"5,\r\nhello\r\n0\r\n\r\n",
    b"5_0\r\nhello\r\n0\r\n\r\n", b"\r\n", b"g\r\n", b"\xb2\r\n", b"5;a\nhello\r\n0\r\n\r\n",
    b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    b"5;\0\r\nhello\r\n0\r\n\r\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
    b"8000000000000005\r\nhello\r\n0\r\n\r\n", b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\n\n",
    b"5\r\nhello\r\n0\r\n\n", b"5\r\nhello\r\n0\r\nX : y\r\n\r\n", b"5\r\nhello\r\n0\r\n X: y\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX\r\n\r\n", b"5\r\nhello\r\n0\r\n: y\r\n\r\n", b"5\r\nhello\r\n0\r\nX: y\nZ: 1\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: \0\r\n\r\n", b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    b"5\0\r\nhello\r\n0\r\n\r\n",
]  # fmt: skip
_FIELDS: Final = [
    b"X : 1", b"X\t: 1", b"X Y: 1", b": 1", b" : 1", b"X", b"X\x00: 1", b"X\x01: 1", b"X\x7f: 1", b"X\xe9: 1",
    b"X(Y): 1",
    b"X: a\nb", b"X: a\rb", b"X: a\0b", b"X: \0", b"X: a\vb", b"X: a\x0cb", b"X: 1\r\n 2", b"X: 1\r\n\t2", b" X: 1",
    b"\tX: 1",
    b"X: 1\r", b"\0", b"\n", b"\r", b"X: 1\n", b"X: 1\n\nGET /smuggled HTTP/1.1", b"X: 1\r\rGET /smuggled HTTP/1.1",
]  # fmt: skip
_FIRST_LINES: Final = [
    b"GET /f/a", b"GET", b"", b"GET  /f/a HTTP/1.1", b"GET /f/a  HTTP/1.1", b"GET\t/f/a HTTP/1.1",
    b"GET /f/a\tHTTP/1.1",
    b" GET /f/a HTTP/1.1", b"GET /f/a HTTP/1.1 ", b"GET /f/a HTTP/1.1\t", b"GET /f/a b HTTP/1.1", b"get /f/a HTTP/1.1",
    b"Get /f/a HTTP/1.1", b"G\0T /f/a HTTP/1.1", b"GET /f/\0a HTTP/1.1", b"GET /f/\x01a HTTP/1.1",
    b"GET /f/\x7fa HTTP/1.1",
    b"GET /f/a HTTP/0.9", b"GET /f/a HTTP/2.0", b"GET /f/a HTTP/1.10", b"GET /f/a HTTP/01.1", b"GET /f/a HTTP/1.",
    b"GET /f/a HTTP/",
    b"GET /f/a http/1.1", b"GET /f/a HTTPS/1.1", b"GET /f/a HTTP/1.1 HTTP/1.1", b"GET f/a HTTP/1.1", b"GET ?f HTTP/1.1",
    b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET click.example.com:80 HTTP/1.1",
    b"CONNECT click.example.com:80 HTTP/1.1",
    b"CONNECT / HTTP/1.1", b"TRACE /f/a HTTP/1.1", b"GET http:///f/a HTTP/1.1", b"GET http:/f/a HTTP/1.1",
    b"GET http:// HTTP/1.1",
    b"GET http://u@click.example.com/ HTTP/1.1", b"GET http://click.example.com:x/ HTTP/1.1",
    b"GET ftp://click.example.com/ HTTP/1.1",
    b"GET http://click.example.com\\@evil.example/ HTTP/1.1", b"GET http://click.example.com#@x/ HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"GET http://evil.example/f/a HTTP/1.1", b"GET http://[::1]/f/a HTTP/1.1",
    b"GET http://click..example.com/ HTTP/1.1",
    b"GET /f/a HTTP/1.1\nX: y", b"GET /f/a HTTP/1.1\rX: y", b"\nGET /f/a HTTP/1.1", b"\r\n\nGET /f/a HTTP/1.1",
    b"\0GET /f/a HTTP/1.1",
]  # fmt: skip
_HOSTS: Final = [
    b"", b"Host:\r\n", HOST + HOST, HOST + b"host: evil.example\r\n", b"Host: evil.example\r\n",
    b"Host: evil.example\r\n" + HOST,
    b"Host: click.example.com, evil.example\r\n", b"Host: click.example.com evil.example\r\n",
    b"Host : click.example.com\r\n",
    b" Host: click.example.com\r\n", b"Host:\tclick.example.com\r\n", b"Host: click.example.com\t\r\n",
    b"Host: u@click.example.com\r\n",
    b"Host: click.example.com/\r\n", b"Host: click.example.com\\\r\n", b"Host: click.example.com?\r\n",
    b"Host: click.example.com#\r\n",
    b"Host: click.example.com:x\r\n", b"Host: click.example.com:80:80\r\n", b"Host: click.example.com:999999\r\n",
    b"Host: click.example.com:-1\r\n", b"Host: click.example.com..\r\n", b"Host: .click.example.com\r\n",
    b"Host: [click.example.com]\r\n",
    b"Host: http://click.example.com\r\n", b"Host: click.example.com\0\r\n", b"Host: click.example.com\x01\r\n",
    b"Host: \xe9click.example.com\r\n", b"Host: click.example.com\r\n evil.example\r\n",
    b"Host: click%2eexample.com\r\n", b"Ho\0st: x\r\n",
]  # fmt: skip

# None of these reaches a service, nor anything that comes behind it on the connection.
REFUSED: Final = [
    _post(b"Content-Length: 5\r\n" + _CHUNKED, _END),  # CL.TE
    _post(_CHUNKED + b"Content-Length: 5\r\n", _END),  # TE.CL
    _post(b"content-length: 0\r\nX: y\r\nTRANSFER-ENCODING: Chunked\r\n", _END),
    *(_post(coding + b"\r\n", _END) for coding in _CODINGS),
    *(_post(b"Content-Length: 5\r\n" + coding + b"\r\n", _END) for coding in _CODINGS),
    *(_post(coding + b"\r\nContent-Length: 5\r\n", _END) for coding in _CODINGS),
    *(_post(b"Content-Length: %b\r\n" % length, b"hello") for length in _LENGTHS),
    *(_post(b"Content-Length: %b\r\nContent-Length: %b\r\n" % pair, b"hello")  # CL.CL
      for pair in ((b"5", b"5"), (b"5", b"0"), (b"0", b"5"), (b"5", b""), (b"", b"5"))),
    _post(b"Content-Length: 5\r\nX: y\r\ncontent-LENGTH: 6\r\n", b"hello"),
    _post(b"Content-Length : 5\r\n", b"hello"),
    _post(b"Content-Length\0: 5\r\n", b"hello"),
    _post(b"Content-Length:\r\n 5\r\n", b"hello"),
    *(_post(_CHUNKED, chunks) for chunks in _CHUNKS),
    *(_get(field + b"\r\n") for field in _FIELDS),
    *(_get(b"", first) for first in _FIRST_LINES),
    *(_get(b"", host=host) for host in _HOSTS),
    _get(b"", b"GET http://evil.example/ HTTP/1.1"),
    _get(b"", b"GET /f/a HTTP/1.0", host=b""),
    _get(b"", b"GET /f/a HTTP/1.0", host=HOST + HOST),
    b"POST /f/a HTTP/1.0\r\n" + HOST + _CHUNKED + b"\r\n" + _END,
    b"GET /f/a HTTP/1.0\r\n" + HOST + _CHUNKED + b"Connection: keep-alive\r\n\r\n" + _END,
    _post(b"Expect: 200-ok\r\nContent-Length: 5\r\n", b"hello"),
    _post(b"Expect: 100-continue, x\r\nContent-Length: 5\r\n", b"hello"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /f/a\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    _get(b"".join(b"X-%d: y\r\n" % at for at in range(100))),
]  # fmt: skip

# How each of these goes on to the service: the fields between Host and ours, our framing, and the content.
PASSED_ON: Final = [
    (_post(_CHUNKED, b"5;a=b;c=\"d\"\r\nhello\r\n0\r\n\r\n"), b"", b"hello"),
    (_post(_CHUNKED, b"0005 ;a\r\nhello\r\n000;z\r\n\r\n"), b"", b"hello"),
    (_post(_CHUNKED, b"2\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\nHost: evil.example\r\nContent-Length: 9\r\n\r\n"), b"",
    b"hello"),
    (_post(b"transfer-encoding: CHUNKED  \r\n", b"5\r\nhello\r\n0\r\n\r\n"), b"", b"hello"),
    (_post(_CHUNKED, b"5 \t\r\nhello\r\n0 \r\n\r\n"), b"", b"hello"),
    (_post(b"Content-Length: 0000000005\r\n", b"hello"), b"", b"hello"),
    (_post(b"Content-Length:5  \r\n", b"hello"), b"", b"hello"),
    (_post(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED), b"", SMUGGLED),
    (_post(_CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)), b"", SMUGGLED),
    (_post(b"Content-Length: 5\r\nConnection: content-length\r\n", b"hello"), b"", b"hello"),
    (_post(_CHUNKED + b"Connection: transfer-encoding\r\n", b"5\r\nhello\r\n0\r\n\r\n"), b"", b"hello"),
    (_post(b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"hello"), b"", b"hello"),
    (_post(b"Content-Length: 5\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n",
           b"hello"), b"", b"hello"),
    (_get(b"Connection: host, x-forwarded-for, x-forwarded-proto\r\nX-Forwarded-For: 10.0.0.1\r\n"), b"", b""),
    (_get(b"Connection: x-own\r\nX-Own: 1\r\nX-Other: 2\r\n"), b"X-Other: 2\r\n", b""),
    (_get(b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\nX_Forwarded_For: 10.0.0.1\r\n"), b"", b""),
    (_get(b"Upgrade: websocket\r\nConnection: Upgrade\r\n"), b"", b""),
    (_get(b"", b"GET http://click.example.com/f/a HTTP/1.1", b"Host: evil.example\r\n"), b"", b""),
    (_get(b"", b"\r\nGET /f/a HTTP/1.1"), b"", b""),
    (_get(b"", b"\r\n" * 20 + b"GET /f/a HTTP/1.1"), b"", b""),
    (_get(b"X:  a\t b \t\r\nY:\r\n"), b"X: a\t b\r\nY: \r\n", b""),
    (_get(b"Cookie: a=\x01\x7f\xff\r\n"), b"Cookie: a=\x01\x7f\xff\r\n", b""),
    (_get(b"Content-Length: 0\r\n"), b"", b""),
]  # fmt: skip

Fields = list[tuple[bytes, bytes]]


def pseudo(**other: bytes | None) -> Fields:
    """
    Give a click's pseudo-fields with *other* values, None for none.
    """
    usual = {"method": b"GET", "scheme": b"https", "authority": CLICK.encode(), "path": b"/f/a"}
    return [(b":" + name.encode(), value) for name, value in (usual | other).items() if value is not None]


_LINE_ENDS: Final = [b"a\r\nSmuggled: 1", b"a\nb", b"a\rb", b"a\0b", b"a\r\n\r\n" + SMUGGLED, b"\r\n", b"a\v", b"a\f"]

# None of these reaches a service.
REFUSED_HTTP2: Final[list[tuple[Fields, bytes | None]]] = [
    *(([*pseudo(), (b"x", value)], None) for value in _LINE_ENDS),
    *(([*pseudo(), (b"cookie", b"a=b"), (b"cookie", value)], None) for value in _LINE_ENDS),
    *(([*pseudo(), (name, b"1")], None)
      for name in (b"x y", b"x:y", b"x\r\ny", b"x\n", b"x\0", b"X", b"x ", b" x", b"x\t", b"x\xe9", b"x\"",
                   b"x: y\r\nhost")),
    *((pseudo(**{part: value}), None)
      for part in ("method", "scheme", "authority", "path") for value in (None, b"", *_LINE_ENDS, b"a b", b" ")),
    *((pseudo(method=value), None) for value in (b"get", b"G3T", b"GET /", b"CONNECT", b"TRACE",
    b"GET / HTTP/1.1\r\nX: y\r\n")),
    *((pseudo(path=value), None)
      for value in (b"x", b"*", b"?x", b"/a b", b"/ HTTP/1.1\r\nHost: x\r\n\r\n", b"/\t", b"/\x7f", b" /", b"/ ",
      b"http://%b/" % CLICK.encode())),
    (pseudo(method=b"OPTIONS", path=b"*"), None),
    *((pseudo(scheme=value), None) for value in (b"ftp", b"https ", b"https://x", b"https:")),
    *((pseudo(authority=CLICK.encode() + value), None) for value in (b":x", b"..", b"/", b"@x", b" ", b"\t",
    b"\r\nX: y", b"?", b"#")),
    (pseudo(authority=b"u@" + CLICK.encode()), None),
    (pseudo(authority=b"evil.example"), None),
    *(([*pseudo(), field], None)
      for field in ((b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"identity"), (b"connection", b"close"),
                    (b"connection", b"x"), (b"keep-alive", b"1"), (b"proxy-connection", b"x"), (b"upgrade", b"h2c"),
                    (b"te", b"chunked"), (b"te", b"trailers, x"), (b"host", b"evil.example"), (b"host", b""),
                    (b"host", b" " + CLICK.encode()), (b"host", CLICK.encode() + b":443"), (b"expect", b"x"),
                    (b":path", b"/x"), (b":method", b"GET"), (b":status", b"200"), (b":protocol", b"websocket"),
                    (b":x", b"y"), (b":", b"y"))),
    ([(b":path", b"/x"), *pseudo()], None),
    ([(b":scheme", b"https"), *pseudo()], None),
    ([*pseudo(path=None), (b"x", b"y"), (b":path", b"/x")], None),
    ([*pseudo(authority=None), (b"host", CLICK.encode()), (b"host", CLICK.encode())], None),
    ([*pseudo(authority=None), (b"host", b"evil.example")], None),
    *(([*pseudo(method=b"POST"), (b"content-length", length)], b"hello") for length in (*_LENGTHS, b" 5", b"5 ")),
    *(([*pseudo(method=b"POST"), (b"content-length", b"5"), (b"content-length", length)],
    b"hello") for length in (b"5", b"6")),
    ([*pseudo(method=b"POST"), (b"content-length", b"5")], None),
]  # fmt: skip
# The service may see the beginning of these, but no whole request.
CUT_OFF_HTTP2: Final = [b"4", b"6", b"0", b"50"]

_OK: Final = b"HTTP/1.1 200 OK\r\n"
_POISON: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON"

# Answers that leave in doubt where they end, or are none: the client gets 502.
BAD_ANSWERS: Final = [
    _OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    _OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + _POISON,
    _OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _POISON,
    _OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + _POISON,
    *(_OK + coding + b"\r\n\r\n0\r\n\r\n" + _POISON for coding in _CODINGS
      if coding.strip() not in {b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: chunked"}),
    *(_OK + b"Content-Length: %b\r\n\r\nhello" % length + _POISON
      for length in _LENGTHS if length.strip(b"\t") != b"5"),
    *(_OK + field + b"\r\nContent-Length: 0\r\n\r\n" + _POISON for field in _FIELDS if b"\n\n" not in field),
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + _POISON,
    b"HTTP/1.1 099 No\r\n\r\n" + _POISON,
    b"HTTP/1.1 1000 No\r\n\r\n" + _POISON,
    b"HTTP/1.1 2OO No\r\n\r\n" + _POISON,
    b"HTTP/1.1  200 OK\r\n\r\n" + _POISON,
    b"HTTP/1.1\t200 OK\r\n\r\n" + _POISON,
    b"HTTP/2.0 200 OK\r\n\r\n" + _POISON,
    b"HTTP/1.10 200 OK\r\n\r\n" + _POISON,
    b"ICY 200 OK\r\n\r\n",
    b"\r\n" + _POISON,
    b" " + _POISON,
    b"<html>no head</html>",
    _OK + b"X: " + b"y" * 70000 + b"\r\n\r\n",
    _OK + b"X: y\r\n" * 20000 + b"\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + _POISON,
    b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 100 + _POISON,
]  # fmt: skip
# Answers whose beginning is fine: it goes to the client, which sees that it is not whole.
BROKEN_OFF: Final = [
    *(_OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + _POISON for chunks in _CHUNKS),
    Farewell(_OK + b"Content-Length: 50\r\n\r\nhello"),
    Farewell(_OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
]
# Whole answers with something behind them: it is nobody's.
WITH_SURPLUS: Final = [
    _OK + b"Content-Length: 0\r\n\r\n" + _POISON,
    _OK + b"Content-Length: 2\r\n\r\nok" + _POISON,
    _OK + b"Content-Length: 2\r\n\r\nok\r\n" + _POISON,
    _OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + _POISON,
    _OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 5\r\n\r\n" + _POISON,
    b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\nPOISON",
    b"HTTP/1.1 204 No Content\r\n\r\n" + _POISON,
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nPOISON",
    b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n" + _POISON,
    b"HTTP/1.1 100 Continue\r\n\r\n" + _OK + b"Content-Length: 2\r\n\r\nok" + _POISON,
]
