"""
One worker process as its parent sees it: two pipes for messages, what it says on standard error, its end.

Decides when a worker is given up: when it is hung (`silence` judges that), takes nothing for half a minute, says what
can't be read, or does not serve in two minutes. What its messages mean is `crew`'s.
"""
# ruff: noqa: N802, N803 - Twisted's names

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from zope.interface import implementer

from sptls.early_signals import PARENTS_SIGNALS, held_back
from sptls.errors import MalformedMessage
from sptls.ops.traffic import Traffic
from sptls.workers.counts_memory import NO_SLAB
from sptls.workers.descriptors import COUNTS, FIRST_SOCKET, FROM_WORKER, LOG_TURN, TO_WORKER
from sptls.workers.frames import Frames, framed
from sptls.workers.messages import CannotServe, Counted, Done, Leaving, Serving, decode, encode
from sptls.workers.pulse import pulse_of
from sptls.workers.relay import relay_raw
from sptls.workers.silence import Silence

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from twisted.python.failure import Failure

    from sptls.workers.counts_memory import Slab
    from sptls.workers.messages import Message
    from sptls.workers.silence import Pulse

_log = Logger()

MODULE: Final = "sptls.workers.child"
# Looks (`silence.LOOK_SECONDS`) are counted, not seconds: a machine that was suspended, or this process stopped, is no
# worker's fault.
_FULL_LOOKS: Final = 30
# Half a second, and a few with 100,000 domains on a machine that has other things to do.
_STARTING_LOOKS: Final = 120
_LINE_BYTES: Final = 8192
_STARTS: Final = "starting"
_SERVES: Final = "serving"


