"""
A program that runs as a child of this process and ends with it, whatever ends it.

`Child.end` tells it to end. When this process dies in another way, the kernel ends the child; and Ctrl-C, which a
terminal sends to all, reaches this process alone, which then ends things in order. Both are asked for by way of
util-linux's setpriv and setsid, since Twisted runs no code of ours between fork and exec. Without them (no Debian is)
the child ends at Ctrl-C, or when it next writes to its closed output.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from twisted.python.failure import Failure

_log = Logger()

# Go programs with nothing to save end at once.
STOP_SECONDS: Final = 5.0
# What a program says last is mostly why it ended.
LAST_LINES: Final = 5
LINE_BYTES: Final = 1000


class Child(ProcessProtocol):
    """
    One running *program*, from `spawn` on: what it says, and its end.
    """

    def __init__(self, program: str, clock: Any) -> None:
        self.program = program
        self.has_ended = False
        self._clock = clock
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._partial = b""
        self._is_ending = False
        self._ended: Deferred[None] = Deferred()

    @classmethod
    def spawn(
        cls, reactor: Any, program: str, arguments: Sequence[str], environment: Mapping[str, str], directory: Path
    ) -> Child:
        """
        Start *program*, found on PATH, in *directory*, with *environment* and PATH as all of its environment.

        Raises:
            OSError: there is no such program, or it can't be started.
        """
        path = shutil.which(program)
        if path is None:
            raise FileNotFoundError(2, os.strerror(2), program)
        wrappers = (("setsid",), ("setpriv", "--pdeathsig", "KILL"))
        prefix = [word for wrapper in wrappers if shutil.which(wrapper[0]) for word in wrapper]
        command = [*prefix, path, *arguments]
        child = cls(program, reactor)
        everything = {"PATH": os.environ.get("PATH", os.defpath), **environment}
        reactor.spawnProcess(child, shutil.which(command[0]), command, env=everything, path=str(directory))
        return child

    @property
    def last_words(self) -> str:
        """
        Give what the program said last, in one line.
        """
        return "; ".join(self._lines) or "nothing"

    @property
    def pid(self) -> int | None:
        """
        Give the running program's process id; None once it has ended.
        """
        return self.transport.pid if self.transport is not None else None

    async def end(self) -> None:
        """
        Have the program end, and wait until it has: by SIGTERM, after `STOP_SECONDS` by SIGKILL.
        """
        self._is_ending = True
        if self.has_ended:
            return
        self._signal("TERM")
        kill = self._clock.callLater(STOP_SECONDS, self._signal, "KILL")
        await self._ended
        if kill.active():
            kill.cancel()

    def _signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)  # type: ignore[union-attr] # set before anything is called

    def outReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """
        Keep the last lines.
        """
        *lines, partial = (self._partial + data).split(b"\n")
        self._partial = partial[:LINE_BYTES]
        self._lines.extend(line[:LINE_BYTES].decode(errors="replace").strip() for line in lines if line.strip())

    errReceived = outReceived  # noqa: N815 - Twisted's name

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """
        Note the end; one that was not asked for is logged.
        """
        self.has_ended = True
        if not self._is_ending:
            status = "without an error" if reason.check(ProcessDone) else reason.getErrorMessage()
            _log.error(
                "{program} has ended: {status}; it said: {words}",
                program=self.program,
                status=status,
                words=self.last_words,
            )
        self._ended.callback(None)
