"""
A name whose DNS leads elsewhere: what is said of it, and that it is issued once its DNS is right, unasked.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import need_pebble
from tests.e2e.daemon import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.ca import Ca
    from tests.e2e.daemon import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.pebble]

COMMAND = [sys.executable, "-c", "from sptls.cli.main import main; main()"]
# This machine as well, and no address of the daemon's.
ELSEWHERE, ELSEWHERE_IPV6 = "127.0.0.99", "::1"
FAIL_SECONDS = 40.0


def _explained(daemon: Daemon, name: str) -> dict[str, Any]:
    """
    Give what ``sptls explain`` says of *name*: a look at its DNS that does not wait for the daemon's next one.
    """
    argv = [*COMMAND, "explain", "--json", "--state-dir", str(daemon.state), name]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert "" == ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def _failing(daemon: Daemon, name: str) -> dict[str, Any]:
    until(lambda: daemon.domain(name)["state"] == "failing", f"failure of {name}:\n{daemon.log}", FAIL_SECONDS)
    return daemon.domain(name)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind((ELSEWHERE_IPV6, 0))
    except OSError:
        return False
    return True


def test_stale_ipv6_address_is_named_and_its_removal_noticed(ca: Ca, tmp_path: Path) -> None:
    """
    The CA goes to the AAAA record first, where nobody listens; when it is gone, nobody has to ask for another try.
    """
    need_pebble()
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    name = "stale.example"
    ca.pebble.set_dns("add-aaaa", host=f"{name}.", addresses=[ELSEWHERE_IPV6])
    with ca.launcher(tmp_path, name, acme='addresses = ["127.0.0.1"]').running() as daemon:
        told = _failing(daemon, name)
        assert f"the name leads to this proxy and to {ELSEWHERE_IPV6}" in told["cause"]
        assert f"remove the records for {ELSEWHERE_IPV6}" in told["advice"]
        before = _explained(daemon, name)
        assert ("failing", [ELSEWHERE_IPV6, "127.0.0.1"]) == (before["state"], before["check"]["addresses"])
        assert ["dns-stale-ipv6"] == [finding["code"] for finding in before["check"]["findings"]]
        ca.pebble.set_dns("clear-aaaa", host=f"{name}.")
        assert _explained(daemon, name)["dns_changed_at"] is not None
        daemon.wait_valid(name)
        assert 1 == daemon.log.count("its DNS has changed since it failed, it leads to 127.0.0.1")


def test_required_check_asks_the_ca_for_nothing_until_the_name_leads_here(ca: Ca, tmp_path: Path) -> None:
    """
    Also after a restart, which knows of the failure what is stored.
    """
    name = "moved.example"
    ca.pebble.set_dns("add-a", host=f"{name}.", addresses=[ELSEWHERE])
    launcher = ca.launcher(tmp_path, name, acme='addresses = ["127.0.0.1"]\nprecheck = "require"')
    with launcher.running() as daemon:
        assert "dns-elsewhere" == _failing(daemon, name)["code"]
    with launcher.running() as daemon:
        assert "failing" == _explained(daemon, name)["state"]
        assert 0 == ca.orders
        ca.pebble.set_dns("clear-a", host=f"{name}.")
        _explained(daemon, name)
        daemon.wait_valid(name)
    assert 1 == ca.orders
