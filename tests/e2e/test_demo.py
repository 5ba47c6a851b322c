"""
``twistd sptls --demo``, as `make run` starts it: the real path with a CA and a tracking service beside it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.e2e.daemon import TWISTD, http_get, https_get, until
from tests.pebble import pebble

pytestmark = pytest.mark.e2e

NAME = "click.localhost"
ARGUMENTS = [TWISTD, "-n", "--pidfile=", "sptls", "--demo"]


def _clicks(tmp_path: Path, environment: dict[str, str]) -> tuple[str, int]:
    """
    Start the demo, follow what it says to try, stop it; give what it said and its exit status.
    """
    output = tmp_path / "output"
    with output.open("wb") as file, (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ARGUMENTS, stdout=file, stderr=log, cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path), **environment}
        )
    try:
        until(lambda: "Ctrl-C" in output.read_text(), "announcement", 40)
        said = output.read_text()
        found = re.search(r"curl --cacert (\S+) -i https://click.localhost:8443/f/a/b/c/d", said)
        assert found
        context = ssl.create_default_context(cafile=found[1])
        assert 302 == https_get(8443, "/f/a/b/c/d", NAME, context).status
        assert "image/gif" == https_get(8443, "/q/open", NAME, context).field("Content-Type")
        target = "/f/a?target=https%3A%2F%2Fwww.example.com%2F"
        assert "https://www.example.com/" == http_get(8080, target, NAME).field("Location")
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(20)
    return said, status


@pytest.fixture(autouse=True)
def _ports_are_free() -> None:
    """
    The demo's ports are fixed: on a machine that uses them the demo can't be tried.
    """
    for port in (8443, 8080, 9180):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                pytest.skip(f"port {port}, which the demo serves on, is taken on this machine")


@pytest.mark.pebble
def test_demo_with_pebble(tmp_path: Path) -> None:
    """
    With Pebble on PATH the certificate comes over real ACME; afterwards nothing is left.
    """
    if not pebble.is_installed():
        pytest.skip("Pebble is not installed")
    said, status = _clicks(tmp_path, {})
    assert "Pebble, Let's Encrypt's test CA" in said
    assert status in (0, -signal.SIGINT)
    assert [] == list(tmp_path.glob("sptls-demo-*"))


def test_demo_without_pebble_uses_the_internal_ca(tmp_path: Path) -> None:
    """
    Without Pebble on PATH the internal CA issues, and the demo says so.
    """
    said, status = _clicks(tmp_path, {"PATH": str(Path(TWISTD).parent)})
    assert "the internal one" in said
    assert status in (0, -signal.SIGINT)


def test_demo_says_which_port_is_taken(tmp_path: Path) -> None:
    """
    A taken port ends with 1 and its number, and leaves nothing behind.
    """
    with socket.create_server(("127.0.0.1", 8443)):
        ended = subprocess.run(
            ARGUMENTS,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            timeout=30,
        )
    assert (1, True) == (ended.returncode, "127.0.0.1:8443" in ended.stderr)
    assert [] == list(tmp_path.glob("sptls-demo-*"))
