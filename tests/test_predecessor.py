"""
Tests for `sptls.predecessor`: a played process at the control socket; the real one is in tests/e2e/test_handover.py.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from sptls import predecessor
from sptls.certs.lock import StateLock, is_free
from sptls.errors import StartError
from sptls.handover import GivesWay, HandedOver, Message, Ready, Refused, TookOver
from sptls.handover_channel import pair, receive, send
from sptls.ops.control_address import CONTROL_SOCKET
from sptls.predecessor import Predecessor, ask
from tests.doubles import InlineReactor
from tests.tls.wire import logged

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


class Running:
    """
    A process that answers one request at the control socket with *answer* and a channel, and then plays *part* on it.
    """

    def __init__(
        self, state_dir: Path, part: Callable[[socket.socket], None] | None = None, answer: bytes = OK
    ) -> None:
        self.ours, self._theirs = pair()
        self._part, self._answer = part, answer
        self.asked = b""
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(state_dir / CONTROL_SOCKET))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection, self._theirs:
            while b"}" not in self.asked:
                self.asked += connection.recv(4096)
            descriptors = [self._theirs.fileno()] if self._part is not None else []
            if self._answer:
                socket.send_fds(connection, [self._answer[:1]], descriptors)
                connection.sendall(self._answer[1:])
        if self._part is not None and receive(self.ours, 10)[0] == Ready():
            self._part(self.ours)

    def stop(self) -> None:
        """
        Close everything.
        """
        self._thread.join(10)
        self._listening.close()
        self.ours.close()


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Give a process that says nothing any more no time to end.
    """
    monkeypatch.setattr(predecessor, "_END_SECONDS", 0.0)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """
    Give a stack for what has to be closed.
    """
    with ExitStack() as stack:
        yield stack


def _playing(
    stack: ExitStack, state_dir: Path, part: Callable[[socket.socket], None] | None = None, answer: bytes = OK
) -> Running:
    running = Running(state_dir, part, answer)
    stack.callback(running.stop)
    if is_free(state_dir):
        lock = StateLock(state_dir)
        lock.acquire()
        stack.callback(lock.release)
    return running


def _saying(message: Message) -> Callable[[socket.socket], None]:
    return lambda channel: send(channel, message)


def _handing_over(stack: ExitStack, lock: StateLock, count: int = 2) -> Callable[[socket.socket], None]:
    """
    Hand over *count* sockets, each in a packet of its own.
    """
    sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]

    def part(channel: socket.socket) -> None:
        for number, one in enumerate(sockets, 1):
            is_last = number == count
            descriptors = [one.fileno(), lock.fileno()] if is_last else [one.fileno()]
            send(channel, HandedOver((number == 1,), is_last), descriptors)

    return part


def _asked(stack: ExitStack, state_dir: Path) -> tuple[Running, Predecessor]:
    """
    Give a running process, and what it handed over.
    """
    lock = StateLock(state_dir)
    lock.acquire()
    stack.callback(lock.release)
    running = _playing(stack, state_dir, _handing_over(stack, lock))
    handed = ask(state_dir)
    assert handed is not None
    stack.callback(handed.let_go)
    stack.callback(handed.lock.release)
    for one in handed.sockets:
        stack.enter_context(one.socket)
    return running, handed


@pytest.mark.parametrize("is_left", [False, True])
def test_nobody_runs(tmp_path: Path, is_left: bool) -> None:
    """
    Without a socket, or with one that a killed process left, there is nobody to ask; that is said.
    """
    if is_left:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / CONTROL_SOCKET))
    with logged() as events:
        assert None is ask(tmp_path)
    assert "no running process" in str(events)


def test_everything_is_handed_over(stack: ExitStack, tmp_path: Path) -> None:
    """
    The sockets listen and say whether they are kept, the lock is the same open file, and nobody else can take it.
    """
    running, handed = _asked(stack, tmp_path)
    assert b'{"version": 1}' == running.asked.partition(b"\r\n\r\n")[2]
    assert [True, False] == [one.is_kept for one in handed.sockets]
    socket.create_connection(handed.sockets[0].socket.getsockname(), 5).close()
    assert handed.lock.is_shared
    with (tmp_path / "lock").open("rb") as third, pytest.raises(BlockingIOError):
        fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "of a version that can't hand over; stop it"),
        (b'HTTP/1.1 409 Conflict\r\nContent-Length: 18\r\n\r\n{"error": "it ends"', "answers with status 409"),
        (b'HTTP/1.1 409 Conflict\r\nContent-Length: 20\r\n\r\n{"error": "it ends"}', "does not hand over: it ends"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "answers with status 200"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\n[", "answers with status 500"),
        (b"HTTP/1.1 500 No\r\n\r\n" + b"[" * 20000, "answers with status 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 10**20, "did not answer"),
        (b"", "did not answer"),
        (b"nonsense\r\n\r\n", "did not answer"),
        (b"H" * 100_000, "did not answer"),
    ],
)
def test_process_that_does_not_hand_over(stack: ExitStack, tmp_path: Path, answer: bytes, expected: str) -> None:
    """
    The error says why, and what to do.
    """
    _playing(stack, tmp_path, answer=answer)
    with pytest.raises(StartError, match=expected):
        ask(tmp_path)


def test_descriptor_that_is_no_socket_is_no_channel(tmp_path: Path) -> None:
    """
    It is closed.
    """
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    with ours, theirs, open(reading, "rb", closefd=True):
        socket.send_fds(theirs, [OK], [writing])
        os.close(writing)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(StartError, match="does not hand over: it answers with status 200"):
            predecessor._asked(ours)
        assert b"" == os.read(reading, 1)


def test_descriptor_that_comes_with_an_error_is_closed(stack: ExitStack, tmp_path: Path) -> None:
    """
    Only an answer that says so hands anything over.
    """
    refusal = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    running = _playing(stack, tmp_path, _saying(Ready()), refusal)
    with pytest.raises(StartError, match="status 500"):
        ask(tmp_path)
    assert "has ended" in str(receive(running.ours, 5)[0])


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (_saying(Refused("it is being stopped")), "does not hand over: it is being stopped"),
        (_saying(GivesWay()), "says what it must not say; stop it"),
        (lambda channel: channel.close(), "has ended; see its log"),
        (lambda channel: channel.send(b"?"), "can't be understood"),
    ],
)
def test_handover_that_breaks_off(
    stack: ExitStack, tmp_path: Path, part: Callable[[socket.socket], None], expected: str
) -> None:
    """
    What the running process says instead of handing over ends the start.
    """
    _playing(stack, tmp_path, part)
    with pytest.raises(StartError, match=expected):
        ask(tmp_path)


