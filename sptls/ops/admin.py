"""
The admin listener: ``/healthz`` and ``/status``, read only.

What is healthy and what the status is, it is told. No secret and no tracking path is ever in either. It decides who may
see the status: nobody whom another site's name has led here. A page that an operator looks at could have its own name
stand for 127.0.0.1 (DNS rebinding), and its script would read the answer; only a browser's Host tells.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sptls.addresses import is_address
from sptls.ops.pages import Answer, Page, Pages, QuietSite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IReactorTime
    from twisted.web.http import Request
    from twisted.web.server import Site

# For each request, from the connection's begin or the answer before; a monitor that asks every few seconds may keep it.
_IDLE_SECONDS: Final = 30
_ONLY_READS: Final = b"this listener only reads\n"
_NOT_BY_NAME: Final = (
    b"The status is only given to who asks for it by an IP address, as localhost, or by a name without a dot: "
    b"a page of somebody else's could have its own name lead here. Ask for http://ADDRESS:PORT/status.\n"
)
# A host, an address in brackets where it is IPv6's, and at most a port (RFC 9110 §7.2).
_AUTHORITY: Final = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]*))(?::[0-9]*)?")
# Names in containers' networks, which no zone of the DNS has.
_NAME_WITHOUT_DOT: Final = re.compile(r"[A-Za-z0-9_-]+")


def admin_site(reactor: IReactorTime, healthy: Callable[[], bool], status: Callable[[], Iterator[str]]) -> Site:
    """
    Give the factory for the admin listener; *status* gives JSON in pieces.
    """

    def health(_request: Request) -> Answer:
        if healthy():
            return Answer(b"ok\n", 200, b"text/plain")
        return Answer(b"not serving\n", 503, b"text/plain")

    def whole_status(request: Request) -> Answer:
        if all(map(is_own, request.requestHeaders.getRawHeaders(b"host", []))):
            return Answer(status())
        return Answer(_NOT_BY_NAME, 403, b"text/plain")

    def page(give: Callable[[Request], Answer]) -> Page:
        return Page(reactor, (b"GET", b"HEAD"), _ONLY_READS, give)

    pages = {b"healthz": page(health), b"status": page(whole_status)}
    return QuietSite(Pages(pages), timeout=_IDLE_SECONDS, reactor=reactor)


def is_own(authority: bytes) -> bool:
    """
    Tell whether a Host field says where this listener is and no more: no name that a stranger could give to it.
    """
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return False
    host = (match[1] or match[2]).decode("latin-1")
    return is_address(host) or _NAME_WITHOUT_DOT.fullmatch(host.removesuffix(".")) is not None
