"""
Clients for whom much is held in memory, as they read nothing or send no end; the large crowds are in
tests/soak/test_held_content.py.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from sptls.proxy.held_content import HELD_BYTES
from tests.e2e.clicks import clicking
from tests.e2e.conftest import CLICK, own_domain
from tests.e2e.daemon import Launcher, until
from tests.e2e.slow_crowds import STREAMS, plain_origin, unfinished, unread
from tests.soak.process import forget_peak, peak_mb, resident_mb

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

    import trustme

    from tests.e2e.daemon import Daemon
    from tests.e2e.slow_crowds import PlainOrigin

pytestmark = pytest.mark.e2e

FEW = 100
READERS = 20
ANSWER_BYTES = 60_000
READERS_MB = 32  # without a bound on each connection 120
UPLOADERS = 90
UPLOADS_MB = 1.5 * HELD_BYTES / 1e6  # what the allocator makes of it; without a bound 157


@pytest.fixture
def service() -> Iterator[PlainOrigin]:
    """
    Give a tracking service with large answers.
    """
    with plain_origin() as service:
        yield service


@pytest.fixture
def daemon(tmp_path: Path, authority: trustme.CA, service: PlainOrigin) -> Iterator[Daemon]:
    """
    Give a daemon with every default.
    """
    launcher = Launcher(tmp_path)
    launcher.write(
        domains=own_domain(authority, tmp_path, CLICK),
        acme='directory = "internal"',
        upstream=service.configuration,
    )
    with launcher.running() as running:
        yield running


def test_answers_that_nobody_reads(
    daemon: Daemon, service: PlainOrigin, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """
    A hundred on each connection: they take a bounded part of the memory, and good clients are all answered meanwhile.
    """
    pid = daemon.process.pid
    with clicking(daemon.https, daemon.http, CLICK, trusting, 1) as clicks, contextlib.ExitStack() as crowd:
        until(lambda: len(clicks.answered) > 50, "the first clicks")
        before_mb = resident_mb(pid)
        forget_peak(pid)
        for _ in range(READERS):
            crowd.enter_context(unread(daemon, authority, ANSWER_BYTES))
            until(lambda: daemon.status()["upstreams"][0]["waiting"] < FEW, "room for good clients")
        until(lambda: service.answers - len(clicks.answered) >= READERS * STREAMS // 2, "answers to a half of them")
        answered = len(clicks.answered)
        until(lambda: len(clicks.answered) > answered + 50, "more clicks")
        growth_mb = peak_mb(pid) - before_mb
    assert [] == clicks.failures
    assert growth_mb < READERS_MB
    assert "Traceback" not in daemon.log


def test_uploads_that_never_end(daemon: Daemon, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    """
    More than there may be: the oldest have to go, and good clients are all answered meanwhile.
    """
    pid = daemon.process.pid
    with clicking(daemon.https, daemon.http, CLICK, trusting, 1) as clicks, contextlib.ExitStack() as crowd:
        until(lambda: len(clicks.answered) > 50, "the first clicks")
        before_mb = resident_mb(pid)
        forget_peak(pid)
        for _ in range(UPLOADERS):
            crowd.enter_context(unfinished(daemon, authority))
        until(lambda: daemon.status()["http"]["held_too_much"] >= UPLOADERS // 5, "end of the first")
        growth_mb = peak_mb(pid) - before_mb
    assert [] == clicks.failures
    assert growth_mb < UPLOADS_MB
    assert "Traceback" not in daemon.log
