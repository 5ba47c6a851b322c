"""
Clients that mean harm: floods of hellos, connections that go on as slowly as can be, and TLS that is broken on purpose.

As a program (``python -m tests.e2e.flooding``) it is one client process of a flood, and prints what became of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from tests.e2e.daemon import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.daemon import Daemon

_PLACEHOLDER = "0123456789abcdef.example"
_CHECKOUT = Path(__file__).parent.parent.parent
_BYTE_SECONDS = 0.3


def hello(name: str) -> bytes:
    """
    Give a real ClientHello for *name*.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def resident_kb(daemon: Daemon) -> int:
    """
    Give the memory that *daemon* holds now.
    """
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def descriptors(daemon: Daemon) -> int:
    """
    Tell how many files *daemon* has open.
    """
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


# -- hellos by the thousand


@attrs.frozen
class Flooded:
    """
    What a client process saw: *answers* by what was read of them (an alert's number, or the record's type).
    """

    answers: dict[str, int]
    seconds: float


def _one(port: int, message: bytes, source: str) -> str:
    with socket.socket() as connection:
        connection.settimeout(30)
        connection.bind((source, 0))
        connection.connect(("127.0.0.1", port))
        connection.sendall(message)
        try:
            answer = connection.recv(65536)
        except ConnectionResetError:
            return "reset"
    if not answer:
        return "closed"
    return f"alert {answer[6]}" if answer[0] == 21 else f"record {answer[0]}"


def _flood(port: int, count: int, per_second: float, name: str, seed: int) -> Flooded:
    """
    Say *count* hellos for *name*, or for random names where it is empty, from many addresses, not too fast.
    """
    dice, answers, began = random.Random(seed), dict[str, int](), time.monotonic()  # noqa: S311 - a dice, not a key
    template = hello(name or _PLACEHOLDER)
    for number in range(count):
        wait = began + number / per_second - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        message = template
        if not name:
            message = template.replace(_PLACEHOLDER.encode(), b"%016x.example" % dice.getrandbits(64))
        source = f"127.{1 + seed % 200}.{number // 200 % 200}.{1 + number % 200}"
        answer = _one(port, message, source)
        answers[answer] = answers.get(answer, 0) + 1
    return Flooded(answers, time.monotonic() - began)


@contextlib.contextmanager
def flooding(
    port: int, count: int, per_second: float, name: str = "", processes: int = 2
) -> Iterator[Callable[[], Flooded]]:
    """
    Have client processes say *count* hellos, all together, *per_second*; give what waits for their end.
    """
    arguments = [str(port), str(count // processes), str(per_second / processes), name]
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.flooding", *arguments, str(seed)],
            stdout=subprocess.PIPE,
            cwd=_CHECKOUT,
        )
        for seed in range(processes)
    ]

    def finished() -> Flooded:
        told = [json.loads(child.communicate(timeout=600)[0]) for child in children]
        answers: dict[str, int] = {}
        for one in told:
            for answer, times in one["answers"].items():
                answers[answer] = answers.get(answer, 0) + times
        return Flooded(answers, max(one["seconds"] for one in told))

    try:
        yield finished
    finally:
        for child in children:
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()


_DECLINER = """
import socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
while True:
    client, _ = listener.accept()
    with client:
        client.recv(65536)
        client.sendall(bytes.fromhex("15030300020270"))
"""


