"""
The program that a worker process is: ``python -m sptls.workers.child NUMBER HTTPS HTTP SLAB``, started by `process`.

Its descriptors are those of `descriptors`: messages come in at one and go out at another, and from the first
socket on there are as many for HTTPS, then for HTTP, as the words say. Signals that an operator or a terminal
sends to all are the parent's to understand; SIGTERM sent to this process has it drained and replaced.
"""

from __future__ import annotations

import gc
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from sptls.early_signals import PARENTS_SIGNALS, ignore
from sptls.openssl_settings import load_openssl
from sptls.workers.descriptors import COUNTS, FIRST_SOCKET, FROM_WORKER, LOG_TURN, TO_WORKER

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(words: Sequence[str]) -> None:
    """
    Be the worker that *words* name, until it ends.
    """
    ignore(PARENTS_SIGNALS)
    # Nothing that the start makes is garbage. The worker enables it again.
    gc.disable()
    load_openssl()
    from twisted.internet import reactor

    _, https, http, slab = (int(word) for word in words)
    run(reactor, _sockets(FIRST_SOCKET, https), _sockets(FIRST_SOCKET + https, http), slab)


def run(reactor: Any, https: Sequence[socket.socket], http: Sequence[socket.socket], slab: int) -> None:
    """
    Serve on the sockets as the parent says, and count in *slab*.
    """
    from twisted.internet.stdio import StandardIO
    from twisted.logger import globalLogBeginner

    from sptls.clock import run_on_monotonic_time
    from sptls.logs import json_observer
    from sptls.startup import Bound
    from sptls.wakes import wake_directly
    from sptls.workers.counts_memory import NO_SLAB, shared_counts
    from sptls.workers.turn import Turn
    from sptls.workers.worker import Worker

    run_on_monotonic_time(reactor)
    wake_directly(reactor)
    counts = None if slab == NO_SLAB else shared_counts(COUNTS, slab)
    worker = Worker(reactor, Bound(tuple(https), tuple(http), ()), Turn(LOG_TURN), counts=counts)
    globalLogBeginner.beginLoggingTo([json_observer(_Lines(worker))], discardBuffer=True, redirectStandardIO=False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: reactor.callFromThread(worker.leave))
    connect: Any = StandardIO  # its type is that of Windows
    connect(worker, stdin=TO_WORKER, stdout=FROM_WORKER, reactor=reactor)
    reactor.run(installSignalHandlers=False)


class _Lines:
    """
    A stream whose lines the parent logs; any thread may write.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def write(self, text: str) -> None:
        """
        Hand over *text*.
        """
        from twisted.python.threadable import isInIOThread

        if isInIOThread():
            self._worker.say(text)
        else:
            self._worker.reactor.callFromThread(self._worker.say, text)

    def flush(self) -> None:
        """
        Nothing is held back.
        """


def _sockets(first: int, count: int) -> list[socket.socket]:
    return [socket.socket(fileno=first + at) for at in range(count)]


if __name__ == "__main__":
    main(sys.argv[1:])
