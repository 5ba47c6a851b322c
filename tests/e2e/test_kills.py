"""
kill -9, over and over, while a CA issues and renews; `make soak` has the same with 200 kills.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.ca import running_ca
from tests.e2e.conftest import need_pebble
from tests.e2e.killing import CERTIFICATE_SECONDS, NAMES, Battery

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.pebble]

KILLS = 20
SEED = 20261124
CPU_SECONDS = 2.0
LIFE_SECONDS = 1.2


@pytest.mark.timeout(300)
def test_no_kill_loses_a_key_or_orders_a_certificate_twice(tmp_path: Path) -> None:
    """
    After 20 kills at random moments every name is served, every certificate that was issued has been stored, from one
    account. An order without a certificate is one whose challenge nobody was there to answer, or that was on its way
    when the daemon was killed.
    """
    need_pebble()
    with running_ca(tmp_path / "ca", certificate_seconds=CERTIFICATE_SECONDS) as ca:
        battery = Battery(ca, ca.launcher(tmp_path / "daemon", *NAMES), SEED, LIFE_SECONDS)
        for _ in range(KILLS):
            battery.kill()
        battery.settle()
        assert [] == battery.lost
        assert (1, 1) == battery.accounts
        # How many were on their way was counted at each kill.
        assert len(battery.fruitless) <= battery.failed_authorizations
    assert [] == list(battery.launcher.state.glob("store.db.damaged-*"))
    # From exec to the first handshake. Its own work: how long that takes is the machine's business.
    assert max(battery.cpu) < CPU_SECONDS
