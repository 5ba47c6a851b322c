"""
Tests for `sptls.successor`: a played estate, and the test at the successor's end of the channel.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest
from twisted.internet.defer import Deferred, succeed

from sptls.errors import SptlsError, StoreError
from sptls.handover import MAX_SOCKETS, VERSION, GivesWay, HandedOver, Message, Ready, Refused, TookOver
from sptls.handover_channel import Ended, receive, send
from sptls.successor import (
    AGAIN_SECONDS,
    ENDING_SECONDS,
    PAUSE_SECONDS,
    READY_SECONDS,
    TAKE_OVER_SECONDS,
    Estate,
    Succession,
)
from tests.doubles import InlineReactor
from tests.tls.wire import logged


class PlayedEstate:
    """
    An estate of *count* sockets, all of them pipes, that tells what it was asked.
    """

    def __init__(self, count: int = 1) -> None:
        self.calls: list[str] = []
        self.pausing: Deferred[None] = succeed(None)
        self.starting: Deferred[None] = succeed(None)
        self.is_broken = False
        self.troubles: list[Exception] = []
        self.refusal = ""
        self.pipe = os.pipe()
        self._count = count

    def why_not(self) -> str:
        """
        Give what was set.
        """
        return self.refusal

    async def pause(self) -> None:
        """
        Wait for what was set.
        """
        self.calls.append("pause")
        await self.pausing

    def hand_over(self) -> Sequence[tuple[int, bool]]:
        """
        Give the same descriptor again and again.
        """
        self.calls.append("hand over")
        if self.is_broken:
            raise RuntimeError
        return [(self.pipe[0], False)] * self._count

    def lock_descriptor(self) -> int:
        """
        Give it once more.
        """
        return self.pipe[1]

    async def go_on(self) -> None:
        """
        Wait for what was set, then raise what was set, one after the other.
        """
        self.calls.append("go on")
        await self.starting
        if self.troubles:
            raise self.troubles.pop(0)

    def give_way(self, taken: frozenset[int]) -> None:
        """
        Note it.
        """
        self.calls.append(f"give way {sorted(taken)}")

    def close(self) -> None:
        """
        Close the pipe.
        """
        for descriptor in self.pipe:
            os.close(descriptor)


class Scene:
    """
    A succession, and its successor's end.
    """

    def __init__(self, count: int = 1) -> None:
        self.reactor, self.estate = InlineReactor(), PlayedEstate(count)
        estate: Estate = self.estate
        self.succession = Succession(self.reactor, estate)
        self.end = socket.socket()

    def begin(self) -> None:
        """
        Be given an end of a channel, as another process is.
        """
        self.end.close()
        given = self.succession.begin(VERSION)
        self.end = given.dup()

    def say(self, message: Message) -> None:
        """
        Send *message*, and have it read.
        """
        send(self.end, message)
        self.turn()

    def turn(self) -> None:
        """
        Have the succession read what is there.
        """
        for reader in self.reactor.getReaders():
            reader.doRead()

    def hear(self) -> Message | Ended:
        """
        Give what was sent; the descriptors that came along are closed.
        """
        message, descriptors = receive(self.end, 0.01)
        for descriptor in descriptors:
            os.close(descriptor)
        return message

    def stop(self) -> None:
        """
        Stop the succession, if need be without what was asked of it.
        """
        done: list[object] = []
        Deferred.fromCoroutine(self.succession.stop()).addBoth(done.append)
        self.reactor.advance(ENDING_SECONDS)
        assert [None] == done

    def close(self) -> None:
        """
        Leave nothing.
        """
        self.stop()
        self.end.close()
        self.estate.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    """
    Give a scene, closed after the test.
    """
    scene = Scene()
    yield scene
    scene.close()


def test_handover_goes_its_way(scene: Scene) -> None:
    """
    Ready, handed over, took over, gives way; and each only then.
    """
    scene.begin()
    assert [] == scene.estate.calls
    scene.say(Ready())
    assert ["pause", "hand over"] == scene.estate.calls
    assert HandedOver((False,), is_last=True) == scene.hear()
    scene.say(TookOver(7, frozenset({0})))
    assert "give way [0]" == scene.estate.calls[-1]
    assert GivesWay() == scene.hear()
    assert Ended("has ended") == scene.hear()


def test_many_sockets_take_several_packets() -> None:
    """
    The kernel passes no more at a time; the last packet has the lock.
    """
    with ExitStack() as stack:
        scene = Scene(MAX_SOCKETS + 1)
        stack.callback(scene.close)
        scene.begin()
        scene.say(Ready())
        assert HandedOver((False,) * MAX_SOCKETS, is_last=False) == scene.hear()
        assert HandedOver((False,), is_last=True) == scene.hear()


def test_daemon_without_sockets_hands_over_its_lock() -> None:
    """
    A renewal daemon may have none.
    """
    with ExitStack() as stack:
        scene = Scene(0)
        stack.callback(scene.close)
        scene.begin()
        scene.say(Ready())
        assert HandedOver((), is_last=True) == scene.hear()


def test_successor_that_never_gets_ready_changes_nothing(scene: Scene) -> None:
    """
    The answer may not have reached it; nothing was paused.
    """
    scene.begin()
    scene.reactor.advance(READY_SECONDS)
    assert [] == scene.estate.calls
    scene.begin()


@pytest.mark.parametrize("way", ["it ends", "it is silent", "it talks nonsense"])
def test_successor_that_does_not_take_over(scene: Scene, way: str) -> None:
    """
    Everything goes on; one that is there still is told, so that it does not take over later.
    """
    scene.begin()
    scene.say(Ready())
    scene.hear()
    if way == "it ends":
        scene.end.close()
        scene.turn()
    elif way == "it is silent":
        scene.reactor.advance(TAKE_OVER_SECONDS)
        assert isinstance(scene.hear(), Refused)
    else:
        scene.say(Ready())
        assert isinstance(scene.hear(), Refused)
    assert ["pause", "hand over", "go on"] == scene.estate.calls


def test_successor_that_is_late_but_there_takes_over(scene: Scene) -> None:
    """
    What it said by the deadline counts, though this process was too busy to hear it.
    """
    scene.begin()
    scene.say(Ready())
    scene.hear()
    send(scene.end, TookOver(7, frozenset()))
    scene.reactor.advance(TAKE_OVER_SECONDS)
    assert "give way []" == scene.estate.calls[-1]


def test_pause_that_takes_too_long_is_given_up(scene: Scene) -> None:
    """
    Nothing is handed over, and what was ended begins again.
    """
    scene.estate.pausing = Deferred()
    scene.begin()
    scene.say(Ready())
    scene.reactor.advance(PAUSE_SECONDS)
    assert "did not end in 20 s" in str(scene.hear())
    assert ["pause", "go on"] == scene.estate.calls


def test_pause_that_breaks_is_given_up(scene: Scene) -> None:
    """
    The log has the traceback.
    """
    scene.estate.pausing = Deferred()
    scene.begin()
    scene.say(Ready())
    with logged() as events:
        scene.estate.pausing.errback(RuntimeError("broken"))
    assert "its log has the traceback" in str(scene.hear())
    assert "critical" in str(events)
    assert ["pause", "go on"] == scene.estate.calls


@pytest.mark.parametrize("trouble", [StoreError("store.db", "newer"), RuntimeError("broken")])
def test_going_on_is_tried_again(scene: Scene, trouble: Exception) -> None:
    """
    Clients are served meanwhile; what is wrong, and what to do, is in the log.
    """
    scene.estate.troubles = [trouble, StoreError("store.db", "newer")]
    scene.begin()
    scene.say(Ready())
    scene.end.close()
    with logged() as events:
        scene.turn()
    assert "certificates are not renewed" in str(events)
    scene.reactor.advance(AGAIN_SECONDS)
    scene.reactor.advance(AGAIN_SECONDS)
    assert ["go on"] * 3 == scene.estate.calls[2:]
    assert [] == scene.reactor.getDelayedCalls()


def test_another_may_take_over_where_going_on_fails(scene: Scene) -> None:
    """
    The next try waits no more then.
    """
    scene.estate.troubles = [StoreError("store.db", "newer")]
    scene.begin()
    scene.say(Ready())
    scene.end.close()
    scene.turn()
    scene.begin()
    scene.say(Ready())
    scene.reactor.advance(AGAIN_SECONDS)
    assert ["pause", "hand over", "go on", "pause", "hand over", "go on"] == scene.estate.calls


def test_another_that_never_gets_ready_does_not_end_the_tries(scene: Scene) -> None:
    """
    What is paused begins as soon as it can, whoever asked meanwhile.
    """
    scene.estate.troubles = [StoreError("store.db", "newer")]
    scene.begin()
    scene.say(Ready())
    scene.end.close()
    scene.turn()
    scene.begin()
    scene.reactor.advance(READY_SECONDS)
    assert ["pause", "hand over", "go on", "go on"] == scene.estate.calls
    scene.begin()
    scene.reactor.advance(READY_SECONDS)
    assert ["pause", "hand over", "go on", "go on"] == scene.estate.calls


def test_only_one_at_a_time(scene: Scene) -> None:
    """
    The second is told to wait for what becomes of the first.
    """
    scene.begin()
    with pytest.raises(SptlsError, match="already"):
        scene.succession.begin(VERSION)


def test_other_version_is_refused(scene: Scene) -> None:
    """
    With what to do instead.
    """
    with pytest.raises(SptlsError, match=r"version 1, asked for 2\); stop it"):
        scene.succession.begin(2)


def test_estate_may_refuse(scene: Scene) -> None:
    """
    It knows why.
    """
    scene.estate.refusal = "it is the demo"
    with pytest.raises(SptlsError, match="it is the demo"):
        scene.begin()


@pytest.mark.parametrize("is_ready", [False, True])
def test_stop_before_anything_is_handed_over(scene: Scene, *, is_ready: bool) -> None:
    """
    The successor gets what it has asked for first: nobody else will listen there.
    """
    scene.estate.pausing = Deferred()
    scene.begin()
    if is_ready:
        scene.say(Ready())
    stopping = Deferred.fromCoroutine(scene.succession.stop())
    if not is_ready:
        scene.say(Ready())
    assert not stopping.called
    scene.estate.pausing.callback(None)
    assert (True, HandedOver((False,), is_last=True)) == (stopping.called, scene.hear())
    assert Ended("has ended") == scene.hear()
    assert ["pause", "hand over"] == scene.estate.calls
    assert [] == scene.reactor.getDelayedCalls()


@pytest.mark.parametrize(("is_ready", "heard"), [(False, Ended("has ended")), (True, Refused("it is being stopped"))])
def test_stop_does_not_wait_for_ever(scene: Scene, *, is_ready: bool, heard: Message | Ended) -> None:
    """
    For what keeps certificates, or for the successor; that one is told, and nothing begins again.
    """
    scene.estate.pausing = Deferred()
    scene.begin()
    if is_ready:
        scene.say(Ready())
    stopping = Deferred.fromCoroutine(scene.succession.stop())
    scene.reactor.advance(ENDING_SECONDS - 0.1)
    assert not stopping.called
    scene.reactor.advance(0.1)
    assert (True, heard) == (stopping.called, scene.hear())
    assert ["pause"][: int(is_ready)] == scene.estate.calls


def test_process_that_ends_begins_nothing_again(scene: Scene) -> None:
    """
    Though nothing could be handed over.
    """
    scene.estate.pausing = Deferred()
    scene.begin()
    scene.say(Ready())
    stopping = Deferred.fromCoroutine(scene.succession.stop())
    scene.estate.pausing.errback(RuntimeError("broken"))
    assert (True, ["pause"]) == (stopping.called, scene.estate.calls)
    assert isinstance(scene.hear(), Refused)


def test_process_that_ends_is_asked_too_late(scene: Scene) -> None:
    """
    It says what to do.
    """
    scene.stop()
    with pytest.raises(SptlsError, match="it is ending; start this one without --take-over"):
        scene.begin()


def test_stop_when_all_is_handed_over(scene: Scene) -> None:
    """
    The successor finds nobody any more, and goes on with what it has.
    """
    scene.begin()
    scene.say(Ready())
    scene.hear()
    scene.stop()
    assert Ended("has ended") == scene.hear()
    assert ["pause", "hand over"] == scene.estate.calls


def test_stop_while_going_on(scene: Scene) -> None:
    """
    It is not tried again.
    """
    scene.estate.troubles = [StoreError("store.db", "newer")]
    scene.begin()
    scene.say(Ready())
    scene.end.close()
    scene.turn()
    scene.stop()
    assert [] == scene.reactor.getDelayedCalls()


def test_stop_while_what_was_paused_begins_anew(scene: Scene) -> None:
    """
    It is waited for: what it began ends with it.
    """
    scene.estate.starting = Deferred()
    scene.begin()
    scene.say(Ready())
    scene.end.close()
    scene.turn()
    assert "go on" == scene.estate.calls[-1]
    scene.stop()
    assert [] == scene.reactor.getDelayedCalls()


def test_sockets_that_can_not_be_given_are_kept(scene: Scene) -> None:
    """
    Nothing is handed over then, and everything goes on.
    """
    scene.estate.is_broken = True
    scene.begin()
    with logged() as events:
        scene.say(Ready())
    assert "its log has the traceback" in str(scene.hear())
    assert "critical" in str(events)
    assert ["pause", "hand over", "go on"] == scene.estate.calls
