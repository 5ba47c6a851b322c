"""
Addresses and origins have one spelling, and every default lies within what is accepted.
"""

from __future__ import annotations

import ipaddress

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.config import (
    RANGES,
    AcmeConfig,
    Address,
    Config,
    DeployConfig,
    HandshakeConfig,
    HstsConfig,
    LimitsConfig,
    NotifyConfig,
    PassthroughConfig,
    UpstreamConfig,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":443", Address("", 443)),
        (":0", Address("", 0)),
        ("192.0.2.1:65535", Address("192.0.2.1", 65535)),
        ("[2001:DB8:0::1]:443", Address("2001:db8::1", 443)),
        ("[::]:443", Address("::", 443)),
    ],
)
def test_an_address_is_an_ip_address_or_none_and_a_port(text: str, expected: Address) -> None:
    """
    IPv6 stands in brackets, as in a URL.
    """
    assert expected == Address.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "443",
        ":",
        ":65536",
        ":999999",
        ":-1",
        ": 443",
        ":٤٤٣",
        "*:443",
        "localhost:443",
        "192.0.2:443",
        "192.0.2.1",
        "192.0.2.1:",
        "[192.0.2.1]:443",
        "[]:443",
        "[2001:db8::1]",
        "2001:db8::1:443",
        "[2001:db8::1]:443 ",
        "[[::1]]:443",
    ],
)
def test_anything_else_is_refused_with_a_sentence(text: str) -> None:
    """
    The message shows what would be right.
    """
    with pytest.raises(ValueError, match="is not an address to listen on: write ':443', "):
        Address.parse(text)


@given(st.just("") | st.ip_addresses().map(str), st.integers(0, 65535))
def test_an_address_is_its_own_spelling(host: str, port: int) -> None:
    """
    What an address is shown as is parsed to the same.
    """
    address = Address(host, port)
    assert address == Address.parse(str(address))


@given(st.text())
def test_any_text_gives_an_address_or_a_value_error(text: str) -> None:
    """
    And an address that was given can be bound.
    """
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert address.port in range(65536)
    assert address.host == "" or ipaddress.ip_address(address.host)


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        (UpstreamConfig(), "https://spgo.io"),
        (UpstreamConfig("http", "spgo.io", 80), "http://spgo.io"),
        (UpstreamConfig("http", "spgo.io", 443), "http://spgo.io:443"),
        (UpstreamConfig("https", "2001:db8::1", 8443), "https://[2001:db8::1]:8443"),
    ],
)
def test_an_upstream_is_shown_as_a_url(upstream: UpstreamConfig, expected: str) -> None:
    """
    A default port is left out; IPv6 stands in brackets.
    """
    assert expected == upstream.url


def test_every_number_has_a_range_that_holds_its_default() -> None:
    """
    A new limit needs a range.
    """
    defaults = {f"limits.{key}": value for key, value in attrs.asdict(LimitsConfig()).items()}
    defaults |= {f"handshake.{key}": value for key, value in attrs.asdict(HandshakeConfig()).items()}
    defaults["deploy.command_seconds"] = DeployConfig().command_seconds
    defaults["notify.command_seconds"] = NotifyConfig().command_seconds
    assert set(RANGES) == set(defaults)
    assert [] == [key for key, (least, most) in RANGES.items() if not least <= defaults[key] <= most]


def test_a_configuration_can_not_be_changed() -> None:
    """
    It is replaced, never edited, so that everyone may keep a part of it.
    """
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Config(()).domains = ()  # type: ignore[misc]


def test_each_ca_has_its_place_in_the_file() -> None:
    """
    A single one stands in ``[acme]``, several in ``[[acme]]``.
    """
    first, other = AcmeConfig(), AcmeConfig("https://ca.example/dir")
    assert (("acme", first),) == Config(()).placed_cas
    assert (("acme[0]", first), ("acme[1]", other)) == Config((), more_cas=(other,)).placed_cas


def test_a_server_to_pass_to_and_a_field_in_their_own_words() -> None:
    """
    As a log line and as RFC 6797 §6.1 have them.
    """
    servers = [PassthroughConfig("b.example", 443), PassthroughConfig("2001:db8::1", 8443)]
    assert ["b.example:443", "[2001:db8::1]:8443"] == list(map(str, servers))
    assert b"max-age=60" == HstsConfig(60).value
    assert b"max-age=0; includeSubDomains" == HstsConfig(0, subdomains=True).value
