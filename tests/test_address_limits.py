from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from ipaddress import IPv6Address
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.address_limits import (
    BURST_SECONDS,
    KNOWN_RATES,
    QUIET_SECONDS,
    TOLD_EPISODES,
    AddressLimits,
    Place,
    Refused,
    place_of,
)

HOST = "192.0.2.1"
RATE = 2
BURST = int(RATE * BURST_SECONDS)
SMALL = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"])


def _admitted(limits: AddressLimits, host: str, now: float, count: int) -> int:
    """
    Tell how many of *count* get in.
    """
    return sum(not isinstance(limits.admit(host, now), Refused) for _ in range(count))


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("::1", "::2", True),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, is_same: bool) -> None:
    """
    IPv4 addresses, mapped or not; of IPv6 the /64 network, whatever its zone.
    """
    assert is_same == (place_of(one) == place_of(other))


def test_no_limit_is_nothing_to_ask() -> None:
    """
    Where nothing is limited there is nobody to ask.
    """
    assert AddressLimits.some(0, 0) is None
    assert isinstance(AddressLimits.some(1), AddressLimits)
    assert isinstance(AddressLimits.some(0, 1), AddressLimits)


def test_connections_are_limited_while_they_are_open() -> None:
    """
    One too many is refused; when one has left, another may come.
    """
    limits = AddressLimits(2)
    leave, _, third = (limits.admit(HOST, 0) for _ in range(3))
    assert not isinstance(leave, Refused)
    assert Refused(HOST, "connections_per_address", 2, is_news=True) == third
    leave()
    assert not isinstance(limits.admit(HOST, 0), Refused)
    assert not isinstance(limits.admit("192.0.2.2", 0), Refused)


def test_handshakes_are_limited_by_a_rate_with_a_burst() -> None:
    """
    Ten seconds' worth may come at once, then so many a second, and ten seconds' worth again after a rest.
    """
    limits = AddressLimits(0, RATE)
    assert BURST == _admitted(limits, HOST, 0, BURST + 5)
    assert Refused(HOST, "handshakes_per_address", RATE, is_news=False) == limits.admit(HOST, 0.25)
    assert RATE == _admitted(limits, HOST, 1, BURST)
    assert BURST == _admitted(limits, HOST, 1 + BURST_SECONDS, BURST + 5)
    assert BURST == _admitted(limits, HOST, 1000, BURST + 5)


def test_what_is_refused_costs_nothing() -> None:
    """
    Who tries again and again has the full rate all the same, and no place.
    """
    limits = AddressLimits(BURST + 1, RATE)
    assert BURST == _admitted(limits, HOST, 0, 10 * BURST)
    assert not isinstance(limits.admit(HOST, 0.5), Refused)
    assert "connections_per_address" == getattr(limits.admit(HOST, 5), "key", None)


@given(st.lists(st.tuples(SMALL, st.booleans())), st.integers(1, 3))
def test_open_connections_are_counted_right(steps: list[tuple[str, bool]], most: int) -> None:
    """
    Whoever comes and leaves: as many are in as a plain count says, and nothing is known of who has nothing open.
    """
    limits, inside = AddressLimits(most), defaultdict[Place, list[Callable[[], None]]](list)
    for host, comes in steps:
        leaving = inside[place_of(host)]
        if comes:
            answer = limits.admit(host, 0)
            assert isinstance(answer, Refused) == (len(leaving) == most)
            if not isinstance(answer, Refused):
                leaving.append(answer)
        elif leaving:
            leaving.pop()()
    for leave in chain.from_iterable(inside.values()):
        leave()
    assert len(limits) <= len(inside)


