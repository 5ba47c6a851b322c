"""
Certificates that another program obtained: which of them are taken over for a name, and whose they count as. Pure.

What is taken must be as good as what we would order: for exactly that name, whole, valid, of a CA that clients trust as
far as can be told. A migration must ask the CA for nothing, so each counts as coming from a CA that is configured: the
one that it did come from where that is known, else the first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

import attrs

from sptls.certs import schedule
from sptls.certs.bundle import faults
from sptls.certs.pem import certificate_from_der
from sptls.certs.records import StoredCertificate
from sptls.config import DIRECTORIES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sptls.certs.bundle import CertificateBundle
    from sptls.names import HostName

# RFC 4514: a value ends at a comma that is not escaped.
_ORGANISATION: Final = re.compile(r"(?:^|(?<!\\)[,+])O=((?:\\.|[^,+\\])*)")
# By the issuer's organisation. Staging's certificates have a root that no client knows.
_DIRECTORY_OF: Final = {
    "Let's Encrypt": DIRECTORIES["letsencrypt"],
    "(STAGING) Let's Encrypt": DIRECTORIES["letsencrypt-staging"],
}
_STAGING: Final = DIRECTORIES["letsencrypt-staging"]


@attrs.frozen
class Offer:
    """
    A certificate that is there to be taken over for *name*; *server* is the directory that it came from, "" unknown.
    """

    name: HostName
    bundle: CertificateBundle
    server: str = ""


@attrs.frozen
class Take:
    """
    Serve and store *certificate* from now on.
    """

    certificate: StoredCertificate


@attrs.frozen
class Keep:
    """
    Nothing needs to be done: what is there already is as good; says in *reason* why.
    """

    reason: str


@attrs.frozen
class Refuse:
    """
    The certificate must not be served for that name, because of *reason*.
    """

    reason: str


def judge(
    offer: Offer, held: CertificateBundle | None, directories: Sequence[str], now: datetime, fraction: float
) -> Take | Keep | Refuse:
    """
    Tell what becomes of *offer* where *held* is the name's certificate now, and *directories* are those configured.

    It is due for renewal as if it had been obtained here, at a moment drawn by *fraction*, in [0, 1).
    """
    bundle, came_from = offer.bundle, _came_from(offer)
    reasons = faults(bundle, offer.name, now)
    if offer.name not in bundle.names:
        return Refuse(f"the certificate is not for exactly the name {offer.name}")
    if reasons:
        return Refuse("; ".join(reasons))
    if _is_self_issued(bundle):
        return Refuse("the certificate is signed by itself; no client trusts it")
    if came_from == _STAGING and _STAGING not in directories:
        return Refuse("the certificate is of Let's Encrypt's staging CA; no client trusts it")
    if held is not None and held.not_after >= bundle.not_after:
        return Keep("it is there already" if held.serial == bundle.serial else "one that is valid as long is there")
    directory = came_from if came_from in directories else directories[0]
    return Take(StoredCertificate(offer.name, bundle, directory, _renew_at(bundle, now, fraction)))


def _renew_at(bundle: CertificateBundle, now: datetime, fraction: float) -> datetime:
    """
    Draw when it is due; where the moment drawn is over, again from what is left until the last one.

    Another program may renew later in a certificate's life than we do: a migration of thousands must not begin with
    hundreds of orders.
    """
    drawn, last = (
        schedule.renewal_moment(bundle.not_before, bundle.not_after, bundle.not_before, at) for at in (fraction, 1.0)
    )
    return drawn if drawn > now or last <= now else now + (last - now) * fraction


def _came_from(offer: Offer) -> str:
    """
    Give the directory that the certificate came from, "" where nothing tells.
    """
    if offer.server:
        return offer.server
    found = _ORGANISATION.search(offer.bundle.issuer)
    return _DIRECTORY_OF.get(found[1] if found else "", "")


def _is_self_issued(bundle: CertificateBundle) -> bool:
    certificate = certificate_from_der(bundle.chain[0])
    return certificate.issuer == certificate.subject


@attrs.frozen
class Outcome:
    """
    What came of an offer, for people.
    """

    word: Literal["taken", "kept", "refused"]
    reason: str = ""

    @classmethod
    def of(cls, decision: Take | Keep | Refuse) -> Outcome:
        """
        Say what was decided.
        """
        match decision:
            case Take(certificate):
                return cls("taken", f"renewal {certificate.renew_at:%Y-%m-%d}, by {certificate.directory}")
            case Keep(reason):
                return cls("kept", reason)
            case _:
                return cls("refused", decision.reason)
