"""
What only OpenSSL's configuration file can set: one session ticket a handshake, where OpenSSL's default is two.

A ticket is for one use, and a client that uses it gets the next (RFC 8446 §4.6.1, §C.4); a second one is for clients
that open several connections at once, which mail clients do not. pyOpenSSL lacks the call (SSL_CTX_set_num_tickets),
and OpenSSL reads the file when it is loaded, so this goes before everything that loads it.

An operator's own file (`OPENSSL_CONF`) goes before ours. So does that of the system, where cryptography was built on
the system's OpenSSL: there it may hold what must not be lost, a FIPS provider above all. Its wheel reads none.
"""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).with_name("openssl.cnf")
_VARIABLE: Final = "OPENSSL_CONF"
_WHEELS: Final = ("manylinux", "musllinux")


def load_openssl() -> None:
    """
    Load OpenSSL, with `FILE` where no other file is due; does nothing of use when it is loaded already.
    """
    if _VARIABLE in os.environ or not _brings_its_own():
        return
    os.environ[_VARIABLE] = str(FILE)
    try:
        importlib.import_module("OpenSSL.SSL")
    finally:
        del os.environ[_VARIABLE]  # it is not for the programs that we start


def _brings_its_own() -> bool:
    """
    Tell whether cryptography is a wheel of its makers', which has an OpenSSL inside.

    Its file is looked for beside the package, as `importlib.metadata` does; that takes 40 ms of a worker's start.
    """
    spec = find_spec("cryptography")
    if spec is None or spec.origin is None:
        return False
    wheels = Path(spec.origin).parent.parent.glob("cryptography-*.dist-info/WHEEL")
    return any(kind in wheel.read_text() for wheel in wheels for kind in _WHEELS)
