"""
Clients that make one handshake after the other, and what they saw.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

import attrs
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.ca import certificate
from tests.e2e.daemon import connect

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from cryptography import x509

PAUSE_SECONDS = 0.01


@attrs.define
class Traffic:
    """
    What the clients of one name saw: how many handshakes, the certificates by serial, and every failure in words.
    """

    handshakes: int = 0
    served: dict[int, x509.Certificate] = attrs.field(factory=dict)
    failures: list[str] = attrs.field(factory=list)

    @property
    def keys(self) -> set[bytes]:
        """
        Give the public keys of what was served.
        """
        return {public_key(one) for one in self.served.values()}


def clicks(port: int, name: str, context: ssl.SSLContext, count: int, clients: int = 4) -> Counter[int]:
    """
    Ask *count* times, in order on each of so many kept connections at once; give how often which status was answered.
    """

    def client() -> Counter[int]:
        with connect(port, name, context) as connection, connection.makefile("rb") as reader:
            return Counter(_ask(connection, reader, name) for _ in range(count // clients))

    with ThreadPoolExecutor(clients) as pool:
        return sum((done.result() for done in [pool.submit(client) for _ in range(clients)]), Counter())


def _ask(connection: ssl.SSLSocket, reader: BinaryIO, name: str) -> int:
    connection.sendall(f"GET /q/x HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    status = int(reader.readline().split(b" ")[1])
    fields = dict(line.lower().split(b": ", 1) for line in iter(reader.readline, b"\r\n"))
    reader.read(int(fields[b"content-length"]))
    return status


def public_key(issued: x509.Certificate) -> bytes:
    """
    Give a certificate's public key, DER.
    """
    return issued.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@contextlib.contextmanager
def traffic(port: int, name: str, context: ssl.SSLContext) -> Iterator[Traffic]:
    """
    Make new handshakes for *name*, verified as *context* says, until the end of the block.
    """
    seen, ended = Traffic(), threading.Event()

    def client() -> None:
        while not ended.wait(PAUSE_SECONDS):
            try:
                issued = certificate(port, name, context)
            except OSError as error:
                seen.failures.append(repr(error))
            else:
                seen.served[issued.serial_number] = issued
            seen.handshakes += 1

    clients = threading.Thread(target=client)
    clients.start()
    try:
        yield seen
    finally:
        ended.set()
        clients.join()
