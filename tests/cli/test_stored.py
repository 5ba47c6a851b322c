"""
Tests for `sptls.cli.stored`, on real stores and files.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sptls.certs.records import History
from sptls.cli.options import place
from sptls.cli.stored import Stored, own_files
from sptls.clock import wall_time
from sptls.errors import BadCertificate
from sptls.names import HostName
from sptls.ops.status import DomainStatus
from tests.cli.conftest import Site

A, B, OWN = HostName("a.example"), HostName("b.example"), HostName("own.example")
CA = "https://ca.example/dir"


def _stored(site: Site, config: Path | None) -> Stored:
    return Stored.at(place(config, site.state))


def _status(stored: Stored, name: HostName, now: datetime | None = None) -> DomainStatus:
    (status,) = stored.statuses([name], now or wall_time())
    return status


def test_configuration_says_which_names_there_are(site: Site) -> None:
    """
    What is stored of a domain that was removed is left out; without a configuration, all that is stored is told.
    """
    site.put("a.example")
    site.put_history("b.example", History(1, None, (), "refused", None, "internal"))
    assert (A, B) == _stored(site, None).names
    assert (OWN, A) == _stored(site, site.write("own.example", "a.example")).names


def test_stored_certificate_is_told_as_valid_with_its_renewal(site: Site) -> None:
    """
    As the daemon would.
    """
    bundle = site.put("a.example")
    status = _status(_stored(site, site.write("a.example")), A)
    assert ("valid", "internal", bundle, "") == (status.state, status.source, status.bundle, status.problem)
    assert status.renew_at is not None


def test_certificate_of_another_ca_waits_to_be_replaced(site: Site) -> None:
    """
    Staging's is never mistaken for good; without a configuration nobody can tell.
    """
    site.put("a.example", directory=CA)
    assert "replacing" == _status(_stored(site, site.write("a.example")), A).state
    assert ("valid", CA) == ((status := _status(_stored(site, None), A)).state, status.source)


def test_failures_are_told_with_their_reason(site: Site) -> None:
    """
    And with the next attempt.
    """
    until = wall_time() + timedelta(minutes=5)
    site.put_history("a.example", History(2, until, (), "refused", None, "internal"))
    status = _status(_stored(site, site.write("a.example")), A)
    assert ("failing", "refused", until) == (status.state, status.problem, status.next_attempt_at)


def test_name_of_which_nothing_is_stored_waits(site: Site) -> None:
    """
    No store yet is nothing stored.
    """
    assert DomainStatus("a.example", "waiting", "internal") == _status(_stored(site, site.write("a.example")), A)


def test_own_certificate_is_read_from_its_files(site: Site) -> None:
    """
    Its expiry, and what is wrong with it, are told.
    """
    stored = _stored(site, site.write(site.bring("own.example")))
    status = _status(stored, OWN)
    assert ("valid", "own", "") == (status.state, status.source, status.problem)
    assert status.bundle == stored.bundle(OWN)
    assert "expired" == _status(stored, OWN, wall_time() + timedelta(days=90)).state


def test_own_certificate_that_cannot_be_used_is_faulty(site: Site) -> None:
    """
    A half written file is no traceback.
    """
    stored = _stored(site, site.write(site.bring("own.example")))
    (site.directory / "own.example.pem").write_text("half")
    status = _status(stored, OWN)
    assert ("faulty", None) == (status.state, status.bundle)
    assert "own.example.pem" in status.problem
    with pytest.raises(BadCertificate):
        stored.bundle(OWN)


def test_certificate_that_is_nowhere_is_none(site: Site) -> None:
    """
    A name that is stored has one.
    """
    bundle = site.put("a.example")
    stored = _stored(site, None)
    assert (bundle, None) == (stored.bundle(A), stored.bundle(B))


def test_places_of_own_files_are_the_configurations(site: Site) -> None:
    """
    A fault is said where the operator wrote it.
    """
    config = place(site.write("a.example", site.bring("own.example")), None).config()
    assert ["domains[1]"] == [files.place for files in own_files(config)]


def test_another_servers_domain_has_no_certificate_here(site: Site) -> None:
    """
    Also where one is stored of the time before.
    """
    site.put("passed.example")
    stored, name = (
        _stored(site, site.write("a.example", '{name = "passed.example", passthrough = "192.0.2.1:443"}')),
        HostName("passed.example"),
    )
    assert (frozenset({name}), "passed through") == (stored.passed_through, _status(stored, name).state)
    assert frozenset() == _stored(site, None).passed_through
