from __future__ import annotations

import contextlib
import random
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import attrs

from sptls.certs import rows
from tests.acme_front.front import Front, Seen, running_front
from tests.acme_front.limits import FAILED_AUTHORIZATIONS, NEW_ORDERS, LetsEncryptLimits
from tests.acme_front.reactor import SkippingReactor, running_reactor
from tests.e2e.ca import Ca, domains, running_ca
from tests.e2e.daemon import STOP_SECONDS, Daemon, Launcher
from tests.e2e.stored import look, opened
from tests.soak.process import fill_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# A registered domain has fewer names than the CA allows it, but for one, which has more.
NEW = [f"n{number}.new{number % 25}.example" for number in range(1000)]
CROWDED = [f"n{number}.crowded.example" for number in range(60)]
DEAD = [f"n{number}.dead{number % 4}.example" for number in range(100)]
DUE = [f"n{number}.due{number % 4}.example" for number in range(60)]
# How many times faster the CA's buckets fill than Let's Encrypt's: 300 orders in 25 s.
SCALE = 432.0
LIMITS = """limits.orders = "300 per 25s"
limits.certificates_per_domain = "50 per 1400s"
limits.certificates_per_name = "5 per 1400s"
"""
# What the daemon knows of failed authorizations by itself, in real time, the CA counts in real time too.
REAL_FAILURES = attrs.evolve(FAILED_AUTHORIZATIONS, refill_seconds=FAILED_AUTHORIZATIONS.refill_seconds * SCALE)
# The first is due while the bucket is still being emptied, the last while the last new names wait.
DUE_FROM, DUE_UNTIL = timedelta(seconds=5), timedelta(seconds=70)
LONGEST_RUN_SECONDS = 180.0
LEAST_SHARE = 0.95
# One that is due waits for no new name, at most for one of the slots.
LONGEST_WAIT_SECONDS = 10.0


def _fill(launcher: Launcher, directory: str) -> dict[str, float]:
    """
    Store certificates of `DUE` that fall due one after the other; give when, as the monotonic clock will say then.
    """
    fill_store(launcher.state, DUE, directory)
    now, monotonic = datetime.now(UTC), time.monotonic()
    moments = {}
    for position, name in enumerate(DUE):
        wait = DUE_FROM + (DUE_UNTIL - DUE_FROM) * position / len(DUE)
        (row,) = look(launcher.state, f"SELECT {rows.CERTIFICATE_COLUMNS} FROM certificate WHERE name = ?", name)  # noqa: S608
        due = rows.certificate_row(attrs.evolve(rows.CertificateRows().certificate(row), renew_at=now + wait))
        with opened(launcher.state) as connection:
            marks = ", ".join("?" * len(due))
            connection.execute(f"INSERT OR REPLACE INTO certificate VALUES ({marks})", due)  # noqa: S608
        moments[name] = monotonic + wait.total_seconds()
    return moments


def _launcher(ca: Ca, front: Front, directory: Path) -> Launcher:
    """
    Give what starts a daemon for all names at the front, with its buckets; the dead ones lead elsewhere.
    """
    for name in DEAD:
        ca.pebble.set_dns("add-a", host=f"{name}.", addresses=["127.0.0.9"])
    names = [*NEW, *CROWDED, *DEAD, *DUE]
    random.Random(1).shuffle(names)  # noqa: S311
    launcher = ca.launcher(directory)
    acme = ca.acme.replace(ca.pebble.directory_url, front.directory_url)
    launcher.write(domains=domains(*names), acme=f"{acme}\n{LIMITS}")
    return launcher


def _limited(reactor: SkippingReactor, front: Front) -> LetsEncryptLimits:
    """
    Give the front the CA's buckets; the CA has issued for the names that are due.
    """
    limits = LetsEncryptLimits(reactor.seconds, SCALE, failed_authorizations=REAL_FAILURES)
    for name in DUE:
        limits.issued("", [name], replaces=True)
    front.limits = limits
    return limits


@contextlib.contextmanager
def _running(reactor: SkippingReactor, launcher: Launcher) -> Iterator[Daemon]:
    """
    Run the daemon; the front serves until it has ended, for orders are taken back and connections closed by both sides.
    """
    # The daemon is outside, time passes as there; the front's own end is its own again.
    reactor.is_busy = lambda: True
    try:
        with launcher.running() as daemon:
            try:
                yield daemon
            finally:
                daemon.signal(signal.SIGTERM)
                end = time.monotonic() + STOP_SECONDS
                reactor.run_until(lambda: daemon.process.poll() is not None or time.monotonic() > end)
    finally:
        reactor.is_busy = lambda: False


def _run(reactor: SkippingReactor, front: Front, daemon: Daemon) -> None:
    """
    Let the front serve until every name that can be had at once, and every renewal, is had, and every dead one failed.
    """
    end = time.monotonic() + LONGEST_RUN_SECONDS
    while not ({*NEW, *DUE} <= _names(front, "certificate") and {*DEAD} <= _names(front, "newOrder")):
        assert time.monotonic() < end, f"not all are had:\n{daemon.status()['states']}\n{daemon.log[-4000:]}"
        _serve(reactor, 1.0)


def _serve(reactor: SkippingReactor, seconds: float) -> None:
    end = reactor.seconds() + seconds
    reactor.run_until(lambda: reactor.seconds() >= end)


def _names(front: Front, operation: str) -> set[str]:
    return {seen.name for seen in front.seen if seen.operation == operation}


def _share(orders: list[Seen]) -> float:
    """
    Give what part of the new orders that the account was allowed until the last new name's were made.
    """
    first, last = orders[0].seconds, max(seen.seconds for seen in orders if seen.name in set(NEW))
    made = sum(seen.seconds <= last for seen in orders)
    return made / (NEW_ORDERS.size + (last - first) * SCALE / NEW_ORDERS.refill_seconds)


def test_buckets_of_lets_encrypt(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    1,000 new names, 100 dead ones, 60 of a domain that may have 50, and 60 renewals that fall due meanwhile, at a CA
    with Let's Encrypt's buckets that fill 432 times faster: no 429, 95 of 100 orders that are permitted are made, no
    renewal waits for a new name.
    """
    with (
        running_ca(tmp_path / "ca") as ca,
        running_reactor() as reactor,
        running_front(reactor, ca.pebble, tmp_path) as front,
    ):
        limits = _limited(reactor, front)
        launcher = _launcher(ca, front, tmp_path / "daemon")
        due_at = _fill(launcher, front.directory_url)
        with _running(reactor, launcher) as daemon:
            _run(reactor, front, daemon)
            states = daemon.status()["states"]
        assert [] == front.broken
        orders = [seen for seen in front.seen if seen.operation == "newOrder"]
        crowded = len(_names(front, "certificate") & {*CROWDED})
    new = [seen for seen in orders if seen.name not in due_at]
    renewed = {seen.name: seen.seconds for seen in reversed(orders) if seen.name in due_at}
    waits = [renewed[name] - moment for name, moment in due_at.items()]
    record_property("seconds", f"{orders[-1].seconds - orders[0].seconds:.0f}")
    record_property("new orders", len(new))
    record_property("refusals", len(limits.refusals))
    record_property("share of the permitted orders", f"{_share(new):.1%}")
    record_property("certificates of the crowded domain", crowded)
    record_property("longest wait of a renewal, seconds", f"{max(waits):.2f}")
    record_property("states then", ", ".join(f"{state} {count}" for state, count in sorted(states.items())))
    assert [] == limits.refusals
    assert LEAST_SHARE <= _share(new) <= 1
    assert max(waits) < LONGEST_WAIT_SECONDS
