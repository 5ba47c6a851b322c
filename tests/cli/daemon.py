"""
A daemon's control socket without the daemon: the real calls, answered in a thread from controls that a test holds.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from twisted.internet.task import Clock

from sptls.ops.control import Controls, control_site
from sptls.ops.control_address import address
from tests.ops.web import Talk


@contextmanager
def answering(state_dir: Path, controls: Controls) -> Iterator[None]:
    """
    Answer at the control socket in *state_dir* from *controls*, until the end of the block.
    """

    def answer(connection: socket.socket) -> None:
        talk = Talk(control_site(Clock(), controls))
        while not talk.transport.value() and (received := connection.recv(65536)):
            talk.say(received)
        connection.sendall(talk.transport.value())
        talk.end()

    with listening(state_dir, answer):
        yield


@contextmanager
def saying(state_dir: Path, answers: Mapping[str, object]) -> Iterator[None]:
    """
    Answer at the control socket in *state_dir* as a daemon of another version may: with these values, by their path.
    """

    def answer(connection: socket.socket) -> None:
        path = connection.recv(65536).split(b" ")[1].partition(b"?")[0].decode()
        content = json.dumps(answers[path]).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)

    with listening(state_dir, answer):
        yield


@contextmanager
def listening(state_dir: Path, answer: Callable[[socket.socket], object]) -> Iterator[None]:
    """
    Have *answer* called with each connection to the control socket in *state_dir*, until the end of the block.
    """
    accepting = socket.socket(socket.AF_UNIX)
    with address(state_dir) as where:
        accepting.bind(where)
        accepting.listen()

        def accept() -> None:
            with suppress(OSError):  # the end, or a client that has left
                while True:
                    connection, _ = accepting.accept()
                    with connection:
                        answer(connection)

        thread = Thread(target=accept)
        thread.start()
        try:
            yield
        finally:
            accepting.shutdown(socket.SHUT_RDWR)  # wakes accept, which closing would not
            thread.join()
            accepting.close()
            Path(where).unlink(missing_ok=True)
