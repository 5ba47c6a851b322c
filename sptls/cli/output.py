"""
What the commands write: answers to standard output, everything else to standard error; aligned or in a table.

Survives terminals that can't show a character. Decides no words.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Final, TextIO

from sptls.cli.wording import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sptls.errors import Fault

EXIT_FINE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
# What a shell says of a process that SIGINT ended.
EXIT_INTERRUPTED: Final = 130

# Colours by the word in a table's column "state".
_STYLES: Final = {"valid": "green", "failing": "bold red", "faulty": "bold red", "expired": "bold red"}
_BETWEEN: Final = "  "


def show_every_character() -> None:
    """
    Have characters that the terminal's encoding lacks written as escapes, instead of ending in an error.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_terminal() -> bool:
    """
    Tell whether a person reads standard output as it is written.
    """
    return sys.stdout is not None and sys.stdout.isatty()


def say(text: str) -> None:
    """
    Write a line of the answer.
    """
    _write(sys.stdout, text)


def note(text: str) -> None:
    """
    Write a line that is not the answer.
    """
    _write(sys.stderr, f"sptls: {text}")


def _write(stream: TextIO | None, text: str) -> None:
    # Not by click, which writes UTF-8 to a terminal of which it believes that it lies about being ASCII.
    if stream is not None:  # it may have been closed before the start
        stream.write(text + "\n")


def listed(faults: Iterable[Fault]) -> str:
    """
    Give *faults*, each on a line of its own.
    """
    return "".join(f"\n  {fault}" for fault in faults)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """
    Write *rows*: a table on a terminal, aligned columns otherwise.
    """
    cleaned = [[plain(cell) for cell in row] for row in rows]
    if is_terminal():
        _rich_table(titles, cleaned)
        return
    lines = [[title.upper() for title in titles], *cleaned]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        say(_BETWEEN.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _rich_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    # A fifth of a command's start, and cron has no terminal.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(*titles)
    for row in rows:
        made.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    Console().print(made)
