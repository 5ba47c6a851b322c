"""
The access log's file: lines are gathered on the reactor's thread and written by a thread of their own.

So a stalled or full disk never holds up a click: what can't be written is dropped and counted, beyond a bounded
backlog. What a line looks like is `log_line`'s part.
"""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sptls.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from sptls.proxy.log_line import LogEntry

STANDARD_OUTPUT: Final = "-"
# Half of the second that a line may take to be seen; the other half is the disk's.
_FLUSH_SECONDS = 0.5
# About 250 lines: few writes under load, and joining them takes the reactor some 30 µs.
_BLOCK_BYTES = 65536
# Lines are made so many at a time: what makes them is then in the processor's caches for all but the first. What they
# are made of is the whole head of a request at worst, so there must not be too many.
_ENTRIES_KEPT = 64
# About a minute of a disk that hangs, at 1,000 requests a second.
_BACKLOG_BYTES = 16 * 1024 * 1024
# A disk that takes longer than this for 16 MiB hangs, and must not hold up the daemon's end.
_STOP_SECONDS = 5.0
_STOP_POLL_SECONDS = 0.02
# The lines hold addresses, and links with recipients in them: for the group that reads logs, for nobody else.
_MODE = 0o640
_NO_FILE = -1

_log = Logger()


class AccessLog:
    """
    Writes one line per entry to *path*, or to standard output for ``-``; for the reactor's thread only.

    Where other processes write there too, each piece is written in *turn* with theirs.
    """

    def __init__(
        self,
        clock: IReactorTime,
        path: str,
        line: Callable[[LogEntry], bytes],
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        self._clock, self._line = clock, line
        self._writer = _Writer(path, turn or nullcontext())
        self._entries: list[LogEntry] = []
        self._lines: list[bytes] = []
        self._gathered_bytes = 0
        self._flush_call: IDelayedCall | None = None
        self._stopped = False
        self._lost_lines = 0
        self._overflowing = False
        self._reported: str | None = None

    @property
    def dropped_lines(self) -> int:
        """
        Tell how many lines were lost so far, for whatever reason.
        """
        return self._lost_lines + self._writer.dropped_lines

    def start(self) -> None:
        """
        Open the file and begin; call it after fork and setuid.

        Raises:
            StartError: the file can't be opened.
        """
        try:
            self._writer.open()
        except OSError as error:
            raise StartError(
                f"the access log {self._writer.path} can't be opened: {error.strerror}; "
                "give log.access a path in a directory that this user can write"
            ) from error
        self._writer.thread.start()

    def write(self, entry: LogEntry) -> None:
        """
        Take a line, to be in the file within a second; never blocks.
        """
        if self._stopped:
            self._lost_lines += 1
            return
        self._entries.append(entry)
        if len(self._entries) >= _ENTRIES_KEPT:
            self._make_lines()
            if self._gathered_bytes >= _BLOCK_BYTES:
                self._hand_over()
        if self._flush_call is None:
            self._flush_call = self._clock.callLater(_FLUSH_SECONDS, self._flush)

    def reopen(self) -> None:
        """
        Go on in a new file at the same path (log rotation); what was taken before goes into the old one.

        While the new one can't be opened, the old one is used further, and opening is tried again with every block.
        """
        self._hand_over()
        self._writer.take(_Reopen())
        if self._flush_call is None:
            self._flush_call = self._clock.callLater(_FLUSH_SECONDS, self._flush)

    async def stop(self) -> None:
        """
        Write what is left and close; after five seconds the rest is given up, and counted.
        """
        self._hand_over()
        self._stopped = True
        if self._flush_call is not None:
            self._flush_call.cancel()
            self._flush_call = None
        self._writer.take(_Stop())
        deadline = self._clock.seconds() + _STOP_SECONDS
        while self._writer.thread.is_alive() and self._clock.seconds() < deadline:
            await deferLater(self._clock, _STOP_POLL_SECONDS)
        if self._writer.thread.is_alive():
            self._lost_lines += self._writer.waiting_lines
            self._overflowing = True
        self._report()

    def _make_lines(self) -> None:
        made = [self._line(entry) for entry in self._entries]
        self._entries.clear()
        self._lines += made
        self._gathered_bytes += sum(map(len, made))

    def _hand_over(self) -> None:
        self._make_lines()
        if not self._lines:
            return
        self._overflowing = self._writer.waiting_bytes + self._gathered_bytes > _BACKLOG_BYTES
        if self._overflowing:
            self._lost_lines += len(self._lines)
        else:
            self._writer.take(_Block(b"".join(self._lines), len(self._lines)))
        self._lines, self._gathered_bytes = [], 0

    def _flush(self) -> None:
        """
        Hand over what was gathered, and look at the writer again for as long as it has something to do.
        """
        self._hand_over()
        self._report()
        idle = self._writer.idle
        self._flush_call = None if idle else self._clock.callLater(_FLUSH_SECONDS, self._flush)

    def _report(self) -> None:
        """
        Say it once when the log begins to fail, and once when it works again.
        """
        failure = "writing takes too long" if self._overflowing else self._writer.failure
        if failure == self._reported:
            return
        self._reported = failure
        if failure is None:
            event = "the access log {path} works again; {lines} lines were lost since the start"
            _log.info(event, path=self._writer.path, lines=self.dropped_lines)
        else:
            event = "the access log {path} fails: {failure}; {lines} lines were lost since the start"
            _log.error(event, path=self._writer.path, failure=failure, lines=self.dropped_lines)


@attrs.frozen
class _Block:
    """
    Whole lines, to be written together.
    """

    content: bytes
    lines: int


@attrs.frozen
class _Reopen:
    """
    What follows goes into a new file.
    """


@attrs.frozen
class _Stop:
    """
    Nothing follows.
    """


class _Writer:
    """
    The thread that writes, and what the reactor's thread may know of it.

    Each count has one thread that changes it and is only read by the other, so there is no lock to wait for.
    """

    def __init__(self, path: str, turn: AbstractContextManager[object]) -> None:
        self.path = path
        self._turn = turn
        # A daemon thread: the process can end while it hangs in a write.
        self.thread = Thread(target=self._run, name="access log", daemon=True)
        self._queue: SimpleQueue[_Block | _Reopen | _Stop] = SimpleQueue()
        # Changed by the reactor's thread:
        self._taken_orders = self._taken_bytes = self._taken_lines = 0
        # Changed by the writing thread:
        self.failure: str | None = None
        self.dropped_lines = 0
        self._done_orders = self._done_bytes = self._done_lines = 0
        self._fd = _NO_FILE
        self._open_again = False
        self._line_torn = False

    @property
    def idle(self) -> bool:
        """
        Tell whether everything taken is done.
        """
        return self._taken_orders == self._done_orders

    @property
    def waiting_bytes(self) -> int:
        """
        Tell how many bytes are taken and not written.
        """
        return self._taken_bytes - self._done_bytes

    @property
    def waiting_lines(self) -> int:
        """
        Tell how many lines are taken and not written.
        """
        return self._taken_lines - self._done_lines

    def take(self, order: _Block | _Reopen | _Stop) -> None:
        """
        Have *order* carried out, after all earlier ones.
        """
        self._taken_orders += 1
        if isinstance(order, _Block):
            self._taken_bytes += len(order.content)
            self._taken_lines += order.lines
        self._queue.put(order)

    def open(self) -> None:
        """
        Open the file, and close the one before it.

        Raises:
            OSError: it can't be opened; the one before it stays in use.
        """
        if self.path == STANDARD_OUTPUT:
            self._fd = 1
            return
        fd = _open_log(self.path)
        self._close()
        self._fd = fd

    def _close(self) -> None:
        if self._fd != _NO_FILE and self.path != STANDARD_OUTPUT:
            with suppress(OSError):
                os.close(self._fd)
        self._fd = _NO_FILE

    def _run(self) -> None:
        while not isinstance(order := self._queue.get(), _Stop):
            if isinstance(order, _Reopen):
                self._open_again = True
                self._reopen()
            else:
                self._write(order)
                self._done_bytes += len(order.content)
                self._done_lines += order.lines
            self._done_orders += 1
        self._close()

    def _reopen(self) -> None:
        try:
            self.open()
        except OSError as error:
            self.failure = f"the new file can't be opened ({error.strerror})"
        else:
            self._open_again = self._line_torn = False
            self.failure = None

    def _write(self, block: _Block) -> None:
        """
        Write *block*, or count the lines that can't be; a line cut short is ended before the next one is begun.
        """
        if self._open_again:
            self._reopen()
        content = b"\n" + block.content if self._line_torn else block.content
        written = 0
        try:
            with self._turn:
                while written < len(content):
                    written += os.write(self._fd, memoryview(content)[written:])
        except OSError as error:
            self.failure = error.strerror
            self.dropped_lines += min(block.lines, content.count(b"\n", written))
            if written:
                self._line_torn = content[written - 1 : written] != b"\n"
        else:
            self._line_torn = False
            if not self._open_again:
                self.failure = None


def _open_log(path: str) -> int:
    """
    Open *path* for appending; a new file gets its mode whatever the umask, an old one keeps what it has.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | os.O_EXCL, _MODE)
    except FileExistsError:
        return os.open(path, flags, _MODE)
    with suppress(OSError):
        os.fchmod(fd, _MODE)
    return fd
