"""
``redirect_http``: plain HTTP goes to HTTPS while that works, and no click is lost while it does not.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import CLICK, OTHER, own_domain
from tests.e2e.daemon import Answer, Daemon, Launcher, ask, http_get, https_get, request, until
from tests.e2e.origin import LANDING, Origin
from tests.e2e.test_proxy import ODD_TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trustme

pytestmark = pytest.mark.e2e

BARE = "bare.example.com"
REDIRECT = "redirect_http = true\n"


@pytest.fixture(scope="module")
def redirecting(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA, tracking: Origin) -> Iterator[Daemon]:
    """
    Give a daemon that redirects `CLICK`, and would redirect `BARE`, for which no CA can be had; `OTHER` it does not.
    """
    launcher = Launcher(tmp_path_factory.mktemp("redirecting"))
    launcher.write(
        domains=own_domain(authority, launcher.directory, CLICK)
        + REDIRECT
        + own_domain(authority, launcher.directory, OTHER)
        + f'[[domains]]\nname = "{BARE}"\n{REDIRECT}',
        acme='directory = "https://127.0.0.1:9/dir"\nagree_to_terms = true',
        upstream=tracking.configuration,
    )
    with launcher.running() as running:
        yield running


def _get(port: int, target: bytes, host: str, *fields: str) -> Answer:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        return ask(connection, request("TARGET", host, *fields).replace(b"TARGET", target, 1))


def test_redirect_leads_to_the_answer(redirecting: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A client that follows it gets over HTTPS what it asked for.
    """
    answer = http_get(redirecting.http, "/f/a/b?c=%2F", f"{CLICK}:{redirecting.http}")
    assert (308, f"https://{CLICK}:{redirecting.https}/f/a/b?c=%2F") == (answer.status, answer.field("Location"))
    assert (None, "no-store") == (answer.field("Server"), answer.field("Cache-Control"))
    assert LANDING.decode() == https_get(redirecting.https, "/f/a/b?c=%2F", CLICK, trusting).field("Location")


@pytest.mark.parametrize("target", [target for target in ODD_TARGETS if b"#" not in target])
def test_target_goes_along_byte_for_byte(redirecting: Daemon, tracking: Origin, target: bytes) -> None:
    """
    The service sees none of it.
    """
    before = len(tracking.received)
    answer = _get(redirecting.http, target, CLICK)
    location = answer.field("Location") or ""
    assert (308, b"https://" + CLICK.encode() + target) == (answer.status, location.encode("latin-1"))
    assert before == len(tracking.received)


@pytest.mark.parametrize("name", [OTHER, BARE])
def test_domain_that_asks_for_none_or_has_no_certificate_is_served(redirecting: Daemon, name: str) -> None:
    """
    Over plain HTTP, as ever.
    """
    assert 302 == http_get(redirecting.http, "/f/a/b", name).status


def test_unknown_host_is_sent_nowhere(redirecting: Daemon) -> None:
    """
    Nor is one that a client's URL names.
    """
    for answer in (
        http_get(redirecting.http, "/f/a/b", "evil.example"),
        _get(redirecting.http, b"http://evil.example/", CLICK),
    ):
        assert (421, None) == (answer.status, answer.field("Location"))


def test_redirects_are_counted_and_logged(redirecting: Daemon) -> None:
    """
    Like every other answer.
    """
    before = redirecting.status()["http"]
    http_get(redirecting.http, "/f/counted", CLICK)
    after = redirecting.status()["http"]
    assert (1, 0) == (
        after["answers"]["3xx"] - before["answers"]["3xx"],
        after["error_pages"] - before["error_pages"],
    )
    log = redirecting.state / "access.log"
    until(lambda: b'"GET /f/counted HTTP/1.1" 308 ' in log.read_bytes(), "line in the access log")
