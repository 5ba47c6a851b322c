from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from sptls.demo.child import LINE_BYTES, Child

if TYPE_CHECKING:
    from pathlib import Path

    from tests.demo.conftest import Run

needs_util_linux = pytest.mark.skipif(
    not (shutil.which("setpriv") and shutil.which("setsid")), reason="setpriv and setsid (util-linux) are not installed"
)


def is_running(pid: int) -> bool:
    """
    Tell whether there is a process *pid* that has not ended.
    """
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter where it ends between opening and reading
        return False


@pytest.fixture
def child() -> Child:
    """
    A child without a process, that a test talks for.
    """
    return Child("program", Clock())


def test_the_last_lines_are_kept(child: Child) -> None:
    """
    Of what a program says, the last lines are known, whole, however it came in pieces; long ones are cut.
    """
    assert child.last_words == "nothing"
    child.outReceived(b"one\ntwo\nthr")
    child.errReceived(b"ee\n\nfour\nfive\nsix\n" + b"x" * 3000)
    assert child.last_words == "two; three; four; five; six"
    child.outReceived(b"y" * 3000 + b"\n")
    assert child.last_words.endswith("; " + "x" * LINE_BYTES)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (ProcessDone(0), "without an error"),
        (ProcessTerminated(3), "A process has ended with a probable error condition: process ended with exit code 3."),
    ],
)
def test_an_end_that_nobody_asked_for_is_logged(child: Child, reason: Exception, said: str) -> None:
    """
    When a program ends by itself, the log has its status and last words.
    """
    child.outReceived(b"it is over\n")
    with capturedLogs() as events:
        child.processEnded(Failure(reason))
    (event,) = events
    assert event["log_format"].format(**event) == f"program has ended: {said}; it said: it is over"
    assert Deferred.fromCoroutine(child.end()).called


def test_a_program_that_is_not_there_cannot_be_started(tmp_path: Path) -> None:
    """
    A program that is not on PATH is named.
    """
    with pytest.raises(FileNotFoundError, match="No such file or directory: 'no-such-program'"):
        Child.spawn(None, "no-such-program", [], {}, tmp_path)


def test_output_and_end_of_a_real_program(run: Run) -> None:
    """
    A program runs with the environment it is given, and its last words and end are noticed.
    """
    with run("failing_child") as running:
        assert running.facts == {"last_words": "it is; over"}
        running.end()


def test_a_program_that_does_not_end_is_killed(run: Run) -> None:
    """
    A program that ignores SIGTERM has ended when `end` returns.
    """
    with run("stubborn_child") as running:
        pid = running.facts["pid"]
        assert is_running(pid)
        running.end()
        assert not is_running(pid)


@needs_util_linux
def test_a_signal_from_the_terminal_does_not_reach_it(run: Run) -> None:
    """
    A program is in a process group of its own, so Ctrl-C is for this process to act on.
    """
    with run("stubborn_child") as running:
        assert os.getpgid(running.facts["pid"]) != os.getpgid(running.process.pid)


@needs_util_linux
def test_no_program_outlives_this_process(run: Run) -> None:
    """
    When this process is killed, the kernel ends the program.
    """
    with run("stubborn_child") as running:
        pid = running.facts["pid"]
        running.process.kill()
        running.process.wait()
        until = time.monotonic() + 10
        while is_running(pid) and time.monotonic() < until:
            os.sched_yield()
        assert not is_running(pid)
