"""
Real servers as child processes on loopback: start, wait until one answers, count its CPU time, end it by its id.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import attrs

START_SECONDS = 15.0
STOP_SECONDS = 10.0


def free_port() -> int:
    """
    Give a loopback port that is free now.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@attrs.define
class Server:
    """
    A started server: its *name* in the table, its process and the *port* that it serves TLS on.

    Each of its *workers* has as many clients as a server of one process: how much there is to do at each wake decides
    what a request costs.
    """

    name: str
    process: subprocess.Popen[bytes]
    port: int
    workers: int = 1

    def cpu_seconds(self) -> float:
        """
        Give the user and system time of the process and its descendants, in the scheduler's nanoseconds.

        Threads and processes that ended do not count; servers keep theirs.
        """
        return sum(_cpu_seconds(pid) for pid in _tree(self.process.pid))

    def resident_bytes(self) -> int:
        """
        Give the resident memory of the process and its descendants.
        """
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _tree(self.process.pid))
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """
        End the server: SIGTERM, then SIGKILL after a while; fine when it has ended.
        """
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(
    name: str,
    arguments: list[str],
    port: int,
    log: Path,
    environment: dict[str, str] | None = None,
    *,
    wait: bool = True,
) -> Server:
    """
    Start *arguments* and wait until *port* accepts.

    Raises:
        RuntimeError: it ended, or did not accept in time; has what it printed.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
    server = Server(name, process, port)
    deadline = time.monotonic() + START_SECONDS
    while wait and not _accepts(port):
        if process.poll() is not None or time.monotonic() > deadline:
            server.stop()
            raise RuntimeError(f"{name} did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.005)
    return server


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _tree(root: int) -> list[int]:
    pids = [root]
    for pid in pids:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            pids += [int(child) for child in children.read_text().split()]
    return pids


def _cpu_seconds(pid: int) -> float:
    # Not /proc/PID/stat, which counts in ticks of 10 ms: 1 % of a turn.
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
