"""
One at a time writes, of several processes.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys

from sptls.workers.turn import Turn, descriptor_for_turns

# Takes its turn, says so, and keeps it until its standard input ends.
CHILD = """
import sys
from sptls.workers.turn import Turn
with Turn(int(sys.argv[1])):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_another_process_waits_for_the_end_of_a_turn() -> None:
    """
    Also when the one whose turn it is is killed.
    """
    descriptor = descriptor_for_turns()
    os.set_inheritable(descriptor, True)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(descriptor)],
            pass_fds=(descriptor,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    try:
        os.close(descriptor)
        # Whichever has its turn first: the other one's comes with the first one's death.
        outputs = [process.stdout for process in started]
        first = _first_to_speak(started)
        started[first].kill()
        other = outputs[1 - first]
        assert other is not None
        assert b"mine\n" == other.readline()
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_turn_ends_with_its_block() -> None:
    """
    The next one may be the same process's.
    """
    descriptor = descriptor_for_turns()
    held = []
    for _ in range(2):
        with Turn(descriptor):
            held.append(_is_held(descriptor))
        held.append(_is_held(descriptor))
    os.close(descriptor)
    assert [True, False] * 2 == held


def _is_held(descriptor: int) -> bool:
    """
    Tell whether another process would have to wait for its turn.
    """
    program = "import fcntl, sys; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    tried = subprocess.run(
        [sys.executable, "-c", program, str(descriptor)], pass_fds=(descriptor,), capture_output=True, check=False
    )
    assert tried.returncode == 0 or b"BlockingIOError" in tried.stderr
    return tried.returncode != 0


def _first_to_speak(processes: list[subprocess.Popen[bytes]]) -> int:
    outputs = [process.stdout.fileno() for process in processes if process.stdout is not None]
    ready, _, _ = select.select(outputs, [], [], 60)
    return outputs.index(ready[0])
