"""
A mass revocation: the CA pulls every renewal forward (RFC 9773), and the real renewer, store and issuer follow.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from sptls.certs.renewal_information import RenewalQuestions
from sptls.names import HostName
from tests.acme_front import renewal_info
from tests.acme_front.faults import Say, answer
from tests.faults.keeping import Keeper

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.world import World

pytestmark = pytest.mark.pebble

HALF_DAY_SECONDS = 43200.0


def test_every_certificate_is_replaced_within_the_asking_interval(world: World, tmp_path: Path) -> None:
    """
    Each once, and each order names the certificate that it replaces.
    """
    names = [HostName(f"pulled{number}.test") for number in range(5)]
    world.front.renewal_info = {"": Say(answer(404))}
    keeper = Keeper(world, tmp_path / "store.db")
    keeper.start(*names)
    keeper.run_until_served(*names)
    questions = RenewalQuestions(keeper.renewer, keeper.store, world.reactor, world.now, lambda: 0.5)
    questions.start(names, {})
    before, begun = dict(keeper.served), world.now()
    window = renewal_info.window(begun, begun + timedelta(minutes=1), None, "https://ca.test/incident")
    world.front.renewal_info = {"": Say(window)}
    world.reactor.pass_time(HALF_DAY_SECONDS)
    world.reactor.run_coroutine(questions.stop())
    assert all(keeper.served[name].serial != before[name].serial for name in names)
    replaced = [one.asked.payload["replaces"] for one in world.front.seen if "replaces" in one.asked.payload]
    assert (len(names), len(names)) == (len(replaced), len(set(replaced)))
    keeper.stop()
