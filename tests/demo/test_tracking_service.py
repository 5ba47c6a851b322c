from __future__ import annotations

import base64
import ssl
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treq.testing import StubTreq

from sptls.demo.tracking_service import DEFAULT_TARGET, PIXEL, TrackingService, target_of

if TYPE_CHECKING:
    from twisted.web.iweb import IResponse

    from tests.demo.conftest import Run

SAMPLE = b"RgRestfaPwRXA3NwY0IKABvaUtBcfA5Pw1IbbmF0aGFuLmR1cmFudEBzcGFya3Bvc3QuY29tWAQAAAAA"


def ask(target: str, method: str = "GET") -> tuple[IResponse, bytes]:
    """
    Ask the service, in memory, without following a redirect.
    """
    client: Any = StubTreq(TrackingService())  # type: ignore[no-untyped-call] # treq and twisted.web have no annotations
    answers: list[IResponse] = []
    contents: list[bytes] = []
    client.request(method, f"https://click.localhost{target}", allow_redirects=False).addCallback(answers.append)
    client.flush()
    (response,) = answers
    client.content(response).addCallback(contents.append)
    client.flush()
    (content,) = contents
    return response, content


def packed(target: bytes) -> bytes:
    """
    Pack a link as the service packs it into a click's path.
    """
    fields = b"F\x04DDDDD" + bytes([len(target)]) + target + b"W\x03spc"
    return base64.urlsafe_b64encode(fields).replace(b"=", b"~")


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/f/a/b/c/d", DEFAULT_TARGET),
        (f"/f/a/Hcv1~~/AALoUwA~/{SAMPLE.decode()}", DEFAULT_TARGET),
        ("/f/a/b/c/d?target=http%3A%2F%2Fwww.sparkpost.com", b"http://www.sparkpost.com"),
        ("/f/a/b/c/d?x=1&target=" + quote("https://a.example/?q=1&b=%20", safe=""), b"https://a.example/?q=1&b=%20"),
        (f"/f/sub/a/b/{packed(b'https://a.example/x').decode()}", b"https://a.example/x"),
    ],
)
def test_clicks_are_redirected(target: str, location: bytes) -> None:
    """
    A click gives 302 to its target, or to the default one, with an empty body.
    """
    response, body = ask(target)
    assert (response.code, body) == (302, b"")
    assert response.headers.getRawHeaders(b"location") == [location]


@pytest.mark.parametrize("target", ["/f/a/b/c/d", "/q/a/b/c", "/nothing", "/.well-known/assetlinks.json"])
def test_every_answer_looks_like_the_services(target: str) -> None:
    """
    Answers name the service's server and keep search engines off.
    """
    headers = ask(target)[0].headers
    assert headers.getRawHeaders(b"server") == [b"msys-http"]
    assert headers.getRawHeaders(b"x-robots-tag") == [b"noindex"]


def test_opens_get_a_pixel() -> None:
    """
    An open gives a GIF of one pixel in 44 bytes.
    """
    response, body = ask("/q/dTQ8~~/AAAEAgA~/RgRh")
    assert (response.code, body, len(body)) == (200, PIXEL, 44)
    assert response.headers.getRawHeaders(b"content-type") == [b"image/gif"]


def test_the_pixel_is_a_gif() -> None:
    """
    The pixel's blocks are what GIF89a wants, from the header to the trailer.
    """
    header, screen, colours, control, image, data = (
        PIXEL[:6],
        PIXEL[6:13],
        PIXEL[13:19],
        PIXEL[19:27],
        PIXEL[27:37],
        PIXEL[37:],
    )
    assert header == b"GIF89a"
    assert screen[:4] == image[5:9] == b"\x01\x00\x01\x00"
    assert (screen[4], colours) == (0x80, b"\x00\x00\x00\xff\xff\xff")
    assert (control[:3], control[-1]) == (b"!\xf9\x04", 0)
    assert (data[0], data[1], data[2 + data[1]], data[3 + data[1] :]) == (2, 3, 0, b";")


@pytest.mark.parametrize("name", ["apple-app-site-association", "assetlinks.json"])
def test_deep_links_are_json(name: str) -> None:
    """
    The files that make links open an application are there, as JSON and without a redirect.
    """
    response, body = ask(f"/.well-known/{name}")
    assert response.code == 200
    assert response.headers.getRawHeaders(b"content-type") == [b"application/json"]
    assert body[:1] in b"{["


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        ("/u/a/b/c", "POST", 202),
        ("/f/a/b/c/d", "POST", 202),
        ("/x", "POST", 404),
        ("/", "GET", 404),
        ("/f/a/b/c/d", "HEAD", 302),
        ("/f/a/b/c/d", "DELETE", 405),
    ],
)
def test_other_requests(target: str, method: str, status: int) -> None:
    """
    Unsubscribing is accepted; what is not there is not found.
    """
    assert ask(target, method)[0].code == status


@given(st.binary(max_size=60))
def test_any_segment_gives_a_link_or_none(segment: bytes) -> None:
    """
    Whatever the last segment is, it holds a whole link or none.
    """
    target = target_of(segment)
    assert target is None or target.startswith((b"http://", b"https://"))


@given(st.binary(max_size=200).map(lambda tail: b"https://" + tail))
def test_a_packed_link_is_found(target: bytes) -> None:
    """
    What is packed into a segment comes out of it.
    """
    assert target_of(packed(target)) == target


def test_the_service_is_served_over_tls(run: Run) -> None:
    """
    On its port, a client that trusts the root it names gets the answers, on loopback only.
    """
    with run("tracking_service") as running:
        url, trust = running.facts["url"], running.facts["trust"]
        context = ssl.create_default_context(cafile=trust)
        with urllib.request.urlopen(f"{url}/q/a/b/c", context=context, timeout=10) as answer:  # noqa: S310 - https, from our own process
            assert answer.read() == PIXEL
        running.end()
