"""
Whether an order that an earlier attempt began, perhaps before a restart, is worth going on with. Pure.

A certificate that the CA has made already must not be ordered a second time; an order that leads nowhere must not be
followed for ever.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sptls.errors import AcmeProblem, BadCertificate, ValidationFailed

if TYPE_CHECKING:
    from datetime import datetime

    from sptls.acme.messages import Order
    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.records import OrderRecord
    from sptls.errors import SptlsError

# CAs validate and issue within minutes. An order that is not done after an hour of attempts is stuck.
STUCK_AFTER = timedelta(hours=1)
# For CAs that do not say when an order expires, which RFC 8555 §7.1.3 wants of them; Let's Encrypt's are a week.
USUAL_LIFETIME = timedelta(days=7)

# Refusals of the moment, or of the account: the order itself may go on.
_PASSING = frozenset({"rateLimited", "accountDoesNotExist", "userActionRequired"})


def may_go_on(record: OrderRecord, directory: str, account_url: str, now: datetime) -> bool:
    """
    Tell whether the order of *record* is one that this account of this CA may ask for, at *now*.
    """
    return record.directory == directory and record.account_url == account_url and now < record.expires


def is_worth_it(order: Order, record: OrderRecord, now: datetime) -> bool:
    """
    Tell whether going on with *order*, as the CA has it now, may lead to a certificate.
    """
    if order.status == "valid":
        return True
    return order.status != "invalid" and now < record.created_at + STUCK_AFTER


def is_newer(bundle: CertificateBundle, replaces: CertificateBundle | None) -> bool:
    """
    Tell whether *bundle* is a successor of the certificate that it *replaces*, and not that one or one before it.
    """
    return replaces is None or bundle.not_after > replaces.not_after


def ends_order(error: SptlsError) -> bool:
    """
    Tell whether an order that came to *error* leads nowhere, so that the next attempt needs another one.

    A CA that can't be reached, or is being odd, may still finish it.
    """
    if isinstance(error, AcmeProblem):
        return error.type not in _PASSING
    return isinstance(error, ValidationFailed | BadCertificate)
