"""
Tests for `sptls.certs.reach_rules`.
"""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.reach_rules import (
    HTTP_01,
    MOST_ADDRESSES,
    MOST_BYTES,
    PROBE_BYTES,
    TLS_ALPN_01,
    Probe,
    Reached,
    Verdict,
    alpn_answer,
    came_back,
    chosen,
    findings,
    http_answer,
    is_askable,
    is_enough,
    is_of_probe,
    is_telling,
    request,
)
from sptls.names import HostName

PROBE = Probe.of(bytes(range(PROBE_BYTES)))
VERDICTS: tuple[Verdict, ...] = ("unasked", "ours", "wrong", "redirect", "unreached")
HERE, THERE, HERE6, THERE6 = "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"
OURS = b"HTTP/1.1 200 OK\r\nContent-Length: 82\r\n\r\n" + PROBE.key_authorization.encode()


def test_probe_is_as_a_challenge_and_its_response() -> None:
    """
    RFC 8555 §8.1: base64url; what answers it is no secret in a log.
    """
    assert PROBE.token == PROBE.encode("token")
    assert PROBE.key_authorization.startswith(f"{PROBE.token}.")
    assert re.fullmatch(r"[A-Za-z0-9_-]{49}\.[A-Za-z0-9_-]{32}", PROBE.key_authorization)
    assert (True, False) == (is_of_probe(PROBE.key_authorization), is_of_probe("token.thumbprint"))
    assert PROBE.key_authorization not in repr(PROBE)
    assert b"\x04\x20" + hashlib.sha256(PROBE.key_authorization.encode()).digest() == PROBE.acme_identifier


def test_request_is_a_cas() -> None:
    """
    RFC 8555 §8.3: the name in Host, whatever the address.
    """
    lines = request(HostName("click.example.com"), PROBE, "test").split(b"\r\n")
    assert b"GET /.well-known/acme-challenge/" + PROBE.token.encode() + b" HTTP/1.1" == lines[0]
    assert b"Host: click.example.com" in lines
    assert [b"", b""] == lines[-2:]


@pytest.mark.parametrize(
    ("received", "verdict", "words"),
    [
        (OURS, "ours", ""),
        (b"", "unreached", "without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "wrong", "not HTTP"),
        (b"HTTP/1.1 404 X\r\nServer: nginx/1.18\r\n\r\n" + PROBE.token.encode(), "wrong", "status 404 (nginx/1.18)"),
        (b"HTTP/1.1 200 OK\n\nhello", "wrong", "other content"),
        (b"HTTP/1.0 301 Moved\r\nlocation: https://old.example/x?y\r\n\r\n", "redirect", "a redirect to https://old.example"),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nServer: x\r\n\r\n", "redirect", "a redirect to another path (x)"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[x\r\n\r\n", "redirect", "an address that is none"),
        (b"HTTP/1.1 302 Found\r\n\r\n", "wrong", "status 302"),
        (b"HTTP/1.1 500 \r\nServer: \x1b[2J\r\n\r\n", "wrong", "status 500 ([2J)"),
    ],
)  # fmt: skip
def test_answer_over_http_is_judged(received: bytes, verdict: Verdict, words: str) -> None:
    """
    Ours has the key authorization; a page that repeats the path has not.
    """
    found = http_answer(HERE, received, PROBE)
    assert (HERE, HTTP_01, 80, verdict) == (found.address, found.challenge, found.port, found.verdict)
    assert words in found.words


@given(st.binary(max_size=400))
def test_any_answer_is_judged(received: bytes) -> None:
    """
    A stranger may answer with anything.
    """
    for answer in (received, b"HTTP/1.1 301 Moved\r\nLocation: " + received):
        found = http_answer(HERE, answer, PROBE)
        assert "ours" != found.verdict
        assert found.words.isprintable()


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (OURS, True),
        (OURS[:-1], False),
        (b"HTTP/1.1 404 Not Found\r\n", False),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", False),
        (b"nonsense\n\n", True),
        (b"x" * MOST_BYTES, True),
    ],
)
def test_no_more_is_read_than_it_takes(received: bytes, *, expected: bool) -> None:
    """
    A stranger may never stop.
    """
    assert expected == is_enough(received, PROBE)


