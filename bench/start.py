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
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bench.servers import Server, free_port, start
from sptls.certs.csr import generate_key
from sptls.certs.internal import Root
from sptls.certs.records import StoredCertificate
from sptls.certs.schema import STORE_FILE
from sptls.certs.store import InlineWorker, Store
from sptls.clock import wall_time
from sptls.names import HostName

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


def main() -> None:
    """
    Make a store, start the daemon on it a few times, and print what was measured.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    parser.add_argument("--certificates", type=int, default=5000)
    parser.add_argument("--configured", type=int, default=0, help="names in all, if more than have a certificate")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--names", type=int, default=1000, help="names that are asked for after the first one")
    parser.add_argument(
        "--python", type=Path, default=Path(sys.executable), help="the virtualenv's Python that sptls runs on"
    )
    options = parser.parse_args()
    with ExitStack() as ending:
        root = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="sptls-start-")))
        ca = ending.enter_context(socket.create_server(("127.0.0.1", 0)))
        names = [f"click{at}.example.com" for at in range(options.certificates)]
        more = [f"more{at}.example.org" for at in range(options.configured - options.certificates)]
        daemon = _prepare(root, names, more, ca.getsockname()[1], options.python)
        runs = [_run(daemon, names, options.names) for _ in range(options.starts)]
        ca.setblocking(False)
        print(f"{len(names)} stored certificates, {len(names) + len(more)} names, {options.starts} starts, medians")
        print(f"from exec to the first handshake: {statistics.median(run.seconds for run in runs):.2f} s")
        print(f"resident then: {statistics.median(run.first_bytes for run in runs) / 1e6:.0f} MB")
        print(
            f"resident after {options.names} names: {statistics.median(run.later_bytes for run in runs) / 1e6:.0f} MB"
        )
        print(f"connections to the CA: {_waiting(ca)}")


@attrs.frozen
class Run:
    """
    One start: *seconds* to the first handshake, resident bytes some seconds later, and after many names.
    """

    seconds: float
    first_bytes: int
    later_bytes: int


def _prepare(root: Path, names: list[str], more: list[str], ca_port: int, python: Path) -> Daemon:
    """
    Make a state directory whose store has a certificate for each of *names*, and a configuration that has them and
    *more*.
    """
    directory, port = f"https://127.0.0.1:{ca_port}/directory", free_port()
    state = root / "state"
    state.mkdir(mode=0o700)
    now = wall_time()
    authority = Root.create(generate_key("ec-p256"), now)
    store = Store(state / STORE_FILE, InlineWorker(), wall_time, directory)
    failures: list[Failure] = []
    Deferred.fromCoroutine(_fill(store, authority, names, directory)).addErrback(failures.append)
    for failure in failures:
        failure.raiseException()
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
    return Daemon(python, configuration, port, authority.pem.decode())


async def _fill(store: Store, authority: Root, names: list[str], directory: str) -> None:
    await store.open()
    now = wall_time()
    for text in names:
        name = HostName.parse(text)
        bundle = authority.issue(name, generate_key("ec-p256"), now)
        await store.put_certificate(StoredCertificate(name, bundle, directory, now + timedelta(days=60)))
    await store.close()


def _run(daemon: Daemon, names: list[str], asked: int) -> Run:
    context = ssl.create_default_context(cadata=daemon.ca)
    began = time.monotonic()
    server = daemon.begin()
    try:
        _shake_hands(context, daemon.port, names[-1], began + _GIVE_UP_SECONDS)
        seconds = time.monotonic() - began
        time.sleep(_SETTLE_SECONDS)
        first_bytes = server.resident_bytes()
        for name in names[:asked]:
            _shake_hands(context, daemon.port, name, time.monotonic() + _GIVE_UP_SECONDS)
        return Run(seconds, first_bytes, server.resident_bytes())
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
