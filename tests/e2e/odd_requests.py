"""
Requests that are valid, nearly valid, or odd: a seeded grammar, so that a run can be had again.
"""

from __future__ import annotations

from random import Random
from typing import Final

from tests.e2e.conftest import CLICK

HOST: Final = CLICK.encode()
# Comes behind each request on its connection: where the odd one ends is what the two must agree on.
NEXT: Final = b"GET /q/next HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % HOST

_ODD_BYTES: Final = [b"\0", b"\x01", b"\t", b"\n", b"\v", b"\f", b"\r", b"\x1f", b" ", b"\x7f", b"\x80", b"\xff"]
_METHODS: Final = [
    *[b"GET"] * 12, *[b"POST"] * 6, b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH",
    b"PROPFIND", b"M-SEARCH", b"A_B", b"X", b"get", b"Get", b"TRACE", b"CONNECT", b"G3T", b"G.T", b"", b"A" * 32,
    b"A" * 33,
]  # fmt: skip
_VERSIONS: Final = [
    *[b"HTTP/1.1"] * 24, b"HTTP/1.0", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.10",
    b"HTTP/1", b"HTTP/11", b"http/1.1", b"HTTP/01.1", b"HTTP/1.01", b"HTTP/1.x", b"HTTP /1.1", b"HTTPS/1.1", b"",
]  # fmt: skip
_PATHS: Final = [
    *[b"/f/a/Hcv1nwnOfCFeZmc3EvMwsQ~~/AALoUwA~/RgRestfaPwRXA3NwY0IK?target=http%3A%2F%2Fwww.sparkpost.com"] * 4,
    b"/", b"//", b"/?", b"/q/x", b"/a%2Fb~~x%3D%3d;p=1/%7Eu+v", b"/f//a", b"/a?b?c=d&&e==f", b"/a:b@c!$&'()*+,;=",
    b"/a|b\\c^d`e{f}<g>\"h\"", b"/a?q=[1]", b"/a#fragment", b"/a?b#c?d", b"/\xc3\xa9/\xff?x=\x80", b"/a/./b",
    b"/a/../b",
    b"/?x=/../..", b"/a?%zz", b"/a?%00", b"/http://other.example/", b"/a%", b"/%zz", b"/%00", b"/../x", b"/a/../../x",
    b"/.", b"/..", b"/%2e%2e/x", b"/" + b"x" * 3000,
]  # fmt: skip
_OTHER_TARGETS: Final = [
    b"*", b"", b"x", b"x/y", b"?x", b"http://%b/p?q" % HOST, b"https://%b" % HOST, b"HTTP://%b/x" % HOST.upper(),
    b"http://%b?q" % HOST, b"http://%b:80/x" % HOST, b"http://%b.:443/x" % HOST, b"http://u@%b/x" % HOST,
    b"http://stranger.example/x", b"http:///x", b"http:/x", b"http://", b"ftp://%b/x" % HOST, b"http://%b#f" % HOST,
    b"http://%b\\x/y" % HOST, b"%b:443" % HOST, b"http://%b:99999/x" % HOST, b"http://[::1]/x", b"http://%b/a b" % HOST,
]  # fmt: skip
_HOSTS: Final = [
    *[(b"Host: %b" % HOST,)] * 30, (b"host:%b" % HOST,), (b"HOST: \t %b \t" % HOST,), (b"Host: %b" % HOST.upper(),),
    (b"Host: %b." % HOST,), (b"Host: %b:443" % HOST,), (b"Host: %b:" % HOST,), (b"Host: %b:0" % HOST,),
    (b"Host: %b:99999" % HOST,), (b"Host: %b:x" % HOST,), (b"Host: u@%b" % HOST,), (b"Host: %b/x" % HOST,),
    (b"Host: %b.." % HOST,),
    (b"Host: .%b" % HOST,), (b"Host: stranger.example",), (b"Host:",), (), (b"Host: %b" % HOST,) * 2,
    (b"Host: %b" % HOST, b"Host: stranger.example"), (b"Host: %b, stranger.example" % HOST,), (b"Host : %b" % HOST,),
    (b" Host: %b" % HOST,), (b"Host: %b\x01" % HOST,), (b"Host: [::1]",), (b"Host: [%b]" % HOST,), (b"Host: a b",),
    (b"Host: %b\\" % HOST,), (b"Host: \xe9.%b" % HOST,), (b"Host: http://%b" % HOST,),
]  # fmt: skip
_FIELDS: Final = [
    b"User-Agent: Mozilla/5.0 (via ggpht.com GoogleImageProxy)", b"Accept: */*", b"accept-language:de,en;q=0.5",
    b"Cookie: a=1; b=\"2\"", b"Cookie: c=\xc3\xa9", b"Referer: https://mail.example/?a=b#c", b"X-A:", b"X-A: ",
    b"X-A:\t1\t",
    b"X-A: a  b", b"X-A: a\tb", b"X-A: b", b"X-A: :", b"X-B: \"quoted\\\"\"", b"DNT: 1", b"Range: bytes=0-1",
    b"If-None-Match: \"x\"", b"Accept-Encoding: gzip, br", b"Origin: null", b"Authorization: Basic eA==",
    b"X-Forwarded-For: 10.0.0.1", b"X-Forwarded-Host: evil.example", b"X-Real-IP: 10.0.0.1", b"Forwarded: for=x",
    b"Via: 1.1 x", b"Max-Forwards: 0", b"X-" + b"y" * 200 + b": 1", b"X-Long: " + b"z" * 4000,
]  # fmt: skip
_ODD_FIELDS: Final = [
    b"Connection: close", b"Connection: keep-alive", b"Connection: X-A", b"Connection: host",
    b"Connection: content-length",
    b"Connection: x-forwarded-for, close", b"Connection: upgrade", b"Connection: \"close\"", b"Keep-Alive: timeout=5",
    b"Upgrade: h2c", b"Upgrade: websocket", b"HTTP2-Settings: AAMAAABkAAQAAP__", b"TE: trailers", b"TE: chunked",
    b"Trailer: X-T", b"Proxy-Connection: close", b"Proxy-Authorization: x", b"Expect: 100-continue", b"Expect: 200-ok",
    b"X_A: 1", b"X_Forwarded_For: 10.0.0.1", b"X-Forwarded_For: 10.0.0.1", b"Content_Length: 3",
    b"Transfer_Encoding: chunked",
    b"X.A: 1", b"X!#$%&'*+-.^`|~: 1", b"X-A : 1", b"X-A\t: 1", b"X A: 1", b" X-A: 1", b"\tX-A: 1", b": 1", b"X-A",
    b"X(A): 1",
    b"X\xe9: 1", b"X-A: 1\r\n 2", b"X-A: 1\r\n\t2", b"X-A: 1\r\n ", b"X-A: 1\nX-C: 2", b"X-A: 1\rX-C: 2", b"X-A: \x01",
    b"X-A: \0", b"X-A: a\0b", b"X-A: \x7f", b"X-A: \v1", b"X-A: \f", b"\0: 1", b"X-A: 1\r", b"@: 1", b"\"X\": 1",
    b"X-A:\xa01", b"X-A: \xff",
]  # fmt: skip
_LENGTHS: Final = [
    b"%d", b"%d", b"%d ", b"\t%d", b"0%d", b"000000000000000000%d", b"+%d", b"-%d", b"%d,%d", b"%d, %d", b"0x%d",
    b"%d.0",
    b"%de0", b" %d", b"%d;", b"\"%d\"", b"", b"99999999999999999999%d", b"18446744073709551616%d", b"%d %d", b"%d_0",
    b"\xb2%d", b"%d\v",
]  # fmt: skip
_CODINGS: Final = [
    b"chunked", b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"\tchunked", b"chunked ", b"chunked,", b",chunked",
    b"chunked, chunked", b"identity", b"identity, chunked", b"gzip, chunked", b"chunked, gzip", b"gzip", b"x", b"",
    b"\vchunked", b"chunked\v", b"\"chunked\"", b"'chunked'", b"xchunked", b"chunkedx", b"chunked;q=1", b"chun\xb7ked",
    b"chunked\0",
]  # fmt: skip
# What is drawn to come twice, with one value or with two.
_REPEATED: Final = [
    b"Authorization", b"Content-Range", b"Expect", b"If-Match", b"If-Modified-Since", b"If-None-Match", b"If-Range",
    b"If-Unmodified-Since", b"if-none-match", b"AUTHORIZATION",
    b"Cookie", b"Content-Type", b"Range", b"Referer", b"User-Agent", b"Accept", b"Accept-Encoding", b"Cache-Control",
    b"Via", b"Upgrade", b"TE", b"Connection", b"Keep-Alive", b"Date", b"X-A", b"X-Forwarded-For", b"Max-Forwards",
]  # fmt: skip
# Of lines, without their ends: nginx takes 8,190 bytes.
_LONG_BYTES: Final = [4000, 8100, 8189, 8190, 8190, 8191, 8192, 8193, 9000, 16384]
_CONTENTS: Final = [b"", b"x", b"List-Unsubscribe=One-Click", b"a\r\n0\r\n\r\n", NEXT, b"\0" * 300]


