from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from tests.e2e.ca import Ca, certificates, domains, running_ca, sans
from tests.e2e.daemon import Daemon, Launcher, until
from tests.e2e.traffic import traffic
from tests.pebble.pebble import Ports
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST = [f"first{number}.example" for number in range(10)]
NEW = [f"new{number}.example" for number in range(10)]
CERTIFICATE_SECONDS = 30


def _write(launcher: Launcher, cas: tuple[Ca, Ca], *names: str) -> None:
    """
    Write a configuration with both CAs, in this order.
    """
    path = launcher.write(domains=domains(*names), acme="")
    tables = "".join(f"[[acme]]\n{ca.acme}\n" for ca in cas)
    path.write_text(path.read_text().replace("[acme]\n", tables))


def _sources(daemon: Daemon) -> set[str]:
    """
    Give the CAs that the certificates came from.
    """
    return {domain["source"] for domain in daemon.status()["domains"]}


def test_second_ca_while_the_first_is_killed(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    Two CAs, the first of which is killed: new names and renewals come from the second one, without one failed
    handshake, and from the first one again when it is back.
    """
    ports = Ports(*free_ports(4))
    with (
        running_ca(tmp_path / "ca", ports, certificate_seconds=CERTIFICATE_SECONDS) as first,
        running_ca(
            tmp_path / "other", certificate_seconds=CERTIFICATE_SECONDS, tls_port=first.https, http_port=first.http
        ) as second,
    ):
        launcher = first.launcher(tmp_path / "daemon")
        _write(launcher, (first, second), *FIRST)
        both = first.client()
        both.load_verify_locations(cadata=second.pebble.root().decode())
        with launcher.running() as daemon, traffic(daemon.https, FIRST[0], both) as seen:
            for name in FIRST:
                daemon.wait_valid(name)
            assert ({first.pebble.directory_url}, 0) == (_sources(daemon), second.orders)
            first.pebble.process.send_signal(signal.SIGKILL)
            _write(launcher, (first, second), *FIRST, *NEW)
            daemon.signal(signal.SIGHUP)
            began = time.monotonic()
            until(lambda: len(daemon.status()["domains"]) == len(FIRST) + len(NEW), "reload")
            for name in NEW:
                daemon.wait_valid(name, 60)
            record_property("seconds until 10 new names came from the second CA", f"{time.monotonic() - began:.1f}")
            assert [[name] for name in NEW] == [sans(one) for one in certificates(daemon.https, NEW, both)]
            until(lambda: _sources(daemon) == {second.pebble.directory_url}, "renewals", 2 * CERTIFICATE_SECONDS)
            with running_ca(
                tmp_path / "ca", ports, certificate_seconds=CERTIFICATE_SECONDS,
                tls_port=first.https, http_port=first.http,
            ) as back:  # fmt: skip
                both.load_verify_locations(cadata=back.pebble.root().decode())
                began = time.monotonic()
                until(lambda: _sources(daemon) == {back.pebble.directory_url}, "the first again", 900)
                record_property("seconds until all came from the first again", f"{time.monotonic() - began:.0f}")
            record_property("handshakes", seen.handshakes)
            record_property("failed handshakes", len(seen.failures))
    assert [] == seen.failures
