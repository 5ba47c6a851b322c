from __future__ import annotations

import contextlib
import signal
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.e2e.activation import Activator, listening
from tests.e2e.clicks import Clicks, clicking
from tests.e2e.conftest import CLICK, OTHER, own_domain
from tests.e2e.daemon import Daemon, Launcher, until
from tests.e2e.origin import Origin, origin
from tests.e2e.traffic import traffic

Record = Callable[[str, object], None]

INTERNAL = 'directory = "internal"'
RELOADS = 30
RESTARTS = 5
KILLS = 10
CLIENTS = 4
# Between two restarts, so that most clicks meet a process that has settled.
CLICKS_BETWEEN = 200
HANDSHAKES_BETWEEN = 20


class Line:
    """
    Daemons, each of which takes over from the one before.
    """

    def __init__(self, launcher: Launcher) -> None:
        self._launcher, self._times = launcher, 0
        self.slowest_end_seconds = 0.0
        self.daemon = self._next()

    def _next(self, *more: str) -> Daemon:
        daemon = self._launcher.spawn(*more)
        self._times += 1
        until(lambda: daemon.log.count("info serving ") >= self._times, f"daemon that serves:\n{daemon.log}")
        return daemon

    def take_over(self) -> None:
        """
        Have the next one take over, and the one before end.
        """
        before, self.daemon = self.daemon, self._next("--take-over")
        began = time.monotonic()
        assert 0 == before.wait()
        self.slowest_end_seconds = max(self.slowest_end_seconds, time.monotonic() - began)

    def stop(self) -> None:
        """
        End the last one.
        """
        self.daemon.stop()


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[Origin]:
    """
    Give a tracking service.
    """
    with origin(tmp_path) as running:
        yield running


@pytest.fixture
def launcher(tmp_path: Path, authority: trustme.CA, tracking: Origin) -> Launcher:
    """
    Give a launcher of a daemon that serves `CLICK`.
    """
    launcher = Launcher(tmp_path)
    (tmp_path / "domains.toml").write_text(own_domain(authority, tmp_path, CLICK))
    _write(launcher, tracking)
    return launcher


def _write(launcher: Launcher, tracking: Origin, more_domains: str = "", workers: int = 1) -> None:
    domains = (launcher.directory / "domains.toml").read_text() + more_domains
    path = launcher.write(domains=domains, acme=INTERNAL, upstream=tracking.configuration)
    path.write_text(f"workers = {workers}\n{path.read_text()}")


def _clicked(clicks: Clicks, count: int = CLICKS_BETWEEN) -> None:
    """
    Wait for *count* clicks more.
    """
    enough = len(clicks.answered) + count
    until(lambda: len(clicks.answered) >= enough or clicks.failures, "clicks", 60)


def _judge(clicks: Clicks, tracking: Origin, record_property: Record) -> None:
    record_property("clicks", len(clicks.answered))
    record_property("lost", len(clicks.failures))
    assert ([], []) == (clicks.failures, clicks.lost(tracking))


def test_reloads_under_handshakes(
    launcher: Launcher, authority: trustme.CA, trusting: ssl.SSLContext, tracking: Origin, record_property: Record
) -> None:
    """
    30 reloads with domains added and removed, under 4 handshake loops: no handshake fails.
    """
    comes = own_domain(authority, launcher.directory, OTHER)
    with launcher.running() as daemon, contextlib.ExitStack() as ending:
        loops = [ending.enter_context(traffic(daemon.https, CLICK, trusting)) for _ in range(CLIENTS)]
        for number in range(1, RELOADS + 1):
            _write(launcher, tracking, comes if number % 2 else "")
            daemon.signal(signal.SIGHUP)
            until(lambda number=number: daemon.log.count("was read again") >= number, "reload")  # type: ignore[misc]
            enough = sum(loop.handshakes for loop in loops) + HANDSHAKES_BETWEEN
            until(lambda enough=enough: sum(loop.handshakes for loop in loops) >= enough, "handshakes")  # type: ignore[misc]
    record_property("handshakes", sum(loop.handshakes for loop in loops))
    assert [] == [failure for loop in loops for failure in loop.failures]


def test_restarts_by_taking_over(
    launcher: Launcher, trusting: ssl.SSLContext, tracking: Origin, record_property: Record
) -> None:
    """
    5 restarts by --take-over under 8 clicking clients: every click is answered, and reaches the tracking service once.
    """
    line = Line(launcher)
    with contextlib.closing(contextlib.ExitStack()) as ending:
        ending.callback(line.stop)
        clicks = ending.enter_context(clicking(launcher.https, launcher.http, CLICK, trusting, CLIENTS))
        for _ in range(RESTARTS):
            _clicked(clicks)
            line.take_over()
            assert [] == clicks.failures
        _clicked(clicks)
    record_property("longest end of the old process, seconds", f"{line.slowest_end_seconds:.1f}")
    _judge(clicks, tracking, record_property)


def test_restarts_with_other_numbers_of_workers(
    launcher: Launcher, trusting: ssl.SSLContext, tracking: Origin, record_property: Record
) -> None:
    """
    Restarts by --take-over from 1 worker to 3, 2, 1 and 2: every click is answered, and reaches the service once.
    """
    line = Line(launcher)
    with contextlib.closing(contextlib.ExitStack()) as ending:
        ending.callback(line.stop)
        clicks = ending.enter_context(clicking(launcher.https, launcher.http, CLICK, trusting, CLIENTS))
        for workers in (3, 2, 1, 2):
            _clicked(clicks)
            _write(launcher, tracking, workers=workers)
            line.take_over()
            assert (workers if workers > 1 else 0) == len(line.daemon.status()["workers"])
            assert [] == clicks.failures
        _clicked(clicks)
    _judge(clicks, tracking, record_property)


def test_restarts_with_the_sockets_held_by_a_supervisor(
    launcher: Launcher, trusting: ssl.SSLContext, tracking: Origin, record_property: Record
) -> None:
    """
    5 restarts with systemd's socket activation under 8 clicking clients: every click is answered, and arrives once.
    """
    with contextlib.closing(contextlib.ExitStack()) as ending:
        sockets = [ending.enter_context(listening(port)) for port in (launcher.https, launcher.http)]
        activator = Activator(launcher, sockets)
        ending.callback(activator.stop)
        activator.restart()
        clicks = ending.enter_context(clicking(launcher.https, launcher.http, CLICK, trusting, CLIENTS))
        for _ in range(RESTARTS):
            _clicked(clicks)
            activator.restart()
            assert [] == clicks.failures
        _clicked(clicks)
    _judge(clicks, tracking, record_property)


def test_successors_that_are_killed(
    launcher: Launcher, trusting: ssl.SSLContext, tracking: Origin, record_property: Record
) -> None:
    """
    10 processes that take over and are killed while they do: the running one goes on, and no click is lost.
    """
    line = Line(launcher)
    with contextlib.closing(contextlib.ExitStack()) as ending:
        ending.callback(line.stop)
        clicks = ending.enter_context(clicking(launcher.https, launcher.http, CLICK, trusting))
        for number in range(KILLS):
            successor = launcher.spawn("--take-over")
            until(lambda number=number: line.daemon.log.count("takes over") > number, "handover")  # type: ignore[misc]
            successor.process.kill()
            successor.process.wait()
            until(lambda number=number: line.daemon.log.count("keeps certificates again") > number, "going on")  # type: ignore[misc]
            assert line.daemon.process.pid == int((launcher.state / "lock").read_text())
        line.take_over()
        _clicked(clicks)
    _judge(clicks, tracking, record_property)
