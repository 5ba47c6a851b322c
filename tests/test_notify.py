from __future__ import annotations

import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from sptls.notify import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from twisted.logger import LogEvent

SAYING: dict[str, Callable[[Supervisor], None]] = {
    "READY=1\nSTATUS=serving 2 domains": lambda supervisor: supervisor.ready("serving 2 domains"),
    "RELOADING=1": Supervisor.reloading,
    "STOPPING=1\nSTATUS=draining": Supervisor.stopping,
    "WATCHDOG=1": Supervisor.alive,
}


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    """
    Give what is logged while the test runs.
    """
    events: list[LogEvent] = []

    @implementer(ILogObserver)
    def keep(event: LogEvent) -> None:
        events.append(event)

    globalLogPublisher.addObserver(keep)
    yield events
    globalLogPublisher.removeObserver(keep)


def listening(address: str) -> closing[socket.socket]:
    """
    Listen as systemd does.
    """
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(address)
    receiver.setblocking(False)
    return closing(receiver)


@pytest.mark.parametrize(("said", "say"), SAYING.items())
def test_says_it_in_one_datagram(tmp_path: Path, said: str, say: Callable[[Supervisor], None]) -> None:
    """
    Each state is one datagram of sd_notify's lines, at the path that the environment names.
    """
    path = str(tmp_path / "notify")
    with listening(path) as receiver:
        say(Supervisor.from_environment({"NOTIFY_SOCKET": path}, 1))
        assert said == receiver.recv(4096).decode()


def test_says_it_at_an_abstract_name() -> None:
    """
    An address that begins with @ is one of Linux's abstract names.
    """
    name = f"sptls-test-notify-{os.getpid()}"
    with listening(f"\0{name}") as receiver:
        Supervisor.from_environment({"NOTIFY_SOCKET": f"@{name}"}, 1).reloading()
        assert b"RELOADING=1" == receiver.recv(4096)


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_says_nothing_where_nobody_is_named(environment: dict[str, str], logged: list[LogEvent]) -> None:
    """
    Without an address that is a Unix socket's, nothing is said and nothing is logged.
    """
    supervisor = Supervisor.from_environment(environment, 1)
    supervisor.ready("serving")
    supervisor.stopping()
    assert (Supervisor(), []) == (supervisor, logged)


@pytest.mark.parametrize(
    ("seconds", "variables"),
    [
        (30.0, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}),
        (0.5, {"WATCHDOG_USEC": "500000"}),
        (0.0, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}),
        (0.0, {"WATCHDOG_USEC": "-1"}),
        (0.0, {"WATCHDOG_USEC": "³"}),
        (0.0, {"WATCHDOG_PID": "7"}),
        (0.0, {}),
    ],
)
def test_a_watchdog_is_ours_or_nobodys(seconds: float, variables: dict[str, str]) -> None:
    """
    Signs of life are due where the watchdog is set, and for this process.
    """
    supervisor = Supervisor.from_environment({"NOTIFY_SOCKET": "@x", **variables}, 7)
    assert Supervisor("@x", seconds) == supervisor


def test_a_supervisor_that_is_gone_is_logged(tmp_path: Path, logged: list[LogEvent]) -> None:
    """
    What can't be said is logged with the cause, and harms nothing.
    """
    Supervisor(str(tmp_path / "gone")).ready("serving")
    (event,) = logged
    assert ("READY=1", "No such file or directory") == (event["what"], event["error"])


@given(st.text())
def test_a_status_stays_one_line(status: str) -> None:
    """
    A status can't smuggle in a line of its own.
    """
    name = f"sptls-test-status-{os.getpid()}"
    with listening(f"\0{name}") as receiver:
        Supervisor(f"@{name}").ready(status.encode(errors="replace").decode())
        assert 2 == len(receiver.recv(1 << 20).decode().splitlines())
