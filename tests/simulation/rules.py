"""
What other programs go by instead of `sptls.certs.schedule` (peers.md): fixed thresholds, and retries that do not wait.

Each is put in the place of our rules for a simulated world; none of these programs keeps books of the CA's limits.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sptls.certs import schedule
from sptls.certs.records import History

if TYPE_CHECKING:
    import pytest

    from sptls.certs.schedule import Failure


def fixed_thirty_days(patch: pytest.MonkeyPatch) -> None:
    """
    Renew when less than thirty days are left: certificates that live a week are always due.
    """

    def renewal_moment(_not_before: datetime, not_after: datetime, obtained_at: datetime, _fraction: float) -> datetime:
        return max(not_after - timedelta(days=30), obtained_at + timedelta(minutes=1))

    patch.setattr(schedule, "renewal_moment", renewal_moment)


def last_twelfth(patch: pytest.MonkeyPatch) -> None:
    """
    Renew when a twelfth of the lifetime is left, as HAProxy does: 13 hours of 160.
    """

    def renewal_moment(not_before: datetime, not_after: datetime, _obtained_at: datetime, _fraction: float) -> datetime:
        return not_after - (not_after - not_before) / 12

    patch.setattr(schedule, "renewal_moment", renewal_moment)


def retry_every_minute(patch: pytest.MonkeyPatch) -> None:
    """
    Try again a minute after each failure, whatever the CA counts, as autocert does.
    """
    after_failure = schedule.after_failure

    def impatient(history: History, failure: Failure, now: datetime, **rest: Any) -> History:
        after = after_failure(history, failure, now, **rest)
        return History(
            after.consecutive_failures,
            now + timedelta(minutes=1),
            (),
            after.last_error,
            directory=after.directory,
        )

    patch.setattr(schedule, "after_failure", impatient)
