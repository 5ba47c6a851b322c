"""
Starting and ending: faults said clearly with the right exit status, nothing half-started, nothing left behind.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import ssl
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from tests.e2e.conftest import CLICK, own_domain
from tests.e2e.daemon import (
    TWISTD,
    Daemon,
    Launcher,
    ask,
    connect,
    http_get,
    https_get,
    parse,
    read_all,
    request,
    until,
)
from tests.e2e.origin import Origin

pytestmark = pytest.mark.e2e

INTERNAL = 'directory = "internal"'


def _run(arguments: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=directory, capture_output=True, text=True, timeout=30)


def _daemonized(launcher: Launcher) -> list[str]:
    return [argument for argument in launcher.arguments() if argument != "-n"]


def test_help_reads_well(tmp_path: Path) -> None:
    """
    ``twistd sptls --help`` names every option and the common case.
    """
    ended = _run([TWISTD, "sptls", "--help"], tmp_path)
    assert 0 == ended.returncode
    for option in ("--config", "--domain", "--contact", "--agree-to-terms", "--state-dir", "--demo", "--log-json"):
        assert option in ended.stdout


def test_unknown_option_is_a_usage_error(tmp_path: Path) -> None:
    """
    A word that isn't ours ends with 2 and names it.
    """
    ended = _run([TWISTD, "-n", "--pidfile=", "sptls", "--domian", "x"], tmp_path)
    assert (2, True) == (ended.returncode, "domian" in ended.stderr)


@pytest.mark.parametrize("daemonize", [False, True])
def test_all_faults_of_a_file_are_said_at_once(launcher: Launcher, daemonize: bool) -> None:
    """
    A bad file ends with 2, every fault with its place, and nothing is bound or made.
    """
    launcher.write(
        domains='domains = ["bad_name.example", "click.example.com"]',
        acme=INTERNAL,
        more="[tls]\npolicy = 3\nciphers = 1",
    )
    ended = _run(_daemonized(launcher) if daemonize else launcher.arguments(), launcher.directory)
    assert 2 == ended.returncode
    for place in ("domains[0]", "tls.policy", "tls.ciphers"):
        assert place in ended.stderr
    assert not launcher.state.exists()


@pytest.mark.parametrize("daemonize", [False, True])
def test_missing_file_is_said(launcher: Launcher, daemonize: bool) -> None:
    """
    A configuration file that isn't there ends with 2 and is named.
    """
    ended = _run(_daemonized(launcher) if daemonize else launcher.arguments(), launcher.directory)
    assert (2, True) == (ended.returncode, "sptls.toml" in ended.stderr)


@pytest.mark.parametrize("daemonize", [False, True])
def test_taken_port_is_said(launcher: Launcher, daemonize: bool) -> None:
    """
    A port that another program holds ends with 1, names the address, and leaves no lock.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with socket.create_server(("127.0.0.1", launcher.https)):
        ended = _run(_daemonized(launcher) if daemonize else launcher.arguments(), launcher.directory)
    assert (1, True, True) == (
        ended.returncode,
        str(launcher.https) in ended.stderr,
        "in use" in ended.stderr,
    )
    with launcher.running() as daemon:
        assert 200 == http_get(daemon.admin, "/healthz", "localhost").status


def test_second_process_on_one_state_directory_is_refused(launcher: Launcher, tmp_path: Path) -> None:
    """
    The second one ends with 1 and names the directory; the first goes on.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with launcher.running() as first:
        (tmp_path / "second").mkdir()
        second = Launcher(tmp_path / "second")
        path = second.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
        path.write_text(path.read_text().replace(str(second.state), str(first.state)))
        ended = _run(second.arguments(), tmp_path / "second")
        assert (1, True, True) == (
            ended.returncode,
            str(first.state) in ended.stderr,
            str(first.process.pid) in ended.stderr,
        )
        assert 200 == http_get(first.admin, "/healthz", "localhost").status


@pytest.mark.skipif(os.getuid() != 0, reason="only root can arrange a directory that another user can't write")
def test_unwritable_state_directory_is_said(launcher: Launcher) -> None:
    """
    A state directory that the daemon's user can't use ends with 1 and is named.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    launcher.state.write_text("a file where a directory should be")
    ended = _run(launcher.arguments(), launcher.directory)
    assert (1, True) == (ended.returncode, str(launcher.state) in ended.stderr)


