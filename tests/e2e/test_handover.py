"""
Restarts that no client notices: by a process that takes over, and with sockets that systemd holds.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from sptls import predecessor
from sptls.certs.lock import is_free
from sptls.cli.client import DaemonClient
from sptls.errors import ControlError, StartError
from sptls.names import HostName
from tests.e2e.activation import Activator, listening
from tests.e2e.ca import Ca, certificate
from tests.e2e.clicks import clicking
from tests.e2e.conftest import CLICK, OTHER, own_domain
from tests.e2e.daemon import Daemon, Launcher, http_get, https_get, until
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import trustme

    from tests.e2e.origin import Origin

pytestmark = pytest.mark.e2e

INTERNAL = 'directory = "internal"'
RESTARTS = 2


@contextlib.contextmanager
def _all_ended(*daemons: Daemon) -> Iterator[list[Daemon]]:
    """
    End *daemons*, and those that join them, whatever happens.
    """
    running = list(daemons)
    try:
        yield running
    finally:
        for daemon in running:
            daemon.stop()


def _serving(daemon: Daemon, times: int = 1) -> None:
    """
    Wait until the log that all daemons of a launcher share says once more that one serves.
    """
    until(
        lambda: daemon.log.count("info serving ") >= times or daemon.process.poll() is not None,
        f"daemon that serves:\n{daemon.log}",
    )


def _holder(launcher: Launcher) -> int:
    return int((launcher.state / "lock").read_text())


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def _daemonize(launcher: Launcher, pid_path: Path, *more: str) -> None:
    words = launcher.arguments(*more, twistd=("--logfile=twistd.log",))
    words[words.index("--pidfile=")] = f"--pidfile={pid_path}"
    subprocess.run(words, check=True, cwd=launcher.directory, timeout=60)


def test_no_click_is_lost_when_another_process_takes_over(
    launcher: Launcher, authority: trustme.CA, trusting: ssl.SSLContext, tracking: Origin
) -> None:
    """
    Every click is answered and reaches the tracking service once; the old process ends with status 0.
    """
    launcher.write(
        domains=own_domain(authority, launcher.directory, CLICK), acme=INTERNAL, upstream=tracking.configuration
    )
    tracking.received.clear()
    with _all_ended(launcher.spawn()) as daemons:
        _serving(daemons[0])
        with clicking(launcher.https, launcher.http, CLICK, trusting) as clicks:
            for number in range(2, 2 + RESTARTS):
                daemons.append(launcher.spawn("--take-over"))
                _serving(daemons[-1], number)
                assert 0 == daemons.pop(0).wait()
                assert [] == clicks.failures
        assert ([], []) == (clicks.failures, clicks.lost(tracking))
        assert len(clicks.answered) > 20
        assert daemons[0].process.pid == _holder(launcher)
        assert daemons[0].status()["serving"]
        assert [CLICK] == [told["name"] for told in DaemonClient(launcher.state).domains([HostName(CLICK)])]
    assert not (launcher.state / "control.sock").exists()
    assert not (launcher.state / "lock").exists()


def test_successor_that_ends_changes_nothing(launcher: Launcher) -> None:
    """
    Where it had sockets and lock already, the old process goes on: it has the lock, obtains, and takes commands.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with launcher.running() as daemon:
        daemon.wait_valid(CLICK)
        client = ssl.create_default_context(cafile=str(launcher.state / "internal-ca.pem"))
        successor = predecessor.ask(launcher.state)
        assert successor is not None
        assert 3 == len(successor.sockets)
        with pytest.raises(ControlError, match="another process is taking over"):
            DaemonClient(launcher.state).issue([HostName(CLICK)])
        assert 1 == launcher.spawn("--take-over").wait()
        assert "does not hand over: another process is taking over already" in daemon.log
        launcher.write(domains=f'domains = ["{CLICK}", "{OTHER}"]', acme=INTERNAL)
        daemon.signal(signal.SIGHUP)
        successor.let_go()
        successor.lock.release()
        for one in successor.sockets:
            one.socket.close()
        until(lambda: "was read again" in daemon.log, "reload")
        assert daemon.log.index("this one goes on") < daemon.log.index("was read again")
        daemon.wait_valid(OTHER)
        assert daemon.process.pid == _holder(launcher)
        assert https_get(launcher.https, "/f/a", CLICK, client).status
        assert DaemonClient(launcher.state).issue([HostName(CLICK)])


