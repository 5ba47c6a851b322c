"""
Why a connection ended, in the words in which Twisted tells a protocol.
"""

from __future__ import annotations

from os import strerror
from typing import Final

from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure


def _failure(error: Exception) -> Failure:
    return Failure(error)


# Ends without a story of their own, which are most, are made once.
DONE: Final = _failure(ConnectionDone())
ABORTED: Final = _failure(ConnectionAborted())
CLOSED: Final = _failure(ConnectionLost("the peer closed"))
TRUNCATED: Final = _failure(ConnectionLost("the peer closed without close_notify"))


def lost(error: SSL.Error) -> Failure:
    """
    Give the reason that *error* of OpenSSL's is; its text is OpenSSL's or the system's, never the connection's.
    """
    if isinstance(error, SSL.ZeroReturnError):
        return CLOSED
    if isinstance(error, SSL.SysCallError):
        number = error.args[0]
        # pyOpenSSL's number for an end of the stream; without close_notify it may be an attacker's (RFC 8446 §6.1).
        return TRUNCATED if number == -1 else _failure(ConnectionLost(strerror(number)))
    queue = error.args[0] if error.args else ()
    return _failure(ConnectionLost("TLS: " + (", ".join(entry[2] for entry in queue) or type(error).__name__)))
