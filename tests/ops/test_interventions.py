"""
Tests for `sptls.ops.interventions`, on a real renewer and a real store.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from zope.interface import implementer

from sptls.certs.authority import Authority
from sptls.certs.bundle import CertificateBundle
from sptls.certs.intake import Offer, Outcome
from sptls.certs.limits import NO_LIMITS, Ledger
from sptls.certs.records import Loaded, RenewalInfo, StoredCertificate
from sptls.certs.renewer import Renewer
from sptls.certs.store import InlineWorker, Store
from sptls.errors import AcmeUnreachable, BadCertificate, NotRevocable, StoreError
from sptls.interfaces import IIssuer, Issued
from sptls.names import HostName
from sptls.ops.interventions import read_offer, revoke, take_over
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, bundle_for, outcome

OLD, NEW, LONGER = (bundle_for(CLICK, NOW - timedelta(days=1), NOW + timedelta(days=days)) for days in (50, 60, 70))


@implementer(IIssuer)
class _Issuer:
    """
    Gives `NEW`, and notes what was revoked.
    """

    directory = CA

    def __init__(self) -> None:
        self.revoked: list[tuple[str, int]] = []
        self.error: Exception | None = None
        self.on_revoke: Callable[[], object] = lambda: None
        self.orders = 0

    async def obtain(
        self, name: HostName, *, replaces: CertificateBundle | None = None, challenge_types: int | None = None
    ) -> Issued:
        """
        Give it at once.
        """
        self.orders += 1
        return Issued(NEW)

    async def renewal_info(self, bundle: CertificateBundle) -> RenewalInfo | None:
        """
        Give none.
        """

    async def revoke(self, bundle: CertificateBundle, reason: int = 0) -> None:
        """
        Note it, or fail.
        """
        if self.error is not None:
            raise self.error
        self.revoked.append((bundle.serial, reason))
        self.on_revoke()


class _Scene:
    """
    A renewer that takes care of one name.
    """

    def __init__(self, path: Path, *, directory: str = CA, is_stored: bool = True) -> None:
        self.issuer, self.clock, self.served = _Issuer(), Clock(), dict[HostName, CertificateBundle]()
        self.store = Store(path, InlineWorker(), lambda: NOW, CA)
        authority = Authority(self.issuer, 2, Ledger(NO_LIMITS, str), lambda: 0.5)
        told: dict[str, Any] = {"issued": self.served.__setitem__, "failed": lambda *_: None}
        self.renewer = Renewer([authority], self.store, self.clock, lambda: NOW, lambda: 0.5, **told)
        stored = StoredCertificate(CLICK, OLD, directory, NOW + timedelta(days=30))
        self.renewer._is_stopping = not is_stored or directory != CA  # it plans, and orders nothing
        self.renewer.start([CLICK], Loaded({CLICK: stored} if is_stored else {}))

    @property
    def serial(self) -> str:
        """
        Give the serial number of the certificate that the name has now.
        """
        found = self.renewer.certificate(CLICK)
        return found.bundle.serial if found else ""


def test_revoked_certificate_is_replaced_at_once(tmp_path: Path) -> None:
    """
    By the CA that it came from.
    """
    scene = _Scene(tmp_path / "store.db")
    outcome(revoke(scene.renewer, CLICK, 4))
    assert ([(OLD.serial, 4)], NEW.serial) == (scene.issuer.revoked, scene.serial)
    outcome(scene.store.close())


def test_certificate_that_was_renewed_meanwhile_is_not_renewed_again(tmp_path: Path) -> None:
    """
    A renewal fell due while the CA was asked.
    """
    scene = _Scene(tmp_path / "store.db")
    scene.issuer.on_revoke = lambda: scene.renewer.renew(CLICK)
    outcome(revoke(scene.renewer, CLICK, 4))
    assert (1, NEW.serial) == (scene.issuer.orders, scene.serial)
    outcome(scene.store.close())


def test_certificate_that_is_not_revoked_stays(tmp_path: Path) -> None:
    """
    The CA's reason is told.
    """
    scene = _Scene(tmp_path / "store.db")
    scene.issuer.error = AcmeUnreachable("revokeCert", "refused")
    with pytest.raises(AcmeUnreachable):
        outcome(revoke(scene.renewer, CLICK, 1))
    assert OLD.serial == scene.serial


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"is_stored": False}, "one of your own is yours to revoke"), ({"directory": "https://old.example"}, "[acme]]")],
)
def test_nobody_is_asked_where_it_is_nobodys(tmp_path: Path, settings: dict[str, Any], reason: str) -> None:
    """
    It is said what to do instead.
    """
    scene = _Scene(tmp_path / "store.db", **settings)
    with pytest.raises(NotRevocable) as caught:
        outcome(revoke(scene.renewer, CLICK, 1))
    assert (True, []) == (reason in str(caught.value), scene.issuer.revoked)


def test_better_certificate_is_served_and_stored(tmp_path: Path) -> None:
    """
    On trial, it only would be.
    """
    scene = _Scene(tmp_path / "store.db")
    trial = outcome(take_over(scene.renewer, [CA], Offer(CLICK, LONGER), NOW, is_trial=True))
    assert ("taken", OLD.serial) == (trial.word, scene.serial)
    assert trial.word == outcome(take_over(scene.renewer, [CA], Offer(CLICK, LONGER), NOW, is_trial=False)).word
    assert (LONGER.serial, {CLICK: LONGER}) == (scene.serial, scene.served)
    assert LONGER.serial == outcome(scene.store.load()).certificates[CLICK].bundle.serial
    again = outcome(take_over(scene.renewer, [CA], Offer(CLICK, LONGER), NOW, is_trial=False))
    assert Outcome("kept", "it is there already") == again
    outcome(scene.store.close())


def test_name_of_nobodys_is_refused(tmp_path: Path) -> None:
    """
    It was taken out of the configuration meanwhile.
    """
    scene = _Scene(tmp_path / "store.db")
    other = HostName("other.example.com")
    told = outcome(take_over(scene.renewer, [CA], Offer(other, bundle_for(other)), NOW, is_trial=False))
    assert ("refused", True) == (told.word, "none of the domains" in told.reason)


@pytest.mark.parametrize(
    ("what", "reason"), [("running", "an order for it is under way"), ("expired", "it has expired")]
)
def test_certificate_that_can_not_be_adopted_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, reason: str
) -> None:
    """
    An order under way brings another; one that is bad by now isn't stored.
    """
    scene = _Scene(tmp_path / "store.db")

    async def adopt(_certificate: StoredCertificate) -> bool:
        if what == "expired":
            raise BadCertificate("it has expired")
        return False

    monkeypatch.setattr(scene.renewer, "adopt", adopt)
    told = outcome(take_over(scene.renewer, [CA], Offer(CLICK, LONGER), NOW, is_trial=False))
    assert Outcome("refused", reason) == told


def test_full_disk_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is served, and written later.
    """
    scene = _Scene(tmp_path / "store.db")

    async def full(*_: object) -> None:
        raise StoreError("store.db", "the disk is full")

    monkeypatch.setattr(scene.store, "put_certificate", full)
    assert "taken" == outcome(take_over(scene.renewer, [CA], Offer(CLICK, LONGER), NOW, is_trial=False)).word
    monkeypatch.undo()
    scene.clock.advance(60)
    assert LONGER.serial == outcome(scene.store.load()).certificates[CLICK].bundle.serial
    outcome(scene.store.close())


def test_offer_is_read_as_commands_send_it() -> None:
    """
    PEM, and whose it is.
    """
    told = {
        "name": "Click.example.com",
        "key": OLD.key_pem().decode(),
        "chain": OLD.chain_pem().decode(),
        "server": CA,
    }
    assert Offer(CLICK, OLD, CA) == read_offer(told)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({}, ValueError),
        ({"name": "a b", "key": OLD.key_pem().decode(), "chain": OLD.chain_pem().decode(), "server": ""}, ValueError),
        ({"name": "a.b", "key": "\ud800", "chain": "", "server": ""}, ValueError),
        ({"name": "a.b", "key": "", "chain": "", "server": ""}, BadCertificate),
    ],
)
def test_what_is_no_offer_is_refused(told: dict[str, Any], error: type[Exception]) -> None:
    """
    Whatever it is.
    """
    with pytest.raises(error):
        read_offer(told)
