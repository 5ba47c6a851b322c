from __future__ import annotations

import socket
import ssl
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from sptls.certs.internal import CERTIFICATE_FILE
from sptls.demo import stack
from sptls.demo.pebble import CERTIFICATE, KEY
from sptls.demo.stack import PEBBLE_HOST, write_pebble_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.demo.conftest import Run

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_pebble_is_known_by_the_root(tmp_path: Path) -> None:
    """
    Pebble's certificate is for the name that Docker gives it, from the root beside it, with a key for its user alone.
    """
    write_pebble_certificate(tmp_path, lambda: NOW)
    certificate = x509.load_pem_x509_certificate((tmp_path / CERTIFICATE).read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [PEBBLE_HOST.text] == names.get_values_for_type(x509.DNSName)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / CERTIFICATE_FILE).read_bytes()))
    assert 0o600 == stat.S_IMODE((tmp_path / KEY).stat().st_mode)


def test_the_root_outlives_a_restart(tmp_path: Path) -> None:
    """
    A second start makes another certificate from the same root: who trusts it goes on doing so.
    """
    write_pebble_certificate(tmp_path, lambda: NOW)
    root, certificate = (tmp_path / CERTIFICATE_FILE).read_bytes(), (tmp_path / CERTIFICATE).read_bytes()
    write_pebble_certificate(tmp_path, lambda: NOW)
    assert root == (tmp_path / CERTIFICATE_FILE).read_bytes()
    assert certificate != (tmp_path / CERTIFICATE).read_bytes()


def test_serves_as_the_tracking_service(run: Run) -> None:
    """
    It serves with a certificate for the name that Docker gives it, and ends when it is told to.
    """
    with run("local_stack") as running:
        context = ssl.create_default_context(cafile=running.facts["trust"])
        address = ("127.0.0.1", running.facts["port"])
        with (
            socket.create_connection(address, 10) as plain,
            context.wrap_socket(plain, server_hostname="tracking") as connection,
        ):
            connection.sendall(b"GET /q/a HTTP/1.0\r\n\r\n")
            assert b"200" in connection.recv(4096).split(b"\r\n")[0]
        running.end()


@pytest.mark.parametrize("arguments", [[], ["a", "b"]])
def test_wants_one_directory(arguments: list[str]) -> None:
    """
    Anything but one directory is refused with how it is used.
    """
    with pytest.raises(SystemExit, match="usage"):
        stack.run(None, arguments)
