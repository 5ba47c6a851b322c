"""
Tests for `sptls.cli.check`.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.cli.conftest import Command, Site

ACME = 'directory = "https://ca.example/dir"\nagree_to_terms = true\n'


def test_configuration_without_fault_is_summed_up(sptls: Command, site: Site) -> None:
    """
    What would be served, and from where.
    """
    config = site.write("a.example", site.bring("own.example"), more='[listen]\nhttps = ["127.0.0.1:8443"]', acme=ACME)
    ran = sptls("check", "--config", config)
    assert (0, "") == (ran.status, ran.err)
    assert (
        "fine: 2 domains, 1 with a certificate of its own, certificates by https://ca.example/dir, "
        f"https on 127.0.0.1:8443, http on :80, state in {site.state}\n"
    ) == ran.out


def test_several_cas_are_named_in_their_order(sptls: Command, site: Site) -> None:
    """
    And what is wrong with the files of each has its place.
    """
    acme = f'{ACME}[[acme]]\ndirectory = "internal"\n'
    config = site.write("a.example", acme=acme)
    config.write_text(config.read_text().replace("[acme]", "[[acme]]", 1))
    ran = sptls("check", "--config", config)
    assert (0, "", True) == (
        ran.status,
        ran.err,
        "certificates by https://ca.example/dir, else by the internal CA, " in ran.out,
    )
    (site.directory / "bad").write_bytes(b"\xff")
    config.write_text(config.read_text() + 'trust = "bad"\neab = {kid = "kid", hmac_key_file = "bad"}\n')
    ran = sptls("check", "--config", config)
    assert 2 == ran.status
    assert "\n  acme[1].eab.hmac_key_file: " in ran.err
    assert "\n  acme[1].trust: the file of extra roots" in ran.err


@pytest.mark.parametrize(("names", "expected"), [(["a.example"], "1 domain,"), (["a.example", "b.example"], "2 d")])
def test_internal_ca_is_called_that(sptls: Command, site: Site, names: list[str], expected: str) -> None:
    """
    And one domain is one.
    """
    ran = sptls("check", "--config", site.write(*names))
    assert f"fine: {expected}" in ran.out
    assert "certificates by the internal CA" in ran.out


def test_domains_with_their_own_certificates_need_no_ca(sptls: Command, site: Site) -> None:
    """
    None is named.
    """
    ran = sptls("check", "--config", site.write(site.bring("own.example")))
    assert (0, False) == (ran.status, "certificates by" in ran.out)


def test_faults_of_the_file_come_all_at_once(sptls: Command, site: Site) -> None:
    """
    Each with its place, on standard error, and exit status 2.
    """
    ran = sptls("check", "--config", site.write("not one", "a.example", "a.example"))
    assert (2, "") == (ran.status, ran.out)
    assert "\n  domains[0]: " in ran.err
    assert "\n  domains[2]: " in ran.err


def test_faults_of_the_files_that_it_names_come_all_at_once(sptls: Command, site: Site) -> None:
    """
    Roots, the external account's key, own certificates: all that would keep the daemon from starting.
    """
    (site.directory / "roots.pem").write_text("no roots")
    (site.directory / "eab.key").write_bytes(b"\xff")
    brought = site.bring("own.example"), site.bring("other.example")
    (site.directory / "own.example.key").write_bytes((site.directory / "other.example.key").read_bytes())
    eab = 'eab = {kid = "kid", hmac_key_file = "eab.key"}\n'
    own = '{name = "up.example", upstream = {trust = "other-roots.pem"}}'
    (site.directory / "other-roots.pem").write_text("no roots either")
    ran = sptls("check", "--config", site.write(*brought, own, "a.example", acme=f'{ACME}trust = "roots.pem"\n{eab}'))
    assert 2 == ran.status
    for fault in (
        "acme.eab.hmac_key_file: ",
        "acme.trust: the file of extra roots",
        "up.example: upstream.trust: the file of extra roots",
        "domains[0]: ",
    ):
        assert f"\n  {fault}" in ran.err
    assert "domains[1]" not in ran.err


def test_own_certificate_that_is_served_all_the_same_is_a_warning(sptls: Command, site: Site) -> None:
    """
    The daemon starts with it, so a start script must not stop there.
    """
    ran = sptls("check", "--config", site.write(site.bring("own.example", timedelta(hours=-1))))
    assert (0, True) == (ran.status, ran.out.startswith("fine"))
    assert "warning: domains[0]: " in ran.err
    assert "expired" in ran.err


def test_no_configuration_is_a_usage_error(sptls: Command) -> None:
    """
    It is said where one was looked for.
    """
    ran = sptls("check")
    assert (2, True) == (ran.status, "SPTLS_CONFIG" in ran.err)


def test_domains_that_are_passed_through_are_counted(sptls: Command, site: Site) -> None:
    """
    They need no CA.
    """
    ran = sptls("check", "--config", site.write('{name = "passed.example", passthrough = "192.0.2.1:443"}'))
    assert (0, False) == (ran.status, "certificates by" in ran.out)
    assert "fine: 1 domain, 1 passed through, https on " in ran.out
