"""
Tests for `sptls.cli.main`: how commands are found, and how everything that can go wrong ends.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata

import click
import pytest

from sptls.cli import main, status
from sptls.errors import ConfigError, ControlError, Fault
from tests.cli.conftest import Command

PROGRAM = "import sys\nfrom sptls.cli.main import main\nsys.argv[0] = 'sptls'\nmain()\n"


def _raise(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """
    Have the status command end with *error*.
    """

    @click.command
    @click.option("--debug", is_flag=True, expose_value=False)
    def command() -> None:
        raise error

    monkeypatch.setattr(status, "command", command)


def test_version_is_the_packages(sptls: Command) -> None:
    """
    As pip knows it.
    """
    ran = sptls("--version")
    assert (0, f"sptls {metadata.version('sptls')}\n") == (ran.status, ran.out)


COMMANDS = ["check", "status", "explain", "issue", "renew", "retry", "revoke", "import", "export", "show"]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_help_names_every_command(sptls: Command, arguments: list[str]) -> None:
    """
    And the exit statuses.
    """
    ran = sptls(*arguments)
    assert 0 == ran.status
    assert COMMANDS == [line.split()[0] for line in ran.out.partition("Commands:\n")[2].splitlines()]
    assert "Exit status" in ran.out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(sptls: Command, name: str) -> None:
    """
    With the options that all have.
    """
    ran = sptls(name, "--help")
    assert 0 == ran.status
    assert all(option in ran.out for option in ("--config", "--state-dir", "SPTLS_CONFIG", "--debug"))
    assert "xit status" in ran.out


@pytest.mark.parametrize("arguments", [["frobnicate"], ["--frobnicate"], ["status", "--frobnicate"], ["show"]])
def test_wrong_words_are_a_usage_error(sptls: Command, arguments: list[str]) -> None:
    """
    Exit status 2, and where to read more.
    """
    ran = sptls(*arguments)
    assert (2, "") == (ran.status, ran.out)
    assert re.search(r"Try 'sptls.* (--help|-h)' for help", ran.err)


@pytest.mark.parametrize(
    ("error", "status_", "said"),
    [
        (ConfigError((Fault("a.b", "is wrong"), Fault("c", "is missing"))), 2, "a.b: is wrong\n  c: is missing\n"),
        (ControlError("it hangs"), 1, "sptls: the daemon can't be asked: it hangs\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "sptls: /x: Permission denied\n"),
        (OSError("odd"), 1, "sptls: odd\n"),
        (ZeroDivisionError("by zero"), 1, "a fault of sptls itself: ZeroDivisionError: by zero"),
        (KeyboardInterrupt(), 130, ""),
        (click.ClickException("no"), 1, "Error: no\n"),
    ],
)
def test_every_fault_ends_in_a_sentence_and_a_status(
    sptls: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, status_: int, said: str
) -> None:
    """
    Never in a traceback.
    """
    monkeypatch.setattr(main, "_write_no_more", lambda: None)
    _raise(monkeypatch, error)
    ran = sptls("status")
    assert status_ == ran.status
    assert said in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("arguments", [["status", "--debug"], ["--debug", "status"]])
def test_traceback_is_there_for_those_who_ask(
    sptls: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """
    Wherever the flag stands.
    """
    _raise(monkeypatch, ZeroDivisionError("by zero"))
    assert "Traceback" in sptls(*arguments).err


def test_closed_pipe_ends_quietly() -> None:
    """
    As with ``sptls --help | true``: no complaint, also at Python's end.
    """
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run([sys.executable, "-c", PROGRAM, "--help"], stdout=writing, stderr=subprocess.PIPE, timeout=60)
    os.close(writing)
    assert (1, b"") == (ran.returncode, ran.stderr)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_answer_that_cannot_be_written_is_said() -> None:
    """
    A full disk behind standard output is no success.
    """
    with open("/dev/full", "wb") as full:
        ran = subprocess.run([sys.executable, "-c", PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert (1, b"sptls: No space left on device\n") == (ran.returncode, ran.stderr)


def test_closed_standard_output_is_no_fault() -> None:
    """
    Nobody wants the answer then, the exit status says it all.
    """
    closing = ["sh", "-c", 'exec "$@" >&-', "sh"]
    ran = subprocess.run([*closing, sys.executable, "-c", PROGRAM, "--version"], stderr=subprocess.PIPE, timeout=60)
    assert (0, b"") == (ran.returncode, ran.stderr)


def test_asking_a_daemon_imports_no_twisted() -> None:
    """
    A monitor asks every minute; what it does not need takes longer than all the rest.
    """
    look = "import sys, sptls.cli.status; print({'twisted', 'cryptography', 'rich'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", look], capture_output=True, timeout=60, check=True)
    assert b"set()\n" == ran.stdout
