"""
What ``[acme]`` and ``[[acme]]`` may hold: one CA or several, each judged on its own and beside the others.
"""

from __future__ import annotations

from typing import Any

import pytest

from sptls.config import DIRECTORIES, UNLIMITED, AcmeConfig, CaLimits, Config, ExternalAccountBinding, Rate
from sptls.errors import ConfigError
from tests.full_config import BASE, loaded

FIRST = "[[acme]]\nagree_to_terms = true\n"
OTHER = "[[acme]]\ndirectory = 'https://ca.example/dir'\nagree_to_terms = true\n"


def faults(text: str, **flags: Any) -> list[str]:
    """
    Load what can't be used, and give its faults as lines.
    """
    with pytest.raises(ConfigError) as caught:
        read(text, **flags)
    return [str(fault) for fault in caught.value.faults]


def read(text: str, **flags: Any) -> Config:
    """
    Load *text*, with a domain that is ordered.
    """
    return loaded(f"domains = ['a.b']\n{text}", **flags)


def test_a_table_is_one_ca() -> None:
    """
    An array of one is the same.
    """
    assert (AcmeConfig(agree_to_terms=True),) == read("[acme]\nagree_to_terms = true").cas == read(FIRST).cas


def test_an_array_is_several_cas_in_order() -> None:
    """
    Each with keys of its own, and the defaults of all.
    """
    text = f"{OTHER}eab = {{kid = 'kid', hmac_key_file = 'ok.key'}}\nprofile = 'short'\n{FIRST}trust = 'ok.pem'\n"
    eab = ExternalAccountBinding("kid", BASE / "ok.key")
    assert (
        AcmeConfig("https://ca.example/dir", agree_to_terms=True, eab=eab, profile="short"),
        AcmeConfig(agree_to_terms=True, trust=BASE / "ok.pem"),
    ) == read(text).cas


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("acme = 3", "acme: expected a table, or an array of tables"),
        ("acme = {challenges = ['dns-01', 'http-01']}", "acme.challenges[0]: 'dns-01' is none of"),
        ("acme = []", "acme: must hold at least one CA"),
        ("acme = [3, {agree_to_terms = true}]", "acme[0]: expected a table, not a whole number"),
        (f"{FIRST}{OTHER}key_type = 'dsa'", "acme[1].key_type: 'dsa' is none of"),
        (f"{FIRST}{OTHER}contact = ['ops@a.b', 'x']", "acme[1].contact[1]: 'x' is not an e-mail address"),
        (f"{FIRST}{OTHER}contacts = []", "acme[1].contacts: unknown key; did you mean 'contact'?"),
        (f"{FIRST}{OTHER}trust = 'gone.pem'", "acme[1].trust: '/etc/sptls/gone.pem' can't be read"),
        (f"{FIRST}{OTHER}eab = {{kid = 'x'}}", "acme[1].eab.hmac_key_file: missing"),
        (f"{FIRST}{OTHER}limits = {{orders = '5'}}", "acme[1].limits.orders: '5' is not a rate"),
        (f"{FIRST}{FIRST}", f"acme[1].directory: {DIRECTORIES['letsencrypt']} is at acme[0].directory already"),
        (f"{OTHER}{FIRST}{OTHER}", "acme[2].directory: https://ca.example/dir is at acme[0].directory already"),
        (f"{FIRST}{OTHER}challenges = []", "acme[1].challenges: must name at least one"),
        (
            f"{FIRST}{OTHER}challenges = ['http-01', 'http-01']",
            "acme[1].challenges[1]: http-01 is at acme[1].challenges[0] already",
        ),
        (
            f"listen.http = []\n{FIRST}{OTHER}challenges = ['http-01', 'tls-alpn-01']",
            "acme[1].challenges[0]: http-01 is answered at listen.http, which has no address",
        ),
    ],
)
def test_a_fault_has_the_place_of_its_ca(text: str, fault: str) -> None:
    """
    One fault, and nothing that only follows from it.
    """
    found = faults(text, agree_to_terms=True)
    assert [True] == [line.startswith(fault) for line in found], found


