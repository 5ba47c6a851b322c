"""
From one CA to another, as from staging to production: what the old one issued is served until its successor comes.
"""

from __future__ import annotations

import contextlib
import signal
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.e2e.ca import Ca, certificate, domains
from tests.e2e.daemon import Daemon, Launcher, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.pebble]

NAME = "moving.example"
INTERNAL = 'directory = "internal"'


def _told(daemon: Daemon) -> tuple[str, str, str]:
    """
    Give state, source and serial number of `NAME`, as ``/status`` has them.
    """
    domain = daemon.domain(NAME)
    return domain["state"], domain["source"], domain["serial"]


def _wait_valid(daemon: Daemon, source: str) -> None:
    until(lambda: ("valid", source) == _told(daemon)[:2], f"certificate from {source}")


def _served(daemon: Daemon) -> int:
    """
    Give the serial number of what a client of `NAME` gets, whoever issued it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return certificate(daemon.https, NAME, context).serial_number


def _from_internal(ca: Ca, directory: Path) -> tuple[Launcher, str]:
    """
    Have a certificate issued by the internal CA; give what starts the daemon, and the serial number.
    """
    launcher = ca.launcher(directory, NAME)
    launcher.write(domains=domains(NAME), acme=INTERNAL)
    with launcher.running() as daemon:
        daemon.wait_valid(NAME)
        state, source, serial = _told(daemon)
    assert ("valid", "internal") == (state, source)
    return launcher, serial


def test_old_certificate_is_served_and_told_apart_until_the_new_ca_has_issued(ca: Ca, tmp_path: Path) -> None:
    """
    While the new CA does not answer, the name is never said to be valid; one order then brings the certificate.
    """
    launcher, old = _from_internal(ca, tmp_path)
    launcher.write(domains=domains(NAME), acme=ca.acme)
    with contextlib.ExitStack() as outage:
        outage.enter_context(ca.hanging())
        with launcher.running() as daemon:
            assert ("replacing", "internal", old) == _told(daemon)
            assert {"replacing": 1} == daemon.status()["states"]
            assert int(old, 16) == _served(daemon)
            outage.close()
            _wait_valid(daemon, ca.pebble.directory_url)
            new = _told(daemon)[2]
            assert (False, int(new, 16)) == (new == old, _served(daemon))
            certificate(daemon.https, NAME, ca.client())
    with launcher.running() as daemon:
        assert ("valid", ca.pebble.directory_url, new) == _told(daemon)
    assert 1 == ca.orders


def test_next_ca_issues_where_the_first_can_not(ca: Ca, tmp_path: Path) -> None:
    """
    It answers nonsense (one that refuses connections is tried for longer); the other's certificate is as good.
    """
    launcher = ca.launcher(tmp_path, NAME)
    path = launcher.write(domains=domains(NAME), acme=ca.acme)
    first = ca.acme.replace(ca.pebble.directory_url, f"{ca.pebble.management_url}/dir")
    path.write_text(path.read_text().replace("[acme]\n", f"[[acme]]\n{first}\n[[acme]]\n"))
    with launcher.running() as daemon:
        _wait_valid(daemon, ca.pebble.directory_url)
        certificate(daemon.https, NAME, ca.client())
    with launcher.running() as daemon:
        assert ("valid", ca.pebble.directory_url) == _told(daemon)[:2]
    assert 1 == ca.orders


def test_sighup_goes_to_another_ca_and_back(ca: Ca, tmp_path: Path) -> None:
    """
    Each time the old certificate gives way to one of the CA that is configured now.
    """
    launcher, old = _from_internal(ca, tmp_path)
    serials = {old}
    with launcher.running() as daemon:
        for acme, source in ((ca.acme, ca.pebble.directory_url), (INTERNAL, "internal")):
            launcher.write(domains=domains(NAME), acme=acme)
            daemon.signal(signal.SIGHUP)
            _wait_valid(daemon, source)
            serials.add(_told(daemon)[2])
            assert int(_told(daemon)[2], 16) == _served(daemon)
    assert (3, 1) == (len(serials), ca.orders)
