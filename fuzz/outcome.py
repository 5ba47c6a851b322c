"""
What came of fuzzing a target: libFuzzer's figures and its verdict, and a table of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from fuzz.running import Ended

# libFuzzer's exit statuses (-error_exitcode, -timeout_exitcode, FuzzerFlags.def).
_VERDICTS: Final = {
    0: "fine",
    70: "an input is too slow",
    71: "an input takes too much memory",
    77: "a promise is broken",
}
_STATISTIC: Final = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)
_COVERED: Final = re.compile(r"^#(\d+)\s.*\bcov: (\d+) ft: \d+", re.MULTILINE)
_TITLES: Final = ("target", "executions", "a second", "coverage", "kept", "new", "verdict")
# Of a traceback: where it ends.
_TOLD_LINES: Final = 40


@attrs.frozen
class Outcome:
    """
    What came of the target *name*: so many *executions*, *coverage* in libFuzzer's edges, how many inputs are *kept*,
    and how many of these are *new*; *verdict* is "fine" or what is wrong, with the *inputs* and last *words* to see it.
    """

    name: str
    verdict: str
    words: str = ""
    inputs: tuple[Path, ...] = ()
    executions: int = 0
    a_second: int = 0
    coverage: int = 0
    kept: int = 0
    new: int = 0

    @property
    def is_fine(self) -> bool:
        """
        Tell whether nothing was found.
        """
        return self.verdict == _VERDICTS[0]

    @property
    def row(self) -> tuple[str, ...]:
        """
        Give the line of a table.
        """
        figures = (self.executions, self.a_second, self.coverage, self.kept, self.new)
        return (self.name, *map(str, figures), self.verdict)


def outcome(name: str, ended: Ended, inputs: Sequence[Path]) -> Outcome:
    """
    Read what libFuzzer said of the target *name*; *inputs* are the files that it left.
    """
    statistics = {key: int(number) for key, number in _STATISTIC.findall(ended.words)}
    covered = _COVERED.findall(ended.words)
    executions, coverage = map(int, covered[-1]) if covered else (0, 0)
    return Outcome(
        name,
        "it hung, and was ended" if ended.status is None else _verdict(ended.status),
        ended.words,
        tuple(inputs),
        statistics.get("number_of_executed_units", executions),
        statistics.get("average_exec_per_sec", 0),
        coverage,
    )


def _verdict(status: int) -> str:
    return _VERDICTS.get(status, f"it ended with status {status}")


def told(one: Outcome) -> str:
    """
    Say what was found, with how to see it again; "" where nothing was.
    """
    if one.is_fine:
        return ""
    lines = "\n".join(one.words.splitlines()[-_TOLD_LINES:])
    replays = "".join(f"\n  python -m fuzz --replay {one.name} {path}" for path in one.inputs)
    return f"{lines}\n{one.name}: {one.verdict}{replays or '; there is no input to replay'}"


def table(outcomes: Sequence[Outcome]) -> str:
    """
    Give a line for each of *outcomes*, in the order of their names.
    """
    rows = [_TITLES, *(one.row for one in sorted(outcomes, key=lambda one: one.name))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *figures, verdict = row
    aligned = (figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=False))
    return "  ".join([name.ljust(widths[0]), *aligned, verdict])
