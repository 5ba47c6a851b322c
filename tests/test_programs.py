from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sptls.programs import LAST_WORDS_BYTES, LAST_WORDS_SECONDS, Running, inherited, run
from tests.certs.stored import outcome

REPOSITORY = Path(__file__).parents[1]
SECONDS = 30.0

needs_setsid = pytest.mark.skipif(shutil.which("setsid") is None, reason="setsid (util-linux) is not installed")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Where commands leave what they know.
    """
    return tmp_path_factory.mktemp("commands")


@pytest.fixture(scope="module")
def outcomes(directory: Path) -> dict[str, str]:
    """
    Give what came of real commands, run all at once on a real reactor.
    """
    shell = ["/bin/sh", "-c"]
    stubborn = "trap '' TERM; echo waiting; echo $$ > {0}; while :; do sleep 0.1; done"
    asked: dict[str, list[Any]] = {
        "good": [SECONDS, "true"],
        "words": [SECONDS, *shell, "echo one; echo two >&2; exit 3"],
        "shell characters": [SECONDS, "sh", "-c", "test \"$1\" = '$HOME; *'", "sh", "$HOME; *"],
        "stdin": [SECONDS, "cat"],
        "reads": [SECONDS, *shell, f"cat > {directory}/read"],
        "reads nothing": [SECONDS, "true"],
        "group": [SECONDS, *shell, f"cut -d' ' -f5 /proc/$$/stat > {directory}/group; echo $$ >> {directory}/group"],
        "signal": [SECONDS, *shell, "kill -9 $$"],
        "missing": [SECONDS, "/no/such/program"],
        "leaves": [SECONDS, *shell, f"sleep 20 & echo $! > {directory}/left"],
        "long words": [SECONDS, *shell, "yes | head -c 1000000; echo the end; exit 1"],
        "hangs": [0.5, *shell, "echo soon; sleep 60"],
        "stubborn": [0.5, *shell, stubborn.format(f"{directory}/stubborn")],
        "stubborn child": [0.5, *shell, f'sh -c "{stubborn.format(f"{directory}/child")}" & wait'],
        "stopped": [-0.5, *shell, stubborn.format(f"{directory}/stopped")],
    }
    told = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.running_programs"],
        input=json.dumps(asked).encode(),
        cwd=REPOSITORY,
        capture_output=True,
        timeout=60,
    )
    assert told.stderr == b""
    given: dict[str, str] = json.loads(told.stdout)
    return given


def is_running(path: Path) -> bool:
    """
    Tell whether the process whose number is in the file *path* has not ended.
    """
    try:
        return Path(f"/proc/{path.read_text().strip()}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_success_says_nothing(outcomes: dict[str, str]) -> None:
    """
    A command that ends with status 0 has succeeded; no shell looks at its words, and its standard input is at its end.
    """
    assert ["", "", ""] == [outcomes[name] for name in ("good", "shell characters", "stdin")]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("words", "the command failed with exit status 3; its last words: one | two"),
        ("signal", "the command was ended by signal 9; its last words: none"),
        (
            "missing",
            "the command can't be run: there is no program '/no/such/program' that this user may execute",
        ),
        ("hangs", "the command did not end within 0.5 s and was ended; its last words: soon"),
        ("stubborn", "the command did not end within 0.5 s and was ended; its last words: waiting"),
        ("stopped", "cancelled"),
    ],
)
def test_a_failure_says_what_happened(outcomes: dict[str, str], name: str, said: str) -> None:
    """
    The status, the signal or the deadline, and what the command said last on either output.
    """
    assert said == outcomes[name]


def test_last_words_are_the_last(outcomes: dict[str, str]) -> None:
    """
    Of a megabyte of output, the end is kept.
    """
    words = outcomes["long words"].partition("last words: ")[2]
    assert words.endswith(" | y | the end")
    assert len(words) < 3 * LAST_WORDS_BYTES


@needs_setsid
@pytest.mark.usefixtures("outcomes")
def test_it_has_a_process_group_of_its_own(directory: Path) -> None:
    """
    So Ctrl-C in a terminal is for sptls, and a deadline is for the command and what it started.
    """
    group, pid = (directory / "group").read_text().split()
    assert group == pid


@needs_setsid
@pytest.mark.usefixtures("outcomes")
@pytest.mark.parametrize("name", ["stubborn", "child", "stopped"])
def test_nothing_outlives_the_deadline(directory: Path, name: str) -> None:
    """
    What ignores SIGTERM is killed, also a child of the command, also at the end of the daemon.
    """
    assert (directory / name).exists()
    assert not is_running(directory / name)


def test_what_a_good_command_leaves_running_is_left_alone(outcomes: dict[str, str], directory: Path) -> None:
    """
    A server that the command has started in the background goes on, and is not waited for.
    """
    assert ("", True) == (outcomes["leaves"], is_running(directory / "left"))
    subprocess.run(["kill", (directory / "left").read_text().strip()], check=True)


@pytest.mark.usefixtures("outcomes")
def test_it_can_read_what_it_is_given(outcomes: dict[str, str], directory: Path) -> None:
    """
    On its standard input, to the end; one that does not read it is no worse for that.
    """
    assert "reads" == (directory / "read").read_text()
    assert ["", ""] == [outcomes[name] for name in ("reads", "reads nothing")]


def test_what_systemd_says_to_the_daemon_is_not_inherited() -> None:
    """
    A program that acted on it would speak for the daemon.
    """
    environment = {"PATH": "/bin", "NOTIFY_SOCKET": "/run/systemd/notify", "LISTEN_FDS": "1"}
    assert {"PATH": "/bin"} == inherited(environment)


class Transport:
    """
    A process of which a test tells what becomes.
    """

    pid = 4321
    is_left = False

    def loseConnection(self) -> None:  # noqa: N802 - Twisted's name
        """
        Note it.
        """
        self.is_left = True


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (ProcessDone(0), ""),
        (ProcessTerminated(3), "failed with exit status 3"),
        (ProcessTerminated(None, 15), "was ended by signal 15"),
    ],
)
def test_output_that_something_holds_open_is_not_read_on(reason: Exception, status: str) -> None:
    """
    After the command's own end what is in the pipe is read for a moment, then the pipe is left.
    """
    clock, transport = Clock(), Transport()
    seen: list[str] = []
    running = Running(clock)
    running.transport = transport  # type: ignore[assignment] # all of a process that is used
    running.ended().addCallback(seen.append)
    running.processExited(Failure(reason))
    running.outReceived(b"late")
    assert ([], False) == (seen, transport.is_left)
    clock.advance(LAST_WORDS_SECONDS)
    assert transport.is_left
    running.processEnded(Failure(reason))
    assert ([status], "late", []) == (seen, running.last_words, clock.getDelayedCalls())


class Exhausted(Clock):
    """
    A reactor that can start no process.
    """

    def spawnProcess(self, *_args: object, **_kwargs: object) -> None:  # noqa: N802 - Twisted's name
        """
        Fail as the system does.
        """
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")


def test_a_system_without_room_for_a_process_is_said() -> None:
    """
    That is a failure like any other, to be tried again.
    """
    failed = outcome(run(Exhausted(), "the command", [sys.executable], {}, SECONDS))
    assert "the command can't be run: Resource temporarily unavailable" == failed


def test_waiting_can_be_given_up() -> None:
    """
    Who waited no longer is not told, and the command is not concerned.
    """
    running = Running(Clock())
    waiting = running.ended()
    waiting.addErrback(lambda _: None)
    waiting.cancel()
    running.processExited(Failure(ProcessDone(0)))
    running.processEnded(Failure(ProcessDone(0)))
    seen: list[str] = []
    running.ended().addCallback(seen.append)
    assert [""] == seen