def odd_request(seed: int) -> bytes:
    """
    Give the request of *seed*: a usual one, with nothing, one thing or a few things odd about it.
    """
    draw = Random(seed)  # noqa: S311 - no secret
    head, content = draw.choices([_usual, _chunked, _framed], [5, 2, 3])[0](draw)
    if draw.random() < 0.15:
        head = _mangled(draw, head)
    return head + content


def _usual(draw: Random) -> tuple[bytes, bytes]:
    """
    Give a head whose framing is right, and its content.
    """
    content = draw.choice(_CONTENTS)
    kind = draw.choice(["none", "none", "none", "length", "chunked"])
    if kind == "length":
        return _head(draw, b"Content-Length: %d" % len(content)), content
    if kind == "chunked":
        return _head(draw, b"Transfer-Encoding: chunked"), _chunks(draw, content, odd=False)
    return _head(draw), b""


def _chunked(draw: Random) -> tuple[bytes, bytes]:
    """
    Give a head that announces chunks, which are likely to be odd.
    """
    return _head(draw, b"Transfer-Encoding: chunked"), _chunks(draw, draw.choice(_CONTENTS), odd=True)


def _framed(draw: Random) -> tuple[bytes, bytes]:
    """
    Give a head whose framing is likely to be odd, and what may be its content.
    """
    content = draw.choice(_CONTENTS)
    framing = [_framing_field(draw, len(content)) for _ in range(draw.choice([1, 1, 1, 2, 2, 3]))]
    if draw.random() < 0.6:
        content = _chunks(draw, content, odd=draw.random() < 0.5)
    return _head(draw, *framing), content


