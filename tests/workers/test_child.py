"""
The program that a worker is: a real one, without sockets.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from sptls.config import Config
from sptls.early_signals import PARENTS_SIGNALS, held_back
from sptls.workers.child import _Lines
from sptls.workers.frames import Frames, framed
from sptls.workers.messages import Begin, Leaving, Message, Serve, Serving, decode, encode
from sptls.workers.process import MODULE
from sptls.workers.turn import descriptor_for_turns
from tests.doubles import InlineReactor

SECONDS = 60


@attrs.define
class Child:
    """
    A running worker and its parent's ends of the pipes.
    """

    pid: int
    to_worker: int
    from_worker: int
    frames: Frames = attrs.field(factory=Frames)
    heard: list[Message] = attrs.field(factory=list)

    def tell(self, *messages: Message) -> None:
        """
        Say *messages*.
        """
        for message in messages:
            os.write(self.to_worker, framed(encode(message)))

    def wait_for(self, message: Message, *meanwhile: signal.Signals) -> None:
        """
        Read until *message* was said; send it the signals *meanwhile*, again and again.
        """
        until = time.monotonic() + SECONDS
        while message not in self.heard:
            assert time.monotonic() < until
            for number in meanwhile:
                os.kill(self.pid, number)
            if not select.select([self.from_worker], [], [], 0.001 if meanwhile else SECONDS)[0]:
                continue
            data = os.read(self.from_worker, 65536)
            assert data, self.heard
            self.heard += map(decode, self.frames.feed(data))

    def status(self) -> int:
        """
        Wait for the end, and give the exit status.
        """
        while select.select([self.from_worker], [], [], SECONDS)[0] and os.read(self.from_worker, 65536):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def child() -> Iterator[Child]:
    """
    Give a worker that was just started.
    """
    read, to_worker = os.pipe()
    from_worker, write = os.pipe()
    turns = descriptor_for_turns()
    actions = [(os.POSIX_SPAWN_DUP2, ours, 100 + at) for at, ours in enumerate((read, write, turns))]
    actions += [(os.POSIX_SPAWN_DUP2, 100 + at, 3 + at) for at in range(3)]
    with held_back(PARENTS_SIGNALS):
        pid = os.posix_spawn(
            sys.executable, [sys.executable, "-P", "-m", MODULE, "1", "0", "0", "-1"], os.environ, file_actions=actions
        )
    for ours in (read, write, turns):
        os.close(ours)
    running = Child(pid, to_worker, from_worker)
    yield running
    for ours in {running.to_worker, running.from_worker} - {-1}:
        os.close(ours)


def test_worker_ends_with_its_parent_and_at_no_signal_of_a_terminal(child: Child, tmp_path: Path) -> None:
    """
    Ctrl-C, a hang-up and an order to open logs go to all: the parent understands them.
    """
    child.tell(Begin(Config((), state_dir=tmp_path)), Serve())
    child.wait_for(Serving())
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        os.kill(child.pid, number)
    os.close(child.to_worker)
    child.to_worker = -1
    assert 0 == child.status()


def test_worker_lives_through_its_parents_signals_from_its_first_moment(child: Child, tmp_path: Path) -> None:
    """
    Python has not even begun when the first come.
    """
    child.tell(Begin(Config((), state_dir=tmp_path)), Serve())
    child.wait_for(Serving(), *PARENTS_SIGNALS)
    os.close(child.to_worker)
    child.to_worker = -1
    assert 0 == child.status()


def test_worker_that_is_sent_sigterm_says_that_it_leaves(child: Child, tmp_path: Path) -> None:
    """
    A successor may begin while it drains.
    """
    child.tell(Begin(Config((), state_dir=tmp_path)), Serve())
    child.wait_for(Serving())
    os.kill(child.pid, signal.SIGTERM)
    child.wait_for(Leaving())
    assert 0 == child.status()


def test_lines_of_other_threads_are_said_by_the_reactors(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The pipe is its alone.
    """
    from twisted.python import threadable

    said: list[str] = []
    later: list[tuple[object, str]] = []

    @attrs.frozen
    class Told:
        reactor: InlineReactor
        say = staticmethod(said.append)

    reactor = InlineReactor()
    monkeypatch.setattr(reactor, "callFromThread", lambda call, text: later.append((call, text)))
    lines = _Lines(Told(reactor))
    monkeypatch.setattr(threadable, "isInIOThread", lambda: True)
    lines.write("one")
    monkeypatch.setattr(threadable, "isInIOThread", lambda: False)
    lines.write("two")
    lines.flush()
    assert (["one"], [(Told.say, "two")]) == (said, later)
