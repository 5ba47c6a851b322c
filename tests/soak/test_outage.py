from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tests.e2e.ca import certificate, domains, refusal, running_ca
from tests.e2e.daemon import until
from tests.e2e.traffic import traffic
from tests.pebble.pebble import Ports
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NEW = [f"new{number}.example" for number in range(5)]
# An attempt tries five times again, within about 16 s.
GIVE_UP_SECONDS = 40.0
# A minute and its jitter, the pauses of the background during an outage, and the orders.
RETRY_SECONDS = 120.0


def test_ca_that_is_down_at_start(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    The CA is down at start: the stored name is served throughout, 5 new ones fail with one line each, and are
    issued by themselves after it is back.
    """
    ports = Ports(*free_ports(4))
    with running_ca(tmp_path / "ca", ports) as ca:
        launcher = ca.launcher(tmp_path / "daemon", "stored.example")
        with launcher.running() as daemon:
            daemon.wait_valid("stored.example")
        old = ca.client()
    launcher.write(domains=domains("stored.example", *NEW), acme=ca.acme)
    with contextlib.ExitStack() as ending:
        daemon = ending.enter_context(launcher.running())
        seen = ending.enter_context(traffic(daemon.https, "stored.example", old))
        began = time.monotonic()
        for name in NEW:
            until(lambda: daemon.domain(name)["state"] == "failing", "failure", GIVE_UP_SECONDS)  # noqa: B023
            assert refusal(daemon.https, name, old)[1] < 1
        record_property("seconds until all had failed", f"{time.monotonic() - began:.0f}")
        back = ending.enter_context(running_ca(tmp_path / "ca", ports, tls_port=ca.https, http_port=ca.http))
        began = time.monotonic()
        for name in NEW:
            daemon.wait_valid(name, RETRY_SECONDS)
            certificate(daemon.https, name, back.client())
        record_property("seconds from its return until all were served", f"{time.monotonic() - began:.0f}")
        lines = daemon.log.count("no certificate:")
        assert len(NEW) == lines
    record_property("handshakes of the stored name meanwhile", seen.handshakes)
    assert [] == seen.failures
