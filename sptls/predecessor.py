"""
The running process, as seen by the one that takes over from it (``twistd sptls --take-over``).

Asks it for its listening sockets and its state lock, before twistd forks, and tells it when the new process listens.
Until then nothing has changed for it: should the new process end, it goes on. Knows the way there; what is told on it
is `handover`'s.
"""

from __future__ import annotations

import errno
import http.client
import io
import json
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.logger import Logger

from sptls.certs.lock import StateLock, is_free
from sptls.errors import StartError
from sptls.handover import VERSION, GivesWay, HandedOver, Ready, Refused, TookOver
from sptls.handover_channel import Channel, Ended, receive, send
from sptls.inherited_sockets import InheritedSocket, InheritedSockets
from sptls.ops.control_address import address
from sptls.tls.sockets import adopt

if TYPE_CHECKING:
    from pathlib import Path

_log = Logger()

# It answers between two turns of its reactor.
ANSWER_SECONDS: Final = 10.0
# It gives the orders that run their time to end (`successor.PAUSE_SECONDS`).
HAND_OVER_SECONDS: Final = 30.0
# The kernel closes the files of a process that was killed one after the other, the lock perhaps last.
_END_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.02
# It answers this between two turns too; if it does not, we serve all the same.
GIVE_WAY_SECONDS: Final = 10.0
_MAX_ANSWER_BYTES: Final = 65536
_RESTART: Final = "stop it and start this one without --take-over"


class _EndedMeanwhileError(StartError):
    """
    The running process says nothing any more, as one that was killed.
    """


@attrs.define(eq=False)
class Predecessor:
    """
    A running process that has handed over its *lock* and its *sockets*, and waits.
    """

    lock: StateLock
    sockets: tuple[InheritedSocket, ...]
    _channel: socket.socket

    async def take_over(self, reactor: Any) -> None:
        """
        Tell it that we serve at those of the sockets that are open here: it accepts no more there, drains and ends.

        Raises:
            StartError: it waits no more and goes on itself.
        """
        numbers = (number for number, one in enumerate(self.sockets) if one.socket.fileno() != -1)
        channel = Channel(reactor, self._channel)
        channel.send(TookOver(os.getpid(), frozenset(numbers)))
        match await channel.receive(GIVE_WAY_SECONDS):
            case GivesWay():
                _log.info("took over; the process before this one drains and ends")
            case Refused(reason=reason):
                raise StartError(f"the running process goes on itself: {reason}; try again")
            case Ended(why=why):
                _log.warn("took over, but the process before this one {why}; if it is still there, end it", why=why)
            case _:
                _log.warn("took over, but the process before this one did not say that it ends; see that it does")

    def let_go(self) -> None:
        """
        Have nothing to do with it any more. If it was not told that we took over, it goes on as before.
        """
        self._channel.close()


def ask(state_dir: Path) -> Predecessor | None:
    """
    Ask the process that uses *state_dir* to hand over, blocking; None when there is none, or it ended meanwhile.

    Raises:
        StartError: it can't or won't; says what to do.
    """
    control = _connected(state_dir)
    if control is None:
        _log.info("no running process to take over from uses {state_dir}; starting", state_dir=str(state_dir))
        return None
    try:
        return _asked_for_all(state_dir, control)
    except _EndedMeanwhileError as error:
        if not _is_given_up(state_dir):
            raise
        _log.warn("{reason}; nobody uses {state_dir} any more; starting", reason=str(error), state_dir=str(state_dir))
        return None


def _asked_for_all(state_dir: Path, control: socket.socket) -> Predecessor:
    with control:
        channel = _asked(control)
    try:
        send(channel, Ready())
        return _handed_over(state_dir, channel)
    except BaseException:
        channel.close()
        raise


