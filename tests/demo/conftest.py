from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Run = Callable[..., AbstractContextManager["Running"]]

REPOSITORY = Path(__file__).parents[2]
START_SECONDS, END_SECONDS = 60, 20


@attrs.frozen
class Running:
    """
    A part of the demo in a process of its own, and what it told of itself.
    """

    process: subprocess.Popen[bytes]
    facts: dict[str, Any]

    def children(self) -> list[int]:
        """
        Give the processes that it started.
        """
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def end(self) -> None:
        """
        Have it end, and see it do so without an error.
        """
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(END_SECONDS) == 0


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """
    Give a way to run a part of the demo on a real reactor (`running.PARTS`), with PATH changed if *path* is given.
    """

    @contextmanager
    def running(part: str, path: str = os.environ["PATH"]) -> Iterator[Running]:
        command = [sys.executable, "-W", "error", "-m", "tests.demo.running", part, str(tmp_path)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=REPOSITORY, env={"PATH": path}, stdin=pipe, stdout=pipe) as process:
            assert process.stdout is not None
            try:
                assert select.select([process.stdout], [], [], START_SECONDS)[0]
                yield Running(process, json.loads(process.stdout.readline()))
            finally:
                process.kill()

    return running