def _framing_field(draw: Random, size: int) -> bytes:
    size = draw.choice([size, size, size, 0, size + 1, max(0, size - 1)])
    if draw.random() < 0.5:
        name, value = b"Content-Length", draw.choice(_LENGTHS)
        value = value.replace(b"%d", b"%d" % size)
    else:
        name, value = b"Transfer-Encoding", draw.choice(_CODINGS)
    spelling = draw.choice(
        [*[b"%b: "] * 8, b"%b:", b"%b :", b"%b\t: ", b" %b: ", b"%b:\r\n ", b"X: y\n%b: ", b"\0%b: "]
    )
    return spelling.replace(b"%b", draw.choice([name, name, name.lower(), name.upper()])) + value


def _chunks(draw: Random, content: bytes, *, odd: bool) -> bytes:
    """
    Give *content* in chunks, where *odd* with one thing wrong or unusual.
    """
    cut = draw.randrange(len(content) + 1)
    pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (content[:cut], content[cut:]) if piece]
    chunks = b"".join(pieces) + b"0\r\n\r\n"
    if not odd:
        return chunks
    size, _, rest = chunks.partition(b"\r\n")
    first = draw.choice([
        b"%b;ext", b"%b;a=b;c=\"d;\"", b"%b ;x", b"%b\t", b"%b ", b" %b", b"0%b", b"00000000000000000%b", b"0x%b",
        b"+%b", b"-%b",
        b"%b,", b"%bg", b"%b.0", b"%b\n;x", b"%b;\nx", b"%b;\rx", b"%b;\0", b"", b"f%b", b"ffffffffffffffff%b",
        b"10000000000000000%b",
        b"8000000000000000%b", b"\xb2%b",
    ]).replace(b"%b", size)  # fmt: skip
    ends = draw.choice([*[b"\r\n"] * 6, b"\n", b"\r", b"\r\r\n", b"\n\r\n", b""])
    last = draw.choice([
        *[b"0\r\n\r\n"] * 4, b"0\r\nX-T: 1\r\n\r\n", b"0\r\nContent-Length: 5\r\n\r\n", b"0\r\nHost: x\r\n\r\n",
        b"00\r\n\r\n",
        b"0;x\r\n\r\n", b"0\r\n\n", b"0\n\n", b"0\r\nX T\r\n\r\n", b"0\r\n: 1\r\n\r\n", b"0\r\n X\r\n\r\n",
        b"0\r\n\r\r\n", b"0\r\n",
        b"0 \r\n\r\n",
    ])  # fmt: skip
    return first + ends + rest.removesuffix(b"0\r\n\r\n") + last


