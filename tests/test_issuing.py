"""
Tests for `sptls.issuing`: which CA issues, and that the ACME client is made once and late.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from sptls.certs.internal import InternalCa
from sptls.config import INTERNAL_DIRECTORY, AcmeConfig, Config, DomainConfig, ExternalAccountBinding
from sptls.errors import IssuanceFailed, OrderCancelled
from sptls.interfaces import IIssuer
from sptls.issuing import LateAcmeIssuer, make_issuer
from sptls.names import HostName
from sptls.tls.contexts import client_trust
from tests.doubles import InlineReactor, InlineThreads

NAME = HostName("click.example.com")
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@attrs.frozen
class _Responder:
    challenge_type: str


def _made(tmp_path: Path, threads: InlineThreads, **acme: Any) -> Any:
    config = Config(domains=(DomainConfig(NAME),), state_dir=tmp_path, acme=AcmeConfig(**acme))
    responders = (_Responder("http-01"), _Responder("tls-alpn-01"))
    accounts: Any = object()
    pool: Any = threads
    return make_issuer(InlineReactor(), config, client_trust(None), lambda: NOW, pool, accounts, responders)


def test_internal_directory_gives_the_internal_ca(tmp_path: Path) -> None:
    """
    "internal" issues at once, from a root in the state directory.
    """
    issuer = _made(tmp_path, InlineThreads(), directory=INTERNAL_DIRECTORY)
    assert isinstance(issuer, InternalCa)
    got: list[Any] = []
    Deferred.fromCoroutine(issuer.issue(NAME)).addCallback(got.append)
    assert (NAME,) == got[0].names


def test_acme_directory_gives_an_issuer_with_that_directory(tmp_path: Path) -> None:
    """
    Another directory gives an `IIssuer` for it, with the responders in the configured order.
    """
    issuer = _made(tmp_path, InlineThreads(), directory="https://ca.example/dir", challenges=("tls-alpn-01", "http-01"))
    assert isinstance(issuer, LateAcmeIssuer)
    assert verifyObject(IIssuer, issuer)
    assert "https://ca.example/dir" == issuer.directory
    assert ["tls-alpn-01", "http-01"] == [responder.challenge_type for responder in issuer._responders]


def test_starting_imports_no_acme_library() -> None:
    """
    A daemon that orders nothing never pays for the ACME libraries.
    """
    code = "import sptls.parts, sys; print([m for m in ('josepy', 'treq', 'sptls.acme.issue') if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == ended.stdout.strip()


def test_client_is_made_once_for_all_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Orders that come while the libraries are imported wait for one client; one that is given up has cost nothing.
    """
    asked: list[HostName] = []
    made: list[Any] = []

    class Issuer:
        def __init__(self, **kwargs: Any) -> None:
            made.append(kwargs)

        async def issue(self, name: HostName) -> str:
            asked.append(name)
            return name.text

    import sptls.acme.issue

    monkeypatch.setattr(sptls.acme.issue, "AcmeIssuer", Issuer)
    threads = InlineThreads(hold=True)
    issuer = _made(tmp_path, threads, directory="https://ca.example/dir")
    waiting = [Deferred.fromCoroutine(issuer.issue(HostName(f"{at}.example"))) for at in range(3)]
    given_up: list[Any] = []
    waiting[1].addErrback(given_up.append)
    waiting[1].cancel()
    assert given_up[0].check(IssuanceFailed)
    assert isinstance(given_up[0].value.cause, OrderCancelled)
    threads.go_on()
    assert (1, [HostName("0.example"), HostName("2.example")]) == (len(made), asked)


def test_failure_to_make_the_client_is_a_failed_issuance(tmp_path: Path) -> None:
    """
    An external account's key that can't be read fails the order, says why, and the next order tries again.
    """
    binding = ExternalAccountBinding("kid", tmp_path / "missing.key")
    issuer = _made(tmp_path, InlineThreads(), directory="https://ca.example/dir", eab=binding)
    for _ in range(2):
        failures: list[Any] = []
        Deferred.fromCoroutine(issuer.issue(NAME)).addErrback(failures.append)
        assert failures[0].check(IssuanceFailed)
        assert "missing.key" in str(failures[0].value)
