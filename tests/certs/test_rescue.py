from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.rescue import COPY_EVERY, is_copy_due, rescued
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, bundle_for

OTHER = HostName("other.example.com")


def test_first_copy_is_due() -> None:
    """
    Where there is none, one is made.
    """
    assert is_copy_due(None, NOW)


def test_copy_is_due_after_a_day() -> None:
    """
    Not a moment before.
    """
    assert not is_copy_due(NOW, NOW + COPY_EVERY - timedelta(seconds=1))
    assert is_copy_due(NOW, NOW + COPY_EVERY)


def test_copy_of_the_future_is_no_copy() -> None:
    """
    When the clock was set back a year, the store is not left without a new copy for that year.
    """
    assert is_copy_due(NOW + timedelta(days=365), NOW)
    assert not is_copy_due(NOW + timedelta(seconds=5), NOW)


@given(
    made_at=st.none() | st.datetimes(timezones=st.just(NOW.tzinfo)),
    days=st.integers(0, 3),
)
def test_copy_just_made_is_never_due(made_at: datetime | None, days: int) -> None:
    """
    Whatever the moments, a copy that is made now puts it off for a day.
    """
    now = NOW + timedelta(days=days)
    assert is_copy_due(made_at, now) in (True, False)
    assert not is_copy_due(now, now)


def test_missing_certificates_are_taken_from_files() -> None:
    """
    Due when they would have been, as coming from the CA that is configured.
    """
    bundle = bundle_for(CLICK, NOW - timedelta(days=30), NOW + timedelta(days=60))
    (certificate,) = rescued([CLICK, OTHER], {CLICK: bundle}, NOW, directory=CA, fraction=0.5)
    assert (CLICK, bundle, CA) == (certificate.name, certificate.bundle, certificate.directory)
    assert NOW < certificate.renew_at < NOW + timedelta(days=31)


def test_certificates_that_are_not_missing_stay() -> None:
    """
    What the store has is as new as anything.
    """
    assert () == rescued([OTHER], {CLICK: bundle_for(CLICK)}, NOW, directory=CA, fraction=0.5)


def test_files_that_can_not_be_served_are_not_taken() -> None:
    """
    For another name, or expired.
    """
    expired = bundle_for(CLICK, NOW - timedelta(days=90), NOW - timedelta(days=1))
    found = {CLICK: expired, OTHER: bundle_for(CLICK)}
    assert () == rescued([CLICK, OTHER], found, NOW, directory=CA, fraction=0.5)