def test_state_is_private_whatever_the_umask(launcher: Launcher) -> None:
    """
    Keys and certificates are readable by the daemon's user only.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    before = os.umask(0)
    try:
        with launcher.running() as daemon:
            daemon.wait_valid(CLICK)
            modes = {path.name: path.stat().st_mode & 0o777 for path in daemon.state.iterdir() if path.is_file()}
            directory = daemon.state.stat().st_mode & 0o777
    finally:
        os.umask(before)
    public = {"internal-ca.pem", "access.log"}
    assert 0o700 == directory
    assert {0o600} == {mode for name, mode in modes.items() if name not in public}


def test_sigterm_lets_a_running_exchange_finish(
    launcher: Launcher, authority: trustme.CA, trusting: ssl.SSLContext, tracking: Origin
) -> None:
    """
    After SIGTERM nothing new is accepted, the exchange that runs is answered, and the lock is gone.
    """
    launcher.write(
        domains=own_domain(authority, launcher.directory, CLICK), acme=INTERNAL, upstream=tracking.configuration
    )
    with launcher.running() as daemon, connect(daemon.https, CLICK, trusting) as connection:
        connection.sendall(request("/hang/drain", CLICK))
        until(lambda: tracking.requests(b"/hang/drain"), "request at the origin")
        daemon.signal(signal.SIGTERM)
        until(lambda: _refused(daemon.https), "closed port")
        tracking.stall.set()
        assert 302 == parse(read_all(connection)).status
        assert daemon.wait() in (0, -signal.SIGTERM)
    with launcher.running() as daemon:
        assert 302 == https_get(daemon.https, "/f/again", CLICK, trusting).status


def test_sigterm_ends_although_a_client_holds_on(
    launcher: Launcher, authority: trustme.CA, trusting: ssl.SSLContext, tracking: Origin
) -> None:
    """
    Idle connections are closed at once; nobody delays the end beyond the drain.
    """
    launcher.write(
        domains=own_domain(authority, launcher.directory, CLICK), acme=INTERNAL, upstream=tracking.configuration
    )
    with launcher.running() as daemon, connect(daemon.https, CLICK, trusting) as connection:
        connection.sendall(f"GET /q/x HTTP/1.1\r\nHost: {CLICK}\r\n\r\n".encode())
        connection.recv(65536)
        began = time.monotonic()
        daemon.stop()
        assert time.monotonic() - began < 5


def test_sigusr1_reopens_the_access_log(
    launcher: Launcher, authority: trustme.CA, trusting: ssl.SSLContext, tracking: Origin
) -> None:
    """
    After the file was moved and SIGUSR1 sent, lines go to a new file of the old name.
    """
    launcher.write(
        domains=own_domain(authority, launcher.directory, CLICK), acme=INTERNAL, upstream=tracking.configuration
    )
    with launcher.running() as daemon:
        path, moved = daemon.state / "access.log", daemon.state / "access.log.1"
        https_get(daemon.https, "/q/old", CLICK, trusting)
        until(lambda: "/q/old" in path.read_text(), "old line", 5)
        path.rename(moved)
        daemon.signal(signal.SIGUSR1)
        until(path.exists, "new file", 5)
        https_get(daemon.https, "/q/new", CLICK, trusting)
        until(lambda: "/q/new" in path.read_text(), "new line", 5)
        assert "/q/new" not in moved.read_text()


@pytest.mark.parametrize("ignored", [True, False])
def test_signals_that_come_during_the_start_end_nothing(launcher: Launcher, ignored: bool) -> None:
    """
    From the first moment on where whoever starts it ignores them (``env --ignore-signal``), and else from when twistd
    has our plugin; in the end the configuration is read again.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    numbers = (signal.SIGHUP, signal.SIGUSR1)
    before = {number: signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL) for number in numbers}
    try:
        daemon = launcher.spawn()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    try:
        if not ignored:
            until(lambda: _is_caught(daemon, signal.SIGHUP), "handlers")  # it is the last one
        until(lambda: _is_healthy_under(daemon, *numbers), "healthy daemon")
        until(lambda: "the configuration was read again" in daemon.log, "reload")
        assert 200 == http_get(daemon.admin, "/healthz", "localhost").status
    finally:
        daemon.stop()