@contextlib.contextmanager
def declining() -> Iterator[int]:
    """
    Have a program of its own decline every hello, whatever it says, at the least cost; give its port.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.set_inheritable(True)
        words = [sys.executable, "-S", "-c", _DECLINER, str(listener.fileno())]
        child = subprocess.Popen(words, pass_fds=[listener.fileno()])
        try:
            yield int(listener.getsockname()[1])
        finally:
            child.kill()
            child.wait()


# -- slow clients


@attrs.define(eq=False)
class Slow:
    """
    A client that sends the bytes of *message* one by one, and reads nothing unless it has to.
    """

    connection: socket.socket
    message: bytes
    sent: int = 0

    def drip(self) -> bool:
        """
        Send one more; tell whether the connection is there still.
        """
        try:
            if self.sent < len(self.message):
                self.connection.send(self.message[self.sent : self.sent + 1])
                self.sent += 1
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except OSError:
            return False
        return not self._is_over()

    def _is_over(self) -> bool:
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))


def drip_all(slow: list[Slow], seconds: float) -> list[float]:
    """
    Let all go on until the last is ended, at most *seconds*; give when each was, in seconds from now.
    """
    began, ends, left = time.monotonic(), list[float](), list(slow)
    while left and time.monotonic() < began + seconds:
        for one in list(left):
            if not one.drip():
                ends.append(time.monotonic() - began)
                left.remove(one)
                one.connection.close()
        select.select([], [], [], _BYTE_SECONDS)
    for one in left:
        one.connection.close()
    return ends


# -- TLS that is broken on purpose

ALERT, HANDSHAKE, DATA = 21, 22, 23


def record(kind: int, content: bytes, version: int = 0x0303, length: int | None = None) -> bytes:
    """
    Give a record; *length* where it says another one than *content*'s.
    """
    size = len(content) if length is None else length
    return bytes([kind]) + version.to_bytes(2, "big") + (size & 0xFFFF).to_bytes(2, "big") + content


def broken_tls(dice: random.Random, good: bytes) -> list[bytes]:
    """
    Give what a client sends instead of the hello *good*, in pieces, closing behind the last.
    """
    handshake = good[5:]
    cut = dice.randrange(1, len(handshake))
    noise = dice.randbytes(dice.randrange(1, 200))
    kinds: list[Callable[[], list[bytes]]] = [
        lambda: [good[: dice.randrange(len(good))]],
        lambda: [good[:cut], good[cut:], noise],
        lambda: [record(HANDSHAKE, handshake[cut:]), record(HANDSHAKE, handshake[:cut])],
        lambda: [record(HANDSHAKE, handshake[:cut]), record(ALERT, bytes([1, dice.randrange(256)])), good[5 + cut :]],
        lambda: [record(HANDSHAKE, handshake[:cut]), record(HANDSHAKE, b""), record(HANDSHAKE, handshake[cut:])],
        lambda: [record(HANDSHAKE, handshake, length=dice.randrange(65536))],
        lambda: [record(HANDSHAKE, handshake + b"\0" * 17000, length=17000 + len(handshake))],
        lambda: [record(dice.randrange(256), handshake, dice.randrange(65536))],
        lambda: [good, record(DATA, noise)],
        lambda: [good, good],
        lambda: [good, record(20, b"\1"), record(DATA, noise), record(ALERT, noise)],
        lambda: [good, record(ALERT, bytes([2, dice.randrange(256)]))],
        lambda: [good, record(DATA, b"x" * 17000, length=65535)],
        lambda: [record(HANDSHAKE, bytes([byte])) for byte in handshake[: dice.randrange(1, 40)]],
        lambda: [record(HANDSHAKE, _scrambled(dice, handshake))],
        lambda: [_scrambled(dice, good)],
    ]
    return dice.choice(kinds)()


def _scrambled(dice: random.Random, message: bytes) -> bytes:
    """
    Give *message* with some of its bytes replaced, doubled or taken out.
    """
    changed = bytearray(message)
    for _ in range(dice.randrange(1, 8)):
        at = dice.randrange(len(changed))
        changed[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(3))
    return bytes(changed)


def break_records(port: int, name: str, context: ssl.SSLContext, dice: random.Random) -> None:
    """
    Shake hands for *name*, and send records that make no sense on that connection.
    """
    with connect(port, name, context) as connection, contextlib.suppress(OSError):
        for _ in range(dice.randrange(1, 4)):
            kind, noise = dice.choice([20, ALERT, HANDSHAKE, DATA, 24, 255]), dice.randbytes(dice.randrange(400))
            os.write(connection.fileno(), record(kind, noise, length=dice.choice([None, 0, 16640, 65535])))


def send_broken(port: int, pieces: list[bytes], dice: random.Random) -> None:
    """
    Send *pieces*, wait for an answer now and then, and leave; by a reset half of the time.
    """
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                if dice.random() < 0.3:
                    connection.settimeout(0.005)
                    with contextlib.suppress(TimeoutError):
                        connection.recv(4096)
        if dice.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


if __name__ == "__main__":
    port, count, per_second, name, seed = sys.argv[1:]
    json.dump(attrs.asdict(_flood(int(port), int(count), float(per_second), name, int(seed))), sys.stdout)
