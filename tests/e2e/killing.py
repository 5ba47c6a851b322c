"""
A daemon that is killed over and over while a real CA issues and renews: what the CA and the store tell afterwards.

Certificates live so short that all names are renewed all the time. Triggers in the store note each certificate and each
order in the transaction that stores it, so that none of those that the CA has issued can get lost unseen, and of each
order that it was asked for is known whether its answer was stored. How many are not is the daemon's to promise: those
that were on their way when it was killed, `MOST_UNRECORDED` at the most, however busy the machine is.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import ssl
import time
from datetime import datetime
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred

from sptls.acme.ordering import MOST_UNRECORDED
from sptls.certs.schedule import MAX_FAILED_AUTHORIZATIONS
from sptls.certs.store import InlineWorker, Store
from tests.e2e.ca import certificate
from tests.e2e.daemon import until
from tests.e2e.stored import look, opened
from tests.soak.process import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.ca import Ca
    from tests.e2e.daemon import Daemon, Launcher

NAMES = [f"k{number}.example" for number in range(50)]
# Renewed at 0.4 to 0.5 of it.
CERTIFICATE_SECONDS = 30
START_SECONDS = 60.0
SETTLE_SECONDS = 120.0
IDLE_SECONDS = 60.0
# What is tried in one attempt.
CHALLENGE_TYPES = 2

_NOTE = "BEGIN INSERT OR IGNORE INTO kept VALUES (new.serial); END"
_NOTE_ORDER = "BEGIN INSERT OR IGNORE INTO recorded VALUES (new.url); END"
_NOTES = (
    "CREATE TABLE kept (serial TEXT PRIMARY KEY)",
    f"CREATE TRIGGER kept_first AFTER INSERT ON certificate {_NOTE}",
    f"CREATE TRIGGER kept_next AFTER UPDATE OF serial ON certificate {_NOTE}",
    "CREATE TABLE recorded (url TEXT PRIMARY KEY)",
    f"CREATE TRIGGER recorded_first AFTER INSERT ON acme_order {_NOTE_ORDER}",
    f"CREATE TRIGGER recorded_next AFTER UPDATE OF url ON acme_order {_NOTE_ORDER}",
)
_ADDED = re.compile(r'Added order "([^"]+)"')
# Pebble writes its local time.
_ISSUED = re.compile(r"(\S+ \S+) Issued certificate serial ([0-9a-f]+) for order (\S+)")
_TAKEN_UP = re.compile(
    r"^(\S+) info (\S+): (?:going on with the order of an earlier attempt, (\S+)"
    r"|the order of an earlier attempt ended: the certificate expired)",
    re.MULTILINE,
)


@attrs.define
class Battery:
    """
    The kills of one daemon, at moments drawn from *seed*: before it serves, or up to *life_seconds* after that.

    *served_seconds* are the times from exec to the first handshake of a name with a certificate, *cpu* what of them was
    the daemon's own work. *cut_off* are the orders, by their ids at the CA, whose answers were never stored, since the
    daemon was killed before.
    """

    ca: Ca
    launcher: Launcher
    seed: int
    life_seconds: float
    moments: random.Random = attrs.field(init=False)
    start_seconds: float = 1.0
    served_seconds: list[float] = attrs.field(factory=list)
    cpu: list[float] = attrs.field(factory=list)
    kills_while_issuing: int = 0
    cut_off: set[str] = attrs.field(factory=set)
    _seen: set[str] = attrs.field(factory=set)
    _idle_sockets: int = 0

    def __attrs_post_init__(self) -> None:
        self._idle_sockets = _sockets(self.ca.pebble.process.pid)
        self.moments = random.Random(self.seed)  # noqa: S311 - moments to kill at are no secrets
        store = Store(self.launcher.state / "store.db", InlineWorker())
        for step in (store.open(), store.close()):
            assert Deferred.fromCoroutine(step).called
        with opened(self.launcher.state) as connection:
            for statement in _NOTES:
                connection.execute(statement)

    def kill(self) -> None:
        """
        Start the daemon and kill it at some moment, whatever it does then; what was stored still is.
        """
        before = self.stored
        began = time.monotonic()
        daemon = self.launcher.spawn()
        try:
            if before and self.moments.random() < 0.2:
                time.sleep(self.start_seconds * self.moments.random())
            else:
                self._serve(daemon, began, before)
                time.sleep(self.moments.uniform(0, self.life_seconds))
        finally:
            daemon.signal(signal.SIGKILL)
            daemon.wait()
        self.kills_while_issuing += self._count_cut_off()
        assert [("ok",)] == look(self.launcher.state, "PRAGMA integrity_check")
        assert before.keys() <= self.stored.keys()

    def _count_cut_off(self) -> bool:
        """
        Note which orders of the life that has just ended are cut off; tell whether it has made any.
        """
        # What was on its way to the CA may become an order still; it is done when it has closed the connections.
        until(lambda: _sockets(self.ca.pebble.process.pid) <= self._idle_sockets, "rest of the CA", IDLE_SECONDS)
        new = self.orders - self._seen
        cut_off = new - self.recorded
        assert len(cut_off) <= MOST_UNRECORDED, cut_off
        self._seen |= new
        self.cut_off |= cut_off
        return bool(new)

    def _serve(self, daemon: Daemon, began: float, stored: dict[str, str]) -> None:
        serving = daemon.log.count("serving")
        if not stored:
            until(lambda: daemon.log.count("serving") > serving, f"start:\n{daemon.log}", START_SECONDS)
            return
        name = self.moments.choice(sorted(stored))
        serial = until(lambda: served_serial(daemon, name), f"handshake of {name}:\n{daemon.log}", START_SECONDS)
        self.start_seconds = time.monotonic() - began
        self.served_seconds.append(self.start_seconds)
        self.cpu.append(cpu_seconds(daemon.process.pid))
        assert serial in self.kept, name

    def settle(self) -> None:
        """
        Let the daemon come to rest: every name has a certificate that is valid, but for those that wait because the CA
        has counted as many failed authorizations as it allows an hour, less those of one more attempt.
        """
        with self.launcher.running() as daemon:
            until(lambda: not self._restless(daemon), f"rest of {self._restless(daemon)}", SETTLE_SECONDS)
            for name in NAMES:
                assert served_serial(daemon, name) in self.kept
        self._count_cut_off()

    def _restless(self, daemon: Daemon) -> set[str]:
        states = {domain["name"]: domain["state"] for domain in daemon.status()["domains"]}
        at_rest = {name for name, state in states.items() if state in ("valid", "renewing")}
        return states.keys() - at_rest - self.waiting

    @property
    def waiting(self) -> set[str]:
        """
        Give the names that the CA's limit of failed authorizations allows no attempt.
        """
        histories = look(self.launcher.state, "SELECT name, failed_authorizations FROM history")
        return {name for name, failed in histories if len(failed.split()) > MAX_FAILED_AUTHORIZATIONS - CHALLENGE_TYPES}

    @property
    def stored(self) -> dict[str, str]:
        """
        Give the serials that are stored, by name.
        """
        return dict(look(self.launcher.state, "SELECT name, serial FROM certificate"))

    @property
    def kept(self) -> set[int]:
        """
        Give the serials that were ever stored.
        """
        return {int(serial, 16) for (serial,) in look(self.launcher.state, "SELECT serial FROM kept")}

    @property
    def under_way(self) -> list[str]:
        """
        Give the URLs of the orders that the next process would go on with.
        """
        return [url for (url,) in look(self.launcher.state, "SELECT url FROM acme_order")]

    @property
    def orders(self) -> set[str]:
        """
        Give the ids of the orders that the CA has made.
        """
        return set(_ADDED.findall(self.ca.log))

    @property
    def recorded(self) -> set[str]:
        """
        Give the ids of the orders that were ever stored.
        """
        return {_id(url) for (url,) in look(self.launcher.state, "SELECT url FROM recorded")}

    @property
    def fruitless(self) -> set[str]:
        """
        Give the ids of the orders that were stored, and led to no certificate, and won't.
        """
        issued = {order for _, _, order in _ISSUED.findall(self.ca.log)}
        return self.orders - self.cut_off - issued - {_id(url) for url in self.under_way}

    @property
    def certificates(self) -> int:
        """
        Tell how many certificates the CA has issued.
        """
        return len(_ISSUED.findall(self.ca.log))

    @property
    def orders_per_certificate(self) -> float:
        """
        Give that figure, without the orders that are still under way.
        """
        return (self.ca.orders - len(self.under_way)) / self.certificates

    @property
    def lost(self) -> list[int]:
        """
        Give the serials of certificates that the CA has issued and whose key nobody has.

        One that had expired when its order was taken up again is no loss: a busy machine is that slow.
        """
        spared, kept, expired = {_id(url) for url in self.under_way}, self.kept, self._expired
        return [
            serial
            for serial, order, end in self._issued
            if serial not in kept and order not in spared and expired.get(order, 0) < end
        ]

    @property
    def _issued(self) -> Iterator[tuple[int, str, float]]:
        """
        Give serial, order and end of each certificate that the CA has issued; the end may be a second too early.
        """
        for moment, serial, order in _ISSUED.findall(self.ca.log):
            began = time.mktime(time.strptime(moment, "%Y/%m/%d %H:%M:%S"))
            yield int(serial, 16), order, began + CERTIFICATE_SECONDS - 1

    @property
    def _expired(self) -> dict[str, float]:
        """
        Give the ids of orders that the daemon took up and gave up, since their certificates had expired, and when.
        """
        taken_up, expired = dict[str, str](), dict[str, float]()
        for moment, name, url in _TAKEN_UP.findall((self.launcher.directory / "log").read_text()):
            if url:
                taken_up[name] = _id(url)
            else:
                expired[taken_up[name]] = datetime.fromisoformat(moment).timestamp()
        return expired

    @property
    def failed_authorizations(self) -> int:
        """
        Tell how many authorizations the CA found invalid.
        """
        return len(re.findall("authz .* set INVALID", self.ca.log))

    @property
    def accounts(self) -> tuple[int, int]:
        """
        Tell how many accounts the CA has made, and how many are stored.
        """
        return self.ca.log.count("accounts in memory"), len(look(self.launcher.state, "SELECT url FROM account"))


def _id(url: str) -> str:
    return url.rpartition("/")[2]


def _sockets(pid: int) -> int:
    """
    Tell how many sockets a process has open.
    """
    count = 0
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(entry).startswith("socket:")
    return count


def served_serial(daemon: Daemon, name: str) -> int:
    """
    Give the serial of what a client of *name* gets, expired or not; 0 while the daemon does not serve.
    """
    assert daemon.process.poll() is None, daemon.log
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        return certificate(daemon.https, name, context).serial_number
    except ConnectionError:
        return 0
