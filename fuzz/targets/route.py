"""
Where a request goes: to the site of its host, to the same target over HTTPS, or to a CA's open challenge, exactly.
"""

from __future__ import annotations

from typing import Final

from sptls.config import LimitsConfig, UpstreamConfig
from sptls.names import HostName, NameTable
from sptls.proxy.head import RequestHead, parse_request
from sptls.proxy.route import Answer, Forward, Redirect, Refuse, Site, decide

_LIMITS: Final = LimitsConfig()
_TOKEN: Final = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"  # noqa: S105 - a made-up one
_KEY_AUTHORIZATION: Final = f"{_TOKEN}.thumbprint"
_PATH: Final = b"/.well-known/acme-challenge/" + _TOKEN.encode()
_NAMES: Final = (HostName("a.example"), HostName("*.b.example"))
_SITES: Final = NameTable([(name, Site(name, UpstreamConfig(), redirect_http=True)) for name in _NAMES])

SEEDS: Final = (
    b"GET %b HTTP/1.1\r\nHost: anything\r\n\r\n" % _PATH,
    b"POST %b HTTP/1.1\r\nHost: a.example\r\n\r\n" % _PATH,
    b"GET %b?x HTTP/1.1\r\nHost: x.b.example\r\n\r\n" % _PATH,
    b"GET http://a.example:8080/f/a%2F~~?x=http://y HTTP/1.1\r\nHost: other\r\n\r\n",
    b"GET /x#y HTTP/1.1\r\nHost: A.Example.\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: %41.b.example:8080\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
)


def check(data: bytes) -> None:
    """
    See that a redirect is one URL of a configured name, and that a challenge is answered at its own path alone.
    """
    head = parse_request(data, _LIMITS)
    if not isinstance(head, RequestHead):
        return
    for port in (443, 8443):
        for covers in (None, lambda host: host.startswith(b"a")):
            found = decide(head, _SITES, {_TOKEN: _KEY_AUTHORIZATION}, covers, lambda _: True, port)
            match found:
                case Answer(status=200, content=content):
                    assert (_PATH, _KEY_AUTHORIZATION.encode()) == (head.origin_target, content)
                case Redirect(status=308, location=location):
                    assert covers is None
                    _check_location(location, head, port)
                case Forward(site=site):
                    assert site is _SITES.get(head.host or b"")
                case Refuse(status=status):
                    assert status in {405, 421}
                case _:
                    raise AssertionError(found)


def _check_location(location: bytes, head: RequestHead, port: int) -> None:
    assert location.endswith(head.origin_target)
    authority = location.removesuffix(head.origin_target).removeprefix(b"https://")
    host, _, told = authority.partition(b":")
    assert told in {b"", b"%d" % port}
    assert _SITES.get(host) is not None
    assert HostName.parse(host.decode("ascii")).wire == host
    assert not {*b"\r\n #"} & {*location}
