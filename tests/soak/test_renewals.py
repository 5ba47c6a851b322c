from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.e2e.ca import running_ca
from tests.e2e.daemon import until
from tests.e2e.traffic import Traffic, traffic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = [f"renewed{number}.example" for number in range(5)]
CERTIFICATE_SECONDS = 20
RENEWALS = 10


def test_ten_renewals_in_a_row(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    Certificates of 5 names that live 20 s are renewed 10 times in a row under traffic without one failed handshake.
    """
    seen: list[Traffic] = []
    with (
        running_ca(tmp_path / "ca", certificate_seconds=CERTIFICATE_SECONDS) as ca,
        ca.launcher(tmp_path / "daemon", *NAMES).running() as daemon,
        contextlib.ExitStack() as clients,
    ):
        trusting = ca.client()
        seen += [clients.enter_context(traffic(daemon.https, name, trusting)) for name in NAMES]
        until(
            lambda: all(len(one.served) > RENEWALS for one in seen),
            f"{RENEWALS} renewals",
            (RENEWALS + 2) * CERTIFICATE_SECONDS,
        )
        orders = ca.orders
    record_property("handshakes", sum(one.handshakes for one in seen))
    record_property("renewals", sum(len(one.served) - 1 for one in seen))
    record_property("failed handshakes", sum(len(one.failures) for one in seen))
    assert [[]] * len(NAMES) == [one.failures for one in seen]
    assert [len(one.served) for one in seen] == [len(one.keys) for one in seen]
    assert orders <= (RENEWALS + 3) * len(NAMES)
