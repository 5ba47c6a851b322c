"""
The operator's programs: run without a shell, in a process group of its own, with a deadline, its last words kept.

util-linux's setsid gives it the group, since Twisted runs no code of ours between fork and exec; a system without it
(no Debian is) has the program alone ended at the deadline, not what it started. Its end is its own: what it leaves
running is left alone.
"""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.internet.error import ProcessDone, ProcessTerminated
    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

# A shell script ends its children and itself within this; then the kernel does it.
KILL_SECONDS: Final = 5.0
# How often the end of what the command started is looked for, and how long the kernel may take for SIGKILL.
LOOK_SECONDS: Final = 0.1
KILLED_SECONDS: Final = 2.0
# What was written right before the end is still in the pipe; one that something left running keeps open is not read on.
LAST_WORDS_SECONDS: Final = 0.5
# The last lines tell why a program ended; all of its output may be a copy of the world.
LAST_WORDS_BYTES: Final = 2048

# What systemd says to the daemon itself: a program that acted on it would speak for the daemon.
_NOT_INHERITED: Final = (
    *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"),
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "MAINPID"),
)


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Give what a program of the operator's gets of the daemon's own *environment*.
    """
    return {key: value for key, value in environment.items() if key not in _NOT_INHERITED}


async def run(
    reactor: Any,
    what: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    seconds: float,
    stdin: bytes = b"",
) -> str:
    """
    Run *command* for *seconds* at the most; gives "" when it succeeded, or else what happened, in words.

    *what* is what the words call it ("the deploy command"); it can read *stdin*. Cancelling ends it, and all it
    started, by SIGTERM, after `KILL_SECONDS` by SIGKILL; so does the deadline.
    """
    program = shutil.which(command[0], path=environment.get("PATH", os.defpath))
    if program is None:
        return f"{what} can't be run: there is no program {command[0]!r} that this user may execute"
    running = Running(reactor)
    try:
        running.spawn([program, *command[1:]], environment, stdin)
    except OSError as error:
        return f"{what} can't be run: {error.strerror}"
    try:
        status = await running.ended().addTimeout(seconds, reactor)
    except DeferredTimeoutError:
        how = "was ended" if await running.end() else "can't be ended: it runs as another user"
        status = f"did not end within {seconds:g} s and {how}"
    except CancelledError:
        await running.end()
        raise
    return f"{what} {status}; its last words: {running.last_words}" if status else ""


class Running(ProcessProtocol):
    """
    One run of a program, from `spawn` on.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._output = b""
        self._has_group = False
        self._pid = 0
        # None while it runs; then "", or how it failed.
        self._status: str | None = None
        self._waiting: list[Deferred[str]] = []
        self._last_words_call: IDelayedCall | None = None

    def spawn(self, command: Sequence[str], environment: Mapping[str, str], stdin: bytes = b"") -> None:
        """
        Start *command*, whose first word is a path, with *stdin* to read and then the end of it.

        Raises:
            OSError: it can't be started.
        """
        setsid = shutil.which("setsid")
        self._has_group = setsid is not None
        words = [setsid, *command] if setsid is not None else list(command)
        process = self._reactor.spawnProcess(self, words[0], words, env=dict(environment))
        if stdin:
            process.write(stdin)
        process.closeStdin()

    @property
    def last_words(self) -> str:
        """
        Give the end of what it wrote to standard output and standard error, in one line.
        """
        lines = self._output.decode(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines if line.strip()) or "none"

    def ended(self) -> Deferred[str]:
        """
        Wait for its end: "" when it succeeded, or else how it failed. Cancelling ends the waiting, not the program.
        """
        waiting: Deferred[str] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        self._tell()
        return waiting

    async def end(self) -> bool:
        """
        End it and all it started, and wait until it has ended; tells whether it has: one run by sudo need not obey.
        """
        self._signal(signal.SIGTERM)
        until = self._reactor.seconds() + KILL_SECONDS
        try:
            while self._is_any_left() and self._reactor.seconds() < until:
                await deferLater(self._reactor, LOOK_SECONDS)
        finally:
            self._signal(signal.SIGKILL)
        try:
            await self.ended().addTimeout(KILLED_SECONDS, self._reactor)
        except DeferredTimeoutError:
            self._leave()
            return False
        return True

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """
        Remember the process id, which the transport forgets when the program has ended.
        """
        self._pid = self.transport.pid or 0  # type: ignore[union-attr] # set before this is called

    def outReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """
        Keep the last words.
        """
        self._output = (self._output + data)[-LAST_WORDS_BYTES:]

    errReceived = outReceived  # noqa: N815 - Twisted's name

    def processExited(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """
        Note how it ended; something that it started may go on holding its output.
        """
        ended: ProcessDone | ProcessTerminated = reason.value  # type: ignore[assignment] # as the interface says
        if ended.signal is not None:
            self._status = f"was ended by signal {ended.signal}"
        else:
            self._status = f"failed with exit status {ended.exitCode}" if ended.exitCode else ""
        self._last_words_call = self._reactor.callLater(LAST_WORDS_SECONDS, self._leave)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """
        Tell those who wait: it has ended, and all its output was read.
        """
        if self._last_words_call is not None and self._last_words_call.active():
            self._last_words_call.cancel()
        self._last_words_call = None
        self._tell()

    def _leave(self) -> None:
        """
        Read no more output of what the program has left running.
        """
        if self.transport is not None:
            self.transport.loseConnection()  # `processEnded` follows

    def _tell(self) -> None:
        if self._status is not None and self._last_words_call is None:
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one.callback(self._status)

    def _is_any_left(self) -> bool:
        return self._signal(0) if self._has_group else self._status is None

    def _signal(self, number: int) -> bool:
        """
        Send a signal to the group; tells whether there was one to send it to.
        """
        try:
            if self._has_group:
                os.killpg(self._pid, number)
            elif self._status is None:
                os.kill(self._pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