@given(st.lists(st.floats(0, 1), max_size=60), st.integers(1, 3))
def test_the_rate_holds_in_every_stretch_of_time(pauses: list[float], rate: int) -> None:
    """
    However clients are spaced: never more than the rate and the burst, and who keeps to the rate is never refused.
    """
    limits, now, admitted = AddressLimits(0, rate), 0.0, list[float]()
    for pause in pauses:
        now += pause
        is_admitted = not isinstance(limits.admit(HOST, now), Refused)
        if is_admitted:
            admitted.append(now)
        recent = [time for time in admitted if time >= now - BURST_SECONDS]
        assert is_admitted or len(recent) >= rate * BURST_SECONDS - 1
    for index, begin in enumerate(admitted):
        for count, end in enumerate(admitted[index:], 1):
            assert count <= rate * (end - begin + BURST_SECONDS) + 1e-6


def test_a_continent_of_addresses_takes_bounded_memory() -> None:
    """
    An attacker with a /32 of IPv6 has 4 billion networks: of so many the rate is known, and nobody is refused for it.
    """
    limits = AddressLimits(1000, RATE)
    for number in range(3 * KNOWN_RATES):
        host = str(IPv6Address((0x20010DB8 << 96) + (number << 64) + 1))
        answer = limits.admit(host, number / 1e6)
        assert not isinstance(answer, Refused)
        answer()
    assert len(limits) <= 2 * KNOWN_RATES


def test_rate_of_who_comes_all_the_time_is_known_however_long_no_other_comes() -> None:
    """
    And still when one does, and behind it too.
    """
    limits = AddressLimits(0, RATE)
    assert BURST + 99 == sum(_admitted(limits, HOST, at / RATE, BURST) for at in range(100))
    assert not isinstance(limits.admit("192.0.2.2", 49.5), Refused)
    assert isinstance(limits.admit(HOST, 49.5), Refused)
    assert not isinstance(limits.admit("192.0.2.3", 49.5 + BURST_SECONDS), Refused)
    assert BURST == _admitted(limits, HOST, 49.5 + BURST_SECONDS, 2 * BURST)


def test_where_only_the_rate_is_limited_nothing_is_known_of_what_is_open() -> None:
    """
    There is nothing to take note of when such a connection is closed.
    """
    limits = AddressLimits(0, RATE)
    leave = limits.admit(HOST, 0)
    assert not isinstance(leave, Refused)
    assert 1 == len(limits)
    leave()
    assert 1 == len(limits)


def test_an_episode_is_told_of_once() -> None:
    """
    The first refusal of an address is news, and the next one after a quiet minute.
    """
    limits = AddressLimits(1)
    limits.admit(HOST, 0)
    times = [0, 1, QUIET_SECONDS, QUIET_SECONDS + 59, 2 * QUIET_SECONDS + 58, 3 * QUIET_SECONDS + 58]
    answers = [limits.admit(HOST, time) for time in times]
    assert [True, False, False, False, False, True] == [getattr(answer, "is_news", None) for answer in answers]


def test_many_addresses_write_few_lines() -> None:
    """
    So many episodes are told of at a time; the others' refusals are counted by whoever asked.
    """
    limits = AddressLimits(1)
    hosts = [f"192.0.2.{number}" for number in range(TOLD_EPISODES + 10)]
    news = 0
    for host in [*hosts, *hosts]:
        limits.admit(host, 0)
        answer = limits.admit(host, 0)
        assert isinstance(answer, Refused)
        news += answer.is_news
    assert TOLD_EPISODES == news
    assert "is_news=True" in repr(limits.admit(hosts[-1], QUIET_SECONDS))


@pytest.mark.parametrize(
    ("host", "key", "words"),
    [
        (
            HOST,
            "connections_per_address",
            "192.0.2.1 has 7 connections open, which is what limits.connections_per_address",
        ),
        ("2001:db8:1:2::3", "handshakes_per_address", "2001:db8:1:2::/64 makes 7 handshakes a second"),
    ],
)
def test_people_are_told_who_and_which_limit(host: str, key: str, words: str) -> None:
    """
    The sentence has the address or network, the number and the key.
    """
    assert str(Refused(place_of(host), key, 7, is_news=True)).startswith(words)
