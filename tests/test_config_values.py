"""
Single values: what they spell, and the sentence for those that spell nothing.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls import config_values
from sptls.config import DIRECTORIES, UNLIMITED, PassthroughConfig, Rate, UpstreamConfig

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://spgo.io", ("https", "spgo.io", 443)),
        ("HTTPS://SPGO.io./", ("https", "spgo.io", 443)),
        ("http://spgo.io", ("http", "spgo.io", 80)),
        ("https://spgo.io:8443/", ("https", "spgo.io", 8443)),
        ("https://spgo.io:", ("https", "spgo.io", 443)),
        ("http://127.0.0.1:8080", ("http", "127.0.0.1", 8080)),
        ("http://[::1]:8080", ("http", "::1", 8080)),
    ],
)
def test_an_origin_is_scheme_host_and_port(text: str, expected: tuple[str, str, int]) -> None:
    """
    The port is the scheme's where none is named.
    """
    assert expected == config_values.origin(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "visible ASCII"),
        ("https://spgo.io\n", "visible ASCII"),
        ("https://bücher.example", "visible ASCII"),
        ("spgo.io", "not a URL"),
        ("ftp://spgo.io", "not a URL"),
        ("https://", "not a URL"),
        ("https://:443", "not a URL"),
        ("https://spgo.io:0", "not a URL"),
        ("https://spgo.io:65536", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://[::1%25eth0]", "not a host name"),
        ("https://a_b", "not a host name"),
        ("https://*.spgo.io", "wildcard"),
        ("https://spgo.io/f", "must end after"),
        ("https://spgo.io?", "must end after"),
        ("https://spgo.io?a=b", "must end after"),
        ("https://spgo.io#a", "must end after"),
    ],
)
def test_what_is_more_or_less_than_an_origin_is_refused(text: str, reason: str) -> None:
    """
    A path or query could not be put before a target that is passed on byte for byte.
    """
    with pytest.raises(ValueError, match=reason):
        config_values.origin(text)


@pytest.mark.parametrize("text", ["https://ops:secret@spgo.io", "https://ops:secret", "https://ops:secret@[spgo.io"])
def test_a_password_in_a_url_is_refused_and_not_repeated(text: str) -> None:
    """
    The message goes to a log.
    """
    with pytest.raises(ValueError, match=r"must not hold a user name|not a URL") as caught:
        config_values.origin(text)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("preserve", "preserve"),
        ("upstream", "upstream"),
        ("Click.Example.com", "click.example.com"),
        ("click.example.com:8443", "click.example.com:8443"),
        ("192.0.2.1", "192.0.2.1"),
        ("tracking", "tracking"),
    ],
)
def test_a_host_field_is_a_word_or_a_literal(text: str, expected: str) -> None:
    """
    A literal is a host, with a port or without.
    """
    assert expected == config_values.host_field(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is none of 'preserve', 'upstream', nor a host name"),
        ("Preserve", "did you mean 'preserve'"),
        ("preserved", "did you mean 'preserve'"),
        ("up-stream", "did you mean 'upstream'"),
        ("a b", "not a host name"),
        ("https://spgo.io", "is none of"),
        ("a:b", "is none of"),
        ("*.example.com", "wildcard"),
    ],
)
def test_a_slip_of_the_pen_is_no_literal_host_field(text: str, reason: str) -> None:
    """
    Otherwise every request would carry ``Host: preserved``.
    """
    with pytest.raises(ValueError, match=reason):
        config_values.host_field(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("letsencrypt", DIRECTORIES["letsencrypt"]),
        ("letsencrypt-staging", DIRECTORIES["letsencrypt-staging"]),
        ("internal", "internal"),
        ("https://localhost:14000/dir", "https://localhost:14000/dir"),
        ("https://ca.example/acme?profile=a", "https://ca.example/acme?profile=a"),
    ],
)
def test_a_directory_is_a_word_or_an_https_url(text: str, expected: str) -> None:
    """
    A URL is used as it is written.
    """
    assert expected == config_values.directory(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is none of 'letsencrypt', 'letsencrypt-staging', 'internal', nor an https URL"),
        ("lets-encrypt", "did you mean 'letsencrypt'"),
        ("acme.example", "nor an https URL"),
        ("http://ca.example/dir", "must be an https URL"),
        ("https://me:secret@ca.example/dir", "must not hold a user name"),
        ("https:///dir", "not a URL"),
    ],
)
def test_another_directory_is_refused(text: str, reason: str) -> None:
    """
    RFC 8555 §6.1 allows https only.
    """
    with pytest.raises(ValueError, match=reason):
        config_values.directory(text)


@pytest.mark.parametrize("text", ["ops@example.com", "mailto:ops@example.com", "ops@EXAMPLE.com."])
def test_a_contact_is_an_address_without_mailto(text: str) -> None:
    """
    With the prefix or without, it is the same.
    """
    assert "ops@example.com" == config_values.contact(text)


@pytest.mark.parametrize(
    "text",
    ["", "ops", "@example.com", "ops@", "o ps@a.b", "ops@a b", "a@b@c.d", "a,b@c.d", "ops@a.b?subject=x", "ö@a.b"],
)
def test_what_no_mailto_url_could_hold_is_no_contact(text: str) -> None:
    """
    One address, without header fields (RFC 8555 §7.3).
    """
    with pytest.raises(ValueError, match="is not"):
        config_values.contact(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("300 per 3h", Rate(300, 10800)),
        ("50 per 7d", Rate(50, 604800)),
        ("1 per s", Rate(1, 1)),
        ("20 per 90m", Rate(20, 5400)),
        ("off", UNLIMITED),
    ],
)
def test_a_rate_is_so_many_in_so_long(text: str, rate: Rate) -> None:
    """
    As the CAs write their limits; or there is none.
    """
    assert rate == config_values.rate(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("300", "is not a rate such as '300 per 3h'"),
        ("0 per 1h", "is not a rate"),
        ("5 per week", "is not a rate"),
        ("5 per 0h", "is not a rate"),
        ("", "nor 'off'"),
        ("5 per 8d", "is about more than 7 days"),
    ],
)
def test_what_is_no_rate_or_too_long_a_one_is_refused(text: str, reason: str) -> None:
    """
    A moment of a limit's that is over a week off is taken for the fault of a clock.
    """
    with pytest.raises(ValueError, match=reason):
        config_values.rate(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://hook.example/services/T0/token?x=1",
        "https://192.0.2.1:8443/",
        "http://127.0.0.1:9000/warn",
        "http://[::1]/",
        "http://localhost/",
    ],
)
def test_a_webhook_is_an_https_url_or_this_machines(text: str) -> None:
    """
    It is left as it is: a path and a query are the service's own.
    """
    assert text == config_values.webhook(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http://hook.example/secret", "must be an https URL"),
        ("http://192.0.2.1/secret", "must be an https URL"),
        ("ftp://hook.example/secret", "not a URL such as"),
        ("https://user:secret@hook.example/", "must not hold a user name"),
        ("hook.example/secret\n", "is not a URL"),
    ],
)
def test_another_webhook_is_refused(text: str, reason: str) -> None:
    """
    Warnings name customers, and the token in the path is a secret.
    """
    with pytest.raises(ValueError, match=reason):
        config_values.webhook(text)


@given(st.text() | st.text("htps:/.@[]%?#a1-*", max_size=20).map("https://".__add__))
def test_any_text_gives_a_value_or_a_value_error(text: str) -> None:
    """
    An origin that was given is its own spelling.
    """
    for parse in (config_values.host_field, config_values.directory, config_values.contact, config_values.rate):
        try:
            assert parse(text)
        except ValueError:
            continue
    try:
        origin = config_values.origin(text)
    except ValueError:
        return
    assert origin == config_values.origin(UpstreamConfig(*origin).url)


@pytest.mark.parametrize(("text", "expected"), [("127.0.0.1:53", ("127.0.0.1", 53)), ("[::1]:5353", ("::1", 5353))])
def test_a_name_server_is_an_address_and_a_port(text: str, expected: tuple[str, int]) -> None:
    """
    Where it listens.
    """
    server = config_values.name_server(text)
    assert expected == (server.host, server.port)


@pytest.mark.parametrize("text", ["", ":53", "127.0.0.1:0", "127.0.0.1", "dns.example:53"])
def test_anything_else_is_no_name_server(text: str) -> None:
    """
    Every address can't be asked, nor a name without one.
    """
    with pytest.raises(ValueError, match=r"DNS server|is not an address"):
        config_values.name_server(text)


def test_an_ip_address_has_one_spelling() -> None:
    """
    It is compared with what the DNS says.
    """
    assert ("192.0.2.1", "2001:db8::1") == tuple(map(config_values.ip_address, ("192.0.2.1", "2001:DB8:0::1")))
    with pytest.raises(ValueError, match="is not an IP address"):
        config_values.ip_address("192.0.2.1/24")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::/0", "::/0"),
    ],
)
def test_a_network_in_its_one_spelling(text: str, expected: str) -> None:
    """
    An address is a network of one.
    """
    assert expected == str(config_values.network(text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.0.0.1/8", "did you mean '10.0.0.0/8'"),
        ("2001:db8::1/32", "did you mean '2001:db8::/32'"),
        ("10.0.0.0/33", "is not an IP network"),
        ("fe80::%eth0/64", "is not an IP network"),
        ("localhost", "is not an IP network"),
        ("10.0.0.0-10.0.0.9", "is not an IP network"),
        ("", "is not an IP network"),
    ],
)
def test_what_is_no_network(text: str, reason: str) -> None:
    """
    Also one that is not what it seems: the whole of 10.0.0.0/8 is more than 10.0.0.1.
    """
    with pytest.raises(ValueError, match=reason):
        config_values.network(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mail.Example.com.:443", PassthroughConfig("mail.example.com", 443)),
        ("192.0.2.1:8443", PassthroughConfig("192.0.2.1", 8443)),
        ("[2001:DB8::1]:443", PassthroughConfig("2001:db8::1", 443)),
        ("backend:1", PassthroughConfig("backend", 1)),
    ],
)
def test_a_server_to_pass_connections_to(text: str, expected: PassthroughConfig) -> None:
    """
    A name or an address, and a port.
    """
    assert expected == config_values.passthrough(text)
    assert expected == config_values.passthrough(str(expected))


@pytest.mark.parametrize(
    "text",
    ["", "a.b", "a.b:", "a.b:0", "a.b:65536", ":443", "https://a.b:443", "2001:db8::1:443", "[a.b]:1", "[::x]:1"],
)
def test_what_is_no_server_to_pass_connections_to(text: str) -> None:
    """
    A port has to be there: nobody can guess whether it is 443.
    """
    with pytest.raises(ValueError, match=r"not a server to pass connections to|not a host name"):
        config_values.passthrough(text)


@given(
    st.text()
    | st.text("0123456789abcdef.:/[]%", max_size=20)
    | st.ip_addresses().map(str)
    | st.builds("{}/{}".format, st.sampled_from(["10.0.0.0", "fd00::", "::ffff:0:0"]), st.integers(0, 130))
    | st.builds("{}:{}".format, st.sampled_from(["a.example", "192.0.2.1", "[fd00::1]"]), st.integers(0, 70_000))
)
def test_any_text_is_a_network_or_not(text: str) -> None:
    """
    No other exception; what is one is the same when it is read again.
    """
    parse: Callable[[str], object]
    for parse in (config_values.network, config_values.passthrough):
        with contextlib.suppress(ValueError):
            found = parse(text)
            assert found == parse(str(found))
