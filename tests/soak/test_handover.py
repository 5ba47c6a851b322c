from __future__ import annotations

import contextlib
import http.client
import os
import random
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
RESTART_SECONDS = 10.0
DUELS = 16
# Those of the 16 in which the old process is drawn are fair whenever it ends.
FAIR_DUELS = 4
# From the sockets' crossing to the old process's giving way: half a second, or a whole one on a busy machine.
DUEL_SECONDS = 0.8
SEED = 20261125


class Line:
    """
    Daemons, each of which takes over from the one before.
    """

    def __init__(self, launcher: Launcher) -> None:
        self._launcher, self._times = launcher, 0
        self.slowest_end_seconds = 0.0
        self.daemon = self.next()

    def next(self, *more: str) -> Daemon:
        """
        Start one more, and give it when it serves.
        """
        daemon = self._launcher.spawn(*more)
        self._times += 1
        until(lambda: daemon.log.count("info serving ") >= self._times, f"daemon that serves:\n{daemon.log}")
        return daemon

    def take_over(self) -> None:
        """
        Have the next one take over, and the one before end.
        """
        before, self.daemon = self.daemon, self.next("--take-over")
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


@pytest.mark.parametrize("workers", [1, 2])
def test_restarts_by_taking_over(
    launcher: Launcher, trusting: ssl.SSLContext, tracking: Origin, record_property: Record, workers: int
) -> None:
    """
    5 restarts by --take-over under 8 clicking clients: every click is answered, and reaches the tracking service once.
    """
    _write(launcher, tracking, workers=workers)
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


class Duel:
    """
    A running process and one that takes over, of which one is ended at a moment drawn from *moments*, time and again.
    """

    def __init__(self, launcher: Launcher, moments: random.Random) -> None:
        self._launcher, self._moments = launcher, moments
        self.daemon = launcher.spawn()
        self.both_ended = 0
        self._serving(self.daemon)

    def _serving(self, daemon: Daemon) -> None:
        until(lambda: self._is_in_charge(daemon), f"process in charge:\n{daemon.log[-4000:]}", 60)

    def _is_in_charge(self, daemon: Daemon) -> bool:
        if daemon.process.poll() is not None:
            return False
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            is_holder = daemon.process.pid == int((self._launcher.state / "lock").read_text())
            return is_holder and bool(daemon.status()["serving"]) and (self._launcher.state / "control.sock").exists()
        return False

    def fight(self) -> None:
        """
        End one of both; the other one is in charge then. Where there is none, begin anew.
        """
        seen = len(self.daemon.log)
        successor = self._launcher.spawn("--take-over")
        until(
            lambda: "another process takes over" in successor.log[seen:] or successor.process.poll() is not None, "it"
        )
        time.sleep(self._moments.uniform(0, DUEL_SECONDS))
        victim, other = self._moments.sample([self.daemon, successor], 2)
        victim.signal(self._moments.choice([signal.SIGTERM, signal.SIGKILL]))
        victim.wait()
        log = successor.log[seen:]
        if f"process {successor.process.pid} took over" in log and victim is successor:
            # The old process had given way: to end the new one then is to end both.
            other.wait()
            self.both_ended += 1
            other = self._launcher.spawn()
        self._serving(other)
        self.daemon = other

    def stop(self) -> None:
        """
        End the last one.
        """
        self.daemon.stop()


@pytest.mark.parametrize("workers", [1, 2])
def test_one_of_two_ends_in_any_phase_of_taking_over(
    launcher: Launcher, tracking: Origin, record_property: Record, workers: int
) -> None:
    """
    16 times, by SIGTERM or kill -9, the old or the new process: the other one has the addresses, the lock and the
    commands. Only a new process that ends when the old one has given way leaves nobody.
    """
    _write(launcher, tracking, workers=workers)
    duel = Duel(launcher, random.Random(SEED + workers))  # noqa: S311 - moments to end at are no secrets
    try:
        for _ in range(DUELS):
            duel.fight()
    finally:
        duel.stop()
    record_property("ended when the old process had given way", duel.both_ended)
    assert DUELS - duel.both_ended >= FAIR_DUELS


def test_process_whose_workers_are_all_down_is_taken_over_from(launcher: Launcher, tracking: Origin) -> None:
    """
    A new process is just what an operator tries then.
    """
    _write(launcher, tracking, workers=2)
    path, logs = launcher.directory / "sptls.toml", launcher.directory / "logs"
    path.write_text(f'{path.read_text()}\n[log]\naccess = "logs/access.log"\n')
    logs.mkdir()
    line = Line(launcher)
    with contextlib.closing(contextlib.ExitStack()) as ending:
        ending.callback(line.stop)
        logs.rename(launcher.directory / "lost")
        for row in line.daemon.status()["workers"]:
            os.kill(row["pid"], signal.SIGKILL)
        until(lambda: line.daemon.log.count("has ended: the access log") >= 2, "failed starts")
        assert not line.daemon.status()["serving"]
        path.write_text(path.read_text().replace("logs/access.log", "access.log"))
        line.take_over()
        assert line.daemon.status()["serving"]


def test_parents_that_are_killed(
    launcher: Launcher, trusting: ssl.SSLContext, tracking: Origin, record_property: Record
) -> None:
    """
    10 times kill -9 of a parent of 2 workers under clicking clients, and a start at once, as a supervisor's: it has the
    addresses, serves within seconds, and no worker of the one before is left.
    """
    _write(launcher, tracking, workers=2)
    line, seconds = Line(launcher), []
    with contextlib.closing(contextlib.ExitStack()) as ending:
        ending.callback(line.stop)
        clicks = ending.enter_context(clicking(launcher.https, launcher.http, CLICK, trusting))
        for _ in range(KILLS):
            enough = len(clicks.answered) + HANDSHAKES_BETWEEN
            until(lambda enough=enough: len(clicks.answered) >= enough, "clicks", 60)  # type: ignore[misc]
            workers = [row["pid"] for row in line.daemon.status()["workers"]]
            line.daemon.process.kill()
            line.daemon.process.wait()
            began = time.monotonic()
            line.daemon = line.next()
            seconds.append(time.monotonic() - began)
            until(lambda workers=workers: not any(_is_there(pid) for pid in workers), "end of its workers")  # type: ignore[misc]
    record_property("longest start, seconds", f"{max(seconds):.1f}")
    assert max(seconds) < RESTART_SECONDS


def _is_there(pid: int) -> bool:
    """
    Tell whether *pid* runs; one whose end nobody has asked for does not.
    """
    with contextlib.suppress(OSError):
        return "Z" != Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False
