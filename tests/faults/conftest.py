"""
One Pebble, one front and one reactor for all tests of this folder; a world of its own for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sptls.acme.agent import make_agent
from sptls.tls.contexts import client_trust
from tests.acme_front.door import QuietSite
from tests.acme_front.front import Front, running_front
from tests.acme_front.reactor import SkippingReactor, running_reactor
from tests.faults.doubles import Tokens, WatchedAgent
from tests.faults.world import World
from tests.pebble.pebble import Pebble, Settings, is_installed, running
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

# Long enough for every time that a test lets pass.
CERTIFICATE_SECONDS = 90 * 86400


@pytest.fixture(scope="session")
def ports() -> tuple[int, int]:
    """
    Give the ports where the CA looks for names: HTTP, which is served, and HTTPS, which is not.
    """
    http, https = free_ports(2)
    return http, https


@pytest.fixture(scope="session")
def pebble(tmp_path_factory: pytest.TempPathFactory, ports: tuple[int, int]) -> Iterator[Pebble]:
    """
    Run a fast CA for all tests.
    """
    if not is_installed():
        pytest.skip("Pebble is not installed (Debian: apt-get install pebble)")
    settings = Settings(*ports, certificate_seconds=CERTIFICATE_SECONDS, chain_length=2)
    with running(tmp_path_factory.mktemp("pebble"), settings) as ca:
        yield ca


@pytest.fixture(scope="session")
def reactor() -> Iterator[SkippingReactor]:
    """
    Give the reactor of all tests.
    """
    with running_reactor() as reactor:
        yield reactor


@pytest.fixture(scope="session")
def tokens(reactor: SkippingReactor, ports: tuple[int, int]) -> Tokens:
    """
    Serve port 80 of every name.
    """
    tokens = Tokens()
    reactor.listenTCP(ports[0], QuietSite(tokens, reactor), interface="127.0.0.1")
    return tokens


@pytest.fixture(scope="session")
def front(reactor: SkippingReactor, pebble: Pebble, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """
    Run the front for all tests.
    """
    with running_front(reactor, pebble, tmp_path_factory.mktemp("front")) as front:
        yield front


@pytest.fixture(scope="session")
def agent(reactor: SkippingReactor, pebble: Pebble) -> WatchedAgent:
    """
    Give the client's connections; each test begins with none.
    """
    return WatchedAgent(make_agent(reactor, client_trust(pebble.trust)))


@pytest.fixture
def world(reactor: SkippingReactor, front: Front, agent: WatchedAgent, tokens: Tokens) -> Iterator[World]:
    """
    Give a world in which everything works.
    """
    world = World(reactor, front, agent, tokens)
    yield world
    world.close()
