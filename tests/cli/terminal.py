"""
A terminal that a person sits at, in memory.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock


class Terminal(io.TextIOWrapper):
    """
    A terminal that shows ASCII only.
    """

    def __init__(self) -> None:
        self._written = io.BytesIO()
        super().__init__(self._written, encoding="ascii")

    def isatty(self) -> bool:
        """
        Be one.
        """
        return True

    @property
    def shown(self) -> str:
        """
        Give what was written.
        """
        self.flush()
        return self._written.getvalue().decode("ascii")


@contextmanager
def terminal() -> Iterator[Terminal]:
    """
    Have a terminal in the place of standard output until the end of the block.
    """
    shown = Terminal()
    # Not a fixture: pytest's capture takes standard output back between a test's set-up and its call.
    with mock.patch.object(sys, "stdout", shown), mock.patch.dict("os.environ", COLUMNS="100", TERM="xterm"):
        yield shown
