"""
When no certificate can be had: what clients get, what is remembered, and that nothing else suffers.
"""

from __future__ import annotations

import signal
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.e2e.ca import Ca, certificate, domains, refusal, running_ca, sans
from tests.e2e.conftest import CLICK, need_pebble, own_domain
from tests.e2e.daemon import Daemon, Launcher, https_get, until
from tests.e2e.stored import look
from tests.pebble.pebble import Ports
from tests.ports import free_ports

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.origin import Origin

pytestmark = [pytest.mark.e2e, pytest.mark.pebble]

REFUSED = "TLSV1_ALERT_INTERNAL_ERROR"
# An order tries a CA that does not answer again after 0.5, 1, 2, 4 and 8 s, each ±50 %.
GIVE_UP_SECONDS = 30.0


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _failing(daemon: Daemon, name: str) -> dict[str, str]:
    """
    Wait until *name* is failing; give what ``/status`` says of it.
    """
    until(lambda: daemon.domain(name)["state"] == "failing", f"failure of {name}:\n{daemon.log}", GIVE_UP_SECONDS)
    return daemon.domain(name)


def _unreachable(ca: Ca, directory: Path, name: str) -> Launcher:
    """
    Give what starts a daemon whose ports are not those that *ca* validates.
    """
    launcher = ca.launcher(directory, name)
    launcher.https, launcher.http = free_ports(2)
    launcher.write(domains=domains(name), acme=ca.acme)
    return launcher


def test_name_that_cannot_be_validated(ca: Ca, tmp_path: Path) -> None:
    """
    With both challenge ports closed to the CA the name is failing, says why, and is refused at once until it is due.
    """
    with _unreachable(ca, tmp_path, "closed.example").running() as daemon:
        failing = _failing(daemon, "closed.example")
        reason, seconds = refusal(daemon.https, "closed.example", ca.client())
        assert 1 == daemon.log.count("no certificate:")
    assert (REFUSED, True) == (reason, seconds < 1)
    for part in ("tls-alpn-01", "http-01", "closed.example"):
        assert part in failing["problem"]
    assert ("connection-refused", "host") == (failing["code"], failing["who"])
    wait = _moment(failing["next_attempt_at"]) - datetime.now(UTC)
    assert timedelta(seconds=40) < wait < timedelta(seconds=70)
    assert (2, 2) == (ca.orders, ca.validations("closed.example"))


def test_restart_does_not_forget_a_failure(ca: Ca, tmp_path: Path) -> None:
    """
    After a restart the name is failing as before, is refused at once, and the CA hears nothing.
    """
    launcher = _unreachable(ca, tmp_path, "remembered.example")
    with launcher.running() as daemon:
        before = _failing(daemon, "remembered.example")
    asked = len(ca.requests)
    with launcher.running() as daemon:
        assert before == daemon.domain("remembered.example")
        reason, seconds = refusal(daemon.https, "remembered.example", ca.client())
        assert (REFUSED, True) == (reason, seconds < 1)
    assert asked == len(ca.requests)


def test_kills_while_the_ca_validates_count_once_each(ca: Ca, tmp_path: Path) -> None:
    """
    An attempt that is killed in the validation of each challenge type ends, when the CA's answers are heard, like any
    other that failed both: with two failed authorizations on record, and the next one a minute later.
    """
    launcher = _unreachable(ca, tmp_path, "limited.example")
    for _ in range(2):
        _kill_in_mid_order(launcher, ca, "limited.example")
    with launcher.running() as daemon:
        failing = _failing(daemon, "limited.example")
        assert REFUSED == refusal(daemon.https, "limited.example", ca.client())[0]
    assert timedelta() < _moment(failing["next_attempt_at"]) - datetime.now(UTC) < timedelta(minutes=2)
    ((failed,),) = look(launcher.state, "SELECT failed_authorizations FROM history")
    assert (2, 2, 2) == (len(failed.split()), ca.validations("limited.example"), ca.orders)


def test_restarts_in_mid_order_do_not_count_while_nothing_was_validated(ca: Ca, tmp_path: Path) -> None:
    """
    However often a daemon is stopped while the CA hangs, the name is ordered again at the next start.
    """
    launcher = ca.launcher(tmp_path, "restarted.example")
    with ca.hanging():
        for _ in range(3):
            with launcher.running() as daemon:
                assert "issuing" == daemon.domain("restarted.example")["state"]
    with launcher.running() as daemon:
        daemon.wait_valid("restarted.example")


