"""
Who must act: what `certs.diagnosis` makes of the errors that a real client gets from a real CA, or a front that fails.
"""

from __future__ import annotations

import pytest

from sptls.certs.diagnose import diagnose
from sptls.certs.diagnosis import Who
from sptls.errors import SptlsError
from tests.acme_front import forgery
from tests.acme_front.faults import Action, Break, Change, Fault, GoDown, Say, answer, problem
from tests.faults.world import NAME, World

pytestmark = pytest.mark.pebble


def cause(world: World) -> SptlsError:
    """
    Fail, and give why.
    """
    found = world.failure().cause
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("step", "action", "who"),
    [
        ("directory", GoDown("refuse"), Who.CA),
        ("newOrder", Break("hang"), Who.CA),
        ("newOrder", Say(answer(503)), Who.CA),
        ("newOrder", Change(lambda said: said.with_content(b"<html>")), Who.CA),
        ("newOrder", GoDown("untrusted"), Who.HOST),
        ("newOrder", Say(problem(429, "rateLimited", "too many new orders", "60")), Who.CA_LIMITS),
        ("newOrder", Say(problem(400, "rejectedIdentifier", "policy forbids it")), Who.OPERATOR),
        ("newOrder", Say(problem(403, "userActionRequired", "new terms")), Who.OPERATOR),
        ("newOrder", Say(problem(403, "unauthorized", "account is deactivated")), Who.OPERATOR),
        ("finalize", Say(problem(403, "caa", "CAA record for a.test prevents issuance")), Who.CUSTOMER),
        ("finalize", Say(problem(400, "badPublicKey", "too short")), Who.OPERATOR),
        ("certificate", Change(lambda said: said.with_content(b"not PEM")), Who.CA),
    ],
)
def test_who_must_act_is_told(world: World, step: str, action: Action, who: Who) -> None:
    """
    With a cause and an advice for people.
    """
    world.front.arm(Fault(step, action, times=None))
    diagnosis = diagnose(cause(world))
    assert who is diagnosis.who, diagnosis
    assert diagnosis.cause
    assert diagnosis.advice
    world.recover()


def test_a_closed_port_is_the_host_s(world: World) -> None:
    """
    In the words of a real validation authority, which does not say that it was refused.
    """
    world.issuer = world.make_issuer(types=("tls-alpn-01",))
    assert ("connection", Who.HOST) == ((found := diagnose(cause(world))).code, found.who)


def test_an_unknown_root_is_told_from_an_outage(world: World) -> None:
    """
    Waiting does not help, and the key to set is named.
    """
    world.front.arm(Fault("directory", GoDown("untrusted")))
    assert "acme.trust" in diagnose(cause(world)).advice


def test_another_server_s_answer_is_the_customer_s(world: World) -> None:
    """
    The name leads to a server that does not know our token.
    """
    world.tokens.dead.add(NAME)
    assert ("wrong-answer", Who.CUSTOMER) == ((found := diagnose(cause(world))).code, found.who)


def test_a_certificate_for_another_name_is_the_ca_s(world: World) -> None:
    """
    Nobody here can do anything about it.
    """

    def forged() -> bytes:
        now = world.now()
        key = forgery.handed_in_key(world.front)
        return forgery.certificate(["b.test"], key, now - forgery.DAY, now + forgery.DAY) + forgery.authority(now)

    world.front.arm(Fault("certificate", Change(lambda said: said.with_content(forged()))))
    assert Who.CA is diagnose(cause(world)).who
