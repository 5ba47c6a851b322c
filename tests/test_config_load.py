"""
What a file and the command line amount to, which values do not fit each other, and that all faults come at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from sptls.config import (
    DIRECTORIES,
    AcmeConfig,
    Address,
    Config,
    DomainConfig,
    ExternalAccountBinding,
    HandshakeConfig,
    LimitsConfig,
    ListenConfig,
    LogConfig,
    TlsConfig,
    UpstreamConfig,
)
from sptls.errors import ConfigError
from sptls.names import HostName
from tests.full_config import BASE, FULL, loaded

CLICK = HostName("click.example.com")
AGREED = "[acme]\nagree_to_terms = true\n"


def faults(text: str, *, foreground: bool = False, **flags: Any) -> list[str]:
    """
    Load what can't be used, and give its faults as lines.
    """
    with pytest.raises(ConfigError) as caught:
        loaded(text, foreground=foreground, **flags)
    return [str(fault) for fault in caught.value.faults]


def places(text: str, **flags: Any) -> list[str]:
    """
    Load what can't be used, and give the places of its faults.
    """
    return [fault.partition(": ")[0] for fault in faults(text, **flags)]


# The whole


def test_flags_alone_are_a_configuration() -> None:
    """
    The common case needs no file, and gets every default.
    """
    config = loaded("", domains=("click.example.com",), contact=("ops@example.com",), agree_to_terms=True)
    acme = AcmeConfig(contact=("ops@example.com",), agree_to_terms=True)
    assert Config((DomainConfig(CLICK),), listen=ListenConfig(default_name=CLICK), acme=acme) == config


def test_every_key_reaches_the_configuration() -> None:
    """
    Nothing in the file is lost on the way.
    """
    upstream = UpstreamConfig("https", "u.example", 443, "upstream", BASE / "ok.pem")
    expected = Config(
        domains=(
            DomainConfig(HostName("a.example"), upstream),
            DomainConfig(
                HostName("b.example"),
                attrs.evolve(upstream, scheme="http", host="b", port=80),
                BASE / "ok.pem",
                BASE / "ok.key",
            ),
        ),
        state_dir=BASE / "state",
        listen=ListenConfig(
            (Address("", 443), Address("::1", 8443)),
            (Address("", 80),),
            Address("127.0.0.1", 9),
            HostName("a.example"),
        ),
        tls=TlsConfig("modern"),
        acme=AcmeConfig(
            directory="https://ca.example/dir",
            contact=("ops@example.com",),
            agree_to_terms=True,
            trust=BASE / "ok.pem",
            challenges=("http-01",),
            key_type="rsa-2048",
            eab=ExternalAccountBinding("kid", BASE / "ok.key"),
        ),
        handshake=HandshakeConfig(5),
        limits=LimitsConfig(2048, 1024, 1, 2, 3, 4, 5, 6, 7),
        log=LogConfig("/etc/sptls/access", "json"),
    )
    assert expected == loaded(FULL)


def test_all_faults_come_at_once() -> None:
    """
    Misfits of the file, single values and values that do not fit each other, each at its place.
    """
    text = """
        domains = ["a.example", {name = "A.example."}, {nam = "b.example"}, "c_d"]
        state_dir = 1
        listen = {https = [":80", "x"], http = [":80"], default_name = "z.example"}
        acme = {contact = ["ops"], trust = "gone.pem", eab = {kid = "kid"}}
        """
    assert [
        "state_dir",
        "domains[2].nam",
        "domains[1].name",
        "domains[3]",
        "listen.https[1]",
        "listen.http[0]",
        "acme.contact[0]",
        "acme.trust",
        "acme.eab.hmac_key_file",
        "acme.agree_to_terms",
    ] == [place for place in places(text) if place != "domains[2].name"]


# Flags


def test_flags_go_before_the_file() -> None:
    """
    Domains are added; everything else is replaced.
    """
    config = loaded(
        FULL,
        domains=("c.example",),
        contact=("mailto:me@example.com",),
        state_dir="/srv/sptls",
        directory="letsencrypt-staging",
        upstream="https://v.example",
        https=(":1443",),
        http=(":1080",),
    )
    assert ["a.example", "b.example", "c.example"] == [str(domain.name) for domain in config.domains]
    assert ["https://v.example", "http://b", "https://v.example"] == [each.upstream.url for each in config.domains]
    assert (("me@example.com",), DIRECTORIES["letsencrypt-staging"]) == (config.acme.contact, config.acme.directory)
    assert Path("/srv/sptls") == config.state_dir
    assert ((Address("", 1443),), (Address("", 1080),)) == (config.listen.https, config.listen.http)


def test_a_fault_in_a_flag_is_reported_at_the_flag() -> None:
    """
    The operator looks where the value was written.
    """
    flags = {"contact": ("ops",), "state_dir": "", "directory": "", "upstream": "", "https": ("x",), "http": ("y",)}
    assert ["--contact", "--directory", "--domain", "--domain", "--http", "--https", "--state-dir", "--upstream"] == (
        sorted(places(AGREED, domains=("a b", "c d"), **flags))
    )


def test_a_name_in_the_file_and_in_a_flag_is_there_twice() -> None:
    """
    Both places are told.
    """
    text = "domains = ['a.example']\n" + AGREED
    assert ["--domain: a.example is at domains[0] already"] == faults(text, domains=("A.example",))
    assert ["--domain: b.example is at --domain already"] == faults(text, domains=("b.example", "b.example"))


# Domains


def test_a_domain_takes_what_it_does_not_name_from_the_common_upstream() -> None:
    """
    An empty trust takes the common one off.
    """
    text = """
        upstream = {url = "https://u.example", host = "upstream", trust = "ok.pem"}
        domains = [
            {name = "a.example", upstream = {host = "preserve"}},
            {name = "b.example", upstream = {trust = ""}},
            {name = "c.example", upstream = {url = "http://127.0.0.1:8080", trust = "ok2.pem"}},
        ]
        """
    one, two, three = (domain.upstream for domain in loaded(text + AGREED).domains)
    assert UpstreamConfig("https", "u.example", 443, "preserve", BASE / "ok.pem") == one
    assert UpstreamConfig("https", "u.example", 443, "upstream", None) == two
    assert UpstreamConfig("http", "127.0.0.1", 8080, "upstream", BASE / "ok2.pem") == three


def test_domains_without_an_upstream_of_their_own_share_one_value() -> None:
    """
    100,000 of them cost one.
    """
    one, two = loaded("upstream.url = 'http://u'\ndomains = ['a.b', {name = 'c.d'}]\n" + AGREED).domains
    assert one.upstream is two.upstream


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "domains: missing: name at least one tracking domain, here or with --domain"),
        ("domains = []", "domains: missing: name at least one tracking domain, here or with --domain"),
        ("domains = [{}]", "domains[0].name: missing"),
        ("domains = ['']", "domains[0]: '' is not a host name: empty"),
        ("domains = ['192.0.2.1']", "domains[0]: '192.0.2.1' is not a host name: an IP address"),
        ("domains = [{name = 'a_b'}]", "domains[0].name: 'a_b' is not a host name"),
        ("domains = ['a.b', {name = 'A.b.'}]", "domains[1].name: a.b is at domains[0] already"),
        ("domains = [{name = 'bücher.a'}, 'xn--bcher-kva.a']", "domains[1]: xn--bcher-kva.a is at domains[0].name"),
        ("domains = ['*.a.b']", "domains[0]: *.a.b needs a certificate and key of its own"),
        ("domains = [{name = 'a.b', certificate = 'ok.pem'}]", "domains[0].key: missing: certificate is set"),
        ("domains = [{name = 'a.b', key = 'ok.pem'}]", "domains[0].certificate: missing: key is set"),
        ("domains = [{name = '*.b', key = 'ok.pem'}]", "domains[0].certificate: missing: key is set"),
        (
            "domains = [{name = 'a.b', certificate = 'gone.pem', key = 'ok.key'}]",
            "domains[0].certificate: '/etc/sptls/gone.pem' can't be read: No such file or directory",
        ),
        (
            "domains = [{name = 'a.b', redirect_http = true}]",
            "domains[0].redirect_http: redirecting to HTTPS is not yet",
        ),
        ("domains = [{name = 'a.b', upstream = {url = 'x'}}]", "domains[0].upstream.url: not a URL"),
        ("domains = [{name = 'a.b', upstream = {trust = 'x'}}]", "domains[0].upstream.trust: '/etc/sptls/x' can't"),
    ],
)
def test_a_domain_that_can_not_be_served_is_one_fault(text: str, fault: str) -> None:
    """
    At its place, and nothing that only follows from it.
    """
    (found,) = faults(text + "\n" + AGREED)
    assert found.startswith(fault)


def test_redirect_http_may_be_said_to_be_off() -> None:
    """
    That is what happens anyway.
    """
    assert 1 == len(loaded("domains = [{name = 'a.b', redirect_http = false}]\n" + AGREED).domains)


def test_a_wildcard_with_its_own_certificate_is_served() -> None:
    """
    And it is not the name for clients that send none.
    """
    config = loaded("domains = [{name = '*.a.b', certificate = 'ok.pem', key = 'ok.key'}]")
    assert (HostName("*.a.b"), None) == (config.domains[0].name, config.listen.default_name)


# What is not yet possible


@pytest.mark.parametrize(
    "text", ["workers = 2", "workers = 'auto'", "deploy.directory = 'x'", "deploy.command = ['x']"]
)
def test_what_is_not_yet_possible_is_refused(text: str) -> None:
    """
    Never ignored.
    """
    (found,) = faults(text, domains=("a.b",), agree_to_terms=True)
    assert "not yet possible" in found
    assert found.startswith(text.partition(" ")[0])


def test_fewer_than_one_worker_is_refused() -> None:
    """
    None could serve.
    """
    assert ["workers: must be at least 1"] == faults("workers = 0", domains=("a.b",), agree_to_terms=True)


# Sockets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("listen = {https = [':443', ':443']}", ["listen.https[1]: :443 is taken by :443 at listen.https[0] already"]),
        ("listen = {http = [':443']}", ["listen.http[0]: :443 is taken by :443 at listen.https already"]),
        (
            "listen = {https = [':1'], http = ['127.0.0.1:1']}",
            ["listen.http[0]: 127.0.0.1:1 is taken by :1 at listen.https[0] already"],
        ),
        ("listen.http = ['0.0.0.0:9180']", ["listen.admin: 127.0.0.1:9180 is taken by 0.0.0.0:9180 at listen.http[0]"]),
        ("listen.https = ['[::1]:1', '[::]:1']", ["listen.https[1]: [::]:1 is taken by [::1]:1 at listen.https[0]"]),
        ("listen = {https = [], http = []}", ["listen.https: no address here and none in listen.http"]),
        ("listen.admin = 'localhost:9180'", ["listen.admin: 'localhost:9180' is not an address"]),
        ("listen.https = [443]", ["listen.https[0]: expected a string"]),
        ("listen.https = 443", ["listen.https: expected an array"]),
        ("listen = {admin = 1, http = [':9180']}", ["listen.admin: expected a string"]),
        ("listen.default_name = 'z.b'", ["listen.default_name: z.b is none of the domains"]),
        ("listen.default_name = '*.b'", ["listen.default_name: *.b is a wildcard; name one host"]),
        ("listen.default_name = '_'", ["listen.default_name: '_' is not a host name"]),
    ],
)
def test_sockets_that_can_not_all_be_bound_are_refused(text: str, expected: list[str]) -> None:
    """
    The second of two is the place of the fault; a faulty one is not compared.
    """
    found = faults(text, domains=("a.b",), agree_to_terms=True)
    assert len(expected) == len(found)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "listen = {https = [':0', ':0'], http = [':0']}",
        "listen = {https = ['127.0.0.1:1', '127.0.0.2:1', '[::1]:1']}",
        "listen = {https = ['0.0.0.0:1', '[::1]:1']}",
        "listen = {https = ['[::]:1', '127.0.0.1:1']}",
        "listen.admin = ''",
        "listen.admin = '0.0.0.0:1'",
        "listen.default_name = 'a.b'",
    ],
)
def test_sockets_that_can_be_bound_together_are_fine(text: str) -> None:
    """
    Port 0 is any free one; IPv4 and IPv6 are apart.
    """
    loaded(text, domains=("a.b",), agree_to_terms=True)


def test_the_admin_listener_can_be_off() -> None:
    """
    With an empty address.
    """
    assert loaded("listen.admin = ''", domains=("a.b",), agree_to_terms=True).listen.admin is None


def test_the_only_domain_is_the_default_name_and_of_several_none() -> None:
    """
    Unless one is named; a wildcard's names are domains too.
    """
    own = "domains = ['a.b', {name = '*.w.b', certificate = 'ok.pem', key = 'ok.key'}]\n"
    assert HostName("a.b") == loaded("domains = ['a.b']\n" + AGREED).listen.default_name
    assert loaded(own + AGREED).listen.default_name is None
    assert HostName("x.w.b") == loaded(own + "listen.default_name = 'X.w.b'\n" + AGREED).listen.default_name


# The CA


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("acme.directory = 'http://ca.example'", "acme.directory: must be an https URL"),
        ("acme.contact = ['ops@a.b', 'x']", "acme.contact[1]: 'x' is not an e-mail address"),
        ("acme.trust = 'gone.pem'", "acme.trust: '/etc/sptls/gone.pem' can't be read"),
        ("acme.challenges = []", "acme.challenges: must name at least one"),
        ("acme.challenges = ['http-01', 'http-01']", "acme.challenges[1]: http-01 is at acme.challenges[0] already"),
        ("acme.challenges = ['dns-01']", "acme.challenges[0]: 'dns-01' is none of"),
        (
            "acme.challenges = ['tls-alpn-01', 'http-01']\nlisten.http = []",
            "acme.challenges[1]: http-01 is answered at listen.http, which has no address",
        ),
        (
            "acme.challenges = ['tls-alpn-01']\nlisten.https = []",
            "acme.challenges[0]: tls-alpn-01 is answered at listen.https, which has no address",
        ),
        ("acme.challenges = ['http-01']\nlisten.http = ['x']", "listen.http[0]: 'x' is not an address"),
        ("acme.eab.kid = 'x'", "acme.eab.hmac_key_file: missing: kid is set"),
        ("acme.eab.hmac_key_file = 'ok.key'", "acme.eab.kid: missing: hmac_key_file is set"),
        ("acme.eab = {kid = 'x', hmac_key_file = 'gone'}", "acme.eab.hmac_key_file: '/etc/sptls/gone' can't be read"),
    ],
)
def test_a_ca_that_can_not_be_asked_is_one_fault(text: str, fault: str) -> None:
    """
    A challenge type without its socket would cost one of the CA's failures a try.
    """
    (found,) = faults(text, domains=("a.b",), agree_to_terms=True)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("tls-alpn-01", "http-01")),
        ("listen.http = []", ("tls-alpn-01",)),
        ("listen.https = []", ("http-01",)),
        ("acme.challenges = ['http-01', 'tls-alpn-01']", ("http-01", "tls-alpn-01")),
    ],
)
def test_challenge_types_are_those_with_a_socket_in_the_order_given(text: str, expected: tuple[str, ...]) -> None:
    """
    Without port 80 there is no http-01 to try.
    """
    assert expected == loaded(text, domains=("a.b",), agree_to_terms=True).acme.challenges


def test_nothing_is_ordered_without_agreeing_to_the_terms() -> None:
    """
    The sentence says where they are and what to do.
    """
    (found,) = faults("", domains=("a.b",))
    assert found.startswith("acme.agree_to_terms: must be true before a CA issues anything: read its terms of service")
    assert faults("acme.agree_to_terms = 'yes'", domains=("a.b",)) == [
        "acme.agree_to_terms: expected true or false, not a string"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "domains = ['a.b']\nacme.directory = 'internal'",
        "domains = [{name = 'a.b', certificate = 'ok.pem', key = 'ok.key'}]",
    ],
)
def test_terms_are_not_asked_for_where_no_ca_is(text: str) -> None:
    """
    The internal CA has none, and own certificates need no CA.
    """
    assert not loaded(text).acme.agree_to_terms


# Limits and logs


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("limits.head_bytes = 100", "limits.head_bytes: must be from 1024 to 1048576"),
        ("limits.body_bytes = -1", "limits.body_bytes: must be from 0 to"),
        ("limits.connections = 0", "limits.connections: must be from 1 to"),
        ("limits.idle_seconds = nan", "limits.idle_seconds: must be from 0.1 to 3600"),
        ("limits.idle_seconds = inf", "limits.idle_seconds: must be from"),
        ("limits.idle_seconds = 0", "limits.idle_seconds: must be from"),
        ("limits.idle_seconds = 0x" + "f" * 5000, "limits.idle_seconds: must be from"),
        ("handshake.hold_seconds = 61", "handshake.hold_seconds: must be from 0.1 to 60"),
        ("limits.target_bytes = 32768", "limits.target_bytes: must be under limits.head_bytes"),
        ("limits.head_bytes = 'x'\nlimits.target_bytes = 40000", "limits.head_bytes: expected a whole number"),
        ("limits.head_bytes = 10\nlimits.target_bytes = 256", "limits.head_bytes: must be from"),
        ("state_dir = ''", "state_dir: must name a directory"),
        ("state_dir = 'a\\u0000'", "state_dir: a path can't hold a NUL"),
        ("log.access = '-'", "log.access: standard output is there in the foreground only"),
        ("log.access = 'a\\u0000'", "log.access: a path can't hold a NUL"),
        ("upstream.host = 'preserved'", "upstream.host: 'preserved' is none of"),
    ],
)
def test_a_value_that_nobody_can_mean_is_one_fault(text: str, fault: str) -> None:
    """
    Each with what would do.
    """
    (found,) = faults(text.replace("'a\\u0000'", '"a\\u0000"'), domains=("a.b",), agree_to_terms=True)
    assert found.startswith(fault)


def test_the_access_log_goes_to_standard_output_in_the_foreground() -> None:
    """
    It is a word there, not a path.
    """
    config = loaded("log.access = '-'", foreground=True, domains=("a.b",), agree_to_terms=True)
    assert "-" == config.log.access
