"""
Our account at the CA: lost, deactivated, not taken, its terms changed, its external account wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from sptls.config import ExternalAccountBinding
from sptls.errors import AcmeProblem, ActionRequired, ConfigError, Scope
from tests.acme_front.faults import Answer, Change, Fault, Say, problem
from tests.faults.world import NAME, OTHER, World

if TYPE_CHECKING:
    from sptls.names import HostName

pytestmark = pytest.mark.pebble

TERMS = '<https://ca.test/terms/2>;rel="terms-of-service"'


def forge_account(world: World) -> str:
    """
    Let the CA have forgotten our account, as after its restart; gives the URL that nobody knows.
    """
    (directory,) = world.accounts.records
    record = world.accounts.records[directory]
    world.accounts.records[directory] = attrs.evolve(record, url=record.url + "0")
    world.issuer = world.make_issuer()
    return record.url + "0"


def test_an_account_that_the_ca_lost_is_registered_once(world: World) -> None:
    """
    Two orders meet it, one registers; both are done within two seconds.
    """
    world.bundle()
    forged = forge_account(world)
    world.front.seen.clear()
    came = world.issue_all(NAME, OTHER)
    assert [True, True] == [each.bundle is not None for each in came]
    assert 1 == world.front.count("newAccount")
    assert max(each.seconds for each in came) < 2
    assert forged != next(iter(world.accounts.records.values())).url


@pytest.mark.parametrize("step", ["newOrder", "authorization", "challenge", "finalize", "certificate"])
def test_an_account_that_is_lost_in_the_middle_is_registered_once(world: World, step: str) -> None:
    """
    Whatever the step, the same key is registered again and the name ordered again, in the same attempt.
    """
    world.front.arm(Fault(step, Say(problem(400, "accountDoesNotExist"))))
    came = world.issue()
    assert came.bundle is not None, came.cause
    assert 2 == came.operations.count("newAccount")
    assert came.seconds < 2


def test_an_account_that_is_lost_for_good_ends_the_attempt(world: World) -> None:
    """
    It is not registered in a circle.
    """
    world.front.arm(Fault("newOrder", Say(problem(400, "accountDoesNotExist")), times=None))
    came = world.failure()
    assert isinstance(came.cause, AcmeProblem)
    assert ("accountDoesNotExist", Scope.ACCOUNT) == (came.cause.type, came.cause.scope)
    assert (2, 2) == (world.front.count("newOrder"), world.front.count("newAccount"))
    world.recover()


@pytest.mark.parametrize("name", [NAME, OTHER])
def test_a_deactivated_account_is_for_a_person(world: World, name: HostName) -> None:
    """
    No order is tried twice, no second account made; the error says who must act.
    """
    world.bundle()
    world.front.arm(Fault("newOrder", Say(problem(403, "unauthorized", "account is deactivated")), times=None))
    world.front.seen.clear()
    came = world.failure(name)
    assert isinstance(came.cause, ActionRequired)
    assert Scope.ACCOUNT is came.cause.scope
    assert "the CA refuses our account: account is deactivated" in str(came.cause)
    assert (1, 0) == (world.front.count("newOrder"), world.front.count("newAccount"))
    world.recover()


@pytest.mark.parametrize("step", ["newAccount", "newOrder", "finalize"])
def test_changed_terms_are_for_a_person(world: World, step: str) -> None:
    """
    The error has the terms to read and the page to agree on (RFC 8555 §7.3.3).
    """
    said = problem(403, "userActionRequired", "the terms have changed", instance="https://ca.test/agree/1")
    world.front.arm(Fault(step, Say(said.with_field("Link", TERMS)), times=None))
    came = world.failure()
    assert isinstance(came.cause, ActionRequired)
    assert "read its new terms of service, https://ca.test/terms/2" in str(came.cause)
    assert "https://ca.test/agree/1" in str(came.cause)
    assert 1 == world.front.count(step)
    world.recover()


def test_terms_without_consent_are_not_agreed_to(world: World) -> None:
    """
    Nothing is asked of the CA before the operator has agreed.
    """
    world.issuer = world.make_issuer(agree_to_terms=False)
    came = world.failure()
    assert isinstance(came.cause, ConfigError)
    assert "acme.agree_to_terms: read the CA's terms of service" in str(came.cause)
    assert ("directory",) == came.operations


def wants_external_account(said: Answer) -> Answer:
    """
    Give a directory whose CA wants external accounts.
    """
    return said.with_members(meta={**said.json()["meta"], "externalAccountRequired": True})


def test_a_missing_external_account_is_for_the_operator(world: World) -> None:
    """
    The error names the keys to set; the CA is not asked for an account.
    """
    world.front.arm(Fault("directory", Change(wants_external_account), times=None))
    came = world.failure()
    assert isinstance(came.cause, ConfigError)
    assert "acme.eab: this CA wants an external account" in str(came.cause)
    assert ("directory",) == came.operations
    world.issuer = world.make_issuer()
    world.recover()


@pytest.mark.parametrize("kind", ["unauthorized", "externalAccountRequired"])
def test_a_wrong_external_account_is_for_the_operator(world: World, tmp_path: Path, kind: str) -> None:
    """
    The error names the keys to compare, and has nothing of the secret.
    """
    (tmp_path / "mac").write_text("c2VjcmV0LXNlY3JldC1zZWNyZXQ\n")
    world.issuer = world.make_issuer(eab=ExternalAccountBinding("kid-1", tmp_path / "mac"))
    world.front.arm(Fault("newAccount", Say(problem(403, kind, "the MAC is wrong")), times=None))
    came = world.failure()
    assert isinstance(came.cause, ConfigError)
    assert "acme.eab: the CA refuses this external account: the MAC is wrong" in str(came.cause)
    assert "c2VjcmV0" not in str(came.cause)
    assert 1 == world.front.count("newAccount")
    world.issuer = world.make_issuer()
    world.recover()


def test_a_registration_whose_answer_was_lost_finds_the_account(world: World) -> None:
    """
    The key is stored before the CA hears of it, so a restart in between makes no second account.
    """
    world.front.arm(Fault("newAccount", Say(Answer(500), asks_ca=True), times=6))
    world.failure()
    (record,) = world.accounts.records.values()
    assert "" == record.url
    world.issuer = world.make_issuer()
    world.recover()
    assert record.key == next(iter(world.accounts.records.values())).key
