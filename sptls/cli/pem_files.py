"""
Certificates with their keys, found in a directory of another program: certbot's, txacme's, or any of PEM files.

Names of files mean nothing: a certificate and a key belong together when the public key is the same. Of certbot's
directory only ``live`` is read, and from its ``renewal`` which CA a certificate came from. Reads only.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sptls.certs.bundle import CertificateBundle
from sptls.certs.pem import (
    MAX_CHAIN_LENGTH,
    MAX_PEM_BYTES,
    UNREADABLE,
    certificate_from_der,
    chain_from_pem,
    key_from_pem,
)
from sptls.errors import BadCertificate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

# Certbot has four for each certificate; ten times what a hundred thousand domains need is the wrong directory.
MAX_FILES: Final = 1_000_000
_KEY_MARK: Final = b"PRIVATE KEY-----"
_CERTIFICATE_MARK: Final = b"CERTIFICATE-----"
_SERVER: Final = re.compile(r"^server\s*=\s*(\S+)\s*$", re.MULTILINE)


@attrs.frozen
class Pair:
    """
    A certificate with its key, from the file at *path*; *server* is the directory that it came from, "" unknown.
    """

    path: Path
    bundle: CertificateBundle
    server: str = ""


@attrs.frozen
class Search:
    """
    What was found, and in words what could not be used.
    """

    pairs: tuple[Pair, ...]
    faults: tuple[str, ...]


def search(directory: Path) -> Search:
    """
    Look through *directory* and all below it; blocks.

    Raises:
        OSError: it can't be read.
        ValueError: there are too many files.
    """
    is_certbots = (directory / "live").is_dir() and (directory / "renewal").is_dir()
    faults: list[str] = []
    contents = dict(_contents(directory / "live" if is_certbots else directory, faults))
    keys = dict(_keys(contents, faults))
    pairs = list(_pairs(dict(_chains(contents, faults)), keys, faults))
    return Search(tuple(pairs), tuple(faults))


def _contents(directory: Path, faults: list[str]) -> Iterator[tuple[Path, bytes]]:
    """
    Give the files that may hold PEM; links are followed, each directory once.
    """
    seen: set[tuple[int, int]] = set()
    number = 0
    for folder, folders, files in os.walk(directory, followlinks=True, onerror=lambda error: _failed(error, faults)):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        # What begins with a dot is mostly an old version of what a link beside it points to.
        folders.sort(key=lambda name: (name.startswith("."), name))
        for path in (Path(folder, file) for file in sorted(files)):
            number += 1
            if number > MAX_FILES:
                raise ValueError(f"over {MAX_FILES} files below {directory}; name the directory of the certificates")
            try:
                content = _content(path)
            except OSError as error:
                _failed(error, faults)
                continue
            if _KEY_MARK in content or _CERTIFICATE_MARK in content:
                yield path, content


def _failed(error: OSError, faults: list[str]) -> None:
    faults.append(f"{error.filename}: {error.strerror}")


def _content(path: Path) -> bytes:
    """
    Give what is in a file; nothing of what is no file, or too long for PEM.
    """
    try:
        # Opening a named pipe waits for a writer otherwise.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            return b""
        raise
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        content = file.read(MAX_PEM_BYTES + 1)
    return content if len(content) <= MAX_PEM_BYTES else b""


def _keys(contents: Mapping[Path, bytes], faults: list[str]) -> Iterator[tuple[bytes, bytes]]:
    """
    Give each private key's public one, with the PEM that holds it.
    """
    for path, content in contents.items():
        if _KEY_MARK in content:
            try:
                yield _public(key_from_pem(content).public_key()), content
            except BadCertificate as error:
                faults.append(f"{path}: {error}")


def _chains(contents: Mapping[Path, bytes], faults: list[str]) -> Iterator[tuple[Path, list[x509.Certificate]]]:
    """
    Give the certificates in each file that has some.
    """
    for path, content in contents.items():
        if _CERTIFICATE_MARK in content:
            try:
                yield path, [certificate_from_der(der) for der in chain_from_pem(content)]
            except BadCertificate as error:
                faults.append(f"{path}: {error}")


def _pairs(
    chains: Mapping[Path, list[x509.Certificate]], keys: Mapping[bytes, bytes], faults: list[str]
) -> Iterator[Pair]:
    """
    Give each certificate whose key was found, with its chain.
    """
    issuers: dict[Path, dict[x509.Name, x509.Certificate]] = {}
    for path, chain in chains.items():
        issuers.setdefault(path.parent, {}).update((one.subject, one) for one in chain)
    for path, chain in chains.items():
        key = next((keys[public] for one in chain if (public := _public_of(one)) in keys), None)
        if key is None:
            if _is_for_hosts(chain[0]):
                faults.append(f"{path}: the private key of its certificate is not there")
            continue
        try:
            yield Pair(path, _bundle(key, _completed(chain, issuers[path.parent])), _server(path))
        except BadCertificate as error:
            faults.append(f"{path}: {error}")


def _completed(chain: list[x509.Certificate], issuers: Mapping[x509.Name, x509.Certificate]) -> list[x509.Certificate]:
    """
    Give *chain*, with the intermediate ones beside it where the file has the end-entity certificate alone (Apache's).
    """
    if len(chain) > 1:
        return chain
    whole = list(chain)
    while len(whole) < MAX_CHAIN_LENGTH:
        issuer = issuers.get(whole[-1].issuer)
        if issuer is None or issuer.issuer == issuer.subject:  # clients have the root
            break
        whole.append(issuer)
    return whole


def _bundle(key: bytes, chain: Iterable[x509.Certificate]) -> CertificateBundle:
    return CertificateBundle.from_pem(key, b"".join(one.public_bytes(Encoding.PEM) for one in chain))


def _server(path: Path) -> str:
    """
    Give the directory that certbot says it has the certificate from; "" where it is none of certbot's.
    """
    line = path.parent
    try:
        text = _content(line.parent.parent / "renewal" / f"{line.name}.conf").decode("utf-8", "replace")
    except OSError:
        return ""
    found = _SERVER.search(text)
    return found[1] if found and line.parent.name == "live" else ""


def _is_for_hosts(certificate: x509.Certificate) -> bool:
    try:
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return False
    return True


def _public_of(certificate: x509.Certificate) -> bytes:
    try:
        return _public(certificate.public_key())
    except UNREADABLE:  # of a kind that no key here is
        return b""


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