def test_successor_that_cannot_start_leaves_everything_as_it_was(launcher: Launcher) -> None:
    """
    Of a faulty configuration (status 2) the running process hears nothing; an address that somebody else has is said
    with status 1, and the running process goes on.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with launcher.running() as daemon, socket.create_server(("127.0.0.1", 0)) as taken:
        launcher.write(domains='domains = ["not a name"]', acme=INTERNAL)
        assert 2 == launcher.spawn("--take-over").wait()
        assert "takes over" not in daemon.log
        path = launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
        path.write_text(path.read_text().replace(f"127.0.0.1:{launcher.http}", f"127.0.0.1:{taken.getsockname()[1]}"))
        assert 1 == launcher.spawn("--take-over").wait()
        assert "address already in use" in daemon.log
        until(lambda: "keeps certificates again" in daemon.log, "going on")
        assert daemon.process.pid == _holder(launcher)
        daemon.wait_valid(CLICK)


def test_addresses_may_come_and_go(launcher: Launcher) -> None:
    """
    What the new configuration does not have is closed, what it has more is bound.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with _all_ended(launcher.spawn()) as daemons:
        _serving(daemons[0])
        (other,) = free_ports(1)
        path = launcher.directory / "sptls.toml"
        path.write_text(path.read_text().replace(f"127.0.0.1:{launcher.http}", f"127.0.0.1:{other}"))
        daemons.append(launcher.spawn("--take-over"))
        _serving(daemons[1], 2)
        assert 0 == daemons[0].wait()
        assert 421 == http_get(other, "/", "stranger.example").status
        assert _refuses(launcher.http)


def test_nobody_to_take_over_from_is_an_ordinary_start(launcher: Launcher) -> None:
    """
    It is said, and the daemon serves.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with launcher.running("--take-over") as daemon:
        daemon.wait_valid(CLICK)
        assert "no running process to take over from" in daemon.log


def test_daemonized_processes_have_a_pid_file_each(launcher: Launcher) -> None:
    """
    A second process on one pid file is refused by twistd, so it is given another; the old one removes its own.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    one, two = launcher.directory / "one.pid", launcher.directory / "two.pid"
    for path, more in ((one, ()), (two, ("--take-over",))):
        _daemonize(launcher, path, *more)
        until((launcher.state / "control.sock").exists, "daemon that serves")
    try:
        until(lambda: not one.exists(), "end of the first")
        assert int(two.read_text()) == _holder(launcher)
        assert 421 == http_get(launcher.http, "/", "stranger.example").status
    finally:
        os.kill(int(two.read_text()), signal.SIGTERM)
    until(lambda: not two.exists(), "end of the second")


def test_no_connection_is_lost_while_systemd_has_the_sockets(
    launcher: Launcher, authority: trustme.CA, trusting: ssl.SSLContext, tracking: Origin
) -> None:
    """
    Who connects between two processes waits in the sockets' queues, and is served by the next one.
    """
    launcher.write(
        domains=own_domain(authority, launcher.directory, CLICK), acme=INTERNAL, upstream=tracking.configuration
    )
    tracking.received.clear()
    with contextlib.ExitStack() as ending:
        sockets = [ending.enter_context(listening(port)) for port in (launcher.https, launcher.http)]
        activator = Activator(launcher, sockets)
        ending.callback(activator.stop)
        clicks = ending.enter_context(clicking(launcher.https, launcher.http, CLICK, trusting))
        for _ in range(1 + RESTARTS):
            activator.restart()
            enough = len(clicks.answered) + 10
            until(lambda enough=enough: len(clicks.answered) > enough, "clicks")  # type: ignore[misc]
    assert ([], []) == (clicks.failures, clicks.lost(tracking))


