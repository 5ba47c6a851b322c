from __future__ import annotations

import sys
from pathlib import Path

from bench.conditions import conditions


def test_conditions_name_machine_and_versions() -> None:
    """
    A line each, and a peer that is not installed is no fault.
    """
    machine, own, peers, clients = conditions(Path(sys.executable), "wheel", ["sptls", "nginx tuned", "nginx guide"])
    assert "CPUs" in machine
    assert all(name in own for name in ("Python 3", "Twisted", "pyOpenSSL", "OpenSSL"))
    assert peers.startswith("nginx ")
    assert "cryptography" in clients
