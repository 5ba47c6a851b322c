"""
From exec to the first finished handshake with thousands of stored certificates, and what they cost in memory:
``python -m bench.start``.

The certificates come from a CA whose address is a listener of ours that counts who connects: a daemon that has them
all in its store must not ask it for anything.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import attrs

from bench.report import quartiles
from bench.servers import Server, free_port, start
from bench.stored import fill_store
from sptls.certs.schema import STORE_FILE

# What the data plane's issue asks for.
CERTIFICATES: Final = 10_000
NAMES: Final = 100_000
BAR_SECONDS: Final = 2.0
BAR_MEGABYTES: Final = 250.0
STARTS: Final = 3
_ASKED = 100
_GIVE_UP_SECONDS = 60.0
_POLL_SECONDS = 0.002
# The client waits for the daemon's timers, for the store and for whatever comes after the first handshake.
_SETTLE_SECONDS = 3.0


@attrs.frozen
class Daemon:
    """
    How to start sptls: on which *python*, with which configuration file, where it listens, what clients trust.
    """

    python: Path
    configuration: Path
    port: int
    ca: str

    def begin(self) -> Server:
        """
        Start it, and don't wait.
        """
        twistd = str(self.python.with_name("twistd"))
        arguments = [twistd, "-n", "--pidfile=", "sptls", "--config", str(self.configuration)]
        return start("sptls", arguments, self.port, self.configuration.with_name("output.log"), wait=False)


@attrs.frozen
class Run:
    """
    One start: *seconds* to the first handshake, and *cpu_seconds* of them; resident bytes some seconds later, and after
    many names.
    """

    seconds: float
    cpu_seconds: float
    first_bytes: int
    later_bytes: int


def main() -> None:
    """
    Make a store, start the daemon on it a few times, and print the table.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    parser.add_argument("--certificates", type=int, default=CERTIFICATES)
    parser.add_argument("--configured", type=int, default=NAMES, help="names in all, if more than have a certificate")
    parser.add_argument("--starts", type=int, default=STARTS)
    parser.add_argument("--names", type=int, default=_ASKED, help="names that are asked for after the first one")
    parser.add_argument(
        "--python", type=Path, default=Path(sys.executable), help="the virtualenv's Python that sptls runs on"
    )
    options = parser.parse_args()
    print(measured(options.python, options.certificates, options.configured, options.starts, options.names))


def measured(
    python: Path,
    certificates: int = CERTIFICATES,
    configured: int = NAMES,
    starts: int = STARTS,
    asked: int = _ASKED,
) -> str:
    """
    Start the daemon that often on a store of so many *certificates*, and give the Markdown table of what it took.
    """
    with ExitStack() as ending:
        root = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="sptls-start-")))
        ca = ending.enter_context(socket.create_server(("127.0.0.1", 0)))
        names = [f"click{at}.example.com" for at in range(certificates)]
        more = [f"more{at}.example.org" for at in range(configured - certificates)]
        daemon = _prepare(root, names, more, ca.getsockname()[1], python)
        runs = [_run(daemon, names, asked) for _ in range(starts)]
        ca.setblocking(False)
        what = f"{len(names) + len(more):,} names, {len(names):,} stored certificates"
        return table(what, runs, _waiting(ca), asked)


def table(what: str, runs: Sequence[Run], connections_to_ca: int, asked: int) -> str:
    """
    Give the Markdown table of *runs*, judged by their medians.
    """
    seconds, megabytes = [run.seconds for run in runs], [run.first_bytes / 1e6 for run in runs]
    later = statistics.median(run.later_bytes for run in runs) / 1e6
    cpu = [run.cpu_seconds for run in runs]
    return "\n".join(
        [
            f"| {what}, {len(runs)} starts | measured | at most | |",
            "| --- | --- | --- | --- |",
            _row("from exec to the first handshake, s", seconds, ".2f", BAR_SECONDS),
            f"| of which its own CPU, s | {quartiles(cpu, '.2f')} |  |  |",
            _row("resident then, MB", megabytes, ".0f", BAR_MEGABYTES),
            f"| after {asked} names were asked for, MB | {later:.0f} |  |  |",
            # None where every name has its certificate; for others it is asked, and does not answer.
            f"| connections to the CA | {connections_to_ca} |  |  |",
        ]
    )


def _row(what: str, values: Sequence[float], form: str, most: float) -> str:
    verdict = "met" if statistics.median(values) <= most else "**missed**"
    return f"| {what} | {quartiles(values, form)} | {most:{form}} | {verdict} |"


def _prepare(root: Path, names: list[str], more: list[str], ca_port: int, python: Path) -> Daemon:
    """
    Make a state directory whose store has a certificate for each of *names*, and a configuration that has them and
    *more*.
    """
    directory, port = f"https://127.0.0.1:{ca_port}/directory", free_port()
    state = root / "state"
    state.mkdir(mode=0o700)
    trusted = fill_store(state / STORE_FILE, names, directory).decode()
    configuration = root / "sptls.toml"
    (root / "domains.txt").write_text("\n".join((*names, *more)))
    configuration.write_text(f"""
state_dir = "{state}"
domains_file = "domains.txt"
[listen]
https = ["127.0.0.1:{port}"]
http = []
admin = ""
[acme]
directory = "{directory}"
agree_to_terms = true
[upstream]
url = "http://127.0.0.1:9"
""")
    return Daemon(python, configuration, port, trusted)


def _run(daemon: Daemon, names: list[str], asked: int) -> Run:
    context = ssl.create_default_context(cadata=daemon.ca)
    began = time.monotonic()
    server = daemon.begin()
    try:
        _shake_hands(context, daemon.port, names[-1], began + _GIVE_UP_SECONDS)
        seconds, cpu_seconds = time.monotonic() - began, server.cpu_seconds()
        time.sleep(_SETTLE_SECONDS)
        first_bytes = server.resident_bytes()
        for name in names[:asked]:
            _shake_hands(context, daemon.port, name, time.monotonic() + _GIVE_UP_SECONDS)
        return Run(seconds, cpu_seconds, first_bytes, server.resident_bytes())
    finally:
        server.stop()


def _shake_hands(context: ssl.SSLContext, port: int, name: str, until: float) -> None:
    """
    Complete a handshake for *name*, trying again while nothing listens.
    """
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), 10)
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            with context.wrap_socket(connection, server_hostname=name):
                return


def _waiting(listener: socket.socket) -> int:
    """
    Count the connections in the backlog of *listener*, which nobody has accepted.
    """
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


if __name__ == "__main__":
    main()
