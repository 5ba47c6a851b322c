from __future__ import annotations

import errno

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionLost

from sptls.tls.reasons import TRUNCATED, lost


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SSL.SysCallError(errno.ECONNRESET, "ECONNRESET"), "Connection reset by peer"),
        (SSL.Error([("SSL routines", "", "bad record mac"), ("", "", "wrong version")]), "TLS: bad record mac, wrong"),
        (SSL.ZeroReturnError(), "the peer closed"),
        (SSL.Error([]), "TLS: Error"),
    ],
)
def test_lost(error: SSL.Error, text: str) -> None:
    """
    The reason is a lost connection, in the words of OpenSSL or the system.
    """
    reason = lost(error)
    assert (ConnectionLost, True) == (reason.type, text in str(reason.value))


def test_truncated() -> None:
    """
    An end without close_notify has a reason of its own.
    """
    assert TRUNCATED is lost(SSL.SysCallError(-1, "Unexpected EOF"))
