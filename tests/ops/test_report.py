"""
Tests for `sptls.ops.report`, on the parts of a daemon that is made and not started.
"""

from __future__ import annotations

import json
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import trustme

from sptls.certs.own import OwnCertificates
from sptls.clock import wall_time
from sptls.config import AcmeConfig, Config, DomainConfig, PassthroughConfig
from sptls.keeping import trust_roots
from sptls.names import HostName
from sptls.parts import Parts
from tests.doubles import InlineReactor

NAME = HostName("click.example.com")


def _status(tmp_path: Path, certificate_name: str, *, ahead: timedelta = timedelta()) -> dict[str, Any]:
    """
    Give the status of a daemon whose one domain brings a certificate for *certificate_name*.
    """
    issued = trustme.CA().issue_cert(certificate_name)
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    config = Config(
        domains=(DomainConfig(NAME, certificate=certificate, key=key),),
        state_dir=tmp_path,
        acme=AcmeConfig(directory="internal"),
    )
    reactor, in_thread = InlineReactor(), None
    own = OwnCertificates(
        config.domains,
        clock=reactor,
        wall_clock=lambda: wall_time() + ahead,
        in_thread=in_thread,  # type: ignore[arg-type] # nothing is looked at again here
    )
    assert () == own.load()
    status: dict[str, Any] = json.loads("".join(Parts.make(reactor, config, own, trust_roots(config)).report.status()))
    return status


def test_own_certificate_is_told_as_own(tmp_path: Path) -> None:
    """
    Its source is "own" and all is well.
    """
    (domain,) = _status(tmp_path, NAME.text)["domains"]
    assert ("valid", "own", None) == (domain["state"], domain["source"], domain["problem"])


def test_own_certificate_for_another_name_is_faulty_in_words(tmp_path: Path) -> None:
    """
    A mismatch is said, and the certificate is listed all the same.
    """
    (domain,) = _status(tmp_path, "other.example")["domains"]
    assert ("faulty", True) == (domain["state"], NAME.text in domain["problem"])
    assert domain["not_after"] is not None


def test_sections_are_plain_values(tmp_path: Path) -> None:
    """
    The whole status is JSON: counters, upstreams, the access log's losses.
    """
    told = _status(tmp_path, NAME.text)
    assert {"version", "serving", "states", "domains", "connections", "tls", "http", "upstreams", "access_log"} <= set(
        told
    )
    assert (0, 0) == (told["connections"]["open"], told["access_log"]["dropped_lines"])


def test_version_is_that_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An upgrade of the files on the disk changes nothing that runs.
    """
    started = metadata.version("sptls")
    monkeypatch.setattr(metadata, "version", lambda _name: "99.0")
    assert started == _status(tmp_path, NAME.text)["version"]


def test_a_name_that_is_passed_through_is_told(tmp_path: Path) -> None:
    """
    As such, among the others; nothing is ordered for it.
    """
    passed = DomainConfig(HostName("passed.example"), passthrough=PassthroughConfig("192.0.2.1", 443))
    config = Config((DomainConfig(NAME), passed), state_dir=tmp_path, acme=AcmeConfig(directory="internal"))
    reactor = InlineReactor()
    own = OwnCertificates(
        config.domains,
        clock=reactor,
        wall_clock=wall_time,
        in_thread=None,  # type: ignore[arg-type] # there is nothing to look at
    )
    status = json.loads("".join(Parts.make(reactor, config, own, trust_roots(config)).report.status()))
    assert [("passed.example", "passed through")] == [(domain["name"], domain["state"]) for domain in status["domains"]]
    assert 0 == status["tls"]["passed_through"]
