from __future__ import annotations

import pytest
from twisted.internet.tcp import Client, Server
from twisted.protocols.tls import TLSMemoryBIOProtocol

from sptls.proxy.stream import StreamTransport
from sptls.tls.transport import TlsTransport
from tests.proxy.wire import Wire

ASKED = [name for name in vars(StreamTransport) if not name.startswith("_")]


@pytest.mark.parametrize("kind", [Server, Client, TlsTransport, Wire])
def test_transports_have_what_is_asked(kind: type) -> None:
    """
    Twisted's connections, ours and the tests' double are all streams.
    """
    assert [] == [name for name in ASKED if not hasattr(kind, name)]


def test_twisteds_tls_passes_on_what_it_has_not() -> None:
    """
    A TLS connection hands reading on to its TCP connection (`ProtocolWrapper.__getattr__`).
    """
    missing = {name for name in ASKED if not hasattr(TLSMemoryBIOProtocol, name)}
    assert missing <= {"pauseProducing", "resumeProducing", "getPeer", "loseWriteConnection", "setTcpNoDelay"}
