from __future__ import annotations

import contextlib
import ssl
import time
from typing import TYPE_CHECKING

import trustme

from tests.e2e.conftest import CLICK, own_domain
from tests.e2e.daemon import Launcher, https_get, until
from tests.e2e.names import Names
from tests.e2e.origin import FickleOrigin, Origin
from tests.e2e.traffic import clicks
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLICKS = 20_000
MAX_FOLLOW_SECONDS = 30.0


def _launcher(directory: Path, authority: trustme.CA, origin: Origin) -> Launcher:
    launcher = Launcher(directory)
    launcher.write(
        domains=own_domain(authority, directory, CLICK), acme='directory = "internal"', upstream=origin.configuration
    )
    return launcher


def _trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


def test_service_that_closes_its_connections_at_random(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """
    20,000 clicks in front of a service that closes idle connections at random moments, requests under way: none fails.
    """
    authority, origin = trustme.CA(), FickleOrigin(tmp_path)
    with contextlib.closing(contextlib.ExitStack()) as ending:
        ending.callback(origin.stop)
        daemon = ending.enter_context(_launcher(tmp_path, authority, origin).running())
        statuses = clicks(daemon.https, CLICK, _trusting(authority), CLICKS)
    record_property("connections closed", origin.closed)
    record_property("requests dropped unanswered", origin.dropped)
    record_property("statuses", dict(statuses))
    assert {200: CLICKS} == statuses
    assert min(origin.closed, origin.dropped) > CLICKS // 20


def test_service_that_moves(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    A service's address changes while the old one still answers: it is followed within 30 s, and no click is lost.
    """
    authority, names = trustme.CA(), Names(tmp_path, "127.0.0.1")
    old = Origin(tmp_path, free_ports(1)[0])
    with contextlib.closing(contextlib.ExitStack()) as ending:
        ending.callback(old.stop)
        new = Origin(tmp_path, old.port, "127.0.0.2", old.authority)
        ending.callback(new.stop)
        launcher, trusting = _launcher(tmp_path, authority, old), _trusting(authority)
        launcher.environment = names.environment
        daemon = ending.enter_context(launcher.running())
        assert 200 == https_get(daemon.https, "/q/x", CLICK, trusting).status
        names.move("127.0.0.2")
        began = time.monotonic()

        def followed() -> bool:
            assert 200 == https_get(daemon.https, "/q/x", CLICK, trusting).status
            return bool(new.received)

        until(followed, "request at the new address", seconds=MAX_FOLLOW_SECONDS)
        record_property("seconds", f"{time.monotonic() - began:.0f}")
