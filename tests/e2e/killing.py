"""
A daemon that is killed over and over while a real CA issues and renews: what the CA and the store tell afterwards.

Certificates live so short that all names are renewed all the time. A trigger in the store notes each certificate in the
transaction that stores it, so that none of those that the CA has issued can get lost unseen.
"""

from __future__ import annotations

import random
import re
import signal
import ssl
import time
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred

from sptls.certs.schedule import MAX_FAILED_AUTHORIZATIONS
from sptls.certs.store import InlineWorker, Store
from tests.e2e.ca import certificate
from tests.e2e.daemon import until
from tests.e2e.stored import look, opened
from tests.soak.process import cpu_seconds

if TYPE_CHECKING:
    from tests.e2e.ca import Ca
    from tests.e2e.daemon import Daemon, Launcher

NAMES = [f"k{number}.example" for number in range(50)]
# Renewed at 0.4 to 0.5 of it.
CERTIFICATE_SECONDS = 30
START_SECONDS = 60.0
SETTLE_SECONDS = 120.0
# What is tried in one attempt.
CHALLENGE_TYPES = 2

_NOTE = "BEGIN INSERT OR IGNORE INTO kept VALUES (new.serial); END"
_NOTES = (
    "CREATE TABLE kept (serial TEXT PRIMARY KEY)",
    f"CREATE TRIGGER kept_first AFTER INSERT ON certificate {_NOTE}",
    f"CREATE TRIGGER kept_next AFTER UPDATE OF serial ON certificate {_NOTE}",
)
_ISSUED = re.compile(r"Issued certificate serial ([0-9a-f]+) for order (\S+)")


@attrs.define
class Battery:
    """
    The kills of one daemon, at moments drawn from *seed*: before it serves, or up to *life_seconds* after that.

    *served_seconds* are the times from exec to the first handshake of a name with a certificate, *cpu* what of them was
    the daemon's own work.
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

    def __attrs_post_init__(self) -> None:
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
        before, orders = self.stored, self.ca.orders
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
        self.kills_while_issuing += self.ca.orders > orders
        assert [("ok",)] == look(self.launcher.state, "PRAGMA integrity_check")
        assert before.keys() <= self.stored.keys()

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
        """
        kept, under_way = self.kept, " ".join(self.under_way)
        issued = ((int(serial, 16), order) for serial, order in _ISSUED.findall(self.ca.log))
        return [serial for serial, order in issued if serial not in kept and order not in under_way]

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
