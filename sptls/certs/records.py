"""
What is remembered about a name: its certificate, the history of attempts to get one, the account at a CA.

Plain values that the store keeps, `schedule` judges and the renewer moves between the two. They decide nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sptls.certs.bundle import CertificateBundle
    from sptls.names import HostName


@attrs.frozen
class StoredCertificate:
    """
    The certificate of *name*: from which *directory* it came, and when it is due for renewal (drawn once).
    """

    name: HostName
    bundle: CertificateBundle
    directory: str
    renew_at: datetime


@attrs.frozen
class History:
    """
    What became of the attempts to get a certificate for a name, since the last success.

    *failed_authorizations* are moments within the last hour or so, oldest first: the CA counts them.
    *attempt_started_at* is set while an attempt runs, so after a crash it tells that one was cut off.
    *directory* is the CA that all of it is about ("" = none asked yet): another CA knows nothing of it.
    """

    consecutive_failures: int = 0
    next_attempt_at: datetime | None = None
    failed_authorizations: tuple[datetime, ...] = ()
    last_error: str = ""
    attempt_started_at: datetime | None = None
    directory: str = ""


# Most names have no history; one value for all of them keeps 100,000 names lean.
NO_HISTORY = History()


@attrs.frozen
class AccountRecord:
    """
    An account at a CA: its private *key* (PKCS#8, DER) and *url* (RFC 8555 §7.3).

    *url* is "" until the CA has named it: the key is stored before the account is asked for, so that a crash in
    between finds the account again by its key (RFC 8555 §7.3.1) instead of making a second one.
    """

    key: bytes = attrs.field(repr=False)
    url: str = ""


@attrs.frozen
class Loaded:
    """
    Everything that was stored: what a process starts from. *damaged* says in words what was found and set aside.
    """

    certificates: Mapping[HostName, StoredCertificate] = attrs.field(factory=dict)
    histories: Mapping[HostName, History] = attrs.field(factory=dict)
    damaged: tuple[str, ...] = ()
