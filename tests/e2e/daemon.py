"""
A real ``twistd sptls`` in a child process, and a client that talks to it over real sockets.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import attrs

from tests.ports import free_ports

T = TypeVar("T")

TWISTD = str(Path(sys.executable).with_name("twistd"))
START_SECONDS = 20.0
STOP_SECONDS = 20.0


def until(look: Callable[[], T | None], what: str, seconds: float = START_SECONDS) -> T:
    """
    Give what *look* gives once it is true, asking often.

    Raises:
        AssertionError: *what* did not come within *seconds*.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        select.select([], [], [], 0.01)
    raise AssertionError(f"no {what} within {seconds} s")


@attrs.define
class Daemon:
    """
    A started daemon, its ports, and its log on standard error.
    """

    process: subprocess.Popen[bytes]
    log_path: Path
    https: int
    http: int
    admin: int
    state: Path

    @property
    def log(self) -> str:
        """
        Give the log so far.
        """
        return self.log_path.read_text(errors="replace")

    def status(self) -> dict[str, Any]:
        """
        Give ``/status``.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=START_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/status")
            answer: dict[str, Any] = json.load(connection.getresponse())
        return answer

    def domain(self, name: str) -> dict[str, Any]:
        """
        Give what ``/status`` says of *name*.
        """
        found: dict[str, Any] = next(domain for domain in self.status()["domains"] if domain["name"] == name)
        return found

    def wait_valid(self, name: str, seconds: float = START_SECONDS) -> None:
        """
        Wait until *name* has a certificate.
        """
        until(lambda: self.domain(name)["state"] == "valid", f"certificate for {name}", seconds)

    def signal(self, number: signal.Signals) -> None:
        """
        Send the process a signal.
        """
        self.process.send_signal(number)

    def stop(self) -> int:
        """
        SIGTERM, and wait; give the exit status as subprocess does.
        """
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """
        Wait for the end; a daemon that doesn't end is killed and fails the test.
        """
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the daemon did not end:\n{self.log}") from None


@attrs.define
class Launcher:
    """
    Starts daemons in one directory on ports that stay the same from start to start.
    """

    directory: Path
    https: int = 0
    http: int = 0
    admin: int = 0
    environment: dict[str, str] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.https, self.http, self.admin = free_ports(3)

    @property
    def state(self) -> Path:
        """
        Give the state directory.
        """
        return self.directory / "state"

    def write(self, *, domains: str, acme: str, upstream: str = "", more: str = "", listen: str = "") -> Path:
        """
        Write the configuration file: the *domains* array or tables, and the lines of the sections.
        """
        top, tables = (domains, "") if domains.startswith("domains") else ("", domains)
        path = self.directory / "sptls.toml"
        path.write_text(
            f'state_dir = "{self.state}"\n{top}\n[listen]\nhttps = ["127.0.0.1:{self.https}"]\n'
            f'http = ["127.0.0.1:{self.http}"]\nadmin = "127.0.0.1:{self.admin}"\n'
            f"{listen}\n[acme]\n{acme}\n[upstream]\n{upstream}\n{more}\n{tables}\n"
        )
        return path

    def arguments(self, *more: str, twistd: tuple[str, ...] = ("-n",)) -> list[str]:
        """
        Give the command line that starts the written configuration.
        """
        return [TWISTD, *twistd, "--pidfile=", "sptls", "--config", str(self.directory / "sptls.toml"), *more]

    def spawn(
        self,
        *more: str,
        twistd: tuple[str, ...] = ("-n",),
        before: tuple[str, ...] = (),
        pass_fds: tuple[int, ...] = (),
    ) -> Daemon:
        """
        Start the daemon and give it at once; the words *before* its command are a program that becomes it.
        """
        log_path = self.directory / "log"
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [*before, *self.arguments(*more, twistd=twistd)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, **self.environment},
                pass_fds=pass_fds,
            )
        return Daemon(process, log_path, self.https, self.http, self.admin, self.state)

    @contextlib.contextmanager
    def running(self, *more: str) -> Iterator[Daemon]:
        """
        Start the daemon, wait until it serves, and stop it at the end whatever happens.
        """
        daemon = self.spawn(*more)
        try:
            until(lambda: _healthy(daemon), f"healthy daemon:\n{daemon.log}")
            yield daemon
        finally:
            daemon.stop()


def _healthy(daemon: Daemon) -> bool:
    if daemon.process.poll() is not None:
        raise AssertionError(f"the daemon ended with {daemon.process.returncode}:\n{daemon.log}")
    with contextlib.suppress(OSError):
        return http_get(daemon.admin, "/healthz", "localhost").status == 200
    return False


@attrs.frozen
class Answer:
    """
    An HTTP answer as it came: the status, the head's lines, the content.
    """

    status: int
    fields: tuple[tuple[str, str], ...]
    content: bytes

    def field(self, name: str) -> str | None:
        """
        Give the first field called *name*.
        """
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)


def http_get(port: int, target: str, host: str) -> Answer:
    """
    GET over plain HTTP.
    """
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        return ask(connection, request(target, host))


def https_get(port: int, target: str, host: str, context: ssl.SSLContext) -> Answer:
    """
    GET on a new TLS connection that verifies as *context* says.
    """
    with connect(port, host, context) as connection:
        return ask(connection, request(target, host))


def connect(port: int, name: str | None, context: ssl.SSLContext, seconds: float = 30) -> ssl.SSLSocket:
    """
    Make a TLS connection with *name* as the server name.
    """
    plain = socket.create_connection(("127.0.0.1", port), seconds)
    try:
        return context.wrap_socket(plain, server_hostname=name)
    except BaseException:
        plain.close()
        raise


def request(target: str, host: str, *fields: str) -> bytes:
    """
    Give a GET that asks to close.
    """
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def ask(connection: socket.socket, message: bytes) -> Answer:
    """
    Send *message*, read until the end of the connection, and give the first answer.
    """
    connection.sendall(message)
    return parse(read_all(connection))


def read_all(connection: socket.socket) -> bytes:
    """
    Read until the peer has closed.
    """
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def parse(received: bytes) -> Answer:
    """
    Give the answer that *received* is.
    """
    head, _, content = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return Answer(int(first.split(" ")[1]), fields, content)
