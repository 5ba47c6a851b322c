from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.pebble.conftest import Ca
from tests.pebble.pebble import Ports, Settings, is_installed, running
from tests.ports import free_ports

if TYPE_CHECKING:
    from pathlib import Path

    from tests.pebble.conftest import StartCa

pytestmark = pytest.mark.pebble

MAC_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


def errors(report: dict[str, Any]) -> list[str]:
    """
    Give the errors of all names in all rounds.
    """
    return [outcome["error"] for outcomes in report["rounds"] for outcome in outcomes if outcome["error"]]


def chain_of(outcome: dict[str, Any]) -> list[x509.Certificate]:
    """
    Give the chain that was issued.
    """
    return x509.load_pem_x509_certificates(outcome["chain_pem"].encode())


def test_issues_with_few_requests_and_within_half_a_second(start_ca: StartCa) -> None:
    """
    A certificate takes at most eight requests, account and directory apart, and at most half a second.
    """
    ca = start_ca()
    report = ca.issue("a.test", rounds=4)
    assert [] == errors(report)
    later = [outcome for (outcome,) in report["rounds"][1:]]
    assert min(outcome["requests"] for outcome in later) <= 8
    assert min(outcome["seconds"] for outcome in later) <= 0.5
    assert 0 == report["open_challenges"]
    status = ca.pebble.certificate_status(later[-1]["serial"])
    assert "Valid" == status["Status"]


def test_the_chain_ends_below_the_root(start_ca: StartCa) -> None:
    """
    What is served verifies up to the CA's root, whatever the chain's length.
    """
    ca = start_ca(chain_length=3)
    report = ca.issue("a.test")
    chain = chain_of(report["rounds"][0][0])
    assert 4 == len(chain)
    chain[-1].verify_directly_issued_by(x509.load_pem_x509_certificate(ca.pebble.root()))


def test_a_preferred_issuers_chain_is_chosen(start_ca: StartCa) -> None:
    """
    Of alternate chains, that of the preferred root is taken.
    """
    ca = start_ca(alternate_roots=2)
    root = x509.load_pem_x509_certificate(ca.pebble.root(2))
    (name,) = root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    report = ca.issue("a.test", preferred_issuer=name.value)
    chain_of(report["rounds"][0][0])[-1].verify_directly_issued_by(root)


def test_survives_a_ca_that_rejects_every_second_nonce(start_ca: StartCa) -> None:
    """
    Ten names at once are issued though half of all good nonces are refused.
    """
    report = start_ca(nonce_reject_percent=50).issue(*(f"n{number}.test" for number in range(10)))
    assert [] == errors(report)


def test_forty_names_at_once(start_ca: StartCa) -> None:
    """
    Forty new names are issued within ten seconds, with one account, one directory and eight requests each.
    """
    report = start_ca().issue(*(f"n{number}.test" for number in range(40)))
    assert [] == errors(report)
    assert max(outcome["seconds"] for outcome in report["rounds"][0]) <= 10
    assert 1 == sum("sign-me-up" in request for request in report["requests"])
    assert 1 == sum(request.startswith("GET") for request in report["requests"])
    assert sum(request.startswith("POST") for request in report["requests"]) <= 40 * 8 + 1


def test_waits_for_slow_validation(start_ca: StartCa) -> None:
    """
    A CA that takes its time to validate is polled until it is done.
    """
    assert [] == errors(start_ca(validation_sleep_seconds=1).issue("a.test"))


def test_skips_authorizations_that_are_valid_already(start_ca: StartCa) -> None:
    """
    A renewal whose authorization the CA still holds valid answers no challenge.
    """
    report = start_ca(authorization_reuse_percent=100).issue("a.test", rounds=2)
    assert [] == errors(report)
    assert 1 == sum("/chalZ/" in request for request in report["requests"])


def test_a_blocked_name_does_not_harm_others(start_ca: StartCa) -> None:
    """
    A name that the CA's policy rejects fails with the CA's problem, and costs no failed authorization.
    """
    report = start_ca(blocked_names=("bad.test",)).issue("bad.test", "good.test")
    bad, good = report["rounds"][0]
    assert ("AcmeProblem", 0) == (bad["cause"], bad["failed_authorizations"])
    assert "rejectedIdentifier" in bad["error"]
    assert "" == good["error"]