def test_an_array_of_nothing_but_faults_is_judged_all_the_same() -> None:
    """
    Flags for a first CA that is none change nothing.
    """
    assert ["acme[0]: expected a table, not a string"] == faults("acme = ['x']", directory="internal")


def test_one_broken_directory_is_not_taken_for_another() -> None:
    """
    Both stand in for nothing.
    """
    found = faults("acme = [{directory = 'x'}, {directory = 'y'}, {directory = 'internal'}]", agree_to_terms=True)
    assert ["acme[1].directory", "acme[1].agree_to_terms"] == [line.partition(":")[0] for line in found[1:]]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("acme = {}", ["acme.agree_to_terms"]),
        (f"{FIRST}[[acme]]\ndirectory = 'internal'", []),
        (f"[[acme]]\ndirectory = 'internal'\n{FIRST}", []),
        (f"{FIRST}[[acme]]\ndirectory = 'https://ca.example/dir'", ["acme[1].agree_to_terms"]),
        (f"[[acme]]\n{OTHER}[[acme]]\ndirectory = 'letsencrypt-staging'", ["acme[0].agree_to_terms", "acme[2].agree"]),
    ],
)
def test_the_terms_of_each_ca_are_agreed_to(text: str, places: list[str]) -> None:
    """
    The internal one has none; the flag is the first one's.
    """
    if not places:
        assert read(text)
        return
    found = faults(text)
    assert len(places) == len(found)
    for place, fault in zip(places, found, strict=True):
        is_first = "[1]" not in place and "[2]" not in place
        assert (True, is_first) == (fault.startswith(place), fault.endswith("or give --agree-to-terms"))


def test_flags_are_about_the_first_ca() -> None:
    """
    The others stay as the file has them.
    """
    text = f"[[acme]]\n{OTHER}contact = ['other@a.b']\n"
    first, other = read(text, directory="letsencrypt-staging", contact=("me@a.b",), agree_to_terms=True).cas
    assert (DIRECTORIES["letsencrypt-staging"], ("me@a.b",), True) == (
        first.directory,
        first.contact,
        first.agree_to_terms,
    )
    assert ("https://ca.example/dir", ("other@a.b",)) == (other.directory, other.contact)


def test_a_fault_in_a_flag_is_the_flags() -> None:
    """
    Also where it stands for the first of several.
    """
    found = faults(f"[[acme]]\n{OTHER}", directory="x", contact=("ops@a.b", "y"), agree_to_terms=True)
    assert ["--directory", "--contact"] == [line.partition(":")[0] for line in found]


def test_limits_are_rates_or_off() -> None:
    """
    What is left out, or "", is what is known of the CA.
    """
    text = f"{OTHER}limits = {{orders = '20 per h', certificates_per_name = 'off', certificates_per_domain = ''}}"
    assert CaLimits(Rate(20, 3600), None, UNLIMITED) == read(text).acme.limits
    assert CaLimits() == read(OTHER).acme.limits


def test_each_ca_of_a_renewal_daemon_has_http_01_alone() -> None:
    """
    Its challenge types are judged one by one.
    """
    deploy = "deploy = {directory = 'live'}\n"
    assert [("http-01",)] * 2 == [acme.challenges for acme in read(deploy + FIRST + OTHER, renew_only=True).cas]
    (found,) = faults(f"{deploy}{FIRST}{OTHER}challenges = ['tls-alpn-01']", renew_only=True)
    assert found.startswith("acme[1].challenges: http-01 is the only one that --renew-only can answer")


def test_a_renewal_daemon_without_port_80_is_told_once() -> None:
    """
    However many CAs would look there.
    """
    text = f"deploy = {{directory = 'live'}}\nlisten.http = []\n{FIRST}{OTHER}"
    (found,) = faults(text, renew_only=True)
    assert found.startswith("listen.http: no address here and no deploy.webroot")