@implementer(IPushProducer)
class WorkerProcess(ProcessProtocol):
    """
    Worker *number*, from `spawn` on; *told* gets what it says, less what is about itself.

    *serving* fires when it accepts clients, *ended* when it has ended.
    """

    def __init__(self, clock: Any, number: int, told: Callable[[WorkerProcess, Message], None]) -> None:
        self.number = number
        self.state = _STARTS
        self.traffic = Traffic()
        self.is_gone = False
        self.ended: Deferred[None] = Deferred()
        self.serving: Deferred[None] = Deferred()
        self.reason = ""
        self._served_at: float | None = None
        self._clock, self._told = clock, told
        self._frames = Frames()
        self._said = b""
        self._turn = 0
        self._awaited: dict[int, Deferred[str]] = {}
        self._room: list[Deferred[None]] = []
        self._leavers: list[Deferred[None]] = []
        self._is_full = False
        self._silence = Silence()
        self._full_looks = self._starting_looks = 0

    @classmethod
    def spawn(
        cls,
        reactor: Any,
        number: int,
        https: Sequence[socket.socket],
        http: Sequence[socket.socket],
        log_turn: int,
        told: Callable[[WorkerProcess, Message], None],
        slab: Slab | None = None,
    ) -> WorkerProcess:
        """
        Start worker *number* with its sockets, the descriptor that all share for *log_turn*, and its *slab*.

        Raises:
            OSError: the system can't.
        """
        process = cls(reactor, number, told)
        sockets = {FIRST_SOCKET + at: sock.fileno() for at, sock in enumerate((*https, *http))}
        counts = {} if slab is None else {COUNTS: slab.memory.descriptor}
        numbers = (number, len(https), len(http), NO_SLAB if slab is None else slab.number)
        words = [sys.executable, "-P", "-m", MODULE, *map(str, numbers)]
        # The same modules as here, wherever they were found.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            pipes = {0: nothing, 1: 1, 2: "r", TO_WORKER: "w", FROM_WORKER: "r"}
            descriptors = {**pipes, LOG_TURN: log_turn, **counts, **sockets}
            with held_back(PARENTS_SIGNALS):
                reactor.spawnProcess(process, sys.executable, words, env=environment, childFDs=descriptors)
        finally:
            os.close(nothing)
        return process

    @property
    def has_ended(self) -> bool:
        """
        Tell whether the process is no more.
        """
        return self.ended.called

    @property
    def is_serving(self) -> bool:
        """
        Tell whether it accepts clients.
        """
        return self.state == _SERVES

    @property
    def pid(self) -> int | None:
        """
        Give the process id; None once it has ended.
        """
        return None if self.transport is None else self.transport.pid

    @property
    def served_seconds(self) -> float:
        """
        Tell for how long it has served.
        """
        return 0.0 if self._served_at is None else float(self._clock.seconds()) - self._served_at

    def send(self, message: Message) -> None:
        """
        Tell it *message*; one that has ended, or is about to, hears nothing.
        """
        self.send_encoded(encode(message))

    def send_encoded(self, message: bytes) -> None:
        """
        Tell it *message*, which was encoded for several.
        """
        pipe = self._pipe
        if pipe is not None:
            pipe.write(framed(message))

    def ask(self, message: Callable[[int], Message]) -> Deferred[str]:
        """
        Tell it the *message* for the turn given; fires with "" when it has done it, with the problem when it can't.
        """
        self._turn += 1
        done = self._awaited[self._turn] = Deferred()
        self.send(message(self._turn))
        if self._pipe is None:
            self._let_go()
        return done

    async def room(self) -> None:
        """
        Return when it takes more, or nothing ever again.
        """
        if self._is_full and not self.has_ended:
            waiting: Deferred[None] = Deferred()
            self._room.append(waiting)
            await waiting

    async def when_gone(self) -> None:
        """
        Return when its place is free: it has ended, or drains by its own decision. Cancelling ends the waiting.
        """
        if not self.is_gone:
            leaving: Deferred[None] = Deferred()
            self._leavers.append(leaving)
            await leaving

    @property
    def is_silent(self) -> bool:
        """
        Tell whether it has said nothing for over a second: it is starved, or hung, and `look` will tell which.
        """
        return self._silence.is_certain

    def look(self) -> None:
        """
        Give it up if it is hung, has taken nothing for too long, or does not serve; called every `LOOK_SECONDS`.
        """
        self._starting_looks += 1
        self._full_looks = self._full_looks + 1 if self._is_full else 0
        reason = self._silence.look(self._pulse())
        if reason:
            self.give_up(reason)
        elif self._full_looks > _FULL_LOOKS:
            self.give_up("it takes no messages any more")
        elif self.state == _STARTS and self._starting_looks > _STARTING_LOOKS:
            self.give_up("it does not come to serve")

    def _pulse(self) -> Pulse | None:
        """
        Give the pulse of one that should have said something; before it serves it may be at work for longer.
        """
        if self.pid is None or self.state == _STARTS or not self._silence.is_noticed:
            return None
        return pulse_of(self.pid)

    def give_up(self, reason: str) -> None:
        """
        Kill it, because of *reason*; its place is free at once, whenever the system comes to end it.
        """
        if not self.has_ended:
            _log.error("worker {worker} is killed: {reason}", worker=self.number, reason=reason)
            self.reason = self.reason or reason
            self.kill()
        if not self.has_ended:  # a disk that it waits for may keep the system from it; it runs no more
            self.state = "killed"
            self._let_go()
            self._leave()

    def kill(self) -> None:
        """
        Kill it, which needs no reason.
        """
        if self.transport is not None:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")

    # What Twisted tells

    def connectionMade(self) -> None:
        """
        Hear when the pipe to it is full.
        """
        pipe = self._pipe
        if pipe is not None:
            pipe.registerProducer(self, True)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        Take messages, or what came out of standard error.
        """
        if childFD != FROM_WORKER:
            self._take_lines(data)
            return
        self._silence.end()
        try:
            for text in self._frames.feed(data):
                self._take(decode(text))
        except MalformedMessage as error:
            self.give_up(error.reason)

    def processEnded(self, reason: Failure) -> None:
        """
        Note the end.
        """
        if self._said:
            self._take_lines(b"\n")
        self.reason = self.reason or _sentence(reason.value)
        self.state = "ended"
        self._let_go()
        self.ended.callback(None)
        self._leave()

    def pauseProducing(self) -> None:
        """
        The pipe is full.
        """
        self._is_full = True

    def resumeProducing(self) -> None:
        """
        The pipe is empty.
        """
        self._is_full = False
        self._let_room()

    def stopProducing(self) -> None:
        """
        The pipe is no more.
        """
        self.resumeProducing()

    @property
    def _pipe(self) -> Any:
        pipes = getattr(self.transport, "pipes", {})
        return pipes.get(TO_WORKER)

    def _take(self, message: Message) -> None:
        match message:
            case Serving():
                self._served_at, self.state = self._clock.seconds(), _SERVES
                self.serving.callback(None)
            case CannotServe(reason=reason):
                self.reason = reason
            case Counted(traffic=traffic):
                self.traffic = traffic
            case Done(turn=turn, problem=problem):
                done = self._awaited.pop(turn, None)
                if done is not None:
                    done.callback(problem)
            case Leaving():
                self.state = "leaving"
                self._let_go()
                self._leave()
            case _:
                self._told(self, message)

    def _take_lines(self, data: bytes) -> None:
        *lines, rest = (self._said + data).split(b"\n")
        self._said = rest[:_LINE_BYTES]
        for line in lines:
            text = line[:_LINE_BYTES].decode(errors="replace").rstrip()
            if text:
                relay_raw(self.number, text)

    def _leave(self) -> None:
        self.is_gone = True
        leavers, self._leavers = self._leavers, []
        for leaving in leavers:
            leaving.callback(None)

    def _let_go(self) -> None:
        """
        Whoever waits for it waits no more: it serves nobody who would miss what it was told.
        """
        awaited, self._awaited = self._awaited, {}
        for done in awaited.values():
            done.callback("")
        self._is_full = False
        self._let_room()

    def _let_room(self) -> None:
        waiting, self._room = self._room, []
        for one in waiting:
            one.callback(None)


def _sentence(end: Any) -> str:
    """
    Say how a process came to its *end* (`ProcessDone` or `ProcessTerminated`).
    """
    if end.signal:
        return f"{signal.Signals(end.signal).name} ended it"
    return f"it ended with status {end.exitCode}" if end.exitCode else "it was asked to end"
