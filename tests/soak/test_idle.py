from __future__ import annotations

import signal
import statistics
import time
from typing import TYPE_CHECKING

from tests.e2e.ca import running_ca
from tests.e2e.daemon import ask, connect, request
from tests.e2e.origin import origin

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

NAMES = [f"idle{number}.example" for number in range(20)]
CERTIFICATE_SECONDS = 60
FIRST_CLICK_MS = 20.0


def test_first_click_after_a_lifetime_without_any(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """
    Nobody clicks for longer than the certificates of 20 names live, then the CA stops answering: the first handshake of
    each name takes less than 20 ms, with a certificate that is valid, and so does half of the clicks with their answer.
    """
    with (
        running_ca(tmp_path / "ca", certificate_seconds=CERTIFICATE_SECONDS) as ca,
        origin(tmp_path) as tracking,
        ca.launcher(tmp_path / "daemon", *NAMES, upstream=tracking.configuration).running() as daemon,
    ):
        for name in NAMES:
            daemon.wait_valid(name)
        time.sleep(CERTIFICATE_SECONDS * 1.2)
        orders, client = ca.orders, ca.client()
        ca.pebble.process.send_signal(signal.SIGKILL)
        clicks = [_click(daemon.https, name, client) for name in NAMES]
    record_property("orders while nobody clicked", orders)
    record_property("very first click, ms: handshake, answer", "{:.1f}, {:.1f}".format(*clicks[0]))
    handshakes, answers = zip(*clicks, strict=True)
    record_property("first handshake of a name, ms: median, most", _told(handshakes))
    record_property("answer to it, ms: median, most", _told(answers))
    assert orders >= 2 * len(NAMES)
    assert max(handshakes) < FIRST_CLICK_MS
    assert statistics.median(map(sum, clicks)) < FIRST_CLICK_MS


def _click(port: int, name: str, client: ssl.SSLContext) -> tuple[float, float]:
    """
    Give how many milliseconds the handshake of a click on *name* took, and then the answer.
    """
    began = time.monotonic()
    with connect(port, name, client) as connection:
        connected = time.monotonic()
        assert 302 == ask(connection, request("/f/a", name)).status
    return (connected - began) * 1e3, (time.monotonic() - connected) * 1e3


def _told(milliseconds: tuple[float, ...]) -> str:
    return f"{statistics.median(milliseconds):.1f}, {max(milliseconds):.1f}"
