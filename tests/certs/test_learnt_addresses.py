"""
Tests for `sptls.certs.learnt_addresses`.
"""

from __future__ import annotations

from sptls.certs.learnt_addresses import LEARNT_SECONDS, MOST_ADDRESSES, MOST_NAMES, LearntAddresses
from sptls.names import HostName

NAMES = [HostName(f"n{number}.example") for number in range(MOST_NAMES + 1)]


def test_last_validated_names_are_asked_once_an_hour() -> None:
    """
    The oldest ones are forgotten, and those that fail.
    """
    learnt = LearntAddresses()
    assert () == learnt.names_to_ask(0.0)
    for name in NAMES:
        learnt.validated(name)
    learnt.validated(NAMES[1])
    learnt.failed(NAMES[2])
    learnt.failed(NAMES[0])
    assert (NAMES[3], NAMES[1]) == learnt.names_to_ask(1.0)
    assert () == learnt.names_to_ask(LEARNT_SECONDS)
    assert 2 == len(learnt.names_to_ask(1.0 + LEARNT_SECONDS))


def test_addresses_are_known_for_an_hour() -> None:
    """
    What was not seen since may be another's by now.
    """
    learnt = LearntAddresses()
    learnt.lead_here(["192.0.2.1", "2001:db8::1"], 0.0)
    learnt.lead_here(["192.0.2.1"], 10.0)
    assert {"192.0.2.1", "2001:db8::1"} == learnt.known(LEARNT_SECONDS - 1)
    assert {"192.0.2.1"} == learnt.known(LEARNT_SECONDS)
    assert set() == learnt.known(LEARNT_SECONDS + 10)


def test_few_addresses_are_kept() -> None:
    """
    Names behind a CDN have any number.
    """
    learnt = LearntAddresses()
    learnt.lead_here((f"192.0.2.{number}" for number in range(2 * MOST_ADDRESSES)), 0.0)
    assert MOST_ADDRESSES == len(learnt.known(0.0))
    assert "192.0.2.31" in learnt.known(0.0)
