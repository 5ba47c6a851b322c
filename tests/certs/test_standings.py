from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.records import NO_HISTORY, History, Loaded, RenewalAdvice, StoredCertificate
from sptls.certs.standing import Standing
from sptls.certs.standings import Standings, recalled
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, bundle_for

STORED = StoredCertificate(CLICK, bundle_for(CLICK), CA, NOW + timedelta(days=60))
OTHER = HostName("other.example.com")
NAMES = [HostName(f"n{at}.example.com") for at in range(5)]


@pytest.fixture
def seen() -> list[HostName]:
    """
    Give the names that have come up.
    """
    return []


@pytest.fixture
def standings(seen: list[HostName]) -> Standings:
    """
    Give none yet.
    """
    return Standings(lambda standing: seen.append(standing.name))


def test_what_is_known_is_here(standings: Standings, seen: list[HostName]) -> None:
    """
    A name of which something is known does not have to come up.
    """
    standing = Standing(CLICK, STORED, NO_HISTORY)
    standings.put(standing)
    assert standing is standings.get(CLICK)
    assert ([standing], []) == (list(standings.values()), seen)


def test_put_off_comes_up_when_asked_for(standings: Standings, seen: list[HostName]) -> None:
    """
    Once, and nobody else with it.
    """
    standings.put_off(NAMES)
    found = standings.get(NAMES[3])
    assert found is not None
    assert found is standings.get(NAMES[3])
    assert ([NAMES[3]], [found]) == (seen, list(standings.values()))


def test_nothing_comes_up_for_the_question_of_its_certificate(standings: Standings, seen: list[HostName]) -> None:
    """
    It is put of every name at the start; what was put off has none.
    """
    standings.put(Standing(CLICK, STORED, NO_HISTORY))
    standings.put_off(NAMES)
    assert [STORED, None, None] == [standings.certificate(name) for name in (CLICK, NAMES[0], OTHER)]
    assert ([], True) == (seen, NAMES[0] in standings)


def test_put_off_comes_up_by_and_by(standings: Standings, seen: list[HostName]) -> None:
    """
    In the order in which they were put off, without the one that was asked for before.
    """
    standings.put_off(NAMES)
    standings.get(NAMES[1])
    assert [True, False, False] == [standings.bring_up(3), standings.bring_up(3), standings.bring_up(3)]
    assert [NAMES[1], NAMES[0], *NAMES[2:]] == seen


def test_unknown(standings: Standings) -> None:
    """
    A name that is not taken care of does not stand at all.
    """
    standings.put_off(NAMES)
    assert standings.get(CLICK) is None
    assert CLICK not in standings


def test_kept(standings: Standings, seen: list[HostName]) -> None:
    """
    Those that go are told as they stood, and one that was put off never comes up.
    """
    standings.put_off(NAMES[:4])
    came_up = [standings.get(name) for name in NAMES[:2]]
    assert came_up[:1] == standings.keep({NAMES[1], NAMES[3]})
    assert [NAMES[1], NAMES[3]] == [name for name in NAMES if name in standings]
    assert not standings.bring_up(9)
    assert [NAMES[1], NAMES[3]] == [standing.name for standing in standings.values()]
    assert [NAMES[0], NAMES[1], NAMES[3]] == seen


@given(st.lists(st.sampled_from(["get", "drop", "bring up"])), st.lists(st.sampled_from(NAMES)))
def test_each_name_is_in_one_place(calls: list[str], names: list[HostName]) -> None:
    """
    However it is called, each name is told once, comes up once at the most, and is there until it is dropped.
    """
    came_up: list[HostName] = []
    standings, there = Standings(lambda standing: came_up.append(standing.name)), set(NAMES)
    standings.put_off(NAMES)
    for call, name in zip(calls, names, strict=False):
        if call == "get":
            assert (standings.get(name) is not None) is (name in there)
        elif call == "drop":
            there.discard(name)
            standings.keep(there)
        else:
            standings.bring_up(1)
    assert there == {name for name in NAMES if name in standings}
    standings.bring_up(len(NAMES))
    told = [standing.name for standing in standings.values()]
    assert (there, len(there)) == (set(told), len(told))
    assert len(set(came_up)) == len(came_up)


def test_recalled_with_its_certificate_and_advice() -> None:
    """
    What a CA said of a certificate holds for that one alone.
    """
    history = History(consecutive_failures=1, last_error="refused")
    advice = RenewalAdvice(STORED.bundle.serial, NOW, NOW, NOW)
    loaded = Loaded(certificates={CLICK: STORED}, histories={CLICK: history}, advices={CLICK: advice})
    found = recalled(CLICK, loaded)
    assert found is not None
    assert (STORED, history, False, advice) == (found.certificate, found.history, found.is_resuming, found.advice)
    assert recalled(OTHER, loaded) is None
    former = attrs.evolve(loaded, advices={CLICK: attrs.evolve(advice, serial="00")})
    found = recalled(CLICK, former)
    assert found is not None
    assert found.advice is None


@pytest.mark.parametrize("is_on_record", [True, False])
def test_recalled_in_the_middle_of_an_order(*, is_on_record: bool) -> None:
    """
    An order that is on record is gone on with.
    """
    history = attrs.evolve(History(), attempt_started_at=NOW)
    loaded = Loaded(histories={CLICK: history}, orders=frozenset({CLICK} if is_on_record else ()))
    found = recalled(CLICK, loaded)
    assert found is not None
    assert found.is_resuming is is_on_record