def _is_given_up(state_dir: Path) -> bool:
    """
    Tell whether the lock of *state_dir* is free by now, or soon.
    """
    deadline = time.monotonic() + _END_SECONDS
    while not is_free(state_dir):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _connected(state_dir: Path) -> socket.socket | None:
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.settimeout(ANSWER_SECONDS)
    try:
        with address(state_dir) as where:
            control.connect(where)
    except OSError as error:
        control.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            return None
        advice = "; start this one as root or as its user" if isinstance(error, PermissionError) else ""
        raise StartError(
            f"the running process can't be asked to hand over: {error.strerror or error}{advice}"
        ) from None
    return control


def _asked(control: socket.socket) -> socket.socket:
    """
    Give our end of the channel that the running process makes.
    """
    body = json.dumps({"version": VERSION}).encode()
    head = f"POST /hand-over HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    descriptors: list[int] = []
    try:
        control.sendall(head.encode() + body)
        status, said = _answer(control, descriptors)
    # The last: a length that is announced, and that no memory has.
    except (OSError, http.client.HTTPException, OverflowError) as error:
        _close_all(descriptors)
        raise _EndedMeanwhileError(
            f"the running process did not answer whether it hands over ({error or type(error).__name__}); {_RESTART}"
        ) from None
    if status == http.client.OK and len(descriptors) == 1:
        with suppress(OSError):  # it is no socket
            return socket.socket(fileno=descriptors[0])
    _close_all(descriptors)
    if status == http.client.NOT_FOUND:
        raise StartError(f"the running process is of a version that can't hand over; {_RESTART}")
    raise StartError(f"the running process does not hand over: {said or f'it answers with status {status}'}")


def _answer(control: socket.socket, descriptors: list[int]) -> tuple[int, str]:
    """
    Give the status, and the error where there is one; *descriptors* gets what came along.
    """
    received = b""
    while len(received) <= _MAX_ANSWER_BYTES:
        piece, more, _, _ = socket.recv_fds(control, _MAX_ANSWER_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        descriptors += more
        if not piece:
            break
        received += piece
    response = http.client.HTTPResponse(_Received(received))  # type: ignore[arg-type] # all that it asks a socket for
    response.begin()
    content = response.read()
    with suppress(ValueError, RecursionError):
        told = json.loads(content)
        if isinstance(told, dict):
            return response.status, str(told.get("error", ""))
    return response.status, ""


class _Received:
    """
    What `http.client` reads from, in the place of a socket.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, _mode: str) -> io.BytesIO:
        """
        Give the bytes as a file.
        """
        return io.BytesIO(self._content)


def _handed_over(state_dir: Path, channel: socket.socket) -> Predecessor:
    """
    Receive sockets and lock.
    """
    sockets: list[InheritedSocket] = []
    try:
        is_last = False
        while not is_last:
            kept, is_last, descriptors = _received(channel)
            for descriptor, is_kept in zip(descriptors, kept, strict=False):
                sockets.append(InheritedSocket(_adopted(descriptor), is_kept))
    except BaseException:
        InheritedSockets(sockets).close()
        raise
    return Predecessor(StateLock.shared(state_dir, descriptors[-1]), tuple(sockets), channel)


def _received(channel: socket.socket) -> tuple[tuple[bool, ...], bool, tuple[int, ...]]:
    """
    Give whether each of some sockets is kept, whether they are the last, and the descriptors.
    """
    message, descriptors = receive(channel, HAND_OVER_SECONDS)
    match message:
        case HandedOver(kept=kept, is_last=is_last):
            return kept, is_last, descriptors
        case Refused(reason=reason):
            raise StartError(f"the running process does not hand over: {reason}")
        case Ended(why=why):
            raise _EndedMeanwhileError(f"the running process {why}; see its log, or {_RESTART}")
        case _:
            raise StartError(f"the running process says what it must not say; {_RESTART}")


def _adopted(descriptor: int) -> socket.socket:
    try:
        return adopt(descriptor)
    except ValueError as error:
        raise StartError(f"the running process hands over {error}; {_RESTART}") from None


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
