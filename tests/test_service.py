"""
Tests for `sptls.service`: what `make` refuses, and the order of starting and ending. Serving is in tests/e2e.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.application.service import Application
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from sptls import early_signals, service
from sptls.certs.lock import StateLock
from sptls.config import AcmeConfig, Address, Config, DomainConfig, ListenConfig
from sptls.errors import ConfigError, StartError
from sptls.handover_channel import Ended, pair, receive
from sptls.names import HostName
from sptls.predecessor import Predecessor
from sptls.startup import ProcessSettings
from tests.certs.stored import outcome
from tests.doubles import InlineReactor

NAME = HostName("click.example.com")
NOWHERE = ListenConfig(https=(Address("127.0.0.1", 0),), http=(), admin=None, default_name=NAME)


def _config(tmp_path: Path, listen: ListenConfig = NOWHERE, **domain: Any) -> Config:
    return Config(
        domains=(DomainConfig(NAME, **domain),),
        state_dir=tmp_path / "state",
        listen=listen,
        acme=AcmeConfig(directory="internal"),
    )


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """
    Put back the signal handlers that a started service changes.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@implementer(ILogObserver)
class _Observer:
    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        self.events.append(event)


class _World:
    """
    A world that fails to start, or waits, and tells what it was asked.
    """

    def __init__(self, outcome: Deferred[Config]) -> None:
        self.outcome, self.calls = outcome, list[str]()

    async def start(self, config: Config) -> Config:
        self.calls.append("start")
        return await self.outcome

    def announce(self, config: Config) -> None:
        self.calls.append("announce")

    async def stop(self) -> None:
        self.calls.append("stop")

    def remove(self) -> None:
        self.calls.append("remove")


def test_own_certificate_that_cannot_be_used_is_a_configuration_fault(tmp_path: Path) -> None:
    """
    A certificate that is no PEM is refused before anything is made, with its place.
    """
    (tmp_path / "own.pem").write_text("no certificate")
    (tmp_path / "own.key").write_text("no key")
    config = _config(tmp_path, certificate=tmp_path / "own.pem", key=tmp_path / "own.key")
    with pytest.raises(ConfigError) as raised:
        service.make(InlineReactor(), ProcessSettings(), config)
    assert raised.value.faults[0].place.startswith("domains[0]")
    assert not config.state_dir.exists()


def test_file_of_roots_that_holds_none_is_refused(tmp_path: Path) -> None:
    """
    A trust file without certificates ends the start.
    """
    (tmp_path / "roots.pem").write_text("nothing")
    config = attrs.evolve(_config(tmp_path), acme=AcmeConfig(directory="internal", trust=tmp_path / "roots.pem"))
    with pytest.raises(StartError, match=r"roots\.pem"):
        service.make(InlineReactor(), ProcessSettings(), config)


def test_taken_port_gives_the_lock_back(tmp_path: Path) -> None:
    """
    When an address can't be bound, the state directory is free again.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = attrs.evolve(NOWHERE, https=(Address("127.0.0.1", taken.getsockname()[1]),))
        config = _config(tmp_path, listen)
        with pytest.raises(StartError):
            service.make(InlineReactor(), ProcessSettings(), config)
    lock = StateLock(config.state_dir)
    lock.acquire()
    lock.release()


def test_application_gets_the_log_that_was_chosen(tmp_path: Path) -> None:
    """
    The application has our observer, where twistd looks before it starts its log.
    """
    observer = _Observer()
    made = service.make(InlineReactor(), ProcessSettings(observer=observer), _config(tmp_path))
    application = Application("sptls")
    made.setServiceParent(application)
    assert observer is application.getComponent(ILogObserver)
    made._bound.close()
    made._lock.release()


def test_start_that_fails_is_said_and_stops_the_reactor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What goes wrong after the fork is one log event, and the process ends with status 1.
    """
    registered: list[Any] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    reactor, observer, outcome = InlineReactor(), _Observer(), Deferred[Config]()
    world = _World(outcome)
    made = service.make(reactor, ProcessSettings(), _config(tmp_path), world)
    globalLogPublisher.addObserver(observer)
    try:
        made.startService()
        outcome.errback(StartError("the CA does not answer"))
    finally:
        globalLogPublisher.removeObserver(observer)
    assert ["critical"] == [event["log_level"].name for event in observer.events]
    assert (1, [service._exit_failed]) == (reactor.stops, registered)
    made.stopService()
    made._bound.close()


