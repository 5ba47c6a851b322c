"""
A process's pulse, of real ones.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from sptls.workers import pulse as module
from sptls.workers.pulse import pulse_of
from sptls.workers.silence import Pulse
from tests.e2e.daemon import until

BEYOND_ANY_PID = 2**22 + 1


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[bytes]]:
    """
    Run the Python *program* until the end of the block.
    """
    process = subprocess.Popen([sys.executable, "-S", "-c", program])
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def _pulse(process: subprocess.Popen[bytes]) -> Pulse:
    found = pulse_of(process.pid)
    assert found is not None
    return found


def test_loop_runs_and_is_then_stopped() -> None:
    """
    Its seconds on the CPU are counted; stopped, it says so.
    """
    with running("while True: pass") as process:
        before = _pulse(process)
        after = until(lambda: now if (now := _pulse(process)).ran_seconds > before.ran_seconds + 0.05 else None, "CPU")
        assert ("R", True) == (after.state, after.waited_seconds >= before.waited_seconds)
        process.send_signal(signal.SIGSTOP)
        until(lambda: _pulse(process).state == "T", "stop")
        assert _pulse(process) == _pulse(process)


def test_sleeper_does_not_run() -> None:
    """
    Nor does it wait for a CPU.
    """
    with running("import signal; signal.pause()") as process:
        until(lambda: _pulse(process).state == "S", "sleep")
        until(lambda: _pulse(process) == _pulse(process), "rest")


def test_process_that_is_not_there_has_none() -> None:
    """
    As where /proc can't be read.
    """
    assert None is pulse_of(BEYOND_ANY_PID)


@pytest.mark.parametrize("name", ["python3", "a) R (b"])
def test_name_may_be_anything(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """
    Without the scheduler's own books the ticks count, and nobody waits.
    """
    ticks = os.sysconf("SC_CLK_TCK")
    stat = f"7 ({name}) D 1 7 7 0 -1 4194560 100 0 3 0 {2 * ticks} {ticks} 0 0 20 0 1 0 5 6 7\n"
    monkeypatch.setattr(module, "_read", lambda path: {f"/proc/{BEYOND_ANY_PID}/stat": stat}[path])
    assert Pulse("D", 3.0, 0.0, 3) == pulse_of(BEYOND_ANY_PID)


def test_what_is_no_stat_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A sandbox may show another thing.
    """
    monkeypatch.setattr(module, "_read", lambda _: "7 (python3) S")
    assert None is pulse_of(BEYOND_ANY_PID)
