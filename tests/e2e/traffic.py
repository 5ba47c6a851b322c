"""
Clients that make one handshake after the other, and what they saw.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import attrs
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.ca import certificate

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