def test_sockets_are_found_though_twistd_has_no_cache_of_its_plugins(launcher: Launcher) -> None:
    """
    Under DynamicUser it can't write one, imports every plugin at every start, and Twisted's own read the environment.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    plugins = launcher.directory / "plugins/twisted/plugins"
    plugins.mkdir(parents=True)
    (plugins / "unknown.py").write_text("import twisted.internet.endpoints\n")
    path = os.pathsep.join(filter(None, (str(plugins.parents[1]), os.environ.get("PYTHONPATH"))))
    launcher.environment["PYTHONPATH"] = path
    with contextlib.ExitStack() as ending:
        sockets = [ending.enter_context(listening(port)) for port in (launcher.https, launcher.http)]
        activator = Activator(launcher, sockets)
        ending.callback(activator.stop)
        activator.restart()
        assert 421 == http_get(launcher.http, "/", "stranger.example").status


def test_socket_that_nothing_is_configured_for_ends_the_start(launcher: Launcher) -> None:
    """
    The error names it, and says what to do.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    (other,) = free_ports(1)
    with listening(other) as stranger:
        daemon = Activator(launcher, (stranger,)).spawn()
        assert 1 == daemon.wait()
        assert f"127.0.0.1:{other} (unknown)" in daemon.log
        assert "ListenStream=" in daemon.log


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate")
def test_systemds_own_activation_starts_it(launcher: Launcher) -> None:
    """
    The first client has it started, and is answered.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    # It passes on what it is told to of its environment.
    before = ("systemd-socket-activate", "--setenv=PYTHONPATH", "-l", f"127.0.0.1:{launcher.http}")
    with _all_ended(launcher.spawn(before=before)) as (daemon,):
        until(lambda: not _refuses(launcher.http), "socket")
        assert 421 == http_get(launcher.http, "/", "stranger.example").status
        assert "serving 1 domain" in daemon.log


def test_process_that_is_stopping_hands_nothing_over(launcher: Launcher) -> None:
    """
    A demo, a command, or a process that drains says why, and what to do.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with launcher.running() as daemon, socket.create_connection(("127.0.0.1", launcher.http), 10) as busy:
        busy.sendall(b"POST /f HTTP/1.1\r\nHost: click.example.com\r\nContent-Length: 9\r\n\r\n1")
        until(lambda: daemon.status()["connections"]["open"], "connection")
        daemon.signal(signal.SIGTERM)
        until(lambda: _refuses(launcher.http), "drain")
        with pytest.raises(StartError, match="it is ending"):
            predecessor.ask(launcher.state)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_process_that_ends_when_its_sockets_are_handed_over(launcher: Launcher, number: signal.Signals) -> None:
    """
    Nobody is refused: who connects waits for the successor.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with _all_ended(launcher.spawn()) as (daemon,):
        _serving(daemon)
        successor = predecessor.ask(launcher.state)
        assert successor is not None
        daemon.signal(number)
        assert -number == daemon.wait()
        assert not is_free(launcher.state)
        with contextlib.ExitStack() as closing:
            closing.callback(successor.lock.release)
            closing.callback(successor.let_go)
            sockets = [closing.enter_context(one.socket) for one in successor.sockets]
            client = closing.enter_context(socket.create_connection(("127.0.0.1", launcher.http), 5))
            client.sendall(b"?")
            readable, _, _ = select.select(sockets, [], [], 10)
            assert launcher.http == readable[0].getsockname()[1]


@pytest.mark.pebble
def test_client_that_a_worker_holds_gets_the_certificate_of_the_next_process(ca: Ca, tmp_path: Path) -> None:
    """
    The old process's workers are told of it while they drain; it is ordered once.
    """
    launcher, client = ca.launcher(tmp_path, "late.example"), ca.client()
    path = launcher.directory / "sptls.toml"
    path.write_text(f"workers = 2\n{path.read_text()}")
    with contextlib.ExitStack() as hanging, ThreadPoolExecutor(2) as clients:
        hanging.enter_context(ca.hanging())
        with _all_ended(launcher.spawn()) as daemons:
            _serving(daemons[0])
            waiting = [clients.submit(certificate, launcher.https, "late.example", client) for _ in range(2)]
            until(lambda: daemons[0].status()["tls"]["holding"] == len(waiting), "held clients")
            daemons.append(launcher.spawn("--take-over"))
            _serving(daemons[1], 2)
            hanging.close()
            assert 1 == len({one.result(30).serial_number for one in waiting})
            assert 0 == daemons[0].wait()
