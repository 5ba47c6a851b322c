from __future__ import annotations

import pytest
from twisted.internet.tcp import Server

from sptls.proxy.stream import StreamTransport
from sptls.tls.transport import TlsTransport
from tests.proxy.wire import Wire

ASKED = [name for name in vars(StreamTransport) if not name.startswith("_")]


@pytest.mark.parametrize("kind", [Server, TlsTransport, Wire])
def test_transports_have_what_is_asked(kind: type) -> None:
    """
    Twisted's connections, ours and the tests' double are all streams.
    """
    assert [] == [name for name in ASKED if not hasattr(kind, name)]
