"""
What an operator has done to certificates themselves, in a running daemon: revoked, or taken over from another program.

Which certificate may be taken over is `certs.intake`'s to decide, and when the next one is ordered the renewer's.
"""

from __future__ import annotations

from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger

from sptls.certs.bundle import CertificateBundle
from sptls.certs.intake import Offer, Outcome, Take, judge
from sptls.errors import BadCertificate, InvalidHostName, NotRevocable
from sptls.names import HostName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sptls.certs.renewer import Renewer

_log = Logger()
_draw: Final = SystemRandom().random


async def revoke(renewer: Renewer, name: HostName, reason: int) -> None:
    """
    Have *name*'s certificate revoked by its CA for *reason* (RFC 5280 §5.3.1), and a new one ordered at once.

    The old one is served until the new one comes: few clients ask whether a certificate is revoked, and none goes on
    without one.

    Raises:
        SptlsError: it is not revoked; says why.
    """
    certificate = renewer.certificate(name)
    if certificate is None:
        raise NotRevocable(f"{name} has no certificate that was ordered here; one of your own is yours to revoke")
    authority = renewer.authority(certificate.directory)
    if authority is None:
        raise NotRevocable(
            f"{name}'s certificate came from {certificate.directory}, which is configured no more; add it as another "
            "[[acme]], or use that CA's own means"
        )
    bundle = certificate.bundle
    await authority.issuer.revoke(bundle, reason)
    _log.warn(
        "{name}: certificate {serial} is revoked (reason {reason})", name=name, serial=bundle.serial, reason=reason
    )
    now = renewer.certificate(name)
    if now is not None and now.bundle.serial == bundle.serial:  # else it was renewed meanwhile
        renewer.renew(name)
        renewer.retry(name)


async def take_over(
    renewer: Renewer, directories: Sequence[str], offer: Offer, now: datetime, *, is_trial: bool
) -> Outcome:
    """
    Serve and store what is offered, if it is good *now*; on trial, only tell whether it would be.
    """
    if not renewer.takes_care_of(offer.name):
        return Outcome("refused", "it is none of the domains that this daemon orders certificates for")
    held = renewer.certificate(offer.name)
    decision = judge(offer, None if held is None else held.bundle, directories, now, _draw())
    if isinstance(decision, Take) and not is_trial:
        try:
            if not await renewer.adopt(decision.certificate):
                return Outcome("refused", "an order for it is under way")
        except BadCertificate as error:
            return Outcome("refused", str(error))
        _log.info("{name}: certificate {serial} was imported", name=offer.name, serial=offer.bundle.serial)
    return Outcome.of(decision)


def read_offer(told: Mapping[str, Any]) -> Offer:
    """
    Read an offer as a command sends it: ``{"name": …, "key": PEM, "chain": PEM, "server": …}``.

    Raises:
        BadCertificate: there is no usable certificate in it.
        ValueError: it is no such thing.
    """
    texts = [told.get(key) for key in ("name", "key", "chain", "server")]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("each certificate must have the texts name, key, chain and server")
    name, key, chain, server = map(str, texts)
    try:
        return Offer(HostName.parse(name), CertificateBundle.from_pem(key.encode(), chain.encode()), server)
    except (InvalidHostName, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from None
