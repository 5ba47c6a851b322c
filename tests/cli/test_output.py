"""
Tests for `sptls.cli.output`.
"""

from __future__ import annotations

import sys

import pytest

from sptls.cli import output
from sptls.errors import Fault
from tests.cli.terminal import terminal

ROWS = [("a.example", "valid", ""), ("long.name.example", "failing", "no [red]such\nname\x1b[2J")]


def test_lines_are_aligned_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Titles, then a line for each row, with nothing after the last word.
    """
    output.table(("domain", "state", "problem"), ROWS)
    assert (
        "DOMAIN             STATE    PROBLEM\n"
        "a.example          valid\n"
        "long.name.example  failing  no [red]such name [2J\n"
    ) == capsys.readouterr().out


def test_terminal_gets_a_table_that_obeys_nothing() -> None:
    """
    Brackets are no colours, escapes none of the CA's.
    """
    with terminal() as shown:
        output.show_every_character()
        output.table(("domain", "state", "problem"), ROWS)
        assert "no [red]such name [2J" in shown.shown
        assert "\x1b[1;31mfailing" in shown.shown


def test_characters_that_a_terminal_lacks_are_escaped() -> None:
    """
    No answer ends in the middle since a CA's name has an accent.
    """
    with terminal() as shown:
        output.show_every_character()
        output.say("Autorité")
        assert "Autorit\\xe9\n" == shown.shown


def test_notes_go_beside_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """
    What is piped on is the answer alone.
    """
    output.say("answer")
    output.note("beside")
    assert ("answer\n", "sptls: beside\n") == capsys.readouterr()


def test_no_standard_output_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It may have been closed before the start.
    """
    monkeypatch.setattr(sys, "stdout", None)
    output.show_every_character()
    assert not output.is_terminal()
    output.say("nobody hears it")


def test_faults_stand_on_lines_of_their_own() -> None:
    """
    Each with its place.
    """
    assert "\n  a: wrong\n  b: missing" == output.listed([Fault("a", "wrong"), Fault("b", "missing")])
