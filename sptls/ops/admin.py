"""
The admin listener: ``/healthz`` and ``/status``, read only.

Decides nothing: what is healthy and what the status is, it is told. No secret and no tracking path is ever in either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sptls.ops.pages import Answer, Page, Pages, QuietSite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IReactorTime
    from twisted.web.http import Request
    from twisted.web.server import Site

# Between two requests on one connection; a monitor that asks every few seconds may keep it.
_IDLE_SECONDS = 60
_ONLY_READS = b"this listener only reads\n"


def admin_site(reactor: IReactorTime, healthy: Callable[[], bool], status: Callable[[], Iterator[str]]) -> Site:
    """
    Give the factory for the admin listener; *status* gives JSON in pieces.
    """

    def health(_request: Request) -> Answer:
        if healthy():
            return Answer(b"ok\n", 200, b"text/plain")
        return Answer(b"not serving\n", 503, b"text/plain")

    def page(give: Callable[[Request], Answer]) -> Page:
        return Page(reactor, (b"GET", b"HEAD"), _ONLY_READS, give)

    pages = {b"healthz": page(health), b"status": page(lambda _request: Answer(status()))}
    return QuietSite(Pages(pages), timeout=_IDLE_SECONDS, reactor=reactor)  # type: ignore[no-untyped-call]
