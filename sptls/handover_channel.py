"""
The channel between a running process and its successor: a pair of connected Unix sockets that keep packets apart.

Sends and receives the messages of `handover`, with the descriptors that belong to them; decides nothing. Whatever is
wrong with what comes, or with waiting for it, is an `Ended`.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

import array
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from sptls.handover import MAX_MESSAGE_BYTES, MAX_SOCKETS, HandedOver, Message, packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.python.failure import Failure

_DESCRIPTOR_BYTES: Final = array.array("i").itemsize
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE((MAX_SOCKETS + 1) * _DESCRIPTOR_BYTES)


@attrs.frozen
class Ended:
    """
    No message came, and none will: *why* continues "the other process".
    """

    why: str


def pair() -> tuple[socket.socket, socket.socket]:
    """
    Give the two ends of a new channel; neither blocks.
    """
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


def send(sock: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """
    Send *message* with its *descriptors*. That the other end is gone shows when something is received.
    """
    with suppress(OSError):
        socket.send_fds(sock, [packed(message)], descriptors)


def receive(sock: socket.socket, seconds: float) -> tuple[Message | Ended, tuple[int, ...]]:
    """
    Wait for a message, blocking, *seconds* at the most; give it with its descriptors, which are the caller's then.
    """
    sock.settimeout(seconds)
    received = _receive(sock)
    sock.settimeout(0)
    return received if received is not None else (_silent(seconds), ())


def _receive(sock: socket.socket) -> tuple[Message | Ended, tuple[int, ...]] | None:
    """
    Give what is there, or None when nothing came in time.
    """
    try:
        packet, ancillary, _, _ = sock.recvmsg(MAX_MESSAGE_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
    except (BlockingIOError, TimeoutError):
        return None
    except ConnectionResetError:  # it did not read all that we sent
        return Ended("has ended"), ()
    except OSError as error:
        return Ended(f"can't be heard: {error.strerror}"), ()
    descriptors = _descriptors(ancillary)
    message = _understood(packet, len(descriptors))
    if isinstance(message, Ended):
        for descriptor in descriptors:
            os.close(descriptor)
        return message, ()
    return message, descriptors


def _understood(packet: bytes, descriptors: int) -> Message | Ended:
    if not packet:
        return Ended("has ended")
    try:
        message = unpacked(packet)
    except ValueError as error:
        return Ended(f"says what can't be understood: {error}")
    if descriptors != (message.descriptors if isinstance(message, HandedOver) else 0):
        return Ended("says what can't be understood: descriptors are missing, or too many")
    return message


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, ...]:
    received = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(content[: len(content) - len(content) % _DESCRIPTOR_BYTES])
    return tuple(received)


def _silent(seconds: float) -> Ended:
    return Ended(f"said nothing for {seconds:.0f} s")


@implementer(IReadDescriptor)
class Channel:
    """
    An end of a channel in a process whose reactor runs; it is closed by whoever has it.
    """

    def __init__(self, reactor: Any, sock: socket.socket) -> None:
        self._reactor, self._socket = reactor, sock
        self._readable: Deferred[None] | None = None

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """
        Send *message* with its *descriptors*.
        """
        send(self._socket, message, descriptors)

    async def receive(self, seconds: float) -> Message | Ended:
        """
        Wait for a message without descriptors, *seconds* at the most. What is there when they are over still counts.
        """
        self._readable = Deferred()
        self._reactor.addReader(self)
        try:
            with suppress(DeferredTimeoutError):
                await self._readable.addTimeout(seconds, self._reactor)
        finally:
            self._reactor.removeReader(self)
            self._readable = None
        received = _receive(self._socket)
        if received is None:
            return _silent(seconds)
        message, descriptors = received
        for descriptor in descriptors:
            os.close(descriptor)
        return message

    def close(self) -> None:
        """
        Close it, which the other process notices.
        """
        self._socket.close()

    def fileno(self) -> int:
        """
        Give the socket's descriptor, -1 when closed.
        """
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """
        Give the name for log lines.
        """
        return "handover"

    def doRead(self) -> None:
        """
        Take note that something is there, once.
        """
        readable, self._readable = self._readable, None
        if readable is not None:
            readable.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        """
        Do nothing: the reactor is stopping, and whoever waits is cancelled.
        """
