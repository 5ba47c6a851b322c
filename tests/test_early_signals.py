"""
Tests for `sptls.early_signals`: what comes while the daemon starts; with real processes in tests/e2e/test_start.py.
"""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from twisted.scripts._twistd_unix import UnixAppLogger

from sptls import early_signals
from sptls.early_signals import EarlySignal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOTH = (signal.SIGHUP, signal.SIGUSR1)


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
def _handlers() -> Iterator[None]:
    """
    Begin with the defaults, and put back what was there.
    """
    before = {number: signal.signal(number, signal.SIG_DFL) for number in BOTH}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("foreground", [True, False])
@pytest.mark.parametrize("number", BOTH)
def test_early_signal_is_remembered(foreground: bool, number: signal.Signals) -> None:
    """
    It ends nothing, at whatever moment of the start it comes; without a terminal a hang-up is meant for us in the
    foreground, too.
    """
    early_signals.remember()
    handler = signal.getsignal(number)
    before = early_signals.came(handler)
    signal.raise_signal(number)
    early_signals.go_on(foreground=foreground)
    assert (False, True) == (before, early_signals.came(signal.getsignal(number)))


def test_whoever_handles_them_already_goes_on() -> None:
    """
    Nobody's handler is displaced; what was ignored is remembered.
    """
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    handler = signal.getsignal(signal.SIGUSR1)
    early_signals.go_on(foreground=False)
    assert handler is signal.getsignal(signal.SIGUSR1)
    assert isinstance(signal.getsignal(signal.SIGHUP), EarlySignal)
    assert not early_signals.came(handler)


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_terminal_that_hangs_up_keeps_its_ordinary_meaning(
    monkeypatch: pytest.MonkeyPatch, before: signal.Handlers
) -> None:
    """
    In the foreground: the process ends, or goes on where its parent had the signal ignored (nohup).
    """
    monkeypatch.setattr("sys.stdin", _Terminal())
    signal.signal(signal.SIGHUP, before)
    early_signals.remember()
    early_signals.go_on(foreground=True)
    assert before == signal.getsignal(signal.SIGHUP)


def test_terminal_that_hung_up_early_ends_the_process_once_that_is_known() -> None:
    """
    As if it had hung up then.
    """
    code = (
        "import io, signal, sys; from sptls import early_signals as early; early.remember(); "
        "signal.raise_signal(signal.SIGHUP); sys.stdin = io.StringIO(); sys.stdin.isatty = lambda: True; "
        "early.go_on(foreground=True)"
    )
    assert -signal.SIGHUP == subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode


def test_twistds_own_rotation_takes_the_place_of_what_remembers(tmp_path: Path) -> None:
    """
    Or its log file would not be rotated any more.
    """
    early_signals.remember()
    observer = UnixAppLogger({"logfile": str(tmp_path / "twistd.log"), "nodaemon": True})._getLogObserver()
    handler = signal.getsignal(signal.SIGUSR1)
    observer._outFile.close()
    assert (True, False) == (callable(handler), isinstance(handler, EarlySignal))


def test_nothing_is_remembered_outside_the_main_thread() -> None:
    """
    A program that looks at twistd's plugins there goes on.
    """
    with ThreadPoolExecutor(1) as threads:
        threads.submit(early_signals.remember).result()
    assert signal.SIG_DFL == signal.getsignal(signal.SIGHUP)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["twistd", "sptls"], True),
        (["twistd", "-n", "--pidfile=", "sptls", "--config", "web"], True),
        (["twistd", "-l", "log", "--uid", "sptls", "sptls"], True),
        (["twistd", "web", "--path", "sptls"], False),
        (["twistd", "--pidfile=", "--help"], False),
        (["twistd", "-n", "-l", "log", "web", "sptls"], False),
        (["twistd"], False),
        ([], False),
    ],
)
def test_other_programs_of_twistd_keep_their_signals(words: list[str], expected: bool) -> None:
    """
    The plugin is imported for each of them.
    """
    assert expected == early_signals.is_for_us(words)


@pytest.mark.parametrize(("program", "expected"), [("sptls", "True False\n"), ("web", "False False\n")])
def test_plugin_remembers_before_anything_else_of_ours_is_imported(program: str, expected: str) -> None:
    """
    Where twistd is to run it; for its other programs nothing is changed.
    """
    code = (
        f"import signal, sys; sys.argv = ['twistd', '-n', {program!r}]; import twisted.plugins.sptls_plugin; "
        "print(callable(signal.getsignal(signal.SIGHUP)), 'sptls.tap' in sys.modules)"
    )
    assert expected == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout


def test_program_that_begins_while_signals_are_held_back_lives_to_ignore_them() -> None:
    """
    They wait for it to say what they mean; here they go on as before.
    """
    code = (
        "import os, signal; from sptls import early_signals as early; os.kill(os.getpid(), signal.SIGUSR1); "
        "early.ignore([signal.SIGUSR1]); os.kill(os.getpid(), signal.SIGUSR1); print('alive')"
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with early_signals.held_back([signal.SIGUSR1]):
        running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    out, _ = running.communicate(timeout=60)
    assert (b"alive\n", before) == (out, signal.pthread_sigmask(signal.SIG_BLOCK, ()))
