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
from sptls.certs.limits import LETS_ENCRYPT, NO_LIMITS, Bucket, Limits
from sptls.config import (
    DIRECTORIES,
    INTERNAL_DIRECTORY,
    UNLIMITED,
    AcmeConfig,
    CaLimits,
    ExternalAccountBinding,
    Rate,
)
from sptls.errors import ConfigError, IssuanceFailed, OrderCancelled
from sptls.interfaces import IIssuer
from sptls.issuing import LateAcmeIssuer, limits_of, make_issuer
from sptls.names import HostName
from sptls.tls.contexts import client_trust
from tests.certs.stored import outcome
from tests.doubles import InlineReactor, InlineThreads

NAME = HostName("click.example.com")
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@attrs.frozen
class _Responder:
    challenge_type: str


def _made(tmp_path: Path, threads: InlineThreads, **acme: Any) -> Any:
    responders = (_Responder("http-01"), _Responder("tls-alpn-01"))
    records: Any = object()
    pool: Any = threads
    config, trust = AcmeConfig(**acme), client_trust(None)
    return make_issuer(InlineReactor(), config, tmp_path, trust, lambda: NOW, pool, records, responders)


def test_internal_directory_gives_the_internal_ca(tmp_path: Path) -> None:
    """
    "internal" issues at once, from a root in the state directory.
    """
    issuer = _made(tmp_path, InlineThreads(), directory=INTERNAL_DIRECTORY)
    assert isinstance(issuer, InternalCa)
    got: list[Any] = []
    Deferred.fromCoroutine(issuer.obtain(NAME)).addCallback(got.append)
    assert (NAME,) == got[0].bundle.names


@pytest.mark.parametrize(
    ("directory", "known"),
    [
        (DIRECTORIES["letsencrypt"], LETS_ENCRYPT),
        ("https://ca.example/dir", NO_LIMITS),
        (INTERNAL_DIRECTORY, NO_LIMITS),
    ],
)
def test_limits_are_what_is_known_of_the_directory(directory: str, known: Limits) -> None:
    """
    Another CA's are not guessed.
    """
    assert known == limits_of(AcmeConfig(directory))


def test_limits_that_an_operator_gives_go_before_what_is_known() -> None:
    """
    Each on its own.
    """
    said = CaLimits(Rate(600, 10800), UNLIMITED)
    expected = Limits(Bucket(600, 18.0), None, LETS_ENCRYPT.certificates_per_name)
    assert expected == limits_of(AcmeConfig(limits=said))
    assert Limits(Bucket(600, 18.0)) == limits_of(AcmeConfig("https://ca.example/dir", limits=said))


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
    asked: list[tuple[HostName, int | None]] = []
    made: list[Any] = []

    class Issuer:
        def __init__(self, **kwargs: Any) -> None:
            made.append(kwargs)

        async def obtain(self, name: HostName, *, replaces: object, challenge_types: int | None) -> str:
            asked.append((name, challenge_types))
            return name.text

    import sptls.acme.issue

    monkeypatch.setattr(sptls.acme.issue, "AcmeIssuer", Issuer)
    threads = InlineThreads(hold=True)
    issuer = _made(tmp_path, threads, directory="https://ca.example/dir")
    waiting = [Deferred.fromCoroutine(issuer.obtain(HostName(f"{at}.example"), challenge_types=at)) for at in range(3)]
    given_up: list[Any] = []
    waiting[1].addErrback(given_up.append)
    waiting[1].cancel()
    assert given_up[0].check(IssuanceFailed)
    assert isinstance(given_up[0].value.cause, OrderCancelled)
    threads.go_on()
    assert (1, [(HostName("0.example"), 0), (HostName("2.example"), 2)]) == (len(made), asked)


def test_failure_to_make_the_client_is_a_failed_issuance(tmp_path: Path) -> None:
    """
    An external account's key that can't be read fails the order, says why, and the next order tries again.
    """
    binding = ExternalAccountBinding("kid", tmp_path / "missing.key")
    issuer = _made(tmp_path, InlineThreads(), directory="https://ca.example/dir", eab=binding)
    for _ in range(2):
        failures: list[Any] = []
        Deferred.fromCoroutine(issuer.obtain(NAME)).addErrback(failures.append)
        assert failures[0].check(IssuanceFailed)
        assert "missing.key" in str(failures[0].value)


def test_everything_else_is_asked_through_the_same_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Renewal information and revocations make the client too, where no order has yet.
    """
    asked: list[tuple[Any, ...]] = []

    class Issuer:
        def __init__(self, **kwargs: Any) -> None:
            pass

        async def renewal_info(self, bundle: str) -> str:
            return f"when to renew {bundle}"

        async def revoke(self, bundle: str, reason: int) -> None:
            asked.append((bundle, reason))

    import sptls.acme.issue

    monkeypatch.setattr(sptls.acme.issue, "AcmeIssuer", Issuer)
    issuer = _made(tmp_path, InlineThreads(), directory="https://ca.example/dir")
    assert "when to renew it" == outcome(issuer.renewal_info("it"))
    outcome(issuer.revoke("it", 4))
    assert [("it", 4)] == asked


def test_no_client_is_no_renewal_information(tmp_path: Path) -> None:
    """
    The schedule hears of no error; who revokes does.
    """
    binding = ExternalAccountBinding("kid", tmp_path / "missing.key")
    issuer = _made(tmp_path, InlineThreads(), directory="https://ca.example/dir", eab=binding)
    bundle: Any = None
    assert outcome(issuer.renewal_info(bundle)) is None
    with pytest.raises(ConfigError, match=r"missing\.key"):
        outcome(issuer.revoke(bundle))