def test_a_closed_challenge_port_fails_validation(start_ca: StartCa) -> None:
    """
    A name that can't be validated fails once, says why, and leaves no challenge open.
    """
    ca = start_ca()
    (elsewhere,) = free_ports(1)
    report = ca.issue("a.test", http_port=elsewhere)
    (outcome,) = report["rounds"][0]
    assert ("ValidationFailed", 1) == (outcome["cause"], outcome["failed_authorizations"])
    assert "http-01" in outcome["error"]
    assert 0 == report["open_challenges"]


@pytest.mark.parametrize("key_type", ["ec-p384", "rsa-2048"])
def test_issues_for_other_key_types(start_ca: StartCa, key_type: str) -> None:
    """
    The CA takes our signing requests for other keys than P-256.
    """
    assert [] == errors(start_ca().issue("a.test", key_type=key_type))


def test_binds_an_external_account(start_ca: StartCa, tmp_path: Path) -> None:
    """
    A CA that wants an external account takes ours; without one, the error says what to configure.
    """
    ca = start_ca(external_accounts={"kid-1": MAC_KEY})
    (tmp_path / "mac").write_text(MAC_KEY + "\n")
    assert [] == errors(ca.issue("a.test", eab_kid="kid-1", eab_file=str(tmp_path / "mac")))
    (refused,) = ca.issue("b.test")["rounds"][0]
    assert "ConfigError" == refused["cause"]
    assert "acme.eab" in refused["error"]


def test_registers_again_when_the_ca_lost_the_account(start_ca: StartCa) -> None:
    """
    An account that the CA no longer knows is registered again, once for all orders, in less than two seconds.
    """
    report = start_ca().issue("a.test", "b.test", rounds=2, loses_account=True)
    assert [] == errors(report)
    assert max(outcome["seconds"] for outcome in report["rounds"][1]) < 2
    assert 2 == sum("sign-me-up" in request for request in report["requests"])


@pytest.mark.parametrize("dies_at", ["/authZ/", "/finalize-order/", "/certZ/"])
def test_a_killed_process_costs_no_second_order(start_ca: StartCa, tmp_path: Path, dies_at: str) -> None:
    """
    Whatever the CA had answered when the process was killed, the next one goes on with the order; it ends there.
    """
    ca, store = start_ca(), str(tmp_path / "state" / "store.db")
    ca.crash("a.test", store=store, dies_at=dies_at)
    report = ca.issue("a.test", store=store, rounds=2)
    assert [] == errors(report)
    ((taken_up,), (renewed,)) = report["rounds"]
    assert (0, 1) == (taken_up["orders"], renewed["orders"])
    assert 1 == sum("/order-plz" in request for request in report["requests"])
    assert 0 == sum("/sign-me-up" in request for request in report["requests"])


@pytest.mark.skipif(not is_installed(), reason="Pebble is not installed")
def test_an_order_that_the_ca_forgot_is_made_anew(tmp_path: Path) -> None:
    """
    A CA that was set up anew knows neither account nor order, and both are made again in one attempt.
    """
    store = str(tmp_path / "state" / "store.db")
    http_port, tls_port, *ports = free_ports(6)
    settings = Settings(http_port, tls_port)
    with running(tmp_path, settings, Ports(*ports)) as pebble:
        Ca(pebble, http_port).crash("a.test", store=store, dies_at="/finalize-order/")
    with running(tmp_path, settings, Ports(*ports)) as pebble:
        report = Ca(pebble, http_port).issue("a.test", store=store)
    assert [] == errors(report)
    assert 1 == report["rounds"][0][0]["orders"]


def test_a_certificate_is_revoked(start_ca: StartCa) -> None:
    """
    By the account that ordered it; for another account, by the certificate's own key.
    """
    ca = start_ca()
    for revoker in ("account", "key"):
        report = ca.issue("a.test", revoker=revoker)
        (outcome,) = report["rounds"][0]
        assert ("", "Revoked") == (outcome["error"], ca.pebble.certificate_status(outcome["serial"])["Status"])


def test_a_wrong_external_account_is_told(start_ca: StartCa, tmp_path: Path) -> None:
    """
    The error names the key of the configuration.
    """
    ca = start_ca(external_accounts={"kid-1": MAC_KEY})
    (tmp_path / "mac").write_text(MAC_KEY[::-1])
    (refused,) = ca.issue("a.test", eab_kid="kid-1", eab_file=str(tmp_path / "mac"))["rounds"][0]
    assert "ConfigError" == refused["cause"]
    assert "acme.eab: the CA refuses this external account" in refused["error"]
