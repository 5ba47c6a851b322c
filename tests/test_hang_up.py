"""
Tests for `sptls.hang_up`: a wish to read the configuration again that comes while the daemon starts.
"""

from __future__ import annotations

import io
import signal
from typing import TYPE_CHECKING

import pytest

from sptls import hang_up

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Terminal(io.StringIO):
    """
    Standard input at which a person sits.
    """

    def isatty(self) -> bool:
        """
        Say so.
        """
        return True


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    """
    Put back the handler of SIGHUP.
    """
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("foreground", [True, False])
def test_early_hang_up_is_remembered(foreground: bool) -> None:
    """
    It ends nothing; without a terminal it is meant for us in the foreground, too.
    """
    hang_up.remember(foreground=foreground)
    before = hang_up.was_sent()
    signal.raise_signal(signal.SIGHUP)
    assert (False, True) == (before, hang_up.was_sent())


def test_terminal_that_hangs_up_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    In the foreground of a terminal the signal keeps its ordinary meaning.
    """
    monkeypatch.setattr("sys.stdin", _Terminal())
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    hang_up.remember(foreground=True)
    assert (signal.SIG_DFL, False) == (signal.getsignal(signal.SIGHUP), hang_up.was_sent())
