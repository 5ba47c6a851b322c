"""
Certificates as they are stored, for the tests of the store and the renewer: real ones, from the tests' authority.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sptls.certs.bundle import CertificateBundle
from sptls.certs.records import OrderRecord, StoredCertificate
from sptls.names import HostName
from tests.certs.authority import NOW, der, entity, intermediate

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

T = TypeVar("T")

CA = "https://ca.example/directory"
CLICK = HostName("click.example.com")


def bundle_for(
    name: HostName, not_before: datetime = NOW, not_after: datetime = NOW + timedelta(days=79)
) -> CertificateBundle:
    """
    Make a certificate with a new key for *name*, with its intermediate.
    """
    leaf = entity("ignored", [name.text], intermediate(), not_before=not_before, not_after=not_after)
    return CertificateBundle.from_der(leaf.key_der, der(leaf.certificate, intermediate().certificate))


@lru_cache
def stored(text: str = "click.example.com", directory: str = CA) -> StoredCertificate:
    """
    Give a stored certificate for the name *text*, the same one each time.
    """
    name = HostName(text)
    return StoredCertificate(name, bundle_for(name), directory, NOW + timedelta(days=50))


def order_for(name: HostName = CLICK, number: int = 1) -> OrderRecord:
    """
    Give an order under way for *name*.
    """
    url = f"https://ca.example/order/{number}"
    return OrderRecord(name, CA, "https://ca.example/account/1", url, b"key", NOW, NOW + timedelta(days=7), True)


def outcome(coroutine: Coroutine[Deferred[Any], Any, T]) -> T:
    """
    Give what *coroutine* returns or raises; it must not have to wait for anything.
    """
    results: list[T | Failure] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """
    Make *directory* and its files read-only, for root too: it becomes somebody else meanwhile.
    """
    paths = [directory, *directory.iterdir()]
    modes = [path.stat().st_mode for path in paths]
    user = os.geteuid()
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


@contextmanager
def open_directory() -> Iterator[Path]:
    """
    Give an empty directory that every user can reach, unlike pytest's.
    """
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
