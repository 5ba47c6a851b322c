"""
What is remembered about a name: its certificate, when its CA wants it renewed, the history of attempts to get one, how
far its files have come, what people were warned of; and the account at a CA.

Plain values that the store keeps, `schedule` judges and the renewer moves between the two. They decide nothing.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.diagnosis import Diagnosis
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
    *directory* is the CA that all of it is about ("" = none asked yet): another CA knows nothing of it. Where several
    are configured, *elsewhere* has what became of the attempts at the others; those have no *elsewhere* of their own.
    *diagnosis* says what *last_error* means, None where there was none or an older sptls stored it.
    """

    consecutive_failures: int = 0
    next_attempt_at: datetime | None = None
    failed_authorizations: tuple[datetime, ...] = ()
    last_error: str = ""
    attempt_started_at: datetime | None = None
    directory: str = ""
    elsewhere: tuple[History, ...] = ()
    diagnosis: Diagnosis | None = None

    def at(self, directory: str) -> History:
        """
        Give what became of the attempts at *directory*'s CA alone.
        """
        if self.directory == directory:
            return attrs.evolve(self, elsewhere=()) if self.elsewhere else self
        return next((one for one in self.elsewhere if one.directory == directory), NO_HISTORY)

    @property
    def each(self) -> tuple[History, ...]:
        """
        Give the history at each CA, that of the last attempt first.
        """
        return (attrs.evolve(self, elsewhere=()), *self.elsewhere) if self.elsewhere else (self,)


# The entries of no ledger.
NO_ENTRIES: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType({})

# Most names have no history; one value for all of them keeps 100,000 names lean.
NO_HISTORY = History()


@attrs.frozen
class Deployment:
    """
    How far a name's certificate has come on its way to the server that reads it from files.

    *serial* is that of the certificate whose files are in place ("": none yet). While *is_command_owed* the deploy
    command has not yet succeeded for them. The failures since the last success are the files' or the command's.
    """

    serial: str = ""
    is_command_owed: bool = False
    consecutive_failures: int = 0
    next_attempt_at: datetime | None = None
    last_error: str = ""


NOT_DEPLOYED = Deployment()


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
class OrderRecord:
    """
    An order that is under way for *name*: its *url*, and the private *key* (PKCS#8, DER) of the certificate to come.

    Only the account at *account_url* of the CA at *directory* can go on with it, and not after *expires*. The
    certificate *is_replacement* where the CA took it as another one's successor (RFC 9773 §5). *failed_types* are the
    challenge types of which the same attempt has failed an authorization each, in orders before this one: the CA counts
    them, the name's history not before the attempt's end. It *is_counted* when an attempt has ended that did not hear
    what became of its own authorization, and counted that as failed.
    """

    name: HostName
    directory: str
    account_url: str
    url: str
    key: bytes = attrs.field(repr=False)
    created_at: datetime
    expires: datetime
    is_replacement: bool = False
    failed_types: tuple[str, ...] = ()
    is_counted: bool = False


@attrs.frozen
class RenewalInfo:
    """
    When a CA wants a certificate renewed (RFC 9773 §4.2): somewhere from *start* to *end*, which is later.

    Both may be in the past, which means now. *explanation_url* is for people, or "". It is worth asking again after
    *ask_again_seconds*.
    """

    start: datetime
    end: datetime
    ask_again_seconds: float
    explanation_url: str = ""


@attrs.frozen
class RenewalAdvice:
    """
    What a CA was last heard to say of when the certificate *serial* is to be renewed, and when it is asked again.

    *start* and *end* are its window (RFC 9773 §4.2), *explanation_url* is for people, or "".
    """

    serial: str
    start: datetime
    end: datetime
    ask_again_at: datetime
    explanation_url: str = ""


@attrs.frozen
class Warned:
    """
    What people have been warned of about a name, while its certificate was *serial* ("": it had none).

    *days* is the last warning before an expiry (of 21, 7, 1 for a certificate of 90 days; 0: none yet), *is_failing*
    that they know of a failure.
    """

    serial: str = ""
    days: int = 0
    is_failing: bool = False


NOT_WARNED = Warned()


@attrs.frozen
class Loaded:
    """
    Everything that was stored: what a process starts from. *damaged* says in words what was found and set aside.

    *orders* are the names that have an order under way; *limits* are the entries of each CA's ledger (`limits.Ledger`).
    """

    certificates: Mapping[HostName, StoredCertificate] = attrs.field(factory=dict)
    histories: Mapping[HostName, History] = attrs.field(factory=dict)
    damaged: tuple[str, ...] = ()
    deployments: Mapping[HostName, Deployment] = attrs.field(factory=dict)
    orders: frozenset[HostName] = frozenset()
    limits: Mapping[str, Mapping[str, float]] = attrs.field(factory=dict)
    advices: Mapping[HostName, RenewalAdvice] = attrs.field(factory=dict)
    warned: Mapping[HostName, Warned] = attrs.field(factory=dict)
