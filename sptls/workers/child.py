"""
The program that a worker process is: ``python -m sptls.workers.child NUMBER HTTPS HTTP``, started by `process` alone.

Its descriptors are those of `descriptors`: messages come in at one and go out at another, and from the first
socket on there are as many for HTTPS, then for HTTP, as the last two words say. Signals that an operator or a terminal
sends to all are the parent's to understand; SIGTERM sent to this process has it drained and replaced.
"""

from __future__ import annotations

import gc
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

from sptls.openssl_settings import load_openssl
from sptls.workers.descriptors import FIRST_SOCKET, FROM_WORKER, LOG_TURN, TO_WORKER

if TYPE_CHECKING:
    from collections.abc import Sequence

_PARENTS: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def main(words: Sequence[str]) -> None:
    """
    Be the worker that *words* name, until it ends.
    """
    for number in _PARENTS:
        signal.signal(number, signal.SIG_IGN)
    # Nothing that the start makes is garbage. The worker enables it again.
    gc.disable()
    load_openssl()
    from twisted.internet import reactor

    _, https, http = (int(word) for word in words)
    run(reactor, _sockets(FIRST_SOCKET, https), _sockets(FIRST_SOCKET + https, http))


def run(reactor: Any, https: Sequence[socket.socket], http: Sequence[socket.socket]) -> None:
    """
    Serve on the sockets as the parent says.
    """
    from twisted.internet.stdio import StandardIO
    from twisted.logger import globalLogBeginner

    from sptls.clock import run_on_monotonic_time
    from sptls.logs import json_observer
    from sptls.startup import Bound
    from sptls.wakes import wake_directly
    from sptls.workers.turn import Turn
    from sptls.workers.worker import Worker

    run_on_monotonic_time(reactor)
    wake_directly(reactor)
    worker = Worker(reactor, Bound(tuple(https), tuple(http), ()), Turn(LOG_TURN))
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
