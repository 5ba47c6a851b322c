"""
Processes end: by themselves, at their deadline, or with us; and so does what they started.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from fuzz.running import Ended, Processes, Stopped

_SHELL = "/bin/sh"
# More than any of these tests takes.
_LONG = 60.0


def _is_gone(pid: int) -> bool:
    """
    Tell whether a process that is not ours to wait for has ended, which the kernel may take a moment for.
    """
    try:
        with Path(f"/proc/{pid}/stat").open() as file:
            return ") Z " in file.read()
    except (FileNotFoundError, ProcessLookupError):
        return True


def _wait_until_gone(pid: int) -> None:
    for _ in range(1000):
        if _is_gone(pid):
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{pid} is still there")


def test_process_ends_with_status_and_words() -> None:
    """
    Both of its streams are one.
    """
    assert Ended(3, "out\nerr\n") == Processes().run([_SHELL, "-c", "echo out; echo err >&2; exit 3"], _LONG)


def test_only_last_words_are_kept() -> None:
    """
    The rest of a long trace tells no more.
    """
    ended = Processes().run([sys.executable, "-c", "print('x' * 100_000 + 'end')"], _LONG)
    assert (65536, True) == (len(ended.words), ended.words.endswith("end\n"))


def test_process_that_hangs_is_ended() -> None:
    """
    At its deadline, also where it does not want to.
    """
    assert None is Processes().run([_SHELL, "-c", "trap '' TERM; while :; do sleep 1000; done"], 0.2).status


def test_all_end_when_we_do_with_what_they_started(tmp_path: Path) -> None:
    """
    And nobody starts another one.
    """
    processes = Processes()
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    ended: list[Ended] = []
    command = [_SHELL, "-c", f"sleep 1000 & echo $! > {begun}; wait"]
    thread = threading.Thread(target=lambda: ended.append(processes.run(command, _LONG)))
    thread.start()
    started = int(begun.read_text())
    processes.end_all()
    thread.join(_LONG)
    _wait_until_gone(started)
    assert [Ended(-9, "")] == ended
    with pytest.raises(Stopped):
        processes.run(command, _LONG)


def test_processes_run_in_the_root_of_the_checkout() -> None:
    """
    Where `fuzz` and `sptls` are.
    """
    assert f"{Path(__file__).parents[2]}\n" == Processes().run([_SHELL, "-c", "pwd -P"], _LONG).words
