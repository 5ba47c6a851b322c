from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from sptls.openssl_settings import FILE

# Counts the records that a server sends after a handshake in memory: a ticket each (RFC 8446 §4.6.1).
_COUNT = """
import os, sys
from sptls.openssl_settings import load_openssl
load_openssl()
from OpenSSL import SSL
context = SSL.Context(SSL.TLS_SERVER_METHOD)
context.use_certificate_file(sys.argv[1])
context.use_privatekey_file(sys.argv[1])
server, client = SSL.Connection(context, None), SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
server.set_accept_state()
client.set_connect_state()
sent = b""
for _ in range(3):
    for source, target in ((client, server), (server, client)):
        try:
            source.do_handshake()
        except SSL.WantReadError:
            pass
        try:
            sent = source.bio_read(65536)
            target.bio_write(sent)
        except SSL.WantReadError:
            pass
records = 0
while sent:
    records, sent = records + 1, sent[5 + int.from_bytes(sent[3:5]):]
print(records, os.environ.get("OPENSSL_CONF", "none"))
"""


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Give a file with a certificate and its key.
    """
    path = tmp_path_factory.mktemp("settings") / "certificate.pem"
    path.write_bytes(trustme.CA().issue_cert("click.example.com").private_key_and_cert_chain_pem.bytes())
    return path


def _counted(pem: Path, *, conf: str | None = None, first: str = "") -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "OPENSSL_CONF"}
    if conf is not None:
        environment["OPENSSL_CONF"] = conf
    call = [sys.executable, "-c", first + _COUNT, str(pem)]
    return subprocess.run(call, env=environment, capture_output=True, text=True, check=True).stdout.split()


def test_one_ticket(pem: Path) -> None:
    """
    A handshake ends with one ticket, and programs that are started later hear nothing of our file.
    """
    assert ["1", "none"] == _counted(pem)


def test_operators_file(pem: Path, tmp_path: Path) -> None:
    """
    An operator's file goes before ours, and stays where it was named.
    """
    own = tmp_path / "own.cnf"
    own.write_text(FILE.read_text().replace("NumTickets = 1", "NumTickets = 3"))
    assert ["3", str(own)] == _counted(pem, conf=str(own))


def test_openssl_of_the_system(pem: Path) -> None:
    """
    Where cryptography stands on the system's OpenSSL, the system's file is left in force.
    """
    stand_in = """
from importlib import util
class Built:
    origin = "/nowhere/cryptography/__init__.py"
util.find_spec = lambda name: Built()
"""
    assert ["2", "none"] == _counted(pem, first=stand_in)


def test_loaded_before(pem: Path) -> None:
    """
    It is harmless where OpenSSL is loaded already.
    """
    assert ["2", "none"] == _counted(pem, first="import OpenSSL.SSL")
