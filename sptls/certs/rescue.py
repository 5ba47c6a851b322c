"""
What is saved for the day when the store is lost, and what may be brought back from it. Pure.

Decides when the store's daily copy is due, and which of the certificates found elsewhere (files that were exported for
other servers) are taken in place of those that are missing. Moments are wall time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sptls.certs import schedule
from sptls.certs.bundle import faults
from sptls.certs.records import StoredCertificate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sptls.certs.bundle import CertificateBundle
    from sptls.names import HostName

COPY_EVERY: Final = timedelta(days=1)
# A copy from a later moment was made by a clock that was ahead; seconds are no reason to copy again.
_CLOCK_TOLERANCE: Final = timedelta(hours=1)


def is_copy_due(made_at: datetime | None, now: datetime) -> bool:
    """
    Tell whether the store is to be copied *now*, when its last copy was *made_at* (None: there is none).
    """
    if made_at is None:
        return True
    return not made_at - _CLOCK_TOLERANCE <= now < made_at + COPY_EVERY


def rescued(
    missing: Iterable[HostName],
    bundles: Mapping[HostName, CertificateBundle],
    now: datetime,
    *,
    directory: str,
    fraction: float,
) -> tuple[StoredCertificate, ...]:
    """
    Give what can be stored for the *missing* names of the *bundles* that were found; the rest is to be ordered.

    They count as coming from *directory*: who exported them did not write down which CA they came from. *fraction* is a
    random number in [0, 1); a renewal that is due is due at once.
    """
    return tuple(
        StoredCertificate(
            name,
            bundle,
            directory,
            schedule.renewal_moment(bundle.not_before, bundle.not_after, bundle.not_before, fraction),
        )
        for name in missing
        if (bundle := bundles.get(name)) is not None and not faults(bundle, name, now)
    )