@pytest.mark.parametrize("part", [None, lambda channel: channel.close()])
def test_process_that_is_killed_meanwhile_is_nobody(
    stack: ExitStack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: Callable[[socket.socket], None] | None,
) -> None:
    """
    Before it answered, or before it handed anything over: an ordinary start, as soon as the system has closed its lock.
    """
    monkeypatch.setattr(predecessor, "_END_SECONDS", 60.0)
    lock = StateLock(tmp_path)
    lock.acquire()
    monkeypatch.setattr("sptls.predecessor.time.sleep", lambda _: lock.release())
    _playing(stack, tmp_path, part, OK if part is not None else b"")
    with logged() as events:
        assert None is ask(tmp_path)
    assert "uses" in str(events)
    assert "any more; starting" in str(events)


def test_silence_ends_the_start(stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is waited for, but not for ever.
    """
    monkeypatch.setattr(predecessor, "HAND_OVER_SECONDS", 0.05)
    _playing(stack, tmp_path, lambda _: None)
    with pytest.raises(StartError, match="said nothing for"):
        ask(tmp_path)


def test_what_is_no_listening_socket_ends_the_start(stack: ExitStack, tmp_path: Path) -> None:
    """
    Sockets that came before it are closed.
    """
    listening, datagram = (
        stack.enter_context(socket.create_server(("127.0.0.1", 0))),
        socket.socket(type=socket.SOCK_DGRAM),
    )
    stack.enter_context(datagram)
    part = HandedOver((False, False), is_last=False)
    _playing(stack, tmp_path, lambda channel: send(channel, part, [listening.fileno(), datagram.fileno()]))
    with pytest.raises(StartError, match="hands over a UDP socket"):
        ask(tmp_path)
    port = listening.getsockname()[1]
    listening.close()
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_process_of_another_user_is_said_to_be(stack: ExitStack, tmp_path: Path) -> None:
    """
    Its control socket is its own; the error says who may ask.
    """
    path = Path("/tmp") / f"handover-{os.getpid()}"  # noqa: S108 - pytest's own directories can't be reached by others
    path.mkdir(mode=0o755)
    stack.callback(path.rmdir)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path / CONTROL_SOCKET))
        stack.callback((path / CONTROL_SOCKET).unlink)
        (path / CONTROL_SOCKET).chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(StartError, match="Permission denied; start this one as root or as its user"):
                ask(path)
        finally:
            os.seteuid(0)


def _taken_over(handed: Predecessor, running: Running, answer: Message | None) -> Deferred[None]:
    """
    Take over, and have *answer* said, or the end.
    """
    reactor = InlineReactor()
    taking = Deferred.fromCoroutine(handed.take_over(reactor))
    if answer is None:
        running.ours.close()
    else:
        send(running.ours, answer)
    with suppress(IndexError):
        reactor.getReaders()[0].doRead()
    return taking


def test_predecessor_is_told_what_is_served(stack: ExitStack, tmp_path: Path) -> None:
    """
    Only the sockets that are open still; then it gives way.
    """
    running, handed = _asked(stack, tmp_path)
    handed.sockets[0].socket.close()
    assert None is _taken_over(handed, running, GivesWay()).result
    assert TookOver(os.getpid(), frozenset({1})) == receive(running.ours, 5)[0]


def test_predecessor_that_goes_on_ends_the_start(stack: ExitStack, tmp_path: Path) -> None:
    """
    It waited for too long; two would keep the same certificates.
    """
    running, handed = _asked(stack, tmp_path)
    taking = _taken_over(handed, running, Refused("it said nothing for 45 s"))
    failed: list[str] = []
    taking.addErrback(lambda failure: failed.append(str(failure.value)))
    assert ["the running process goes on itself: it said nothing for 45 s; try again"] == failed


@pytest.mark.parametrize(("answer", "expected"), [(None, "has ended"), (Ready(), "did not say")])
def test_predecessor_that_does_not_answer_is_said(
    stack: ExitStack, tmp_path: Path, answer: Message | None, expected: str
) -> None:
    """
    We serve all the same, and an operator may have to end it.
    """
    running, handed = _asked(stack, tmp_path)
    with logged() as events:
        assert None is _taken_over(handed, running, answer).result
    assert expected in str(events)
