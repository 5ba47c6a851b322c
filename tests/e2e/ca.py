"""
A real ACME CA for daemons: Pebble, what it was asked for as told by its log, and clients that wait for certificates.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import attrs
from cryptography import x509

from tests.e2e.daemon import Launcher, connect
from tests.pebble.pebble import Pebble, Ports, Settings, running
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_REQUEST = re.compile(r"(?:GET|HEAD|POST) /([\w-]+)")


@attrs.frozen
class Ca:
    """
    A running Pebble that validates names on the ports *https* and *http*, as seen from a moment on.

    *began* is how long its log was then: what it was asked for before does not count.
    """

    pebble: Pebble
    https: int
    http: int
    began: int = 0

    def from_now(self) -> Ca:
        """
        Give the same CA with nothing asked yet.
        """
        return attrs.evolve(self, began=self.pebble.log.stat().st_size)

    @property
    def log(self) -> str:
        """
        Give the log since then.
        """
        return self.pebble.log.read_bytes()[self.began :].decode(errors="replace")

    @property
    def orders(self) -> int:
        """
        Tell how many orders were made.
        """
        return self.log.count("Added order")

    @property
    def requests(self) -> list[str]:
        """
        Give the resources that were asked for, as Pebble calls them ("order-plz"), in order.
        """
        return _REQUEST.findall(self.log)

    def validations(self, name: str) -> int:
        """
        Tell how many challenges of *name* it was asked to validate.
        """
        return self.log.count(f'Value:"{name}"}}, Challenge')

    @property
    def acme(self) -> str:
        """
        Give the lines of ``[acme]`` that name it.
        """
        return (
            f'directory = "{self.pebble.directory_url}"\ntrust = "{self.pebble.trust}"\nagree_to_terms = true\n'
            f'resolver = "{self.pebble.resolver}"'
        )

    def launcher(self, directory: Path, *names: str, acme: str = "", upstream: str = "", more: str = "") -> Launcher:
        """
        Give what starts a daemon for *names* on the ports that are validated; configuration is written.
        """
        directory.mkdir(exist_ok=True)
        launcher = Launcher(directory)
        launcher.https, launcher.http = self.https, self.http
        launcher.write(domains=domains(*names), acme=f"{self.acme}\n{acme}", upstream=upstream, more=more)
        return launcher

    def client(self) -> ssl.SSLContext:
        """
        Give a client's context that trusts what it issues.
        """
        return ssl.create_default_context(cadata=self.pebble.root().decode())

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """
        Let it answer nothing, while connections to it succeed, until the end of the block.
        """
        self.pebble.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.pebble.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def running_ca(folder: Path, ports: Ports | None = None, **settings: Any) -> Iterator[Ca]:
    """
    Run a CA until the end of the block; *settings* are Pebble's.
    """
    folder.mkdir(exist_ok=True)
    if "tls_port" not in settings:
        settings["tls_port"], settings["http_port"] = free_ports(2)
    with running(folder, Settings(**settings), ports) as pebble:
        yield Ca(pebble, settings["tls_port"], settings["http_port"])


def domains(*names: str) -> str:
    """
    Give the ``domains`` line.
    """
    return "domains = [{}]".format(", ".join(f'"{name}"' for name in names))


def hello(name: str) -> bytes:
    """
    Give a ClientHello for *name*.
    """
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def say_hello(port: int, name: str) -> socket.socket:
    """
    Connect and say hello as a client of *name*, and leave it at that.
    """
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.sendall(hello(name))
    return connection


def certificate(port: int, name: str, context: ssl.SSLContext) -> x509.Certificate:
    """
    Make a handshake as a client of *name* that verifies as *context* says, and give the certificate.
    """
    with connect(port, name, context) as connection:
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")


def certificates(port: int, names: list[str], context: ssl.SSLContext) -> list[x509.Certificate]:
    """
    Make a handshake for each of *names*, all at the same time, and give the certificates.
    """
    with ThreadPoolExecutor(len(names)) as clients:
        return list(clients.map(lambda name: certificate(port, name, context), names))


def sans(issued: x509.Certificate) -> list[str]:
    """
    Give the names that a certificate is for.
    """
    extension = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


def refusal(port: int, name: str, context: ssl.SSLContext) -> tuple[str, float]:
    """
    Give the reason why a handshake for *name* fails, and after how many seconds.

    Raises:
        AssertionError: it does not fail.
    """
    began = time.monotonic()
    try:
        connect(port, name, context).close()
    except ssl.SSLError as error:
        return error.reason or "", time.monotonic() - began
    raise AssertionError(f"{name} was served")
