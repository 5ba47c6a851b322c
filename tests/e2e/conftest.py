"""
A daemon with certificates of its own in front of a real TLS origin, shared by the tests of a module.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.e2e.ca import Ca, running_ca
from tests.e2e.daemon import Daemon, Launcher
from tests.e2e.origin import Origin, origin
from tests.pebble.pebble import is_installed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLICK = "click.example.com"
OTHER = "other.example.org"
WILDCARD = "*.links.example.net"


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """
    Give the CA of the certificates that are brought along.
    """
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """
    Give a client's context that trusts it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    """
    Give a running origin.
    """
    with origin(tmp_path_factory.mktemp("origin")) as running:
        yield running


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    """
    Give a launcher in a directory of its own.
    """
    return Launcher(tmp_path)


def bring(authority: trustme.CA, directory: Path, *names: str) -> tuple[Path, Path]:
    """
    Write a certificate for *names* and its key; give their paths.
    """
    issued = authority.issue_cert(*names, key_type=trustme.KeyType.ECDSA)
    stem = names[0].replace("*", "wildcard")
    certificate, key = directory / f"{stem}.pem", directory / f"{stem}.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    return certificate, key


def own_domain(authority: trustme.CA, directory: Path, name: str) -> str:
    """
    Give the ``[[domains]]`` table of a domain that brings its certificate.
    """
    certificate, key = bring(authority, directory, name)
    return f'[[domains]]\nname = "{name}"\ncertificate = "{certificate}"\nkey = "{key}"\n'


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA, tracking: Origin) -> Iterator[Daemon]:
    """
    Give a daemon that serves `CLICK`, `OTHER` and `WILDCARD`, with short deadlines.
    """
    launcher = Launcher(tmp_path_factory.mktemp("daemon"))
    launcher.write(
        domains="".join(own_domain(authority, launcher.directory, name) for name in (CLICK, OTHER, WILDCARD)),
        acme='directory = "internal"',
        upstream=tracking.configuration,
        more=(
            "[limits]\nhello_seconds = 1\nhead_seconds = 1\nidle_seconds = 2\nupstream_head_seconds = 1\n"
            "head_bytes = 8192\ntarget_bytes = 4096\n"
        ),
    )
    with launcher.running() as running:
        yield running


@pytest.fixture(scope="session")
def shared_ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ca]:
    """
    Give a fast and friendly CA that all tests share, one daemon at a time.
    """
    need_pebble()
    with running_ca(tmp_path_factory.mktemp("ca")) as ca:
        yield ca


@pytest.fixture
def ca(shared_ca: Ca) -> Ca:
    """
    Give it with nothing asked yet.
    """
    return shared_ca.from_now()


def need_pebble() -> None:
    """
    Skip where there is no Pebble.
    """
    if not is_installed():
        pytest.skip("Pebble is not installed (Debian: apt-get install pebble)")
