"""
Workers that loop, or are killed, and workers that only get no CPU: the first are replaced, the last are not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import CLICK, own_domain
from tests.e2e.daemon import Daemon, Launcher, https_get, until
from tests.e2e.origin import Origin, origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import trustme

    Record = Callable[[str, object], None]

CLIENTS = 24
LOOP_SECONDS = 30.0
STARVING_SECONDS = 60.0
# One that was stopped for so long is killed.
SILENT_SECONDS = 5.0
BURNERS = 30
# Which worker is killed; more often than three times in a row, and its successor is let wait.
KILLED = (0, 1, 0, 1, 0)
BACK_SECONDS = 1.0
# Each Python that has it in its path loops for ever from this signal on.
LOOPING = """
import signal

def loop(*_):
    while True:
        pass

signal.signal(signal.SIGUSR2, loop)
"""


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
    Give a launcher of a daemon with two workers.
    """
    launcher = Launcher(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(LOOPING)
    launcher.environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    path = launcher.write(
        domains=own_domain(authority, tmp_path, CLICK),
        acme='directory = "internal"',
        upstream=tracking.configuration,
        more="[limits]\nhead_seconds = 120\nhello_seconds = 120\n",
    )
    path.write_text(f"workers = 2\n{path.read_text()}")
    return launcher


def _workers(daemon: Daemon) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = daemon.status()["workers"]
    return rows


def _statuses(daemon: Daemon, context: ssl.SSLContext) -> set[int]:
    with ThreadPoolExecutor(CLIENTS) as clients:
        asked = [clients.submit(https_get, daemon.https, f"/f/{at}", CLICK, context) for at in range(CLIENTS)]
        return {one.result().status for one in asked}


def test_worker_in_an_endless_loop_is_replaced(
    launcher: Launcher, trusting: ssl.SSLContext, record_property: Record
) -> None:
    """
    After five seconds of its CPU; who came to its queue meanwhile is served by the next one.
    """
    with launcher.running() as daemon:
        until(lambda: all(row["state"] == "serving" for row in _workers(daemon)), "workers")
        os.kill(_workers(daemon)[0]["pid"], signal.SIGUSR2)
        began = time.monotonic()
        assert {302} == _statuses(daemon, trusting)
        record_property("last of the queue's clients served, seconds", f"{time.monotonic() - began:.1f}")
        assert time.monotonic() - began < LOOP_SECONDS
        assert 1 == daemon.log.count("worker 1 is killed: it says nothing any more, and has run for 5 s of CPU")


def test_worker_that_is_killed_is_back_in_a_second(launcher: Launcher, record_property: Record) -> None:
    """
    Kill -9 of a worker, five times: the next one serves within a second, by the median.
    """
    seconds = list[float]()
    with launcher.running() as daemon:
        for place in KILLED:
            until(lambda: all(row["state"] == "serving" for row in _workers(daemon)), "workers")
            time.sleep(2)  # the parent has told the last one all, and the system has thrown its predecessor away
            pid = _workers(daemon)[place]["pid"]
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            until(lambda place=place, pid=pid: _is_back(daemon, place, pid), "successor")  # type: ignore[misc]
            seconds.append(time.monotonic() - began)
    record_property("back after, seconds", ", ".join(f"{one:.2f}" for one in seconds))
    assert statistics.median(seconds) <= BACK_SECONDS


def _is_back(daemon: Daemon, place: int, pid: int) -> bool:
    row = _workers(daemon)[place]
    return bool(row["state"] == "serving" and row["pid"] != pid)


@contextlib.contextmanager
def _starved(pid: int) -> Iterator[None]:
    """
    Have *pid* get as good as no CPU: all others on its own go first, and want all of it.
    """
    (cpu, *_) = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as ending:
        for _ in range(BURNERS):
            burner = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
            ending.callback(burner.wait)
            ending.callback(burner.kill)
            os.sched_setaffinity(burner.pid, {cpu})
        before = os.sched_getaffinity(pid)
        for thread in map(int, os.listdir(f"/proc/{pid}/task")):
            os.sched_setaffinity(thread, {cpu})
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
        yield
        for thread in map(int, os.listdir(f"/proc/{pid}/task")):
            os.sched_setaffinity(thread, before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give the CPU back")
def test_worker_that_gets_no_cpu_is_left_alone(
    launcher: Launcher, trusting: ssl.SSLContext, record_property: Record
) -> None:
    """
    For a minute in which it says nothing for many seconds at a time; then it serves.
    """
    with launcher.running() as daemon:
        until(lambda: all(row["state"] == "serving" for row in _workers(daemon)), "workers")
        pid = _workers(daemon)[0]["pid"]
        with _starved(pid):
            silent_seconds = _longest_silence(pid)
            record_property("longest silence of the starved one, seconds", f"{silent_seconds:.1f}")
            assert pid == _workers(daemon)[0]["pid"]
        assert silent_seconds > SILENT_SECONDS
        assert {302} == _statuses(daemon, trusting)
        assert "is killed" not in daemon.log


def _longest_silence(pid: int) -> float:
    """
    Watch the process for a while, and tell for how long at the most it wrote nothing to anybody.
    """
    end, longest, last, written = time.monotonic() + STARVING_SECONDS, 0.0, time.monotonic(), -1
    while (now := time.monotonic()) < end:
        with open(f"/proc/{pid}/io") as books:
            calls = next(int(line.split()[1]) for line in books if line.startswith("syscw:"))
        if calls != written:
            written, last = calls, now
        longest = max(longest, now - last)
        time.sleep(0.05)
    return longest
