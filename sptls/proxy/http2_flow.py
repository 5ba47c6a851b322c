"""
HTTP/2 flow control (RFC 9113 §5.2, §6.9) and whose turn it is to send.

Decides how much of whose content goes out next. Streams take turns frame by frame, so that a large answer holds no
other up. What can't go stays in its `Outflow`, whose owner makes no more of it meanwhile. Priorities are not looked
at (RFC 9113 §5.3.1 deprecates them).
"""

from __future__ import annotations

from collections import deque
from typing import Final

from sptls.proxy.http2_frames import (
    DEFAULT_WINDOW_BYTES,
    MAX_FRAME_BYTES,
    MAX_WINDOW_BYTES,
    ErrorCode,
    Http2Error,
    data,
)

# Content that is put into one write: as much as a transport takes before it pauses its producer.
WRITE_BYTES: Final = 65536


class Inflow:
    """
    How much a client may send yet, of *size_bytes*: on one stream, or on the connection.
    """

    __slots__ = ("_left_bytes", "_size_bytes", "_taken_bytes")

    def __init__(self, size_bytes: int = DEFAULT_WINDOW_BYTES) -> None:
        self._size_bytes = self._left_bytes = size_bytes
        self._taken_bytes = 0

    def receive(self, size: int) -> bool:
        """
        Take note that *size* bytes came; false when these are more than were allowed.
        """
        self._left_bytes -= size
        return self._left_bytes >= 0

    def take(self, size: int) -> int:
        """
        Take note that *size* bytes are gone for good; give what to widen the window by now, 0 for not yet.
        """
        self._taken_bytes += size
        if self._taken_bytes * 2 < self._size_bytes:
            return 0
        taken, self._taken_bytes = self._taken_bytes, 0
        self._left_bytes += taken
        return taken


class Outflow:
    """
    One stream's content on its way to the client: *waiting* could not go yet; *window_bytes* may, and can be negative.

    *ends*: nothing more comes; *is_over*: and all of it went, with END_STREAM.
    """

    __slots__ = ("ends", "in_turn", "is_over", "stream_id", "waiting", "window_bytes")

    def __init__(self, stream_id: int, window_bytes: int) -> None:
        self.stream_id, self.window_bytes = stream_id, window_bytes
        self.waiting = b""
        self.ends = self.is_over = self.in_turn = False

    @property
    def has_to_send(self) -> bool:
        """
        Tell whether something is left to send.
        """
        return bool(self.waiting) or (self.ends and not self.is_over)


class Sender:
    """
    Everything that is ready for the client: frames as they are, then content as the windows allow.

    *held*: the client's side takes no content just now. *initial_window_bytes* is what new streams begin with.
    *waiting_bytes* is all streams' content that could not go yet.
    """

    __slots__ = (
        "_frames",
        "_last",
        "_last_bytes",
        "_turns",
        "_window_bytes",
        "held",
        "initial_window_bytes",
        "waiting_bytes",
    )

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        # What is left of streams, as frames, whatever the others' turns; and how much content is in them.
        self._last: list[bytes] = []
        self._last_bytes = 0
        self._turns: deque[Outflow] = deque()
        self._window_bytes = self.initial_window_bytes = DEFAULT_WINDOW_BYTES
        self.held = False
        self.waiting_bytes = 0

    @property
    def frame_count(self) -> int:
        """
        Tell how many frames wait to be written, content apart.
        """
        return len(self._frames)

    def say(self, frame: bytes) -> None:
        """
        Send *frame*, before all content that has not gone yet.
        """
        self._frames.append(frame)

    def say_last(self, outflow: Outflow, content: bytes) -> bool:
        """
        Send *content*, all that is left of *outflow*, for sure; False where it must wait for its turn, or for leave.

        Most answers are small, and over with this: nothing has to be looked at again when they are written.
        """
        size = len(content)
        last_bytes = self._last_bytes + size
        if self._turns or self.held or outflow.waiting or size > MAX_FRAME_BYTES or last_bytes > WRITE_BYTES:
            return False
        if size > outflow.window_bytes or size > self._window_bytes:
            return False
        self._last_bytes = last_bytes
        self._window_bytes -= size
        outflow.window_bytes -= size
        outflow.ends = outflow.is_over = True
        self._last.append(data(outflow.stream_id, content, ends=True))
        return True

    def put(self, outflow: Outflow, content: bytes, *, ends: bool) -> None:
        """
        Send *content* when it is *outflow*'s turn; with *ends* nothing comes after it.
        """
        outflow.waiting = outflow.waiting + content if outflow.waiting else content
        self.waiting_bytes += len(content)
        outflow.ends = ends
        self._queue(outflow)

    def drop(self, outflow: Outflow) -> None:
        """
        Send nothing more of *outflow*.
        """
        self.waiting_bytes -= len(outflow.waiting)
        outflow.waiting, outflow.is_over = b"", True
        if outflow.in_turn:
            outflow.in_turn = False
            self._turns.remove(outflow)

    def take(self) -> tuple[bytes, list[Outflow]]:
        """
        Give what can be written now, and the outflows of which nothing is left; no bytes when there is nothing more.
        """
        frames, self._frames = self._frames, []
        emptied: list[Outflow] = []
        turns, left_bytes = self._turns, 0 if self.held else WRITE_BYTES - self._last_bytes
        if self._last:
            frames += self._last
            self._last, self._last_bytes = [], 0
        while turns and left_bytes > 0:
            outflow = turns[0]
            waiting = outflow.waiting
            room = min(self._window_bytes, outflow.window_bytes, MAX_FRAME_BYTES)
            if len(waiting) > max(room, 0):
                if self._window_bytes <= 0:
                    break
                turns.popleft()
                if room <= 0:
                    outflow.in_turn = False  # until its own window is widened
                    continue
                piece, outflow.waiting = waiting[:room], waiting[room:]
                turns.append(outflow)
            else:
                piece, outflow.waiting = waiting, b""
                outflow.is_over = outflow.ends
                turns.popleft()
                outflow.in_turn = False
                emptied.append(outflow)
            frames.append(data(outflow.stream_id, piece, ends=outflow.is_over))
            size = len(piece)
            self.waiting_bytes -= size
            self._window_bytes -= size
            outflow.window_bytes -= size
            left_bytes -= size
        return b"".join(frames), emptied

    def widen(self, increment: int) -> None:
        """
        Take note that the client takes *increment* bytes more on the connection.

        Raises:
            Http2Error: its window can't be so large.
        """
        self._window_bytes += increment
        if self._window_bytes > MAX_WINDOW_BYTES:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is widened too far")

    def widen_stream(self, outflow: Outflow, increment: int) -> bool:
        """
        Take note that the client takes *increment* bytes more, or fewer; false when its window can't be so large.
        """
        outflow.window_bytes += increment
        if outflow.has_to_send:
            self._queue(outflow)
        return outflow.window_bytes <= MAX_WINDOW_BYTES

    def _queue(self, outflow: Outflow) -> None:
        if not outflow.in_turn:
            outflow.in_turn = True
            self._turns.append(outflow)
