"""
SIGHUP: the configuration is read again while clients come and go.
"""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import CLICK, OTHER, own_domain
from tests.e2e.daemon import Daemon, Launcher, https_get, until
from tests.e2e.traffic import traffic

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    import trustme

    from tests.e2e.origin import Origin

pytestmark = pytest.mark.e2e

INTERNAL = 'directory = "internal"'
ROUNDS = 10


def _reload(daemon: Daemon, said: str = "was read again") -> None:
    """
    Send SIGHUP, and wait until the log says once more what came of it.
    """
    before = daemon.log.count(said)
    daemon.signal(signal.SIGHUP)
    until(lambda: daemon.log.count(said) > before, f"'{said}' in the log")


def test_no_handshake_fails_while_domains_come_and_go(
    launcher: Launcher, authority: trustme.CA, trusting: ssl.SSLContext, tracking: Origin
) -> None:
    """
    A domain that stays is served through every reload; one that comes is served, one that goes is not.
    """
    stays, comes = (own_domain(authority, launcher.directory, name) for name in (CLICK, OTHER))
    launcher.write(domains=stays, acme=INTERNAL, upstream=tracking.configuration)
    with launcher.running() as daemon, traffic(daemon.https, CLICK, trusting) as seen:
        for round_ in range(ROUNDS):
            is_there = round_ % 2 == 0
            launcher.write(domains=stays + comes if is_there else stays, acme=INTERNAL, upstream=tracking.configuration)
            _reload(daemon)
            assert is_there == _is_served(daemon, OTHER, trusting)
        until(lambda: seen.handshakes >= ROUNDS, "handshakes")
    assert [] == seen.failures


def _is_served(daemon: Daemon, name: str, context: ssl.SSLContext) -> bool:
    try:
        return https_get(daemon.https, "/f/a/b/c/d", name, context).status == 302
    except OSError:
        return False


def test_name_that_comes_gets_its_certificate_and_keeps_it_when_it_comes_back(launcher: Launcher) -> None:
    """
    A new name is obtained; taken out and put in again, it is served from the store.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with launcher.running() as daemon:
        launcher.write(domains=f'domains = ["{CLICK}", "{OTHER}"]', acme=INTERNAL)
        _reload(daemon)
        daemon.wait_valid(OTHER)
        serial = daemon.domain(OTHER)["serial"]
        launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
        _reload(daemon)
        assert [CLICK] == [domain["name"] for domain in daemon.status()["domains"]]
        launcher.write(domains=f'domains = ["{CLICK}", "{OTHER}"]', acme=INTERNAL)
        _reload(daemon)
        assert ("valid", serial) == (daemon.domain(OTHER)["state"], daemon.domain(OTHER)["serial"])


def test_reload_that_comes_during_the_start_ends_nothing(launcher: Launcher) -> None:
    """
    It is remembered, and the configuration is read again as soon as the daemon serves.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    daemon = launcher.spawn()
    try:
        until((launcher.state / "lock").exists, "state directory")
        daemon.signal(signal.SIGHUP)
        until(lambda: "was read again" in daemon.log or daemon.process.poll() is not None, "reload")
        assert None is daemon.process.poll()
    finally:
        daemon.stop()


def test_faulty_file_leaves_the_old_configuration_in_force(launcher: Launcher) -> None:
    """
    All faults are in the log and in the status, and what was served is served.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with launcher.running() as daemon:
        launcher.write(domains='domains = ["not a name", "click.example.com"]', acme=f"{INTERNAL}\nkey_type = 7")
        _reload(daemon, "the old one stays in force")
        faults = daemon.status()["configuration"]["faults"]
        assert ["domains[0]", "acme.key_type"] == sorted((fault.partition(":")[0] for fault in faults), reverse=True)
        assert [CLICK] == [domain["name"] for domain in daemon.status()["domains"]]
        launcher.write(domains=f'domains = ["{OTHER}"]', acme=INTERNAL)
        _reload(daemon)
        assert [] == daemon.status()["configuration"]["faults"]
        daemon.wait_valid(OTHER)


def test_own_certificate_that_cannot_be_read_is_a_fault(launcher: Launcher, tmp_path: Path) -> None:
    """
    Files that the new configuration names are read before anything changes.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with launcher.running() as daemon:
        table = f'[[domains]]\nname = "{OTHER}"\ncertificate = "{tmp_path}/sptls.toml"\nkey = "{tmp_path}/sptls.toml"\n'
        launcher.write(domains=table, acme=INTERNAL)
        _reload(daemon, "the old one stays in force")
        assert [CLICK] == [domain["name"] for domain in daemon.status()["domains"]]


def test_what_needs_a_restart_is_named(launcher: Launcher) -> None:
    """
    The old value stays in force, everything else takes effect.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with launcher.running() as daemon:
        launcher.write(domains=f'domains = ["{OTHER}"]', acme=INTERNAL, more="[limits]\nidle_seconds = 7")
        _reload(daemon, "need a restart")
        assert ["limits.idle_seconds"] == daemon.status()["configuration"]["needs_restart"]
        daemon.wait_valid(OTHER)


def test_thousands_of_names_come_from_a_file_of_their_own(launcher: Launcher) -> None:
    """
    The file is read again too; who waits for a name of it is served.
    """
    names = launcher.directory / "names.txt"
    names.write_text("# ours\n" + "\n".join(f"n{number}.example.com" for number in range(1000)))
    launcher.write(domains=f'domains = ["{CLICK}"]\ndomains_file = "names.txt"', acme=INTERNAL)
    with launcher.running() as daemon:
        assert 1001 == len(daemon.status()["domains"])
        names.write_text("one.example.com # and no other")
        _reload(daemon)
        assert [CLICK, "one.example.com"] == [domain["name"] for domain in daemon.status()["domains"]]
        daemon.wait_valid("one.example.com")


def test_supervisor_gets_signs_of_life(launcher: Launcher) -> None:
    """
    Where systemd's WatchdogSec is set, a daemon that serves is heard of, again and again.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(launcher.directory / "notify"))
        supervisor.settimeout(20)
        launcher.environment |= {"NOTIFY_SOCKET": str(launcher.directory / "notify"), "WATCHDOG_USEC": "200000"}
        with launcher.running():
            heard = [supervisor.recv(1000) for _ in range(4)]
        assert [b"READY=1\nSTATUS=serving 1 domain", *[b"WATCHDOG=1"] * 3] == heard


def test_supervisor_hears_of_the_start_the_reload_and_the_end(launcher: Launcher) -> None:
    """
    Type=notify of systemd: ready once clients are served, reloading until it is over, stopping when it drains.
    """
    launcher.write(domains=f'domains = ["{CLICK}"]', acme=INTERNAL)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(launcher.directory / "notify"))
        supervisor.settimeout(20)
        launcher.environment["NOTIFY_SOCKET"] = str(launcher.directory / "notify")
        with launcher.running() as daemon:
            assert b"READY=1\nSTATUS=serving 1 domain" == supervisor.recv(1000)
            launcher.write(domains=f'domains = ["{CLICK}", "{OTHER}"]', acme=INTERNAL)
            daemon.signal(signal.SIGHUP)
            assert b"RELOADING=1" == supervisor.recv(1000)
            assert b"READY=1\nSTATUS=serving 2 domains" == supervisor.recv(1000)
        assert supervisor.recv(1000).startswith(b"STOPPING=1")
