"""
A webhook's service on loopback, on a real reactor whose time does not pass idly.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import trustme
from OpenSSL import SSL
from twisted.internet import ssl
from twisted.internet.defer import Deferred, execute
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from sptls.certs.warning_rules import CertificateWarning, Kind, Subject
from sptls.names import HostName
from tests.acme_front.door import QuietSite

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.web.server import Request

    from tests.acme_front.reactor import SkippingReactor

WARNINGS = [CertificateWarning(Kind.FAILING, Subject(HostName("a.example"), None, None, True, problem="no such name"))]


def in_thread(work: Callable[[], Any], /) -> Deferred[Any]:
    """
    Do *work* in the caller's thread.
    """
    return execute(work)


class Hook(Resource):
    """
    Answers with each of *statuses* in turn, the last one again and again; 0 is no answer. Remembers what it was sent.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, reactor: SkippingReactor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self.statuses = [200]
        self.got: list[Any] = []
        self.fields: dict[bytes, bytes] = {}
        self.moments: list[float] = []
        self.ports: list[Any] = []
        self.authority = trustme.CA()

    def render_POST(self, request: Request) -> bytes | int:  # noqa: N802 - Twisted's name
        """
        Answer.
        """
        assert request.content is not None
        self.got.append((request.uri, json.loads(request.content.read())))
        self.fields = {name.lower(): values[0] for name, values in request.requestHeaders.getAllRawHeaders()}
        self.moments.append(self._reactor.seconds())
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if not status:
            return NOT_DONE_YET
        request.setResponseCode(status)
        request.setHeader(b"location", b"/elsewhere")
        return b"x" * 100_000

    def listen(self) -> str:
        """
        Give its URL.
        """
        port = self._reactor.listenTCP(0, QuietSite(self, self._reactor), interface="127.0.0.1")
        self.ports.append(port)
        return f"http://127.0.0.1:{port.getHost().port}/token?x=1"

    def listen_tls(self, name: str = "localhost") -> str:
        """
        Give its URL, over TLS with a certificate for *name*.
        """
        issued = self.authority.issue_cert(name)
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        issued.configure_cert(context)
        factory = ssl.ContextFactory()
        factory.getContext = lambda: context  # type: ignore[method-assign]
        port = self._reactor.listenSSL(0, QuietSite(self, self._reactor), factory, interface="127.0.0.1")
        self.ports.append(port)
        return f"https://localhost:{port.getHost().port}/token"
