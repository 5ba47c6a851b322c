"""
Several processes that serve clients: what one process does, they do together, and the death of one costs its own.

Which of them serves a client is the kernel's choice. So clients come until each has had some, as the status tells; with
two dozen connections it is one in eight million that all are the same worker's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.ca import Ca, certificate
from tests.e2e.conftest import CLICK, OTHER, own_domain
from tests.e2e.daemon import Daemon, Launcher, ask, connect, https_get, request, until
from tests.e2e.traffic import traffic
from tests.soak.process import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Set
    from pathlib import Path

    import trustme

    from tests.e2e.origin import Origin

pytestmark = pytest.mark.e2e

WORKERS = 2
# So many clients reach both, but for one time in eight million.
ENOUGH = 24
HANGING_SECONDS = 12.0
# The kernel draws a worker for each by its port. Of so many, one has more than 60 % by chance once in three thousand
# million times (6.3 standard deviations of a binomial distribution).
MANY = 1000
LARGEST_SHARE = 0.6
# What its successor may use until it serves: a second of a processor that has nothing else to do.
BACK_CPU_SECONDS = 1.0
KILLS_IN_A_ROW = 3


def _write(launcher: Launcher, domains: str, tracking: Origin, more: str = "") -> None:
    launcher.write(
        domains=domains,
        acme='directory = "internal"',
        upstream=tracking.configuration,
        # A busy machine takes seconds to start a worker; no client is to lose its connection meanwhile.
        more=f"[limits]\nhead_seconds = 120\nhello_seconds = 120\n[log]\nformat = 'json'\n{more}",
    )
    _have_workers(launcher)


def _have_workers(launcher: Launcher) -> Launcher:
    path = launcher.directory / "sptls.toml"
    path.write_text(f"workers = {WORKERS}\n{path.read_text()}")
    return launcher


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA, tracking: Origin
) -> Iterator[tuple[Launcher, Daemon]]:
    """
    Give a running daemon with two workers, and what started it.
    """
    launcher = Launcher(tmp_path_factory.mktemp("workers"))
    _write(launcher, own_domain(authority, launcher.directory, CLICK), tracking)
    with launcher.running() as daemon:
        yield launcher, daemon


@pytest.fixture
def daemon(shared: tuple[Launcher, Daemon]) -> Daemon:
    """
    Give the daemon when both of its workers serve.
    """
    _all_serve(shared[1])
    return shared[1]


@pytest.fixture
def launcher(tmp_path: Path, authority: trustme.CA, tracking: Origin) -> Launcher:
    """
    Give what starts a daemon with two workers that serves `CLICK`.
    """
    launcher = Launcher(tmp_path)
    _write(launcher, own_domain(authority, tmp_path, CLICK), tracking)
    return launcher


def _workers(daemon: Daemon) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = daemon.status()["workers"]
    return rows


def _open(daemon: Daemon, count: int) -> list[int]:
    """
    Wait until *count* connections are open in all, and give how many each worker has.
    """

    def look() -> list[int] | None:
        each = [worker["open"] for worker in _workers(daemon)]
        return each if count == sum(each) else None

    return until(look, f"{count} open connections")


def _all_serve(daemon: Daemon, pids: Set[int] = frozenset()) -> list[int]:
    """
    Wait until every worker serves, none of them one of *pids*, and give their process ids.
    """

    def look() -> list[int] | None:
        rows = _workers(daemon)
        told = [row["pid"] for row in rows if row["state"] == "serving"]
        return told if len(told) == WORKERS and pids.isdisjoint(told) else None

    return until(look, "serving workers")


def _is_running(pid: int) -> bool:
    """
    Tell whether *pid* runs; one whose end nobody has asked for does not.
    """
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return "Z" != stat.read().rpartition(")")[2].split()[0]
    return False


def _statuses(daemon: Daemon, context: ssl.SSLContext, count: int = ENOUGH, name: str = CLICK) -> set[int]:
    """
    Make *count* requests at the same time, and give the answers' statuses.
    """
    with ThreadPoolExecutor(count) as clients:
        asked = [clients.submit(https_get, daemon.https, f"/f/{at}", name, context) for at in range(count)]
        return {one.result().status for one in asked}


def test_both_serve_and_are_counted_together(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    Each its share; the status has both, and their sum.
    """
    before = daemon.status()["http"]["requests"]
    assert {302} == _statuses(daemon, trusting)
    until(lambda: daemon.status()["http"]["requests"] == before + ENOUGH, "count of requests")
    rows = _workers(daemon)
    assert ENOUGH == sum(row["requests"] for row in rows) - before
    assert all(row["accepted"] > 0 for row in rows)
    assert daemon.process.pid not in [row["pid"] for row in rows]


