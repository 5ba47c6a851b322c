"""
SIGHUP during the start, whose default would end the process: remembered until the service can read the configuration
again. Imports nothing that takes time, since it is there to come first.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


class EarlyHangUp:
    """
    The handler until the service has its own.
    """

    def __init__(self) -> None:
        self.was_sent = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """
        Remember that it came.
        """
        self.was_sent = True


def asks_to_read_again(*, foreground: bool) -> bool:
    """
    Tell whether SIGHUP is an operator's wish; in the *foreground* of a terminal it means that the terminal is gone.
    """
    return not (foreground and sys.stdin is not None and sys.stdin.isatty())


def remember(*, foreground: bool) -> None:
    """
    Have SIGHUP remembered from now on, where it is an operator's wish.
    """
    if asks_to_read_again(foreground=foreground):
        signal.signal(signal.SIGHUP, EarlyHangUp())


def was_sent() -> bool:
    """
    Tell whether SIGHUP came since `remember`, as long as nobody else handles it.
    """
    handler = signal.getsignal(signal.SIGHUP)
    return isinstance(handler, EarlyHangUp) and handler.was_sent
