"""
Processes that run for a while and are ended: at their deadline, or all of them when this one is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock

import attrs

from fuzz.kept import ROOT

# What a process says in the end tells why it ended.
_WORDS_BYTES = 65536


class Stopped(Exception):  # noqa: N818 - no error: nobody waits for the process any more
    """
    No process is started, since all have been ended.
    """


@attrs.frozen
class Ended:
    """
    How a process ended: with *status*, None where it was ended at its deadline, and its last *words*.
    """

    status: int | None
    words: str


class Processes:
    """
    All that were started and have not ended; any thread may start one.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_over = False

    def run(self, command: Sequence[str], seconds: float) -> Ended:
        """
        Run *command* for *seconds* at the most, and wait for its end; then it, and all that it started, is gone.

        Raises:
            Stopped: `end_all` was called before.
        """
        with tempfile.TemporaryFile() as output:
            process = self._start(command, output.fileno())
            status: int | None = None
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(seconds)
            self._end(process)
            output.seek(max(0, output.seek(0, os.SEEK_END) - _WORDS_BYTES))
            return Ended(status, output.read().decode(errors="replace"))

    def end_all(self) -> None:
        """
        End all that run, and let none begin.
        """
        with self._lock:
            self._is_over = True
            for process in self._running:
                _kill(process)

    def _start(self, command: Sequence[str], output: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_over:
                raise Stopped
            # In a group of its own: a merge starts itself again, by a shell.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT.parent, start_new_session=True
            )
            self._running.add(process)
            return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process)
            _kill(process)
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """
    End the group of *process*, unless it has ended itself; nothing of libFuzzer's needs to be tidied up.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
