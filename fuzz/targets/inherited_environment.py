"""
What systemd says in the environment of the sockets that it passes: sockets, or a sentence, and no trace of it is left.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from unittest.mock import patch

from sptls.errors import StartError
from sptls.inherited_sockets import from_environment
from tests.proxy.wire import logged

# Descriptors that nothing else has.
_FIRST: Final = 700
_NAMES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

SEEDS: Final = (
    b"us\n1",
    b"us\n2\nhttps:http",
    b"us\n2\nhttps",
    b"us\n3\na:b:c",
    b"1\n2\na:b",
    b"us\nx\n",
    b"us\n-1\n",
    b"us\n99999999999999999999\n",
    "us\n٣\n".encode(),
    b"us",
)


def check(data: bytes) -> None:
    """
    See that any text in the three variables, with two sockets and a file there, is understood or refused.
    """
    texts = data.replace(b"\0", b"").decode("utf-8", "surrogateescape").split("\n", 2)
    environment = dict(zip(_NAMES, texts, strict=False)) | {"PATH": "/bin"}
    if texts[0] == "us":
        environment["LISTEN_PID"] = str(os.getpid())
    with _passed(), patch("twisted.python.systemd.ListenFDs._START", _FIRST), logged() as events:
        try:
            inherited = from_environment(environment)
        except StartError as error:
            assert str(error).startswith(("systemd passes ", "LISTEN_FDS "))
        else:
            assert len(list(inherited)) <= 2
            inherited.close()
            assert environment == {"PATH": "/bin"}
    assert len(events) == (texts[0] not in {"us", str(os.getpid())})


@contextmanager
def _passed() -> Iterator[None]:
    """
    Have two listening sockets and a file where systemd would put them.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening, open(os.devnull, "rb") as file:
        for number, descriptor in enumerate((listening.fileno(), listening.fileno(), file.fileno())):
            os.dup2(descriptor, _FIRST + number)
        try:
            yield
        finally:
            for number in range(3):
                with suppress(OSError):  # adopted, and closed
                    os.close(_FIRST + number)
