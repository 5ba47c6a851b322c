from __future__ import annotations

import random
import signal
import sqlite3
import ssl
import time
from typing import TYPE_CHECKING

from tests.e2e.ca import Ca, certificates, domains, running_ca, sans
from tests.e2e.daemon import Launcher, until
from tests.e2e.stored import look

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KILLS = 20
NAMES = [f"k{number}.example" for number in range(50)]
# All orders take a second or two after the start.
LONGEST_LIFE_SECONDS = 0.8
SEED = 20261124
FAILED_AUTHORIZATIONS = 4


def _live_a_while(launcher: Launcher, seconds: float) -> None:
    """
    Start the daemon and kill it *seconds* after it began to serve, whatever it does then.
    """
    daemon = launcher.spawn()
    before = daemon.log.count("serving")
    try:
        until(lambda: daemon.log.count("serving") > before, f"start:\n{daemon.log}")
        time.sleep(seconds)
    finally:
        daemon.signal(signal.SIGKILL)
        daemon.wait()


def _stored(launcher: Launcher) -> dict[str, str]:
    """
    Give the serials that are stored by now, from a store that SQLite finds whole.
    """
    if not (launcher.state / "store.db").exists():
        return {}
    assert [("ok",)] == look(launcher.state, "PRAGMA integrity_check")
    try:
        return dict(look(launcher.state, "SELECT name, serial FROM certificate"))
    except sqlite3.OperationalError:  # killed before there was a schema
        return {}


def _kill_often(launcher: Launcher) -> dict[str, str]:
    """
    Kill the daemon at 20 moments; give what is stored then. Nothing that was stored is ever lost or replaced.
    """
    moments, stored = random.Random(SEED), dict[str, str]()  # noqa: S311 - moments to kill at are no secrets
    for _ in range(KILLS):
        _live_a_while(launcher, moments.uniform(0, LONGEST_LIFE_SECONDS))
        after = _stored(launcher)
        assert stored == {name: after.get(name) for name in stored}
        stored = after
    return stored


def test_kills_while_a_ca_issues(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    Kill -9 at 20 random moments while 50 names are issued: what is stored stays, one account, no name over the
    CA's limit.
    """
    with running_ca(tmp_path / "ca") as ca:
        launcher = ca.launcher(tmp_path / "daemon", *NAMES)
        stored = _kill_often(launcher)
        with launcher.running() as daemon:
            until(lambda: not daemon.status()["states"].keys() & {"issuing", "waiting"}, "rest", 60)
            states = daemon.status()["states"]
            failing = [domain for domain in daemon.status()["domains"] if domain["state"] == "failing"]
            valid = [domain["name"] for domain in daemon.status()["domains"] if domain["state"] == "valid"]
            _all_served(daemon.https, valid, ca.client())
        validations = [ca.validations(name) for name in NAMES]
        record_property("stored after the kills", len(stored))
        record_property("served", states.get("valid", 0))
        record_property("waiting for the CA's limit", states.get("failing", 0))
        record_property("orders", ca.orders)
    assert not list(launcher.state.glob("store.db.damaged-*"))
    assert len(NAMES) == len(valid) + len(failing)
    # A kill in mid-order may have cost two failed authorizations, so a name that two kills met waits for an hour.
    assert all("cut off" in domain["problem"] and domain["next_attempt_at"] for domain in failing)
    assert max(validations) <= FAILED_AUTHORIZATIONS
    assert 1 == len(look(launcher.state, "SELECT url FROM account"))
    assert _accounts(ca) == 1


def _accounts(ca: Ca) -> int:
    """
    Tell how many accounts the CA made, however often it was asked.
    """
    return ca.log.count("accounts in memory")


def _all_served(port: int, names: list[str], client: ssl.SSLContext) -> None:
    for begin in range(0, len(names), 25):
        batch = names[begin : begin + 25]
        assert [[name] for name in batch] == [sans(one) for one in certificates(port, batch, client)]


def test_kills_while_the_internal_ca_issues(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    The same with the internal CA, which has no limits: in the end all 50 names are served, from one root.
    """
    launcher = Launcher(tmp_path)
    launcher.write(domains=domains(*NAMES), acme='directory = "internal"')
    record_property("stored after the kills", len(_kill_often(launcher)))
    with launcher.running() as daemon:
        _all_served(daemon.https, NAMES, ssl.create_default_context(cafile=launcher.state / "internal-ca.pem"))
    assert not list(launcher.state.glob("store.db.damaged-*"))