def _head(draw: Random, *framing: bytes) -> bytes:
    usual = draw.random() < 0.5
    method = b"POST" if framing and draw.random() < 0.7 else draw.choice(_METHODS if not usual else _METHODS[:18])
    target = draw.choice(_PATHS) if usual or draw.random() < 0.6 else draw.choice(_OTHER_TARGETS)
    version = b"HTTP/1.1" if usual else draw.choice(_VERSIONS)
    first = draw.choice([*[b"%m %t %v"] * 40, b"%m  %t %v", b"%m %t  %v", b"%m\t%t %v", b"%m %t\t%v", b" %m %t %v",
                         b"%m %t %v ", b"%m %t", b"\r\n%m %t %v", b"\r\n\r\n%m %t %v", b"\n%m %t %v"])  # fmt: skip
    if draw.random() < 0.03:
        target += b"?" + b"x" * (draw.choice(_LONG_BYTES) - len(method) - len(target) - len(version) - 3)
    first = first.replace(b"%m", method).replace(b"%t", target).replace(b"%v", version)
    fields = [*draw.sample(_FIELDS, draw.randrange(5)), *framing, *_much(draw)]
    if not usual:
        fields += draw.sample(_ODD_FIELDS, draw.choice([0, 0, 1, 1, 2]))
    draw.shuffle(fields)
    host = draw.choice(_HOSTS) if not usual else _HOSTS[0]
    ends = draw.choice([*[b"\r\n"] * 40, b"\n", b"\r\r\n", b"\r"])
    return ends.join([first, *host, *fields, b"", b""])


def _much(draw: Random) -> list[bytes]:
    """
    Give fields that are there twice, long, or many; mostly none.
    """
    kind = draw.choice([*[""] * 12, "twice", "twice", "long", "many"])
    if kind == "twice":
        name = draw.choice(_REPEATED)
        value = b"100-continue" if name == b"Expect" else draw.choice([b"a", b"", b"trailers", b"close"])
        return [b"%b: %b" % (name, value), b"%b: %b" % (name.swapcase(), draw.choice([value, value, b"b"]))]
    if kind == "long":
        name = draw.choice([b"Cookie", b"X-Long", b"Referer"])
        spaces = b" " * draw.choice([0, 1, 1, 1, 5])
        size = draw.choice(_LONG_BYTES) - len(name) - len(spaces) - 1
        return [b"%b:%b%b" % (name, spaces, b"z" * size)] * draw.choice([1, 1, 1, 2, 3, 5])
    if kind == "many":
        return [b"X-%d: y" % number for number in range(draw.choice([60, 95, 99, 100, 101, 130]))]
    return []


def _mangled(draw: Random, head: bytes) -> bytes:
    """
    Give *head* with one byte more, fewer or other.
    """
    at = draw.randrange(len(head))
    more = draw.choice(_ODD_BYTES)
    return draw.choice([head[:at] + more + head[at:], head[:at] + head[at + 1 :], head[:at] + more + head[at + 1 :]])
