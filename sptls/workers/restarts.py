"""
When a worker process that ended is started again: at once, or, where it ends again and again, after a while.
"""

from __future__ import annotations

from typing import Final

# One that has served so long was no failure of the start; what ended it may well not come again.
SETTLED_SECONDS: Final = 10.0
# So often it is started again at once although it has settled none of the times: a kill, or a client that is the end of
# it, costs half a second of its service. One that never served has one more try; what keeps it from it will be there.
_AT_ONCE_SERVED: Final = 3
_AT_ONCE_UNSERVED: Final = 1
# As long as an operator who mends something would wait, and no log is filled.
LONGEST_PAUSE_SECONDS: Final = 30.0


def failures_after(failures: int, served_seconds: float) -> int:
    """
    Tell how often in a row a worker's start has failed, now that it has ended after it *served_seconds*.
    """
    return 0 if served_seconds >= SETTLED_SECONDS else failures + 1


def pause_seconds(failures: int, *, has_served: bool) -> float:
    """
    Tell how long after its end a worker with so many *failures* in a row is started again: 0, ..., 0, 1, 2, 4, ...

    *has_served* tells whether the last one did.
    """
    later = failures - (_AT_ONCE_SERVED if has_served else _AT_ONCE_UNSERVED)
    return 0.0 if later <= 0 else min(LONGEST_PAUSE_SECONDS, 2.0 ** min(later - 1, 10))
