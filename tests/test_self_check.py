"""
Tests for `sptls.self_check`: who meets whom. What each part does is in its own tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import attrs
import pytest
from twisted.names import dns

from sptls.certs.records import Loaded
from sptls.clock import wall_time
from sptls.config import AcmeConfig, Address
from sptls.errors import AcmeProblem, IssuanceFailed
from sptls.names import HostName
from sptls.self_check import VALIDATED, SelfCheck
from tests.certs.stored import CA, CLICK, stored
from tests.dns_zone import Turning, Zone, turning

REFUSED = IssuanceFailed(AcmeProblem(400, "connection", "Connection refused"), 1)


class Accounts:
    """
    No account at any CA yet.
    """

    async def account(self, _: str) -> None:
        """
        Give none.
        """


@attrs.define
class Renewer:
    """
    As much of a renewer as is needed here; it keeps CLICK.
    """

    tried: list[HostName] = attrs.field(factory=list)

    def directory_of(self, name: HostName) -> str | None:
        """
        Give the CA of CLICK.
        """
        return CA if name == CLICK else None

    def dns_changed(self, name: HostName) -> None:
        """
        Take note that *name* is to be tried.
        """
        self.tried.append(name)


@attrs.define
class Scene:
    """
    A self-check with a DNS of the test's own, in which CLICK leads elsewhere.
    """

    turning: Turning
    zone: Zone
    check: SelfCheck
    renewer: Any = attrs.field(factory=Renewer)

    def lead(self, address: str) -> None:
        """
        Let CLICK lead to *address*, which is this machine as well, so that nothing is asked there.
        """
        self.zone.records[CLICK.text, dns.A] = [dns.Record_A(address)]

    def examine(self, name: HostName = CLICK) -> Any:
        """
        Give what is seen of *name*.
        """
        return self.turning.run(self.check.examine(name))


@pytest.fixture
def scene() -> Iterator[Scene]:
    """
    Give one that has not started.
    """
    with turning() as turned:
        zone = Zone()
        acme = AcmeConfig(CA, resolver=Address("127.0.0.1", turned.serve(zone)))
        accounts: Any = Accounts()
        made = Scene(turned, zone, SelfCheck(turned.reactor, accounts, [acme], (), lambda: 0.5))
        made.lead("127.0.0.2")
        yield made
        turned.run(made.check.stop())


def test_failing_name_is_tried_once_its_dns_is_seen_to_have_changed(scene: Scene) -> None:
    """
    By a person's look too; after a success there is nothing to try.
    """
    scene.check.start(scene.renewer, [CLICK], Loaded())
    scene.turning.run(scene.check.precheck.explain(CLICK, CA, REFUSED))
    assert ("127.0.0.2",) == scene.examine().seen.addresses
    assert [] == scene.renewer.tried
    scene.lead("127.0.0.3")
    scene.examine()
    assert [CLICK] == scene.renewer.tried
    scene.check.issued(CLICK)
    scene.lead("127.0.0.4")
    scene.examine()
    assert [CLICK] == scene.renewer.tried


def test_nothing_is_examined_before_the_start_nor_of_a_stranger(scene: Scene) -> None:
    """
    Nor for a CA that is gone from the configuration.
    """
    assert None is scene.examine()
    scene.check.start(scene.renewer, [CLICK], Loaded())
    assert None is scene.examine(HostName("stranger.example"))
    scene.check.configure([], ())
    assert None is scene.examine()


def test_names_that_go_are_watched_no_more(scene: Scene) -> None:
    """
    A change of theirs has nothing tried.
    """
    scene.check.start(scene.renewer, [CLICK], Loaded())
    scene.turning.run(scene.check.precheck.explain(CLICK, CA, REFUSED))
    scene.check.set_names([], Loaded())
    scene.lead("127.0.0.3")
    scene.examine()
    assert [] == scene.renewer.tried


def test_addresses_are_learnt_from_young_stored_certificates(scene: Scene) -> None:
    """
    A few of them, and from those that come later.
    """
    certificates = {}
    for number in range(6):
        name, begin = HostName(f"n{number}.example"), wall_time() - VALIDATED * (number % 2) - timedelta(minutes=1)
        bundle = attrs.evolve(stored(name.text).bundle, not_before=begin)
        certificates[name] = attrs.evolve(stored(name.text), bundle=bundle)
    scene.check.start(scene.renewer, [], Loaded(certificates))
    scene.check.issued(CLICK)
    learnt = scene.check.precheck.learnt
    assert ["n2.example", "n4.example", CLICK.text] == [name.text for name in learnt.names_to_ask(0.0)]
