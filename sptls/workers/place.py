"""
One worker's place: its number, its sockets, and a process that has it, again and again.

Starts the next one when one has ended, or drains by its own decision; `restarts` says when. What a process is told, and
what it says, is `crew`'s.
"""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sptls.ops.traffic import Traffic
from sptls.workers.process import WorkerProcess
from sptls.workers.restarts import failures_after, pause_seconds

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from sptls.workers.counts_memory import CountsMemory
    from sptls.workers.messages import Message

_log = Logger()

_SHORT: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_SHORTAGE: Final = (
    "the machine, or a limit of this service's, has no more to give (memory, processes, open files: MemoryMax=, "
    "TasksMax=, LimitNPROC= and LimitNOFILE= under systemd, ulimit elsewhere)"
)
_RIGHTS: Final = "the user that serves must be able to run Python and read its files"


@attrs.define(eq=False)
class Place:
    """
    The place of worker *number*; *started* gets each process, *told* what it says.

    *tried* fires when one serves for the first time, or has failed to. *trouble* is why the last one ended, "" where it
    was asked to.
    """

    reactor: Any
    number: int
    started: Callable[[WorkerProcess], None]
    told: Callable[[WorkerProcess, Message], None]
    https: Sequence[socket.socket] = ()
    http: Sequence[socket.socket] = ()
    process: WorkerProcess | None = None
    failures: int = 0
    restarts: int = 0
    trouble: str = ""
    tried: Deferred[None] = attrs.field(factory=Deferred)
    _counts: CountsMemory | None = None
    _keeping: Deferred[None] | None = None

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """
        Give all that it accepts on, HTTPS's first.
        """
        return (*self.https, *self.http)

    @property
    def row(self) -> dict[str, Any]:
        """
        Give what the status says of it.
        """
        traffic = Traffic() if self.process is None else self.process.traffic
        return {
            "number": self.number,
            "pid": None if self.process is None else self.process.pid,
            "state": "ended" if self.process is None else self.process.state,
            "restarts": self.restarts,
            "open": traffic.tls.get("open", 0),
            "accepted": traffic.tls.get("accepted", 0),
            "requests": traffic.http.get("requests", 0),
        }

    def keep(
        self,
        https: Sequence[socket.socket],
        http: Sequence[socket.socket],
        log_turn: int,
        counts: CountsMemory | None = None,
    ) -> None:
        """
        Have a worker with these sockets from now on, each with a slab of *counts*.
        """
        self.https, self.http, self._counts = https, http, counts
        self._keeping = Deferred.fromCoroutine(self._keep(log_turn))
        self._keeping.addErrback(lambda failure: failure.trap(CancelledError))

    def leave(self) -> None:
        """
        Start no other one; the one that is there goes on.
        """
        if self._keeping is not None:
            self._keeping.cancel()

    async def _keep(self, log_turn: int) -> None:
        while True:
            try:
                seconds = await self._live(log_turn)
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - whatever it is, the next one may serve, and no other loop starts it
                _log.failure("worker {worker} could not be started", worker=self.number)
                self.trouble, seconds = "an unexpected fault; the log has the traceback", 0.0
            # One that drains because somebody asked it to has failed at nothing.
            self.failures = failures_after(self.failures, seconds) if self.trouble else 0
            pause = pause_seconds(self.failures, has_served=seconds > 0)
            self._say_gone(f"in {pause:.0f} s" if pause else "now")
            self._has_tried()
            await deferLater(self.reactor, pause)
            self.restarts += 1

    async def _live(self, log_turn: int) -> float:
        """
        Start a process and wait until it is gone; give how long it served.
        """
        try:
            process = self._spawned(log_turn)
        except OSError as error:
            advice = _SHORTAGE if error.errno in _SHORT else _RIGHTS
            self.trouble = f"no process can be started: {error.strerror} ({error.filename or sys.executable}); {advice}"
            return 0.0
        self.process = process
        process.serving.addCallback(self._serves)
        self.started(process)
        await process.when_gone()
        self.trouble = process.reason
        return process.served_seconds

    def _spawned(self, log_turn: int) -> WorkerProcess:
        """
        Start a process, which has its slab until it has ended.
        """
        slab = None if self._counts is None else self._counts.take()
        try:
            process = WorkerProcess.spawn(self.reactor, self.number, self.https, self.http, log_turn, self.told, slab)
        except BaseException:
            if slab is not None:
                slab.give_back()
            raise
        if slab is not None:
            process.ended.addCallback(lambda _: slab.give_back())
        return process

    def _serves(self, _: object) -> None:
        if self.tried.called:
            _log.info("worker {worker} serves again", worker=self.number)
        self._has_tried()

    def _has_tried(self) -> None:
        if not self.tried.called:
            self.tried.callback(None)

    def _say_gone(self, when: str) -> None:
        event = "worker {worker} has ended: {reason}; the next one is started {when}"
        if self.trouble:
            _log.error(event, worker=self.number, reason=self.trouble, when=when)
        else:
            _log.info(event, worker=self.number, reason="it was asked to drain", when=when)
