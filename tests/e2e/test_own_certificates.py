"""
Certificates that the operator brings: served whatever they are, read again when their files change, never ordered.
"""

from __future__ import annotations

import shutil
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme

from sptls.certs.own import LOOK_SECONDS
from tests.e2e.ca import certificate, sans
from tests.e2e.conftest import bring
from tests.e2e.daemon import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.ca import Ca
    from tests.e2e.daemon import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.pebble]

REPLACED, BROKEN, EXPIRED, WILDCARD = "replaced.example", "broken.example", "expired.example", "*.wild.example"
TWO_LOOKS_SECONDS = 2 * LOOK_SECONDS + 3


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Give the directory of the daemon and its certificates.
    """
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def own_ca(shared_ca: Ca) -> Ca:
    """
    Give the CA that must not be asked for anything.
    """
    return shared_ca.from_now()


@pytest.fixture(scope="module")
def daemon(own_ca: Ca, directory: Path, authority: trustme.CA) -> Iterator[Daemon]:
    """
    Give a daemon for names that all bring their certificates, with a CA configured.
    """
    launcher = own_ca.launcher(directory)
    tables = []
    for name in (REPLACED, BROKEN, WILDCARD):
        chain, key = bring(authority, directory, name)
        tables.append(f'[[domains]]\nname = "{name}"\ncertificate = "{chain}"\nkey = "{key}"\n')
    chain, key = directory / "expired.pem", directory / "expired.key"
    issued = authority.issue_cert(EXPIRED, not_after=datetime.now(UTC) - timedelta(days=1))
    chain.write_bytes(issued.cert_chain_pems[0].bytes())
    issued.private_key_pem.write_to_path(str(key))
    tables.append(f'[[domains]]\nname = "{EXPIRED}"\ncertificate = "{chain}"\nkey = "{key}"\n')
    launcher.write(domains="".join(tables), acme=own_ca.acme)
    with launcher.running() as running:
        yield running


def _trusting_all() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_each_is_served(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A name gets its own certificate, a name under a wildcard the wildcard's.
    """
    for name in (REPLACED, BROKEN):
        assert [name] == sans(certificate(daemon.https, name, trusting))
    assert [WILDCARD] == sans(certificate(daemon.https, "any.wild.example", trusting))


def test_expired_one_is_served_and_said(daemon: Daemon) -> None:
    """
    An expired certificate is better than none: clients that don't check are served, the status and the log say it.
    """
    assert [EXPIRED] == sans(certificate(daemon.https, EXPIRED, _trusting_all()))
    status = daemon.domain(EXPIRED)
    assert ("expired", "own", True) == (status["state"], status["source"], "expired" in status["problem"])
    assert 1 == daemon.log.count(f"{EXPIRED}: its own certificate is served all the same")


def test_changed_files(daemon: Daemon, directory: Path, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    """
    A new certificate is served soon after its files changed; with files that don't fit, the old one stays, and is said.
    """
    before = {name: certificate(daemon.https, name, trusting) for name in (REPLACED, BROKEN)}
    bring(authority, directory, REPLACED)
    shutil.copy(directory / f"{REPLACED}.key", directory / f"{BROKEN}.key")
    until(
        lambda: certificate(daemon.https, REPLACED, trusting) != before[REPLACED], "new certificate", TWO_LOOKS_SECONDS
    )
    until(lambda: daemon.domain(BROKEN)["state"] == "faulty", "fault", TWO_LOOKS_SECONDS)
    assert before[BROKEN] == certificate(daemon.https, BROKEN, trusting)
    assert "key" in daemon.domain(BROKEN)["problem"]
    until(lambda: f"{BROKEN}: new files are not taken" in daemon.log, "log line", TWO_LOOKS_SECONDS)


def test_nothing_was_ordered(daemon: Daemon, own_ca: Ca) -> None:
    """
    The CA was not asked for anything, expired or not.
    """
    assert "expired" == daemon.domain(EXPIRED)["state"]
    assert [] == own_ca.requests