def test_stop_while_the_ca_hangs(ca: Ca, tmp_path: Path) -> None:
    """
    The connections that were kept to a CA which answers no more do not hold the daemon's end up.
    """
    with ca.launcher(tmp_path, "stopped.example").running() as daemon:
        daemon.wait_valid("stopped.example")
        with ca.hanging():
            assert -signal.SIGTERM == daemon.stop()


def _kill_in_mid_order(launcher: Launcher, ca: Ca, name: str) -> None:
    """
    Start a daemon, and kill it when the CA begins to validate *name*.
    """
    seen = ca.validations(name)
    daemon = launcher.spawn()
    try:
        until(lambda: ca.validations(name) > seen, f"validation:\n{daemon.log}")
    finally:
        daemon.signal(signal.SIGKILL)
        daemon.wait()


def test_ca_that_is_down_at_start_and_comes_back(
    tmp_path: Path, authority: trustme.CA, trusting: ssl.SSLContext, tracking: Origin
) -> None:
    """
    While the CA is down stored and own certificates are served; a new name's client waits, and is served when it is up.
    """
    need_pebble()
    ports = Ports(*free_ports(4))
    with running_ca(tmp_path / "ca", ports) as ca:
        launcher = ca.launcher(tmp_path / "daemon", "stored.example", upstream=tracking.configuration)
        with launcher.running() as daemon:
            daemon.wait_valid("stored.example")
        old = ca.client()
    tables = own_domain(authority, launcher.directory, CLICK)
    for name in ("stored.example", "new.example"):
        tables += f'[[domains]]\nname = "{name}"\n'
    launcher.write(domains=tables, acme=ca.acme, upstream=tracking.configuration)
    with launcher.running() as daemon:
        assert 302 == https_get(daemon.https, "/f/a", "stored.example", old).status
        assert 302 == https_get(daemon.https, "/f/a", CLICK, trusting).status
        with running_ca(tmp_path / "ca", ports, tls_port=ca.https, http_port=ca.http) as back:
            assert ["new.example"] == sans(certificate(daemon.https, "new.example", back.client()))


def test_ca_that_dies_in_mid_order(tmp_path: Path, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    """
    A CA killed while it validates costs others nothing; back without its accounts it is given a new one, and issues.
    """
    need_pebble()
    ports = Ports(*free_ports(4))
    with running_ca(tmp_path / "ca", ports, validation_sleep_seconds=5) as ca:
        launcher = ca.launcher(tmp_path / "daemon", "halfway.example")
        own = own_domain(authority, launcher.directory, CLICK)
        launcher.write(
            domains=f'{own}[[domains]]\nname = "halfway.example"\n', acme=ca.acme, more="[handshake]\nhold_seconds = 1"
        )
        with launcher.running() as daemon:
            until(lambda: ca.validations("halfway.example"), "validation")
            ca.pebble.process.kill()
            assert CLICK in sans(certificate(daemon.https, CLICK, trusting))
            reason, seconds = refusal(daemon.https, "halfway.example", trusting)
            assert (REFUSED, True) == (reason, seconds < 3)
    with (
        running_ca(tmp_path / "ca", ports, tls_port=ca.https, http_port=ca.http) as back,
        launcher.running() as daemon,
    ):
        daemon.wait_valid("halfway.example")
        assert ["halfway.example"] == sans(certificate(daemon.https, "halfway.example", back.client()))


def test_kill_in_mid_order(tmp_path: Path) -> None:
    """
    A daemon that was killed while the CA validated serves the name after its restart: at most one order more (none
    where the CA can finish the first one), the same account.
    """
    need_pebble()
    with running_ca(tmp_path / "ca", validation_sleep_seconds=3) as ca:
        launcher = ca.launcher(tmp_path / "daemon", "killed.example")
        _kill_in_mid_order(launcher, ca, "killed.example")
        with launcher.running() as daemon:
            assert ["killed.example"] == sans(certificate(daemon.https, "killed.example", ca.client()))
        assert 1 == ca.requests.count("sign-me-up")
        assert ca.orders in (1, 2)
        assert 1 == len(look(launcher.state, "SELECT url FROM account"))
