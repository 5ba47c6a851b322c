"""
Doubles for the tests of deploying: a store that may be full, a thread that may hang, programs that a test ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IProcessProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sptls.certs.records import Deployment
from sptls.errors import StoreError
from sptls.names import HostName

T = TypeVar("T")

# Linux gives no process such a number, so no signal reaches one.
NO_PID = 2**22 + 1


class Disk:
    """
    A store that may be full.
    """

    def __init__(self) -> None:
        self.stored: dict[HostName, Deployment] = {}
        self.writes = 0
        self.is_full = False

    async def put_deployments(self, deployments: Mapping[HostName, Deployment]) -> None:
        """
        Take *deployments*, or don't.
        """
        if self.is_full:
            raise StoreError("/s", "full")
        self.writes += 1
        self.stored.update(deployments)


class Thread:
    """
    A thread that does its work at once, or hangs, or can't be had.
    """

    def __init__(self) -> None:
        self.hanging: list[Callable[[], None]] | None = None
        self.error: Exception | None = None
        self.works = 0

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """
        Do *work* now, or when the thread hangs no more.
        """
        self.works += 1
        if self.error is not None:
            raise self.error
        if self.hanging is None:
            return execute(work)
        done: Deferred[T] = Deferred()
        self.hanging.append(lambda: done.callback(work()))
        return done

    def go_on(self) -> None:
        """
        Hang no more.
        """
        hanging, self.hanging = self.hanging or [], None
        for work in hanging:
            work()


@attrs.define(eq=False)
class Program:
    """
    A program that was started: with which *words* and *environment*; it runs until `end`.
    """

    protocol: Any
    words: Sequence[str]
    environment: Mapping[str, str]
    pid: int = NO_PID
    stdin: bytes = b""

    @property
    def names(self) -> list[str]:
        """
        Give the names that it was told of.
        """
        return self.environment["SPTLS_NAMES"].split(" ")

    def write(self, data: bytes) -> None:
        """
        Note what it can read.
        """
        self.stdin += data

    def closeStdin(self) -> None:  # noqa: N802 - Twisted's name
        """
        Nothing to close.
        """

    def loseConnection(self) -> None:  # noqa: N802 - Twisted's name
        """
        Nothing to close.
        """

    def end(self, status: int = 0, said: bytes = b"") -> None:
        """
        Say *said* and end with *status*.
        """
        reason = Failure(ProcessTerminated(status) if status else ProcessDone(0))
        self.protocol.outReceived(said)
        self.protocol.processExited(reason)
        self.protocol.processEnded(reason)


class Programs(Clock):
    """
    A reactor in memory whose programs a test ends; time moves in small steps, as it does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.programs: list[Program] = []

    def spawnProcess(  # noqa: N802 - Twisted's name
        self, protocol: IProcessProtocol, executable: str, args: Sequence[str], env: Mapping[str, str]
    ) -> Program:
        """
        Note what is started.
        """
        program = Program(protocol, args, env)
        self.programs.append(program)
        protocol.makeConnection(program)  # type: ignore[arg-type] # all of a process that is used
        return program

    def pass_seconds(self, seconds: float) -> None:
        """
        Let time pass, every timer at its own moment.
        """
        until = self.seconds() + seconds
        while (calls := self.getDelayedCalls()) and (next_at := min(call.getTime() for call in calls)) <= until:
            self.advance(max(0.0, next_at - self.seconds()))
        self.advance(until - self.seconds())
