"""
A real CA for the tests of this folder, and a way to issue from it in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import pytest

from tests.pebble.pebble import Pebble, Settings, is_installed, running
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

DRIVER = Path(__file__).with_name("driver.py")
DRIVER_SECONDS = 60.0


@attrs.frozen
class Ca:
    """
    A running Pebble, and the port where it looks for http-01 answers.
    """

    pebble: Pebble
    http_port: int

    def issue(self, *names: str, **task: Any) -> dict[str, Any]:
        """
        Issue for *names* in a process of its own; gives the driver's report.
        """
        done = self._drive(names, task)
        assert (0, "") == (done.returncode, done.stderr)
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def crash(self, *names: str, **task: Any) -> None:
        """
        Begin to issue for *names* in a process that is killed on the way (``dies_at``).
        """
        done = self._drive(names, task)
        assert (-signal.SIGKILL, "") == (done.returncode, done.stderr)

    def _drive(self, names: tuple[str, ...], task: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        whole = {
            "directory_url": self.pebble.directory_url,
            "trust": str(self.pebble.trust),
            "http_port": self.http_port,
            "names": names,
            **task,
        }
        return subprocess.run(
            [sys.executable, "-W", "error", str(DRIVER)],
            input=json.dumps(whole),
            capture_output=True,
            text=True,
            timeout=DRIVER_SECONDS,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )


class StartCa(Protocol):
    """
    Starts a CA with these settings for one test.
    """

    def __call__(self, **settings: Any) -> Ca:
        """
        Start it; it ends with the test.
        """


@pytest.fixture
def start_ca(tmp_path: Path) -> Iterator[StartCa]:
    """
    Give what starts a CA; whatever it started ends with the test.
    """
    if not is_installed():
        pytest.skip("Pebble is not installed (Debian: apt-get install pebble)")
    with ExitStack() as stack:

        def start(**settings: Any) -> Ca:
            http_port, tls_port = free_ports(2)
            pebble = stack.enter_context(running(tmp_path, Settings(http_port, tls_port, **settings)))
            return Ca(pebble, http_port)

        yield start
