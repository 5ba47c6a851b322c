"""
How a wait for many certificates looks: a bar on a terminal, and a line for each name that has come to an end.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sptls.cli.output import is_terminal, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sptls.cli.tally import Settled

    # Told of the names that have come to an end.
    Told = Callable[[Iterable["Settled"]], None]


@contextmanager
def progress(total: int) -> Iterator[Told]:
    """
    Show how many of *total* names have come to an end; gives what is to be told of them.
    """
    if not is_terminal():
        yield _say_each
        return
    # Cron has no terminal, and need not wait for it.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    columns = (TextColumn("certificates"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("", total=total)

        def told(settled: Iterable[Settled]) -> None:
            for one in settled:
                bar.console.print(Text(str(one), "" if one.is_fine else "bold red"), soft_wrap=True)
                bar.advance(task)

        yield told


def _say_each(settled: Iterable[Settled]) -> None:
    for one in settled:
        say(str(one))
    if sys.stdout is not None:  # whoever reads a pipe waits as long as we do
        sys.stdout.flush()