def _is_caught(daemon: Daemon, number: signal.Signals) -> bool:
    """
    Tell whether the process has a handler of its own for the signal.
    """
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    (caught,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught, 16) & 1 << number - 1)


def _is_healthy_under(daemon: Daemon, *numbers: signal.Signals) -> bool:
    """
    Send the signals, and tell whether the daemon serves.
    """
    for number in numbers:
        daemon.signal(number)
    assert daemon.process.poll() is None, daemon.log
    with suppress(OSError):
        return http_get(daemon.admin, "/healthz", "localhost").status == 200
    return False


def test_daemonized_it_serves_and_ends(launcher: Launcher, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    """
    Without -n the command returns 0 when the daemon is up; SIGTERM ends it and its pid file goes.
    """
    launcher.write(domains=own_domain(authority, launcher.directory, CLICK), acme=INTERNAL)
    pid_path = launcher.directory / "twistd.pid"
    arguments = [f"--pidfile={pid_path}" if part == "--pidfile=" else part for part in _daemonized(launcher)]
    ended = _run(arguments, launcher.directory)
    assert (0, "") == (ended.returncode, ended.stderr)
    pid = int(pid_path.read_text())
    try:
        until(lambda: not _refused(launcher.https), "open port")
        with connect(launcher.https, CLICK, trusting) as connection:
            assert 421 == ask(connection, request("/", "stranger.example")).status
    finally:
        os.kill(pid, signal.SIGTERM)
    until(lambda: not pid_path.exists(), "end of the daemon")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the user")
def test_uid_is_changed_after_the_ports_are_bound(
    launcher: Launcher, authority: trustme.CA, trusting: ssl.SSLContext, tracking: Origin
) -> None:
    """
    ``--uid`` with privileged ports: bound as root, served as the user, the state belongs to the user.
    """
    launcher.https, launcher.http = 443, 80
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL, upstream=tracking.configuration)
    launcher.directory.chmod(0o755)
    for parent in launcher.directory.parents:
        if parent.name.startswith("pytest-"):  # pytest makes them for its own user only
            parent.chmod(0o755)
    daemon = launcher.spawn(twistd=("-n", "--uid", "nobody"))
    try:
        until(lambda: not _refused(daemon.admin), f"admin port:\n{daemon.log}")
        daemon.wait_valid(CLICK)
        nobody = pwd.getpwnam("nobody").pw_uid
        assert nobody == os.stat(f"/proc/{daemon.process.pid}").st_uid
        assert {nobody} == {path.stat().st_uid for path in [daemon.state, *daemon.state.iterdir()]}
        context = ssl.create_default_context(cafile=str(daemon.state / "internal-ca.pem"))
        assert 302 == https_get(443, "/f/a", CLICK, context).status
    finally:
        daemon.stop()


def test_ctrl_c_ends_cleanly(launcher: Launcher) -> None:
    """
    SIGINT ends without a traceback.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with launcher.running() as daemon:
        daemon.signal(signal.SIGINT)
        assert daemon.wait() in (0, -signal.SIGINT)
        assert "Traceback" not in daemon.log


def test_log_as_json(launcher: Launcher) -> None:
    """
    ``--log-json`` makes every line of the daemon's log a JSON object.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with launcher.running("--log-json") as daemon:
        daemon.wait_valid(CLICK)
    lines = [json.loads(line) for line in daemon.log.splitlines()]
    assert any(CLICK in line["message"] for line in lines)


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False
