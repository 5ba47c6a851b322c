"""
What a CA says of a certificate's renewal: a moment within bounds, drawn once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sptls.acme.messages import parse_renewal_info
from sptls.certs import renewal_windows, rows, schedule
from sptls.certs.bundle import CertificateBundle
from sptls.certs.records import StoredCertificate
from sptls.errors import AcmeProtocolError
from sptls.names import HostName

_NOW: Final = datetime(2026, 1, 15, tzinfo=UTC)
_NAME: Final = HostName("a.example")
_BUNDLE: Final = CertificateBundle(
    *(b"", (b"",), (_NAME,), _NOW - timedelta(days=10), _NOW + timedelta(days=80), "CN=x", "0a")
)
_CERTIFICATE: Final = StoredCertificate(_NAME, _BUNDLE, "https://ca.example/dir", _NOW + timedelta(days=50))

SEEDS: Final = tuple(
    b'{"suggestedWindow": {"start": "%b", "end": "%b"}, "explanationURL": "https://ca.example/why"}' % window
    for window in (
        (b"2026-03-01T00:00:00Z", b"2026-03-03T00:00:00Z"),
        (b"2025-01-01T00:00:00Z", b"2025-01-02T00:00:00+02:00"),
        (b"2026-01-10T00:00:00Z", b"2026-01-11T00:00:00.5Z"),
        (b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59Z"),
        (b"2026-03-03T00:00:00Z", b"2026-03-01T00:00:00Z"),
    )
)


def check(data: bytes) -> None:
    """
    See that an answer is refused as documented, or gives a moment that leaves time, once, which can be stored.
    """
    for seconds in (None, 0.0, 1e9):
        try:
            info = parse_renewal_info(data, seconds)
        except AcmeProtocolError:
            return
        assert info.start < info.end
        judgement = renewal_windows.judge(info, None, _CERTIFICATE, _NOW, 0.999)
        advice, latest = judgement.advice, schedule.latest_renewal(_BUNDLE.not_before, _BUNDLE.not_after)
        assert judgement.is_new
        assert judgement.renew_at <= max(latest, _CERTIFICATE.renew_at)
        assert timedelta(minutes=1) <= advice.ask_again_at - _NOW <= timedelta(days=1)
        assert (_NAME, advice) == rows.advice_of(rows.advice_row(_NAME, advice))
        again = renewal_windows.judge(info, advice, _CERTIFICATE, _NOW, 0.0)
        assert (again.renew_at, again.is_new) == (_CERTIFICATE.renew_at, False)
        renewal_windows.follows(advice, "0a", _NOW)