def test_start_that_fails_at_once_ends_the_reactor_when_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The service is started before the reactor is, and a reactor that doesn't run can't be stopped yet.
    """
    monkeypatch.setattr(atexit, "register", lambda _: None)
    reactor, config = InlineReactor(), _config(tmp_path)
    reactor.running = False
    made = service.make(reactor, ProcessSettings(), config)
    (config.state_dir / "internal-ca.key.pem").write_text("damaged")
    made.startService()
    assert 0 == reactor.stops
    reactor.begin()
    assert 1 == reactor.stops
    made.stopService()
    made._bound.close()


def test_start_that_fails_because_it_is_stopped_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A part that turns the cancelling into an error of its own changes neither the log nor the exit status.
    """
    registered: list[Any] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    reactor = InlineReactor()
    outcome = Deferred[Config](lambda cancelled: cancelled.errback(StartError("cut off")))
    made = service.make(reactor, ProcessSettings(), _config(tmp_path), _World(outcome))
    made.startService()
    made.stopService()
    made._bound.close()
    assert ([], 0) == (registered, reactor.stops)


def test_stop_while_starting_undoes_what_was_started(tmp_path: Path) -> None:
    """
    A stop that comes early cancels the start, ends what ran, and gives the lock back.
    """
    world = _World(Deferred())
    config = _config(tmp_path)
    made = service.make(InlineReactor(), ProcessSettings(), config, world)
    made.startService()
    stopped: list[object] = []
    made.stopService().addCallback(stopped.append)
    assert (["start", "stop", "remove"], [None]) == (world.calls, stopped)
    made._bound.close()
    lock = StateLock(config.state_dir)
    lock.acquire()
    lock.release()


def test_sigusr1_goes_to_the_one_before_too(tmp_path: Path) -> None:
    """
    The handler that twistd set is called as well.
    """
    seen: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _frame: seen.append(number))
    made = service.make(InlineReactor(), ProcessSettings(), _config(tmp_path), _World(Deferred()))
    made.startService()
    signal.raise_signal(signal.SIGUSR1)
    made.stopService()
    made._bound.close()
    assert [signal.SIGUSR1] == seen


def test_logs_are_opened_again_where_sigusr1_came_during_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    One that was opened before it came has another name by now.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    early_signals.remember()
    signal.raise_signal(signal.SIGUSR1)
    made = service.make(InlineReactor(), ProcessSettings(), _config(tmp_path), _World(Deferred()))
    opened: list[str] = []
    monkeypatch.setattr(made, "_reopen_logs", lambda: opened.append("again"))
    made.startService()
    signal.raise_signal(signal.SIGUSR1)
    made.stopService()
    made._bound.close()
    assert ["again", "again"] == opened


STARTED = """
import gc, sys
from pathlib import Path
from twisted.internet import reactor
from sptls import service
from sptls.config import AcmeConfig, Address, Config, DomainConfig, ListenConfig
from sptls.names import HostName
from sptls.startup import ProcessSettings

gc.disable()
name = HostName("click.example.com")
listen = ListenConfig(https=(Address("127.0.0.1", 0),), http=(), admin=None, default_name=name)
config = Config((DomainConfig(name),), Path(sys.argv[1]), listen, acme=AcmeConfig(directory="internal"))
made = service.make(reactor, ProcessSettings(), config)

def started(_):
    print(gc.isenabled(), gc.get_freeze_count() > 0)
    reactor.stop()

def start():
    made.startService()
    made._starting.addCallback(started)

reactor.callWhenRunning(start)
reactor.addSystemEventTrigger("before", "shutdown", made.stopService)
reactor.run()
"""


