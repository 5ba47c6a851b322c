"""
One worker process as its parent sees it: what it is started with, when it is given up, and how it ends.
"""

from __future__ import annotations

import signal
import socket
import sys
from contextlib import closing
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from sptls.early_signals import PARENTS_SIGNALS
from sptls.ops.traffic import Traffic
from sptls.workers.descriptors import FIRST_SOCKET, FROM_WORKER, LOG_TURN, TO_WORKER
from sptls.workers.messages import (
    Alive,
    CannotServe,
    Close,
    Counted,
    Done,
    Leaving,
    Message,
    Open,
    ReopenLogs,
    Serving,
    Wanted,
    encode,
)
from sptls.workers.process import MODULE, WorkerProcess
from sptls.workers.silence import Pulse
from tests.doubles import InlineReactor
from tests.proxy.wire import logged
from tests.workers.examples import CHALLENGE, NAME
from tests.workers.played import PlayedProcess, PlayedReactor

STANDARD_ERROR = 2


def started(told: list[Message] | None = None) -> tuple[PlayedReactor, WorkerProcess, PlayedProcess]:
    """
    Start worker 3 without sockets.
    """
    reactor, heard = PlayedReactor(), [] if told is None else told
    process = WorkerProcess.spawn(reactor, 3, (), (), 9, lambda _, message: heard.append(message))
    return reactor, process, reactor.processes[0]


def test_worker_gets_its_sockets_and_two_pipes() -> None:
    """
    HTTPS's first; the program is this interpreter's, not what lies in the directory that happens to be current.
    """
    reactor = PlayedReactor()
    with closing(socket.socket()) as one, closing(socket.socket()) as other:
        WorkerProcess.spawn(reactor, 1, (one,), (other,), 9, lambda *_: None)
        (played,) = reactor.processes
        assert [sys.executable, "-P", "-m", MODULE, "1", "1", "1", "-1"] == played.args
        assert {
            1: 1,
            2: "r",
            TO_WORKER: "w",
            FROM_WORKER: "r",
            LOG_TURN: 9,
            FIRST_SOCKET: one.fileno(),
            FIRST_SOCKET + 1: other.fileno(),
        } == {number: what for number, what in played.descriptors.items() if number}


