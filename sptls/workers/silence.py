"""
When a worker that says nothing is hung: by what it did meanwhile, not by the time that went by.

A worker says something every second, out of its reactor. One that is stopped, blocked in a call or in an endless loop
says nothing, while the kernel goes on putting clients into its queue: it must go within seconds. But one that gets no
CPU, or waits for its own memory to come back from the disk, says nothing either, and a successor would fare no better.
So the kernel's books are asked, at each look, for what a silent worker had of what it wanted.
"""

from __future__ import annotations

from typing import Final

import attrs

# As often as it says something.
LOOK_SECONDS: Final = 1.0
# One that was silent for a second, and then neither ran nor wanted to for two, would have woken to say something.
_BLOCKED_LOOKS: Final = 2
_ACTIVE_SECONDS: Final = 0.5 * LOOK_SECONDS
# In so much time of its own on a CPU it goes over to a configuration of 100,000 domains several times.
_LOOP_SECONDS: Final = 5.0
# Where the books can't be read, or it is new and has no reactor yet.
_UNKNOWN_LOOKS: Final = 30
_RUNNABLE: Final = "R"
_STOPPED: Final = "Tt"


@attrs.frozen
class Pulse:
    """
    Where a process stands: its state as in proc(5), and since its start the seconds for which its main thread ran.

    *waited_seconds* are those for which any of its threads waited for a CPU, *faults* the pages that had to come from
    a disk.
    """

    state: str
    ran_seconds: float
    waited_seconds: float
    faults: int


class Silence:
    """
    How long a worker has said nothing, and what it did in that time.
    """

    def __init__(self) -> None:
        self._looks = self._blocked_looks = 0
        self._first: Pulse | None = None
        self._last: Pulse | None = None

    @property
    def is_noticed(self) -> bool:
        """
        Tell whether there was a look since it last said something; until then nobody need know its pulse.
        """
        return self._looks > 0

    @property
    def is_certain(self) -> bool:
        """
        Tell whether it said nothing between two looks.
        """
        return self._looks > 1

    def end(self) -> None:
        """
        Take note that it said something.
        """
        self._looks = self._blocked_looks = 0
        self._first = self._last = None

    def look(self, pulse: Pulse | None) -> str:
        """
        Tell why it is hung, by its *pulse* now (None: unknown), or give ""; called every `LOOK_SECONDS`.
        """
        self._looks += 1
        before, self._last = self._last, pulse
        self._first = self._first or pulse
        if pulse is None or before is None or self._first is None:
            return "it says nothing any more" if self._looks > _UNKNOWN_LOOKS else ""
        self._blocked_looks = 0 if _was_active(before, pulse) else self._blocked_looks + 1
        if self._blocked_looks >= _BLOCKED_LOOKS:
            return _why_blocked(pulse.state)
        if pulse.ran_seconds - self._first.ran_seconds >= _LOOP_SECONDS:
            return f"it says nothing any more, and has run for {_LOOP_SECONDS:.0f} s of CPU (an endless loop)"
        return ""


def _was_active(before: Pulse, now: Pulse) -> bool:
    """
    Tell whether it ran between the two, or wanted to and was not let.
    """
    active_seconds = now.ran_seconds - before.ran_seconds + now.waited_seconds - before.waited_seconds
    return now.state == _RUNNABLE or now.faults > before.faults or active_seconds >= _ACTIVE_SECONDS


def _why_blocked(state: str) -> str:
    if state in _STOPPED:
        return "it says nothing any more: it was stopped (SIGSTOP, or a debugger)"
    return f"it says nothing any more: it is blocked in a system call (state {state})"