def test_started_service_collects_garbage_but_not_what_the_start_made(tmp_path: Path) -> None:
    """
    The collector that the start did without is on, and what there is already is none of its business.
    """
    ran = subprocess.run(
        [sys.executable, "-c", STARTED, str(tmp_path / "state")], capture_output=True, text=True, timeout=60, check=True
    )
    assert "True True\n" == ran.stdout, ran.stderr


def _predecessor(tmp_path: Path) -> tuple[StateLock, Predecessor, socket.socket]:
    """
    Give a running process's lock, what it handed over, and its end of the channel.
    """
    (tmp_path / "state").mkdir()
    lock = StateLock(tmp_path / "state")
    lock.acquire()
    lock.is_shared = True
    ours, theirs = pair()
    shared = StateLock.shared(tmp_path / "state", os.dup(lock.fileno()))
    return lock, Predecessor(shared, (), theirs), ours


def test_taking_over_that_fails_gives_back_what_was_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The lock is the running process's still, and it notices that nobody takes over.
    """
    lock, predecessor, channel = _predecessor(tmp_path)
    monkeypatch.setattr(service, "ask", lambda _: predecessor)
    with channel, socket.create_server(("127.0.0.1", 0)) as taken:
        listen = attrs.evolve(NOWHERE, https=(Address("127.0.0.1", taken.getsockname()[1]),))
        with pytest.raises(StartError, match="in use"):
            service.make(InlineReactor(), ProcessSettings(), _config(tmp_path, listen), is_taking_over=True)
        assert (Ended("has ended"), ()) == receive(channel, 1)
    assert (tmp_path / "state" / "lock").exists()
    lock.is_shared = False
    lock.release()


def test_process_that_takes_over_and_is_stopped_leaves_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Before it said that it took over, nothing is its own, and the running process goes on when it has ended.
    """
    lock, predecessor, channel = _predecessor(tmp_path)
    monkeypatch.setattr(service, "ask", lambda _: predecessor)
    made = service.make(InlineReactor(), ProcessSettings(), _config(tmp_path), _World(Deferred()), is_taking_over=True)
    assert set(made._bound.sockets) == made._bound.shared
    made.startService()
    made.stopService()
    made._bound.close()
    with channel:
        assert (Ended("has ended"), ()) == receive(channel, 1)
    assert (tmp_path / "state" / "lock").exists()
    lock.is_shared = False
    lock.release()


@attrs.define
class _Order:
    """
    Parts, and the process before this one, that note in which order they are called.
    """

    calls: list[str] = attrs.field(factory=list)

    def keep(self, _: object) -> None:
        """
        Note it.
        """
        self.calls.append("keep")

    async def listen(self, *_: object) -> None:
        """
        Note it.
        """
        self.calls.append("listen")

    async def take_over(self, _: object) -> None:
        """
        Note it.
        """
        self.calls.append("take over")

    def let_go(self) -> None:
        """
        Do nothing.
        """


@pytest.mark.parametrize(
    ("is_taking_over", "calls"), [(False, ["keep", "listen"]), (True, ["listen", "take over", "keep"])]
)
def test_nothing_is_ordered_before_the_process_before_gives_way(
    tmp_path: Path, is_taking_over: bool, calls: list[str]
) -> None:
    """
    It may go on itself until then, and a CA's validations of ours would reach it. Otherwise orders come first.
    """
    played: Any = _Order()
    made = service.make(InlineReactor(), ProcessSettings(), _config(tmp_path))
    made._predecessor = played if is_taking_over else None
    outcome(made._serve(played))
    assert calls == played.calls
    outcome(made._stop())
    made._bound.close()
    made._lock.release()
