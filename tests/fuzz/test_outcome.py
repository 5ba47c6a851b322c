"""
What libFuzzer says is a verdict, figures, and a way to see it again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.outcome import Outcome, outcome, table, told
from fuzz.running import Ended

_WORDS = """\
#2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 40Mb
#900\tDONE   cov: 62 ft: 111 corp: 30/271b lim: 4096 exec/s: 300 rss: 64Mb
Done 900 runs in 3 second(s)
stat::number_of_executed_units: 901
stat::average_exec_per_sec:     300
stat::new_units_added:          29
"""


def test_figures_are_libfuzzers() -> None:
    """
    Its statistics, and the coverage of its last line.
    """
    assert Outcome("x", "fine", _WORDS, (), 901, 300, 62) == outcome("x", Ended(0, _WORDS), [])


def test_lines_are_figures_where_there_are_no_statistics() -> None:
    """
    A process that was ended says none.
    """
    found = outcome("x", Ended(None, _WORDS.partition("stat")[0]), [])
    assert (900, 0, 62, "it hung, and was ended") == (found.executions, found.a_second, found.coverage, found.verdict)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0, "fine"),
        (70, "an input is too slow"),
        (71, "an input takes too much memory"),
        (77, "a promise is broken"),
        (1, "it ended with status 1"),
        (-11, "it ended with status -11"),
        (None, "it hung, and was ended"),
    ],
)
def test_status_is_a_verdict(status: int | None, expected: str) -> None:
    """
    Only one of them is good.
    """
    found = outcome("x", Ended(status, ""), [])
    assert (expected, expected == "fine") == (found.verdict, found.is_fine)


def test_finding_is_told_with_its_input() -> None:
    """
    And with the last lines of what was said; nothing is told where nothing was found.
    """
    found = outcome("x", Ended(77, "\n".join(map(str, range(100)))), [Path("/c/x-crash-1")])
    lines = told(found).splitlines()
    assert ("60", "99") == (lines[0], lines[39])
    assert ["x: a promise is broken", "  python -m fuzz --replay x /c/x-crash-1"] == lines[40:]
    assert "no input" in told(outcome("x", Ended(None, ""), []))
    assert "" == told(outcome("x", Ended(0, _WORDS), []))


def test_table_has_a_line_for_each() -> None:
    """
    In the order of their names, figures to the right.
    """
    outcomes = [Outcome("longer", "fine", "", (), 12345, 100, 7, 30, 2), Outcome("a", "it hung, and was ended")]
    expected = """\
target  executions  a second  coverage  kept  new  verdict
a                0         0         0     0    0  it hung, and was ended
longer       12345       100         7    30    2  fine"""
    assert expected == table(outcomes)
