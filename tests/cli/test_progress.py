"""
Tests for `sptls.cli.progress`.
"""

from __future__ import annotations

import pytest

from sptls.cli.output import show_every_character
from sptls.cli.progress import progress
from sptls.cli.tally import Settled
from tests.cli.terminal import terminal

SETTLED = (Settled("a.example", is_fine=True, words="issued"), Settled("b.example", is_fine=False, words="[dead]"))


def test_lines_tell_what_ended_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    """
    One each, and nothing else: cron mails them.
    """
    with progress(2) as told:
        told(SETTLED[:1])
        told(SETTLED[1:])
    assert ("a.example: issued\nb.example: [dead]\n", "") == capsys.readouterr()


def test_terminal_shows_a_bar_beside_the_lines() -> None:
    """
    How many of all have ended.
    """
    with terminal() as shown:
        show_every_character()
        with progress(2) as told:
            told(SETTLED)
        assert "2/2" in shown.shown
        assert "a.example: issued" in shown.shown
        assert "b.example: [dead]" in shown.shown
