"""
SIGHUP and SIGUSR1 during a start, whose defaults would end the process: remembered until the service has its own
handlers, or held back until a worker says that they are its parent's to understand.

Imports nothing that takes time, since it is there to come first: twistd's plugin installs it before the options are
read. What comes while Python itself starts can be held off by whoever starts it (``env --ignore-signal``) alone.
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import FrameType

# What an operator or a terminal sends to all processes, and the parent of workers understands.
PARENTS_SIGNALS: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_REMEMBERED: Final = (signal.SIGUSR1, signal.SIGHUP)


class EarlySignal:
    """
    The handler until the service has its own; *before* is what would have become of the signal.

    It is false: twistd sets its own handler of SIGUSR1, which rotates its log, only in the place of a false one.
    """

    def __init__(self, before: Any) -> None:
        self.before = before
        self.was_sent = False

    def __bool__(self) -> bool:
        return False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """
        Remember that it came.
        """
        self.was_sent = True


def is_for_us(words: Sequence[str]) -> bool:
    """
    Tell whether twistd, called by *words*, runs sptls: its name comes before the word of any other service.

    That is the first word that is neither an option nor, perhaps, the value of one.
    """
    for before, word in pairwise(words):
        if word == "sptls":
            return True
        if not word.startswith("-") and (before == words[0] or not before.startswith("-")):
            return False
    return False


def remember() -> None:
    """
    Have both remembered from now on, where nobody handles them yet.
    """
    for number in _REMEMBERED:
        before = signal.getsignal(number)
        if before in (signal.SIG_DFL, signal.SIG_IGN):
            with suppress(ValueError):  # not in the main thread
                signal.signal(number, EarlySignal(before))


def go_on(*, foreground: bool) -> None:
    """
    Have both remembered, as it is known now whether the process stays in the *foreground*.

    Where SIGHUP is no operator's wish it means what it did before; if it came already, now.
    """
    remember()
    early = signal.getsignal(signal.SIGHUP)
    if isinstance(early, EarlySignal) and not asks_to_read_again(foreground=foreground):
        signal.signal(signal.SIGHUP, early.before)
        if early.was_sent:
            signal.raise_signal(signal.SIGHUP)


def asks_to_read_again(*, foreground: bool) -> bool:
    """
    Tell whether SIGHUP is an operator's wish; in the *foreground* of a terminal it means that the terminal is gone.
    """
    return not (foreground and sys.stdin is not None and sys.stdin.isatty())


def came(handler: object) -> bool:
    """
    Tell whether *handler*, which was in charge until now, remembers a signal.
    """
    return isinstance(handler, EarlySignal) and handler.was_sent


@contextmanager
def held_back(numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """
    Have the signals *numbers* wait, and a program that begins meanwhile begin like that: until it says otherwise.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore(numbers: Iterable[signal.Signals]) -> None:
    """
    Have the signals *numbers* mean nothing from now on, also those that were held back.
    """
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