def test_worker_begins_with_its_parents_signals_held_back() -> None:
    """
    It can't be ended by them before it has said that it ignores them; here they mean what they did.
    """
    seen = []

    class Reactor(PlayedReactor):
        def spawnProcess(self, *given: Any, **more: Any) -> Any:  # noqa: N802 - Twisted's name
            seen.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            return super().spawnProcess(*given, **more)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    WorkerProcess.spawn(Reactor(), 1, (), (), 9, lambda *_: None)
    assert ([before | {*PARENTS_SIGNALS}], before) == (seen, signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_what_it_says_of_itself_is_known_and_the_rest_told() -> None:
    """
    It serves, for so long, and has counted so much.
    """
    told: list[Message] = []
    reactor, process, played = started(told)
    before = (process.state, process.is_serving, process.served_seconds)
    played.say(Serving(), Counted(Traffic(4)), Alive(), Wanted((NAME,)))
    reactor.advance(2)
    assert ("starting", False, 0.0) == before
    assert ("serving", 2.0, Traffic(4), played.pid) == (
        process.state,
        process.served_seconds,
        process.traffic,
        process.pid,
    )
    assert [Alive(), Wanted((NAME,))] == told


def test_what_is_asked_is_answered_by_its_turn() -> None:
    """
    In any order; what comes late is nobody's.
    """
    _, process, played = started()
    one, other = (process.ask(lambda turn: Open(turn, CHALLENGE)) for _ in range(2))
    assert [Open(1, CHALLENGE), Open(2, CHALLENGE)] == played.heard()
    played.say(Done(2, "it can't"), Done(2), Done(1), Done(7))
    assert ("", "it can't") == (one.result, other.result)


def test_who_waits_for_one_that_ends_waits_no_more() -> None:
    """
    It serves nobody who would miss what it was asked for. Nor is anything sent to it.
    """
    _, process, played = started()
    before = process.ask(lambda turn: Open(turn, CHALLENGE))
    process.pauseProducing()
    room = Deferred.fromCoroutine(process.room())
    gone = Deferred.fromCoroutine(process.when_gone())
    assert not room.called
    played.end(1)
    process.send(ReopenLogs())
    after = process.ask(lambda turn: Open(turn, CHALLENGE))
    assert ("", "", True, True, True) == (before.result, after.result, room.called, gone.called, process.has_ended)
    assert ("ended", "it ended with status 1") == (process.state, process.reason)
    assert Deferred.fromCoroutine(process.when_gone()).called


def test_one_that_drains_is_gone_before_it_ends() -> None:
    """
    Its place is free; why is known in the end.
    """
    _, process, played = started()
    played.say(Leaving())
    assert ("leaving", True, False) == (process.state, process.is_gone, process.has_ended)
    played.end()
    assert "it was asked to end" == process.reason


@pytest.mark.parametrize(
    ("said", "number", "reason"),
    [([CannotServe("the log can't be opened")], None, "the log can't be opened"), ([], 11, "SIGSEGV ended it")],
)
def test_reason_is_its_own_or_the_systems(said: list[Message], number: int | None, reason: str) -> None:
    """
    In words.
    """
    _, process, played = started()
    played.say(*said)
    played.end(status=1 if number is None else 0, number=number)
    assert reason == process.reason


def test_one_that_says_nothing_any_more_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When its pulse says that it is hung. Looks are counted: a machine that was suspended for an hour has hung nobody.
    """
    asked: list[int] = []

    def stopped(pid: int) -> Pulse:
        asked.append(pid)
        return Pulse("T", 1, 1, 1)

    monkeypatch.setattr("sptls.workers.process.pulse_of", stopped)
    _, process, played = started()
    played.say(Serving())
    for _ in range(3):
        process.look()
    played.say(Alive())
    for _ in range(3):
        process.look()
    assert ([], [played.pid] * 4, True) == (played.signals, asked, process.is_silent)
    with logged() as events:
        process.look()
    assert (["KILL"], "it says nothing any more: it was stopped (SIGSTOP, or a debugger)") == (
        played.signals,
        process.reason,
    )
    assert [("error", f"worker 3 is killed: {process.reason}")] == events
    process.give_up("twice is once")
    process.kill()
    assert ["KILL"] == played.signals


def test_one_that_does_not_serve_yet_is_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Half a minute to its first word, and nobody asks for its pulse.
    """
    monkeypatch.setattr("sptls.workers.process.pulse_of", lambda _: Pulse("D", 1, 1, 1))
    _, process, played = started()
    for _ in range(30):
        process.look()
    assert [] == played.signals
    process.look()
    assert (["KILL"], "it says nothing any more") == (played.signals, process.reason)
    process.look()


def test_one_that_the_system_does_not_end_has_lost_its_place() -> None:
    """
    It was killed, but it waits for a disk: nobody waits for what it was asked, and its successor may have its sockets.
    """
    _, process, played = started()
    played.say(Serving())
    played.is_stuck = True
    gone = Deferred.fromCoroutine(process.when_gone())
    asked = process.ask(lambda turn: Open(turn, CHALLENGE))
    process.give_up("it is hung")
    assert (["KILL"], True, "", False) == (played.signals, gone.called, asked.result, process.has_ended)
    assert ("killed", True, False) == (process.state, process.is_gone, process.is_serving)
    played.end(number=9)
    assert ("ended", "it is hung") == (process.state, process.reason)


def test_one_that_takes_nothing_any_more_is_killed() -> None:
    """
    Though it says that it lives. One whose pipe was full for a while is not.
    """
    _, process, played = started()
    played.pipe.producer.pauseProducing()
    process.look()
    played.pipe.producer.resumeProducing()
    process.look()
    played.pipe.producer.pauseProducing()
    for _ in range(31):
        assert [] == played.signals
        played.say(Alive())
        process.look()
    assert "it takes no messages any more" == process.reason


def test_one_that_does_not_come_to_serve_is_killed() -> None:
    """
    Though it lives; the start of the daemon waits for it.
    """
    _, process, played = started()
    for _ in range(121):
        assert [] == played.signals
        played.say(Alive())
        process.look()
    assert "it does not come to serve" == process.reason


def test_there_is_room_when_the_pipe_is_empty_again() -> None:
    """
    Who sends much waits for it.
    """
    _, process, _ = started()
    assert Deferred.fromCoroutine(process.room()).called
    process.pauseProducing()
    waiting = Deferred.fromCoroutine(process.room())
    assert not waiting.called
    process.stopProducing()
    assert waiting.called


def test_one_that_says_nonsense_is_killed() -> None:
    """
    Nothing can be read after it.
    """
    _, process, played = started()
    process.childDataReceived(FROM_WORKER, b"\x00\x00\x00\x02{}")
    assert ["KILL"] == played.signals
    assert process.reason.startswith("2 bytes that are no message")


def test_what_it_writes_to_standard_error_is_in_the_log() -> None:
    """
    Line by line, the last one too.
    """
    _, process, played = started()
    with logged() as events:
        process.childDataReceived(STANDARD_ERROR, b"Fatal Python err")
        process.childDataReceived(STANDARD_ERROR, b"or: Aborted\n\n  more\xff\nlast")
        played.end(number=6)
    assert [
        ("error", "worker 3: Fatal Python error: Aborted"),
        ("error", "worker 3:   more\ufffd"),
        ("error", "worker 3: last"),
    ] == events


def test_nothing_is_sent_before_it_is_started() -> None:
    """
    Nor is there a process to kill.
    """
    process = WorkerProcess(InlineReactor(), 1, lambda *_: None)
    process.send_encoded(encode(Close(CHALLENGE)))
    process.kill()
    process.connectionMade()
    assert None is process.pid
