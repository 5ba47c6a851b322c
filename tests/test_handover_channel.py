"""
Tests for `sptls.handover_channel`, over real pairs of sockets.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from sptls.handover import GivesWay, HandedOver, Message, Ready, Refused
from sptls.handover_channel import Channel, Ended, pair, receive, send
from tests.doubles import InlineReactor

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """
    Give the ends of a channel, closed after the test.
    """
    ours, theirs = pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def _received(channel: Channel, reactor: InlineReactor, seconds: float = 0.0) -> Message | Ended:
    """
    Give what the channel receives: what is there now, else what is there after *seconds* of silence.
    """
    waiting = Deferred.fromCoroutine(channel.receive(5))
    if reactor.getReaders():
        if seconds:
            reactor.advance(seconds)
        else:
            channel.doRead()
    assert [] == reactor.getReaders()
    result: Any = waiting.result
    assert isinstance(result, Message | Ended)
    return result


def test_messages_keep_apart(ends: Ends) -> None:
    """
    Two that were sent are two that are received, in their order.
    """
    for message in (Ready(), Refused("no")):
        send(ends[0], message)
    assert [Ready(), Refused("no")] == [receive(ends[1], 1)[0] for _ in range(2)]


def test_descriptors_come_along(ends: Ends) -> None:
    """
    They are the same open files, and programs that are started do not inherit them.
    """
    with socket.socket() as one, socket.socket() as two:
        send(ends[0], HandedOver((False,), is_last=True), [one.fileno(), two.fileno()])
        message, descriptors = receive(ends[1], 1)
        assert HandedOver((False,), is_last=True) == message
        for before, after in zip((one, two), descriptors, strict=True):
            assert os.path.samestat(os.fstat(before.fileno()), os.fstat(after))
            assert not os.get_inheritable(after)
            os.close(after)


@pytest.mark.parametrize("message", [HandedOver((False, False), is_last=False), Ready()])
def test_wrong_number_of_descriptors_is_not_understood(ends: Ends, message: Message) -> None:
    """
    Those that came are closed.
    """
    reading, writing = os.pipe()
    send(ends[0], message, [writing])
    os.close(writing)
    received, descriptors = receive(ends[1], 1)
    assert isinstance(received, Ended)
    assert () == descriptors
    assert b"" == os.read(reading, 1)  # nobody has the other end
    os.close(reading)


def test_end_silence_and_nonsense_are_told_apart(ends: Ends) -> None:
    """
    Each is an `Ended` that says what it was.
    """
    ends[0].send(b"nonsense")
    assert "can't be understood" in str(receive(ends[1], 1)[0])
    assert (Ended("said nothing for 0 s"), ()) == receive(ends[1], 0.01)
    ends[0].close()
    assert (Ended("has ended"), ()) == receive(ends[1], 1)


def test_packet_of_descriptors_alone_leaves_none_open(ends: Ends) -> None:
    """
    It says nothing, so nobody would close them.
    """
    socket.send_fds(ends[0], [b""], [ends[0].fileno()])
    ends[0].close()
    receive(ends[1], 1)
    with pytest.raises(BrokenPipeError):
        ends[1].send(b"x")


def test_error_of_the_socket_is_an_end(ends: Ends) -> None:
    """
    What the system says is told.
    """
    with socket.socket() as unconnected:
        assert "can't be heard" in str(receive(unconnected, 1)[0])


def test_sending_to_nobody_is_no_error(ends: Ends) -> None:
    """
    It shows when something is to be received.
    """
    ends[1].close()
    send(ends[0], Ready())
    assert (Ended("has ended"), ()) == receive(ends[0], 1)


def test_channel_waits_for_a_message(ends: Ends) -> None:
    """
    It reads when the reactor says that something is there, and not any more afterwards.
    """
    reactor = InlineReactor()
    with closing(Channel(reactor, ends[1])) as channel:
        Channel(reactor, ends[0]).send(GivesWay())
        assert GivesWay() == _received(channel, reactor)
        assert [] == reactor.getDelayedCalls()


def test_channel_waits_no_longer_than_it_may(ends: Ends) -> None:
    """
    Silence ends it; but what came by the deadline, and was not noticed, counts.
    """
    reactor = InlineReactor()
    with closing(Channel(reactor, ends[1])) as channel:
        assert Ended("said nothing for 5 s") == _received(channel, reactor, 6)
        send(ends[0], GivesWay())
        assert GivesWay() == _received(channel, reactor, 6)


def test_channel_takes_no_descriptors(ends: Ends) -> None:
    """
    They are closed: who uses it expects none.
    """
    reactor, (reading, writing) = InlineReactor(), os.pipe()
    with closing(Channel(reactor, ends[1])) as channel:
        send(ends[0], HandedOver((), is_last=True), [writing])
        os.close(writing)
        assert HandedOver((), is_last=True) == _received(channel, reactor)
    assert b"" == os.read(reading, 1)
    os.close(reading)


def test_channel_is_what_the_reactor_wants(ends: Ends) -> None:
    """
    It provides the interface; a wake for nothing, and the reactor's end, do nothing.
    """
    channel = Channel(InlineReactor(), ends[0])
    assert verifyObject(IReadDescriptor, channel)
    channel.doRead()
    channel.connectionLost(Failure(Exception()))
    assert ("handover", ends[0].fileno()) == (channel.logPrefix(), channel.fileno())
