"""
Clients that click without a pause, each time on a connection of its own, and what became of every click.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from typing import TYPE_CHECKING

import attrs

from tests.e2e.daemon import http_get, https_get

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from tests.e2e.daemon import Answer
    from tests.e2e.origin import Origin

PAUSE_SECONDS = 0.002


@attrs.define
class Clicks:
    """
    What was answered with a redirect, by its target, every failure in words, and what the slowest click took.
    """

    answered: list[bytes] = attrs.field(factory=list)
    failures: list[str] = attrs.field(factory=list)
    longest_seconds: float = 0.0

    def lost(self, origin: Origin) -> list[bytes]:
        """
        Give the clicks that only one of both ends knows of, or one of them twice.
        """
        reached = [received.target for received in origin.requests(b"/f/")]
        return sorted(set(reached) ^ set(self.answered)) + sorted(
            target for target in set(reached) if reached.count(target) > 1
        )


@contextlib.contextmanager
def clicking(https: int, http: int, name: str, context: ssl.SSLContext, clients: int = 2) -> Iterator[Clicks]:
    """
    Have *clients* click over TLS, and as many over plain HTTP, until the end of the block.
    """
    seen, ended, numbers = Clicks(), threading.Event(), itertools.count()

    def client(get: Callable[[str], Answer]) -> None:
        while not ended.wait(PAUSE_SECONDS):
            target, began = f"/f/{next(numbers)}", time.monotonic()
            try:
                status = get(target).status
            except OSError as error:
                seen.failures.append(f"{target}: {error!r}")
            else:
                if status == 302:
                    seen.answered.append(target.encode())
                else:
                    seen.failures.append(f"{target}: {status}")
            seen.longest_seconds = max(seen.longest_seconds, time.monotonic() - began)

    def over_tls(target: str) -> Answer:
        return https_get(https, target, name, context)

    def over_tcp(target: str) -> Answer:
        return http_get(http, target, name)

    threads = [threading.Thread(target=client, args=[get]) for get in (over_tls, over_tcp) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join()