def test_load_is_spread_within_60_to_40(daemon: Daemon) -> None:
    """
    By the connections that each has accepted, of a thousand.
    """

    def accepted() -> list[int]:
        return [row["accepted"] for row in _workers(daemon)]

    before = accepted()
    for _ in range(MANY):
        with socket.create_connection(("127.0.0.1", daemon.https)) as client:
            client.sendall(b"\x16")  # before that it is not accepted (TCP_DEFER_ACCEPT)
    until(lambda: sum(accepted()) >= sum(before) + MANY, "accepted connections")
    each = [after - earlier for earlier, after in zip(before, accepted(), strict=True)]
    assert (MANY, WORKERS) == (sum(each), len(each))
    assert max(each) <= LARGEST_SHARE * MANY


def test_worker_that_is_killed_costs_its_own_connections_and_is_back(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    Those of the other one live; who comes afterwards, to its sockets too, is served.
    """
    _open(daemon, 0)
    with contextlib.ExitStack() as closing:
        kept = [closing.enter_context(connect(daemon.https, CLICK, trusting)) for _ in range(ENOUGH)]
        killed, _ = _open(daemon, ENOUGH)
        pid, other = _all_serve(daemon)
        os.kill(pid, signal.SIGKILL)
        assert {302} == _statuses(daemon, trusting)
        assert killed == len([one for one in kept if not _is_answered(one)])
        assert other in _all_serve(daemon, {pid})
    assert 1 == daemon.log.count("worker 1 has ended: SIGKILL ended it; the next one is started now")


def test_worker_that_is_killed_is_back_within_a_second_of_its_own_cpu(daemon: Daemon) -> None:
    """
    Three times in a row, and none of its successors waits before it starts. How long the machine takes is its business.
    """
    cpu = list[float]()
    for _ in range(KILLS_IN_A_ROW):
        _, pid = _all_serve(daemon)
        os.kill(pid, signal.SIGKILL)
        _, successor = _all_serve(daemon, {pid})
        cpu.append(cpu_seconds(successor))
    assert KILLS_IN_A_ROW == daemon.log.count("worker 2 has ended: SIGKILL ended it; the next one is started now")
    assert max(cpu) <= BACK_CPU_SECONDS


def test_worker_that_hangs_is_replaced_and_its_queue_served(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    It was stopped, and the kernel goes on giving it clients: they are served by its successor.

    In four to five seconds on a machine that has nothing else to do; one that is starved itself is given more.
    """
    pid, _ = _all_serve(daemon)
    os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    assert {302} == _statuses(daemon, trusting)
    assert time.monotonic() - stopped < HANGING_SECONDS
    _all_serve(daemon, {pid})
    assert 1 == daemon.log.count("worker 1 is killed: it says nothing any more: it was stopped")


def _is_answered(connection: ssl.SSLSocket) -> bool:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return ask(connection, request("/f/kept", CLICK)).status == 302
    return False


def test_worker_that_is_asked_to_end_is_replaced_without_a_loss(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    SIGTERM to one: its clients are served to the end, and others by its successor.
    """
    with traffic(daemon.https, CLICK, trusting) as seen:
        for pid in _all_serve(daemon):
            os.kill(pid, signal.SIGTERM)
            _all_serve(daemon, {pid})
    assert ([], True) == (seen.failures, seen.handshakes > 0)


def test_logs_have_whole_lines_and_are_reopened_by_both(
    shared: tuple[Launcher, Daemon], trusting: ssl.SSLContext
) -> None:
    """
    Under load, with targets of many lengths: SIGUSR1 has both go on in a new file, and no line is lost or there twice.
    """
    launcher, daemon = shared
    _all_serve(daemon)
    path = launcher.state / "access.log"
    old = [path.with_suffix(f".{at}") for at in range(3)]
    with ThreadPoolExecutor(1) as loading:
        load = loading.submit(_requests, daemon, trusting, 12 * ENOUGH)
        for each in old:
            before = path.read_bytes().count(b"/f/x")
            until(lambda before=before: load.done() or path.read_bytes().count(b"/f/x") > before, "lines")  # type: ignore[misc]
            path.rename(each)
            daemon.signal(signal.SIGUSR1)
            until(path.exists, "new log")
    assert 12 * ENOUGH == load.result()
    until(lambda: 12 * ENOUGH <= sum(each.read_bytes().count(b"/f/x") for each in (path, *old)), "lines")
    lines = [json.loads(line) for each in (path, *old) for line in each.read_text().splitlines()]
    assert {302} == {line["status"] for line in lines}
    asked = [line["target"] for line in lines if line["target"].startswith("/f/x")]
    assert (12 * ENOUGH, 12 * ENOUGH) == (len(asked), len(set(asked)))
    until(lambda: _lines_go_to(path, daemon, trusting), "new log of both")
    assert all(line.startswith(("20", "    ")) for line in daemon.log.splitlines())


def test_reload_reaches_both(
    shared: tuple[Launcher, Daemon], authority: trustme.CA, trusting: ssl.SSLContext, tracking: Origin
) -> None:
    """
    SIGHUP adds a name in all, and a new certificate of an old one; no client of the others loses anything.
    """
    launcher, daemon = shared
    before = certificate(daemon.https, CLICK, trusting).serial_number
    with traffic(daemon.https, CLICK, trusting) as seen:
        _write(launcher, "".join(own_domain(authority, launcher.directory, name) for name in (CLICK, OTHER)), tracking)
        daemon.signal(signal.SIGHUP)
        until(lambda: "the configuration was read again" in daemon.log, "reading")
        assert {302} == _statuses(daemon, trusting, name=OTHER)
        until(lambda: before != certificate(daemon.https, CLICK, trusting).serial_number, "new certificate")
        with ThreadPoolExecutor(ENOUGH) as clients:
            served = list(clients.map(lambda _: certificate(daemon.https, CLICK, trusting), range(ENOUGH)))
    assert (1, []) == (len({one.serial_number for one in served}), seen.failures)


def _requests(daemon: Daemon, context: ssl.SSLContext, count: int) -> int:
    """
    Make *count* requests with targets of very different lengths, and tell how many were answered.
    """
    with ThreadPoolExecutor(ENOUGH) as clients:
        asked = [
            clients.submit(https_get, daemon.https, f"/f/x{at}{'x' * (at * 1999 % 7000)}", CLICK, context)
            for at in range(count)
        ]
        return len([one for one in asked if one.result().status == 302])


def _lines_go_to(path: Path, daemon: Daemon, context: ssl.SSLContext) -> bool:
    """
    Make some requests, and tell whether all their lines come to *path*.
    """
    before = path.read_bytes().count(b"\n")
    _requests(daemon, context, ENOUGH)
    with contextlib.suppress(AssertionError):
        until(lambda: path.read_bytes().count(b"\n") >= before + ENOUGH, "lines", 3)
        return True
    return False


def test_drain_finishes_what_runs_in_both(launcher: Launcher, trusting: ssl.SSLContext, tracking: Origin) -> None:
    """
    SIGTERM to the parent: running requests are answered, idle clients and new ones are not kept, and all end.
    """
    with launcher.running() as daemon, contextlib.ExitStack() as closing:
        pids = _all_serve(daemon)
        waiting = [closing.enter_context(connect(daemon.https, CLICK, trusting)) for _ in range(ENOUGH)]
        for connection in waiting:
            connection.sendall(request("/hang", CLICK))
        until(lambda: len(tracking.requests(b"/hang")) >= ENOUGH, "requests under way")
        daemon.signal(signal.SIGTERM)
        until(lambda: _is_refused(daemon.https), "closed port")
        tracking.stall.set()
        answered = [connection.recv(12) for connection in waiting]
        assert {b"HTTP/1.1 302"} == set(answered)
        assert -signal.SIGTERM == daemon.wait()  # as twistd ends
        assert not any(map(_is_running, pids))
    tracking.stall.clear()


def _is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_workers_end_with_their_parent(launcher: Launcher, trusting: ssl.SSLContext) -> None:
    """
    Though it is killed: the next daemon is started at once, as by a supervisor, and has their addresses.
    """
    with launcher.running() as daemon:
        pids = _all_serve(daemon)
        with connect(daemon.https, CLICK, trusting):
            daemon.process.kill()
            daemon.process.wait()
            with launcher.running() as successor:
                assert {302} == _statuses(successor, trusting)
                until(lambda: not any(map(_is_running, pids)), "end of the workers", 15)
                assert {302} == _statuses(successor, trusting)


def test_start_fails_as_with_one_process(launcher: Launcher, tracking: Origin, authority: trustme.CA) -> None:
    """
    What keeps every worker from serving ends the daemon, in the same words.
    """
    _write(launcher, own_domain(authority, launcher.directory, CLICK), tracking, 'access = "none/access.log"')
    daemon = launcher.spawn()
    assert 1 == daemon.wait()
    assert "can't start: no worker process could serve: the access log" in daemon.log


def test_port_that_is_taken_is_said(launcher: Launcher) -> None:
    """
    Though workers share it among themselves.
    """
    with socket.create_server(("127.0.0.1", launcher.https), reuse_port=True):
        daemon = launcher.spawn()
        assert 1 == daemon.wait()
    assert "address already in use" in daemon.log


def test_address_has_as_many_connections_as_are_configured_for_all(
    launcher: Launcher, trusting: ssl.SSLContext, tracking: Origin, authority: trustme.CA
) -> None:
    """
    Whichever workers they reach, also when one was killed and is back; what it had counted is not forgotten.
    """
    _write(launcher, own_domain(authority, launcher.directory, CLICK), tracking)
    path = launcher.directory / "sptls.toml"
    path.write_text(path.read_text().replace("[limits]", "[limits]\nconnections_per_address = 4"))
    with launcher.running() as daemon, contextlib.ExitStack() as closing:
        pid, _ = _all_serve(daemon)
        assert 4 == len(_kept(daemon, trusting, closing))
        refused = until(lambda: _refused_by_both(daemon, ENOUGH - 4), "refusals")
        os.kill(pid, signal.SIGKILL)
        _all_serve(daemon, {pid})
        left = daemon.status()["tls"]["open"]
        again = len(_kept(daemon, trusting, closing))
        assert 4 == left + again
        until(lambda: refused + ENOUGH - again == daemon.status()["tls"]["over_address_limit"], "all refusals")
        other = socket.create_connection(("127.0.0.1", daemon.https), source_address=("127.0.0.2", 0))
        closing.enter_context(trusting.wrap_socket(other, server_hostname=CLICK))
        assert 4 == sum(_is_kept_without_tls(daemon, closing) for _ in range(ENOUGH))


def _is_kept_without_tls(daemon: Daemon, closing: contextlib.ExitStack) -> bool:
    connection = closing.enter_context(socket.create_connection(("127.0.0.1", daemon.http), 30))
    with contextlib.suppress(ConnectionError):
        connection.sendall(f"GET /f/plain HTTP/1.1\r\nHost: {CLICK}\r\n\r\n".encode())
        return connection.recv(1) == b"H"
    return False


def _kept(daemon: Daemon, context: ssl.SSLContext, closing: contextlib.ExitStack) -> list[ssl.SSLSocket]:
    """
    Make connections one after the other, and give those that get as far as a handshake.
    """
    kept: list[ssl.SSLSocket] = []
    for _ in range(ENOUGH):
        with contextlib.suppress(OSError):
            kept.append(closing.enter_context(connect(daemon.https, CLICK, context)))
    return kept


def _refused_by_both(daemon: Daemon, count: int) -> int:
    """
    Tell whether *count* were refused, and each worker has had some clients.
    """
    status = daemon.status()
    refused: int = status["tls"]["over_address_limit"]
    return refused if count == refused and all(row["accepted"] for row in status["workers"]) else 0


# With a real CA


@pytest.fixture(params=["tls-alpn-01", "http-01"])
def challenging(request: pytest.FixtureRequest, ca: Ca, tmp_path: Path) -> Launcher:
    """
    Give what starts a daemon with two workers whose names the CA validates in one way.
    """
    names = [f"{at}.workers.example" for at in range(ENOUGH // 4)]
    return _have_workers(ca.launcher(tmp_path / "many", *names, acme=f'challenges = ["{request.param}"]'))


@pytest.mark.pebble
def test_validations_are_answered_by_whichever_the_ca_reaches(challenging: Launcher, ca: Ca) -> None:
    """
    All names are issued at the first attempt; Pebble looks three times at each.
    """
    count = ENOUGH // 4
    with challenging.running() as daemon:
        for at in range(count):
            daemon.wait_valid(f"{at}.workers.example")
    assert count == ca.orders


@pytest.mark.pebble
def test_clients_of_both_wait_for_one_order_and_get_its_successor(ca: Ca, tmp_path: Path) -> None:
    """
    A certificate reaches who waits at any worker; so does the one that renews it.
    """
    launcher, client = _have_workers(ca.launcher(tmp_path, "late.example")), ca.client()
    with contextlib.ExitStack() as hanging:
        hanging.enter_context(ca.hanging())
        with launcher.running() as daemon, ThreadPoolExecutor(ENOUGH) as clients:
            waiting = [clients.submit(certificate, daemon.https, "late.example", client) for _ in range(ENOUGH)]
            until(lambda: ENOUGH == daemon.status()["tls"]["holding"], "held clients")
            assert all(open_here > 0 for open_here in _open(daemon, ENOUGH))
            hanging.close()
            (first,) = {one.result(30).serial_number for one in waiting}
            _renew(launcher)
            until(lambda: first != certificate(daemon.https, "late.example", client).serial_number, "renewal")
            again = list(clients.map(lambda _: certificate(daemon.https, "late.example", client), range(ENOUGH)))
    assert (1, 2) == (len({one.serial_number for one in again}), ca.orders)
    assert first != again[0].serial_number


def _renew(launcher: Launcher) -> None:
    """
    Ask the daemon to renew.
    """
    body = b'{"names": ["late.example"]}'
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(launcher.state / "control.sock"))
        control.sendall(
            b"POST /renew HTTP/1.1\r\nHost: daemon\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        assert control.recv(65536).startswith(b"HTTP/1.1 200")
