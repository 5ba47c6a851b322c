from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import treq
from twisted.web.client import Agent

from tests.acme_front.door import QuietSite
from tests.acme_front.faults import (
    OPERATIONS,
    Answer,
    Break,
    Change,
    Fault,
    Faults,
    GoDown,
    Say,
    answer,
    problem,
)
from tests.acme_front.front import Front, _Unverified, running_front
from tests.acme_front.reactor import SkippingReactor, running_reactor
from tests.pebble.pebble import Pebble, Settings, is_installed, running
from tests.ports import free_ports

pytestmark = pytest.mark.pebble


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SkippingReactor, Front, Pebble]]:
    """
    Run a front before a Pebble.
    """
    if not is_installed():
        pytest.skip("Pebble is not installed (Debian: apt-get install pebble)")
    http, https = free_ports(2)
    folder = tmp_path_factory.mktemp("pebble")
    with (
        running(folder, Settings(http, https)) as pebble,
        running_reactor() as reactor,
        running_front(reactor, pebble, tmp_path_factory.mktemp("front")) as front,
    ):
        reactor.is_busy = front.is_at_work
        yield reactor, front, pebble
        assert [] == front.broken


def get(reactor: SkippingReactor, url: str) -> Answer:
    """
    Fetch *url* on a connection of its own.
    """

    async def fetched() -> Answer:
        response = await Agent(reactor, _Unverified()).request(b"GET", url.encode())
        fields = tuple(
            (name.decode(), text.decode()) for name, texts in response.headers.getAllRawHeaders() for text in texts
        )
        return Answer(response.code, await treq.content(response), fields)

    return reactor.run_coroutine(fetched())


def test_pebble_s_urls_lead_to_the_front(front: tuple[SkippingReactor, Front, Pebble]) -> None:
    """
    So that every request of a client comes by.
    """
    reactor, before, _ = front
    directory = get(reactor, before.directory_url).json()
    origin = before.directory_url.removesuffix("dir")
    assert {True} == {url.startswith(origin) for name, url in directory.items() if name != "meta"}
    assert {"revokeCert", "keyChange"} <= set(directory)
    assert "directory" == before.seen[-1].operation


def test_every_resource_has_its_operation(front: tuple[SkippingReactor, Front, Pebble]) -> None:
    """
    Each URL of the directory is one that the front knows by name.
    """
    reactor, before, _ = front
    directory = get(reactor, before.directory_url).json()
    del directory["meta"]
    assert {name: name for name in directory} == {
        name: OPERATIONS[url.rpartition("/")[2]] for name, url in directory.items()
    }


def test_what_is_offered_is_in_the_directory(front: tuple[SkippingReactor, Front, Pebble]) -> None:
    """
    Renewal info and profiles; and not those of a Pebble that has some itself (2.6 has).
    """
    reactor, before, _ = front
    before.profiles, before.renewal_info = {"classic": "as ever"}, {"": Say(answer(200, b"{}"))}
    directory = get(reactor, before.directory_url).json()
    assert {"classic": "as ever"} == directory["meta"]["profiles"]
    assert 200 == get(reactor, directory["renewalInfo"] + "/aa.bb").status
    before.forget()
    assert "renewalInfo" not in get(reactor, before.directory_url).json()
    assert 404 == get(reactor, directory["renewalInfo"] + "/aa.bb").status


@pytest.mark.parametrize(
    "action",
    [
        Break("close"),
        Break("reset"),
        Break("close", content_bytes=5),
        GoDown("refuse", seconds=5),
        GoDown("garbage", seconds=5),
    ],
)
def test_a_fault_hits_one_request(front: tuple[SkippingReactor, Front, Pebble], action: Break | GoDown) -> None:
    """
    The second one here; the third is answered as ever.
    """
    reactor, before, _ = front
    before.arm(Fault("directory", action, nth=2))
    assert 200 == get(reactor, before.directory_url).status
    with pytest.raises(Exception):  # noqa: B017, PT011 - each breaks in its own way
        get(reactor, before.directory_url)
    reactor.pass_time(6)
    assert 200 == get(reactor, before.directory_url).status
    before.forget()


def test_answers_are_said_and_changed(front: tuple[SkippingReactor, Front, Pebble]) -> None:
    """
    In the CA's place, or of its own.
    """
    reactor, before, _ = front
    before.arm(
        Fault("directory", Say(problem(429, "rateLimited", retry_after="5"))),
        Fault("directory", Change(lambda said: said.with_members(newNonce="x")), nth=2),
    )
    refused, changed = get(reactor, before.directory_url), get(reactor, before.directory_url)
    assert (429, "5", "application/problem+json") == (
        refused.status,
        refused.field("retry-after"),
        refused.field("content-type"),
    )
    assert "x" == changed.json()["newNonce"]
    before.forget()


def test_time_is_skipped_while_nobody_works(front: tuple[SkippingReactor, Front, Pebble]) -> None:
    """
    A day passes in no time, with everything that was due in it, in order.
    """
    reactor, _, _ = front
    rung: list[float] = []
    begun = reactor.seconds()
    for hours in (20, 1, 7):
        reactor.callLater(hours * 3600, lambda: rung.append(round((reactor.seconds() - begun) / 3600)))
    reactor.pass_time(86400)
    assert [1, 7, 20] == rung


def test_first_fault_that_takes_a_request_acts() -> None:
    """
    By operation, number and name.
    """
    faults = Faults()
    say = [Say(answer(status)) for status in (500, 501, 502)]
    faults.arm(
        Fault("order", say[0], nth=2, times=2), Fault("order", say[1], name="a.test"), Fault("", say[2], times=None)
    )
    taken = [faults.action("order", name) for name in ("b.test", "a.test", "b.test", "a.test")]
    assert [say[2], say[0], say[0], say[2]] == taken
    faults.clear()
    assert faults.action("order", "a.test") is None


def test_the_site_keeps_no_timers(front: tuple[SkippingReactor, Front, Pebble], tmp_path: Path) -> None:
    """
    Or there would always be something to wait for.
    """
    reactor, before, _ = front
    site = QuietSite(before, reactor)
    site.startFactory()
    site.stopFactory()
    assert site.timeOut is None
