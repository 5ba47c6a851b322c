"""
A reactor that starts no process: what the parent says to its workers is kept, and they say what a test wants.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.python.failure import Failure

from sptls.workers.descriptors import FROM_WORKER, TO_WORKER
from sptls.workers.frames import Frames, framed
from sptls.workers.messages import Message, decode, encode
from tests.doubles import InlineReactor

# Beyond what the kernel gives: no real process is taken for a played one.
FIRST_PID = 10_000_000


class PlayedPipe:
    """
    The pipe to a worker.
    """

    def __init__(self) -> None:
        self.written = b""
        self.producer: Any = None

    def write(self, data: bytes) -> None:
        """
        Keep *data*.
        """
        self.written += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802 - Twisted's name
        """
        Keep *producer*.
        """
        assert streaming
        self.producer = producer


class PlayedProcess:
    """
    A worker as its parent's transport; *args* and *descriptors* are what it was started with.
    """

    def __init__(self, protocol: Any, pid: int, args: list[str], descriptors: dict[int, Any]) -> None:
        self.protocol, self.pid = protocol, pid
        self.args, self.descriptors = args, descriptors
        self.pipe = PlayedPipe()
        self.pipes: dict[int, PlayedPipe] = {TO_WORKER: self.pipe}
        self.signals: list[str] = []
        self.has_ended = self.is_stuck = False

    def signalProcess(self, name: str) -> None:  # noqa: N802 - Twisted's name
        """
        Keep it; KILL ends the process, unless it is stuck.
        """
        if self.has_ended:
            raise ProcessExitedAlready
        self.signals.append(name)
        if name == "KILL" and not self.is_stuck:
            self.end(number=9)

    def end(self, status: int = 0, number: int | None = None) -> None:
        """
        End with *status*, or by the signal *number*.
        """
        self.has_ended = True
        self.pipes = {}
        done = ProcessDone(0) if not status and number is None else ProcessTerminated(status or None, number)
        self.protocol.processEnded(Failure(done))

    def say(self, *messages: Message) -> None:
        """
        Say *messages* to the parent.
        """
        for message in messages:
            self.protocol.childDataReceived(FROM_WORKER, framed(encode(message)))

    def heard(self) -> list[Message]:
        """
        Give what the parent has said since the last call.
        """
        written, self.pipe.written = self.pipe.written, b""
        return [decode(text) for text in Frames().feed(written)]


class PlayedReactor(InlineReactor):
    """
    A reactor in memory whose processes are played.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[PlayedProcess] = []
        self.refuses = False

    def spawnProcess(  # noqa: N802 - Twisted's name
        self,
        protocol: Any,
        executable: str,
        args: list[str],
        env: dict[str, str],
        childFDs: dict[int, Any],  # noqa: N803
    ) -> PlayedProcess:
        """
        Play one.
        """
        if self.refuses:
            raise OSError(12, "Cannot allocate memory")
        process = PlayedProcess(protocol, FIRST_PID + len(self.processes), args, childFDs)
        self.processes.append(process)
        protocol.makeConnection(process)
        return process
