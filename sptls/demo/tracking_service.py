"""
A tracking service for the demo: answers clicks, opens, unsubscribes and deep links as the real one does.

Serves HTTPS with a certificate from a root of its own, on a free loopback port or where it is told to. What it answers
follows SparkPost's documents; it records nothing.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final, cast

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.internet.ssl import CertificateOptions
from twisted.web.http import ACCEPTED, FOUND, NOT_ALLOWED, NOT_FOUND, OK
from twisted.web.resource import Resource

from sptls.certs.csr import generate_key
from sptls.certs.internal import CERTIFICATE_FILE, open_root
from sptls.certs.pem import certificate_from_der, key_from_der
from sptls.names import HostName
from sptls.ops.pages import QuietSite

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.internet.address import IPv4Address
    from twisted.internet.interfaces import IListeningPort, IReactorSSL
    from twisted.web.server import Request

    from sptls.clock import WallClock

HOST: Final = HostName("localhost")
ADDRESS: Final = "127.0.0.1"
# What the service's health probe is redirected to; any link without a target that can be read goes there.
DEFAULT_TARGET: Final = b"https://www.sparkpost.com/"
# One transparent pixel. 44 bytes, as in the access logs of the guide: the image data has a byte of padding.
PIXEL: Final = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x03D\x01\x00\x00;"
)
DEEP_LINKS: Final = {
    b"/.well-known/apple-app-site-association": {"applinks": {"apps": [], "details": []}},
    b"/.well-known/assetlinks.json": [],
}


def target_of(segment: bytes) -> bytes | None:
    """
    Give the link that is packed into the last path segment of a click, or None.

    It is base64url with ``~`` for padding, and holds fields of a letter, a length byte and the value; D is the link.
    """
    try:
        packed = base64.urlsafe_b64decode(segment.replace(b"~", b"=") + b"==")
    except ValueError:
        return None
    start = packed.find(b"D")
    while start >= 0:
        length = packed[start + 1] if start + 1 < len(packed) else 0
        value = packed[start + 2 : start + 2 + length]
        if len(value) == length and value.startswith((b"http://", b"https://")):
            return value
        start = packed.find(b"D", start + 1)
    return None


class TrackingService(Resource):
    """
    The answers of a tracking service, whatever Host is asked for.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def render(self, request: Request) -> bytes:
        """
        Answer whatever is asked for.
        """
        path: bytes = request.path
        match request.method:
            case b"GET" | b"HEAD":
                return _look_up(request, path)
            case b"POST":  # one-click unsubscribe (RFC 8058 §3.2)
                return _answer(request, ACCEPTED if path.startswith((b"/f/", b"/u/")) else NOT_FOUND)
            case _:
                return _answer(request, NOT_ALLOWED)


def _look_up(request: Request, path: bytes) -> bytes:
    """
    Answer a click, an open or a question for deep links.
    """
    if path.startswith(b"/f/"):
        target = request.args.get(b"target", (None,))[0] or target_of(path.rpartition(b"/")[2])
        request.setHeader(b"location", target or DEFAULT_TARGET)
        return _answer(request, FOUND)
    if path.startswith(b"/q/"):
        return _answer(request, OK, b"image/gif", PIXEL)
    if path in DEEP_LINKS:
        return _answer(request, OK, b"application/json", json.dumps(DEEP_LINKS[path]).encode())
    return _answer(request, NOT_FOUND)


def _answer(request: Request, status: int, content_type: bytes | None = None, content: bytes = b"") -> bytes:
    request.setResponseCode(status)
    request.defaultContentType = content_type
    request.setHeader(b"server", b"msys-http")
    request.setHeader(b"x-robots-tag", b"noindex")
    return content


@attrs.frozen
class TrackingServiceAddress:
    """
    Where the service is, and the PEM file with the root that its certificate chains to.
    """

    host: str
    port: int
    trust: Path

    @property
    def url(self) -> str:
        """
        Give the service's origin.
        """
        return f"https://{self.host}:{self.port}"


class DemoTrackingService:
    """
    The service at *address* and *port* (0: a free one), from `start` to `stop`; its root is kept in *directory*.

    *host* is the name that clients know it by.
    """

    def __init__(
        self,
        reactor: IReactorSSL,
        directory: Path,
        wall_clock: WallClock,
        *,
        host: HostName = HOST,
        address: str = ADDRESS,
        port: int = 0,
    ) -> None:
        self._reactor, self._directory, self._wall_clock = reactor, directory, wall_clock
        self._host, self._where = host, (address, port)
        self._port: IListeningPort | None = None

    def start(self) -> TrackingServiceAddress:
        """
        Listen, and tell where.

        Raises:
            StartError: the root can't be read or made.
            CannotListenError: the port is taken, or there is no free one.
        """
        now = self._wall_clock()
        bundle = open_root(self._directory, now).issue(self._host, generate_key("ec-p256"), now)
        options = CertificateOptions(
            # Twisted takes cryptography's objects (pyOpenSSL's are deprecated); its annotations do not say so yet.
            key_from_der(bundle.key),  # type: ignore[arg-type]
            certificate_from_der(bundle.chain[0]),  # type: ignore[arg-type]
        )
        site = QuietSite(TrackingService())  # type: ignore[no-untyped-call] # twisted.web has no annotations
        where, number = self._where
        self._port = port = self._reactor.listenSSL(number, site, options, interface=where)
        address = cast("IPv4Address", port.getHost())
        return TrackingServiceAddress(self._host.text, address.port, self._directory / CERTIFICATE_FILE)

    async def stop(self) -> None:
        """
        Listen no more; connections that are open end with their clients.
        """
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
            self._port = None
