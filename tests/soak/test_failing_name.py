from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import attrs

from tests.e2e.ca import Ca, refusal, running_ca
from tests.e2e.daemon import Launcher, until

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

DEAD = "dead.example"
CLICKS_A_MINUTE = 200
RESTARTS = 3
# The attempt after the first failure comes a minute later, and the CA takes its time for it.
LIFE_SECONDS = 100.0
VALIDATION_SECONDS = 10
# The default of `handshake.hold_seconds`.
HOLD_SECONDS = 10.0
REFUSED_SECONDS = 0.050
ORDERS = 5


@attrs.define
class Clicks:
    """
    What clients of one name heard: when they came, counted from the beginning, and after how long they were refused.
    """

    began: float = attrs.field(factory=time.monotonic)
    waits: list[tuple[float, float]] = attrs.field(factory=list)

    def click(self, port: int, context: ssl.SSLContext) -> None:
        """
        Have one client come.
        """
        came = time.monotonic() - self.began
        self.waits.append((came, refusal(port, DEAD, context)[1]))


def _clicked(launcher: Launcher, clicks: Clicks, context: ssl.SSLContext) -> list[str]:
    """
    Let the daemon live for a while under clicks; give what its log said of the name.
    """
    ended = threading.Event()
    with launcher.running() as daemon, ThreadPoolExecutor(100) as clients:
        begun: list[Future[None]] = []

        def come() -> None:
            while not ended.wait(60 / CLICKS_A_MINUTE):
                begun.append(clients.submit(clicks.click, daemon.https, context))

        coming = threading.Thread(target=come)
        coming.start()
        until(lambda: daemon.domain(DEAD)["state"] == "failing", "failure", 60)
        time.sleep(LIFE_SECONDS)
        ended.set()
        coming.join()
        for one in begun:
            one.result()
        return [line for line in daemon.log.splitlines() if f"{DEAD}: " in line]


def _dead_name(ca: Ca, directory: Path) -> Launcher:
    """
    Give what starts a daemon for a name that leads elsewhere.
    """
    ca.pebble.set_dns("add-a", host=f"{DEAD}.", addresses=["127.0.0.9"])
    return ca.launcher(directory, DEAD)


def test_failing_name_under_clicks(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    A name that can't be validated, 200 clicks a minute, 3 restarts: the first clients wait for the CA's answer, 10 s at
    the most; afterwards 99 of 100 are refused within 50 ms, during the retries too; at most 5 orders.
    """
    clicks = Clicks()
    with running_ca(tmp_path / "ca", validation_sleep_seconds=VALIDATION_SECONDS) as ca:
        launcher, client = _dead_name(ca, tmp_path / "daemon"), ca.client()
        for _ in range(RESTARTS + 1):
            _clicked(launcher, clicks, client)
        orders = ca.orders
    held = [(came, wait) for came, wait in clicks.waits if wait > REFUSED_SECONDS]
    first_failure = min(came + wait for came, wait in clicks.waits)
    afterwards = sorted(wait for came, wait in clicks.waits if came > first_failure)
    p99 = afterwards[len(afterwards) * 99 // 100]
    record_property("clicks", len(clicks.waits))
    record_property("minutes", f"{(time.monotonic() - clicks.began) / 60:.1f}")
    record_property("longest wait of all, seconds", f"{max(wait for _, wait in clicks.waits):.1f}")
    record_property(
        "of those after the first failure, held for longer than 50 ms", sum(came > first_failure for came, _ in held)
    )
    record_property("longest of them, ms", f"{afterwards[-1] * 1e3:.0f}")
    record_property(
        "alert afterwards, ms, median and p99", f"{statistics.median(afterwards) * 1e3:.1f}, {p99 * 1e3:.1f}"
    )
    record_property("orders", orders)
    assert max(wait for _, wait in clicks.waits) < HOLD_SECONDS + 1
    assert p99 < REFUSED_SECONDS
    assert orders <= ORDERS
