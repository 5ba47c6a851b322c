"""
The admin listener: ``/healthz`` and ``/status``, read only.

Decides nothing: what is healthy and what the status is, it is told. No secret and no tracking path is ever in either.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.web.http import Request
    from twisted.web.iweb import IRequest

# A status page of 100,000 domains takes a while to write; nothing that is asked here takes a minute.
_TIMEOUT_SECONDS = 60


class _Page(Resource):
    """
    One page: *give* tells its status code, content type and content for every GET and HEAD; nothing else is allowed.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, give: Callable[[], tuple[int, bytes, bytes]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._give = give

    def render(self, request: IRequest) -> bytes:
        """
        Answer with what is so now.
        """
        status, content_type, content = self._give()
        request.setHeader(b"cache-control", b"no-store")
        if request.method not in (b"GET", b"HEAD"):
            status, content_type, content = 405, b"text/plain", b"this listener only reads\n"
            request.setHeader(b"allow", b"GET, HEAD")
        request.setResponseCode(status)
        request.setHeader(b"content-type", content_type)
        request.setHeader(b"content-length", b"%d" % len(content))
        return b"" if request.method == b"HEAD" else content


class _Root(Resource):
    """
    What is not one of the children is not found; Twisted's own answer for that is deprecated.
    """

    def getChild(self, path: bytes, request: IRequest) -> IResource:  # noqa: N802 - Twisted's name
        """
        Give the page for a path that isn't there.
        """
        return notFound()


class QuietSite(Site):
    """
    A site that logs no request: health checks come every few seconds, and tracking paths hold personal data.
    """

    noisy = False

    def log(self, request: Request) -> None:
        """
        Log nothing.
        """


def admin_site(reactor: IReactorTime, healthy: Callable[[], bool], status: Callable[[], dict[str, Any]]) -> Site:
    """
    Give the factory for the admin listener.
    """

    def health() -> tuple[int, bytes, bytes]:
        return (200, b"text/plain", b"ok\n") if healthy() else (503, b"text/plain", b"not serving\n")

    def whole_status() -> tuple[int, bytes, bytes]:
        # No indent: with one, json leaves its C encoder, and 100,000 domains hold the reactor up for seconds.
        return 200, b"application/json", json.dumps(status()).encode() + b"\n"

    root = _Root()  # type: ignore[no-untyped-call]
    root.putChild(b"healthz", _Page(health))
    root.putChild(b"status", _Page(whole_status))
    return QuietSite(root, timeout=_TIMEOUT_SECONDS, reactor=reactor)  # type: ignore[no-untyped-call]
