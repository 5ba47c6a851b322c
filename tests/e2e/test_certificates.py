"""
Certificates from a real CA on the sockets that serve: challenge types, key types, what CAs ask for, what they refuse.
"""

from __future__ import annotations

import base64
import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from tests.e2e.ca import Ca, certificate, domains, refusal, running_ca, sans
from tests.e2e.conftest import need_pebble
from tests.e2e.daemon import Daemon, Launcher, http_get, https_get, until
from tests.e2e.stored import forget, look
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.pebble]

TLS_ALPN, HTTP = "tls-alpn-01", "http-01"
KEY_BYTES = os.urandom(32)
# newOrder, authorization, challenge, authorization until it is valid, finalize, order until it is, certificate; one
# more where a poll comes a moment too early.
REQUESTS_PER_CERTIFICATE = 8
# Not the certificate's own: asked for once by a process, or for an account.
APART = ("dir", "sign-me-up")


def _challenges(*types: str) -> str:
    return "challenges = [{}]".format(", ".join(f'"{kind}"' for kind in types))


def _issued(launcher: Launcher, name: str) -> None:
    with launcher.running() as daemon:
        daemon.wait_valid(name)


@pytest.mark.parametrize("kind", [TLS_ALPN, HTTP])
def test_each_challenge_type_alone(ca: Ca, tmp_path: Path, kind: str) -> None:
    """
    Each type is answered on the socket that serves traffic, with the other port closed.
    """
    launcher = ca.launcher(tmp_path, "alone.example", acme=_challenges(kind))
    # The admin port is free until the start, so it may be among them.
    closed = next(port for port in free_ports(2) if port != launcher.admin)
    launcher.https, launcher.http = (ca.https, closed) if kind == TLS_ALPN else (closed, ca.http)
    launcher.write(domains=domains("alone.example"), acme=f"{ca.acme}\n{_challenges(kind)}")
    with launcher.running() as daemon:
        daemon.wait_valid("alone.example")
        assert ["alone.example"] == sans(certificate(daemon.https, "alone.example", ca.client()))
    assert (1, 1) == (ca.orders, ca.validations("alone.example"))


@pytest.mark.parametrize(("first", "second"), [(TLS_ALPN, HTTP), (HTTP, TLS_ALPN)])
def test_second_challenge_type_is_tried(ca: Ca, tmp_path: Path, first: str, second: str) -> None:
    """
    Where the CA can't reach the port of the preferred type, the other one brings the certificate, with a second order.
    """
    launcher = ca.launcher(tmp_path, "second.example")
    launcher.https, launcher.http = (free_ports(1)[0], ca.http) if second == HTTP else (ca.https, free_ports(1)[0])
    launcher.write(domains=domains("second.example"), acme=f"{ca.acme}\n{_challenges(first, second)}")
    with launcher.running() as daemon:
        daemon.wait_valid("second.example")
        assert ["second.example"] == sans(certificate(daemon.https, "second.example", ca.client()))
    assert (2, 2) == (ca.orders, ca.validations("second.example"))


def test_requests_per_certificate(ca: Ca, tmp_path: Path) -> None:
    """
    A certificate takes at most 8 requests; the directory and the account are asked for once.
    """
    names = [f"frugal{number}.example" for number in range(8)]
    with ca.launcher(tmp_path, *names).running() as daemon:
        for name in names:
            daemon.wait_valid(name)
    own = [request for request in ca.requests if request not in APART]
    print(f"requests to the CA per certificate: {len(own) / len(names):.1f}")  # noqa: T201 - a figure
    assert [1, 1] == [ca.requests.count(apart) for apart in APART]
    assert len(own) <= REQUESTS_PER_CERTIFICATE * len(names)


@pytest.fixture(scope="module")
def demanding_ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ca]:
    """
    Give a CA that wants an external account, rejects every second nonce and doesn't issue for some names.
    """
    need_pebble()
    with running_ca(
        tmp_path_factory.mktemp("demanding-ca"),
        external_accounts={"kid-1": base64.urlsafe_b64encode(KEY_BYTES).decode().rstrip("=")},
        nonce_reject_percent=50,
        blocked_names=("blocked.example",),
    ) as ca:
        yield ca


