from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from bench.certificates import Certificates
from bench.open_loop import open_loop
from bench.stage import Stage

RATE = 1000.0


def test_wait_for_a_free_client_counts() -> None:
    """
    With one client a click cannot begin before the one before has ended, and its latency has that wait in it.
    """
    with Stage.begun() as stage:
        server = stage.peer("nginx-tuned", Path(sys.executable))
        clicks = open_loop(server.port, str(stage.files.ca), RATE, clicks=4, clients=1)
    assert 4 == len(clicks.seconds) == len(clicks.late_seconds)
    for at in range(1, 4):
        assert clicks.late_seconds[at] >= clicks.seconds[at - 1] - 1 / RATE - 1e-6
    assert all(taken > late >= 0 for taken, late in zip(clicks.seconds, clicks.late_seconds, strict=True))


def test_clicks_are_shared_by_all_clients() -> None:
    """
    Each click is made once, and none is left out.
    """
    with Stage.begun() as stage:
        server = stage.peer("nginx-tuned", Path(sys.executable))
        clicks = open_loop(server.port, str(stage.files.ca), RATE, clicks=7, clients=3)
    assert all(taken > 0 for taken in clicks.seconds)


def test_server_that_is_not_there_is_no_latency(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """
    A click that failed ends the measurement.
    """
    files = Certificates.make(tmp_path)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(RuntimeError, match="a client failed"):
            open_loop(deaf.getsockname()[1], str(files.ca), RATE, clicks=2, clients=1)
    assert "ConnectionRefusedError" in capfd.readouterr().err
