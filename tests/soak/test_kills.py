from __future__ import annotations

import random
import signal
import ssl
import statistics
import time
from typing import TYPE_CHECKING

from tests.e2e.ca import certificates, domains, running_ca, sans
from tests.e2e.daemon import Launcher, until
from tests.e2e.killing import CERTIFICATE_SECONDS, NAMES, Battery

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KILLS = 200
SEED = 20261125
ORDERS_PER_CERTIFICATE = 1.05
SERVED_SECONDS = 2.0
LIFE_SECONDS = 5.0
INTERNAL_KILLS = 20
# All orders take a second or two after the start.
INTERNAL_LIFE_SECONDS = 0.8


def test_kills_while_a_ca_issues_and_renews(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    Kill -9 at 200 random moments while 50 names are issued and renewed: the store opens every time, no key is lost,
    one account, at most 1.05 orders per certificate, a name that has one is served within 2 s of exec.
    """
    with running_ca(tmp_path / "ca", certificate_seconds=CERTIFICATE_SECONDS) as ca:
        battery = Battery(ca, ca.launcher(tmp_path / "daemon", *NAMES), SEED, LIFE_SECONDS)
        for _ in range(KILLS):
            battery.kill()
        battery.settle()
        record_property("seed", SEED)
        record_property("lives in which orders were made", battery.kills_while_issuing)
        record_property("certificates", battery.certificates)
        record_property("orders", ca.orders)
        record_property("orders per certificate", f"{battery.orders_per_certificate:.3f}")
        record_property("orders whose answer a kill cut off", len(battery.cut_off))
        record_property("authorizations that failed with nobody there", battery.failed_authorizations)
        record_property("names that these have wait for the CA's limit", len(battery.waiting))
        record_property("certificates whose key was lost", len(battery.lost))
        record_property(
            "first handshake, seconds after exec",
            f"{statistics.median(battery.served_seconds):.2f}, at most {max(battery.served_seconds):.2f}",
        )
        record_property("CPU seconds of it, at most", f"{max(battery.cpu):.2f}")
        assert [] == battery.lost
        assert (1, 1) == battery.accounts
        assert len(battery.fruitless) <= battery.failed_authorizations
        assert battery.orders_per_certificate <= ORDERS_PER_CERTIFICATE
    assert [] == list(battery.launcher.state.glob("store.db.damaged-*"))
    # Each by its own work; how long that takes is also the machine's business.
    assert max(battery.cpu) < SERVED_SECONDS
    assert statistics.median(battery.served_seconds) < SERVED_SECONDS


def test_kills_while_the_internal_ca_issues(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    The same 20 times with the internal CA, which has no limits: in the end all 50 names are served, from one root.
    """
    launcher = Launcher(tmp_path)
    launcher.write(domains=domains(*NAMES), acme='directory = "internal"')
    moments = random.Random(SEED)  # noqa: S311 - moments to kill at are no secrets
    for _ in range(INTERNAL_KILLS):
        daemon = launcher.spawn()
        before = daemon.log.count("serving")
        until(lambda: daemon.log.count("serving") > before, f"start:\n{daemon.log}")  # noqa: B023
        time.sleep(moments.uniform(0, INTERNAL_LIFE_SECONDS))
        daemon.signal(signal.SIGKILL)
        daemon.wait()
    with launcher.running() as daemon:
        client = ssl.create_default_context(cafile=launcher.state / "internal-ca.pem")
        assert [[name] for name in NAMES] == [sans(one) for one in certificates(daemon.https, NAMES, client)]
    record_property("kills", INTERNAL_KILLS)
    assert not list(launcher.state.glob("store.db.damaged-*"))