@pytest.mark.parametrize(
    ("identifier", "subject", "verdict", "words"),
    [
        (PROBE.acme_identifier, "CN=x", "ours", ""),
        (b"\x04\x20" + bytes(32), "CN=x", "wrong", "the answer to another challenge"),
        (None, "CN=old.example", "wrong", "an ordinary certificate (CN=old.example)"),
        (None, "", "wrong", "an ordinary certificate"),
    ],
)
def test_certificate_is_judged(identifier: bytes | None, subject: str, verdict: Verdict, words: str) -> None:
    """
    RFC 8737 §3.
    """
    assert Reached(HERE, TLS_ALPN_01, verdict, words) == alpn_answer(HERE, identifier, subject, PROBE)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.215.14", True),
        ("2606:4700::1111", True),
        ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("100.100.100.200", False),
        ("fd00:ec2::254", False),
        ("::ffff:10.1.2.3", False),
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("169.254.169.254", False),
        ("fe80::1", False),
        ("224.0.0.1", False),
        ("::", False),
        ("x", False),
    ],
)
def test_this_machine_and_its_link_are_not_asked(address: str, *, expected: bool) -> None:
    """
    Whoever owns a name's DNS chooses the addresses.
    """
    assert expected == is_askable(address)


@pytest.mark.parametrize(
    ("address", "expected"), [("10.1.2.3", True), ("fd00::1", True), ("10.1.2.4", False), ("127.0.0.1", False)]
)
def test_private_address_of_ours_is_asked(address: str, *, expected: bool) -> None:
    """
    In a network of one's own with a CA of one's own, and where the operator says which addresses are the proxy's.
    """
    assert expected == is_askable(address, {"10.1.2.3", "fd00::1", "127.0.0.1"})


def test_few_addresses_of_each_family_are_asked() -> None:
    """
    The IPv6 ones first; less those that may not be.
    """
    many = [f"192.0.2.{number}" for number in range(9)]
    assert (HERE6, *many[1:MOST_ADDRESSES]) == chosen([*many, HERE6], lambda address: address != many[0])


def at(address: str, http: Verdict, alpn: Verdict | None = None) -> list[Reached]:
    """
    Give what *address* answered on port 80, and on port 443.
    """
    return [
        Reached(address, HTTP_01, http, "status 404"),
        *([Reached(address, TLS_ALPN_01, alpn, "other")] if alpn else []),
    ]


@pytest.mark.parametrize(
    ("reached", "expected"),
    [
        ([], []),
        (at(HERE, "ours", "ours"), []),
        (at(HERE, "wrong"), [("wrong-server", True)]),
        (at(HERE, "wrong", "wrong"), [("wrong-server", True)]),
        (at(HERE, "wrong", "ours"), [("wrong-server", False)]),
        (at(HERE, "wrong", "unreached"), [("wrong-server", False), ("unreached", False)]),
        (at(HERE, "ours") + at(THERE, "wrong"), [("wrong-server", False)]),
        (at(HERE, "ours") + at(HERE6, "wrong"), [("wrong-server-ipv6", True)]),
        (at(HERE, "wrong") + at(HERE6, "ours"), [("wrong-server", False)]),
        (at(HERE, "wrong") + at(HERE6, "unreached"), [("wrong-server", False), ("unreached", False)]),
        (at(HERE6, "wrong") + at(THERE6, "unasked"), [("wrong-server-ipv6", False)]),
        (at(HERE, "redirect"), [("wrong-redirect", False)]),
        (at(HERE, "unreached"), [("unreached", False)]),
    ],
)
def test_only_wrong_answers_where_a_ca_goes_first_are_fatal(
    reached: list[Reached], expected: list[tuple[str, bool]]
) -> None:
    """
    For every challenge type: an IPv6 address that answers is not passed over for IPv4, silence here proves nothing.
    """
    assert expected == [(one.diagnosis.code, one.is_fatal) for one in findings(reached)]


def test_words_name_the_address_and_what_answers_there() -> None:
    """
    The customer has to find the record; at our own address the host has to be looked at.
    """
    (found,) = findings(at(HERE6, "wrong", "wrong"))
    assert "AAAA 2001:db8::1 answers as another server: status 404 on port 80 and other on port 443" == (
        found.diagnosis.cause
    )
    assert "remove the name's AAAA record 2001:db8::1" in found.diagnosis.advice
    (found,) = findings(at(HERE, "wrong"), [HERE])
    assert ("wrong-server-here", "host") == (found.diagnosis.code, found.diagnosis.who.value)
    (found,) = findings(at(HERE, "unreached"))
    assert "192.0.2.1 port 80: status 404" in found.diagnosis.cause


def test_silence_tells_nothing() -> None:
    """
    Any answer does.
    """
    assert [False, True, True, True, False] == [
        is_telling(at(HERE, "unreached") + at(THERE, verdict)) for verdict in VERDICTS
    ]


def test_addresses_that_came_back_are_ours() -> None:
    """
    By whichever port.
    """
    assert {HERE} == came_back([*at(HERE, "wrong", "ours"), *at(THERE, "wrong", "unreached")])