@pytest.fixture(scope="module")
def demanded(demanding_ca: Ca, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """
    Give a daemon that has an account there, and whose upstream is down.
    """
    directory = tmp_path_factory.mktemp("demanded")
    (directory / "eab.key").write_text(base64.urlsafe_b64encode(KEY_BYTES).decode().rstrip("=") + "\n")
    launcher = demanding_ca.launcher(
        directory,
        *("a.example", "b.example", "blocked.example"),
        acme=f'eab = {{ kid = "kid-1", hmac_key_file = "{directory / "eab.key"}" }}',
        upstream=f'url = "https://localhost:{free_ports(1)[0]}"',
    )
    with launcher.running() as daemon:
        yield daemon


def test_demanding_ca_is_satisfied(demanding_ca: Ca, demanded: Daemon) -> None:
    """
    With an external account, and half of the nonces rejected, every name gets its certificate.
    """
    for name in ("a.example", "b.example"):
        demanded.wait_valid(name)
        assert [name] == sans(certificate(demanded.https, name, demanding_ca.client()))


def test_name_that_the_ca_refuses_harms_no_other(demanding_ca: Ca, demanded: Daemon) -> None:
    """
    A name that the CA has on its block list is failing, with the CA's reason; its clients are refused at once.
    """
    until(lambda: demanded.domain("blocked.example")["state"] == "failing", "refusal")
    blocked = demanded.domain("blocked.example")
    assert "rejectedIdentifier" in blocked["problem"]
    assert blocked["next_attempt_at"] > demanded.status()["started_at"]
    reason, seconds = refusal(demanded.https, "blocked.example", demanding_ca.client())
    assert ("TLSV1_ALERT_INTERNAL_ERROR", True) == (reason, seconds < 1)
    assert demanded.domain("a.example")["state"] == "valid"


def test_log_holds_no_secret(demanding_ca: Ca, demanded: Daemon) -> None:
    """
    No key of a certificate, an account or an external account, and no tracking path, is in the daemon's log.
    """
    demanded.wait_valid("a.example")
    path = "/f/a/tracking/path?target=https%3A%2F%2Fwww.example.com"
    assert 502 == https_get(demanded.https, path, "a.example", demanding_ca.client()).status
    assert 502 == http_get(demanded.http, path, "a.example").status
    secrets = [KEY_BYTES]
    for table in ("certificate", "account"):
        # The first 16 bytes of a PKCS#8 key are the same for all.
        secrets += [key[-64:] for (key,) in look(demanded.state, f"SELECT private_key FROM {table}")]  # noqa: S608
    assert 4 == len(secrets)
    log = demanded.log
    for secret in secrets:
        spelled = {secret.hex(), repr(secret)[2:-1]}
        # Base64 has three ways to stand, by where it starts.
        for start in range(3):
            spelled.add(base64.b64encode(secret[start:])[4:28].decode())
            spelled.add(base64.urlsafe_b64encode(secret[start:])[4:28].decode())
        assert [] == [spelling for spelling in spelled if spelling in log]
    assert "tracking/path" not in log
    assert "PRIVATE KEY" not in log


def test_valid_authorizations_are_not_validated_again(tmp_path: Path) -> None:
    """
    A CA that gives back a valid authorization is not asked to validate the name once more.
    """
    need_pebble()
    with running_ca(tmp_path / "ca", authorization_reuse_percent=100) as ca:
        launcher = ca.launcher(tmp_path / "daemon", "reuse.example")
        _issued(launcher, "reuse.example")
        forget(launcher.state, "reuse.example")
        _issued(launcher, "reuse.example")
        assert (2, 1) == (ca.orders, ca.validations("reuse.example"))


def test_ca_that_takes_its_time_is_waited_for(tmp_path: Path) -> None:
    """
    Validation that takes seconds is polled for, with pauses, while the first client waits.
    """
    need_pebble()
    with (
        running_ca(tmp_path / "ca", validation_sleep_seconds=3) as ca,
        ca.launcher(tmp_path / "daemon", "slow.example").running() as daemon,
    ):
        assert ["slow.example"] == sans(certificate(daemon.https, "slow.example", ca.client()))
        assert (1, True) == (ca.orders, len(ca.requests) < 20)


def test_changed_directory_replaces_certificates_that_are_served_meanwhile(ca: Ca, tmp_path: Path) -> None:
    """
    With another CA configured its certificates come soon; until then the old one's are served.
    """
    launcher = ca.launcher(tmp_path / "daemon", "moved.example")
    _issued(launcher, "moved.example")
    with running_ca(tmp_path / "ca", tls_port=ca.https, http_port=ca.http) as new, contextlib.ExitStack() as hanging:
        launcher.write(domains=domains("moved.example"), acme=new.acme)
        hanging.enter_context(new.hanging())
        with launcher.running() as daemon:
            old = certificate(daemon.https, "moved.example", ca.client())
            hanging.close()
            until(lambda: int(daemon.domain("moved.example")["serial"], 16) != old.serial_number, "new certificate")
            assert ["moved.example"] == sans(certificate(daemon.https, "moved.example", new.client()))
    assert (1, 1) == (ca.orders, new.orders)
