"""
What a file and the command line amount to, which values do not fit each other, and that all faults come at once.
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest

from sptls.config import (
    DIRECTORIES,
    STATE_DIR,
    UNLIMITED,
    AcmeConfig,
    Address,
    CaLimits,
    Config,
    DeployConfig,
    DomainConfig,
    ExternalAccountBinding,
    HandshakeConfig,
    HstsConfig,
    LimitsConfig,
    ListenConfig,
    LogConfig,
    NotifyConfig,
    PassthroughConfig,
    Rate,
    TlsConfig,
    UpstreamConfig,
)
from sptls.config_load import Overrides, state_directory
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
                redirect_http=True,
            ),
            DomainConfig(HostName("h.example"), upstream, hsts=HstsConfig(31536000, subdomains=True)),
            DomainConfig(
                HostName("p.example"), upstream, passthrough=PassthroughConfig("192.0.2.9", 443, proxy_protocol=True)
            ),
            DomainConfig(HostName("c.example"), upstream),
        ),
        state_dir=BASE / "state",
        listen=ListenConfig(
            (Address("", 443), Address("::1", 8443)),
            (Address("", 80),),
            Address("127.0.0.1", 9),
            HostName("a.example"),
            (ip_network("10.0.0.0/8"),),
            (ip_network("192.0.2.1"), ip_network("2001:db8::/32")),
        ),
        tls=TlsConfig("modern"),
        acme=AcmeConfig(
            directory="https://ca.example/dir",
            contact=("ops@example.com",),
            agree_to_terms=True,
            trust=BASE / "ok.pem",
            challenges=("http-01",),
            key_type="rsa-2048",
            profile="shortlived",
            eab=ExternalAccountBinding("kid", BASE / "ok.key"),
            limits=CaLimits(Rate(300, 10800), UNLIMITED, Rate(5, 604800)),
            precheck="require",
            resolver=Address("::1", 5353),
            addresses=("192.0.2.1", "2001:db8::1"),
        ),
        handshake=HandshakeConfig(5),
        limits=LimitsConfig(2048, 1024, 1500, 1, 2, 9, 10, 3, 4, 5, 11, 12, 6, 7, 8),
        log=LogConfig("/etc/sptls/access", "json"),
        deploy=DeployConfig(BASE / "deploy", None, ("/usr/bin/ok-reload", "--now"), 8),
        notify=NotifyConfig(("/usr/bin/ok-mail", "root"), "https://hook.example/token", 9),
        domains_file=BASE / "ok.txt",
        workers="auto",
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
        FULL.replace('domains_file = "ok.txt"', ""),
        domains=("c.example",),
        contact=("mailto:me@example.com",),
        state_dir="/srv/sptls",
        directory="letsencrypt-staging",
        upstream="https://v.example",
        https=(":1443",),
        http=(":1080",),
    )
    assert list("abhpc") == [str(domain.name)[0] for domain in config.domains]
    own = ["http://b" if domain.name.text == "b.example" else "https://v.example" for domain in config.domains]
    assert own == [each.upstream.url for each in config.domains]
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


# Worker processes


@pytest.mark.parametrize(
    ("text", "expected"), [("workers = 2", 2), ("workers = 'auto'", "auto"), ("workers = 256", 256), ("", 1)]
)
def test_workers_are_a_number_or_one_for_each_cpu(text: str, expected: object) -> None:
    """
    One process where nothing is said.
    """
    assert expected == loaded(text, domains=("a.b",), agree_to_terms=True).workers


@pytest.mark.parametrize("text", ["workers = 0", "workers = -1", "workers = 257"])
def test_no_worker_and_too_many_are_refused(text: str) -> None:
    """
    None could serve; 257 is a slip of the pen.
    """
    expected = ["workers: must be from 1 to 256, or 'auto'"]
    assert expected == faults(text, domains=("a.b",), agree_to_terms=True)


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
    assert ["a.b"] == [str(each.name) for each in loaded(text, domains=("a.b",), agree_to_terms=True).domains]


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
    ("text", "directories"),
    [
        ("acme = {}", ["https://flag.example/dir"]),
        ("acme = [{directory = 'internal'}]", ["https://flag.example/dir"]),
        ("acme = [{}, {directory = 'internal'}]", ["https://flag.example/dir", "internal"]),
    ],
)
def test_flags_are_about_the_first_ca(text: str, directories: list[str]) -> None:
    """
    Whether it is the only one or not; where that is no CA at all, about none.
    """
    config = loaded(text, domains=("a.b",), directory="https://flag.example/dir", agree_to_terms=True)
    assert directories == [acme.directory for acme in config.cas]
    assert ["acme"] == places("acme = []", domains=("a.b",), directory="https://flag.example/dir")
    assert ["--directory"] == places("acme = [{}]", domains=("a.b",), directory="x", agree_to_terms=True)


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


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("deploy.command_seconds = 0.5", "deploy.command_seconds: must be from 1 to 3600"),
        ("deploy.command_seconds = '1'", "deploy.command_seconds: expected a number, not a string"),
        ("domains_file = 'gone.txt'", "domains_file: '/etc/sptls/gone.txt' can't be read: No such file or directory"),
        ("domains_file = 1", "domains_file: expected a string, not a whole number"),
    ],
)
def test_a_key_of_the_renewal_daemon_is_checked_like_any_other(text: str, fault: str) -> None:
    """
    Whether or not it is one.
    """
    assert [fault] == faults(text, domains=("a.b",), agree_to_terms=True)


# Redirects


def test_what_needs_https_is_refused_without_it() -> None:
    """
    Where nothing is served over TLS, nothing can be passed through, and no browser be told to insist on it.
    """
    text = "domains = [{name = 'a.b', passthrough = 'c.d:443'}, {name = 'e.f', hsts_seconds = 60}, {name = 'g.h'}]\n"
    assert 3 == len(loaded(text + AGREED).domains)
    assert [
        "domains[0].passthrough: listen.https has no address whose connections could be passed on",
        "domains[1].hsts_seconds: listen.https has no address for browsers to insist on",
    ] == faults(text + "listen.https = []\n" + AGREED)


def test_domains_that_are_all_passed_through_need_no_terms() -> None:
    """
    Nothing is ordered for them; and a renewal daemon has nothing to do.
    """
    text = "domains = [{name = 'a.b', passthrough = 'c.d:443'}]\n"
    assert not loaded(text).acme.agree_to_terms
    reason = "domains: none has its certificate ordered here: nothing to renew with --renew-only"
    assert [reason] == faults(text + "deploy.directory = 'deploy'", renew_only=True)


@pytest.mark.parametrize(
    ("https", "server"),
    [(":443", "localhost:443"), (":443", "127.0.0.9:443"), ("0.0.0.0:8443", "[::1]:8443"), ("192.0.2.1:443",) * 2],
)
def test_a_domain_is_not_passed_through_to_ourselves(https: str, server: str) -> None:
    """
    One connection would become as many as there can be.
    """
    text = f"domains = [{{name = 'a.b', passthrough = '{server}'}}]\nlisten.https = ['{https}']\n"
    assert [f"domains[0].passthrough: {server} is this proxy itself, at {https} of listen.https"] == faults(text)
    assert loaded(text.replace(f"= '{server}'", "= '192.0.2.2:443'")).domains[0].passthrough


def test_a_domain_is_not_passed_through_to_its_own_name() -> None:
    """
    That leads here, so it would come back; at another port, or below a wildcard, somebody else may be.
    """
    text = "domains = [{name = '%s', passthrough = 'a.b:%d'}]\nlisten.https = ['192.0.2.1:443']\n"
    (fault,) = faults(text % ("A.b", 443))
    assert fault.startswith("domains[0].passthrough: a.b is one of the domains, which lead to this proxy")
    assert [loaded(text % (name, port)) for name, port in (("a.b", 8443), ("*.b", 443))]


def test_state_directory_is_known_whatever_is_wrong_elsewhere() -> None:
    """
    There is what a start without the domains file needs.
    """
    text = "state_dir = 's'\nworkers = 'x'\ncolour = 1\n"
    assert Path("/x/s") == state_directory(text, Overrides(), Path("/x"))
    assert Path("/x/t") == state_directory(text, Overrides(state_dir="t"), Path("/x"))
    assert STATE_DIR == state_directory("", Overrides(), Path("/x"))


REDIRECTED = "domains = [{name = 'a.b', redirect_http = true}]\n"


def test_a_domain_is_redirected_where_it_is_served_over_tls() -> None:
    """
    Others are not.
    """
    assert loaded(REDIRECTED + AGREED).domains[0].redirect_http
    assert not loaded("domains = [{name = 'a.b', redirect_http = false}]\n" + AGREED).domains[0].redirect_http


def test_a_redirect_to_nowhere_is_refused() -> None:
    """
    Clients would lose what they came for; a faulty address is fault enough.
    """
    nowhere = "domains[1].redirect_http: listen.https has no address to send clients to"
    text = "domains = ['c.d', {name = 'a.b', redirect_http = true}]\n" + AGREED
    assert [nowhere] == faults(text + "[listen]\nhttps = []")
    assert ["listen.https[0]"] == places(text + "[listen]\nhttps = ['x']")


# The renewal daemon


RENEWING = "domains = ['a.b']\ndeploy.directory = 'deploy'\n"


def renewing(text: str = "", **flags: Any) -> Config:
    """
    Load *text*, below what a renewal daemon needs at the least.
    """
    return loaded(RENEWING + text, renew_only=True, agree_to_terms=True, **flags)


def renewing_faults(text: str = "", **flags: Any) -> list[str]:
    """
    Load *text*, below what a renewal daemon needs at the least, and give its faults as lines.
    """
    return faults(RENEWING + text, renew_only=True, agree_to_terms=True, **flags)


def test_a_renewal_daemon_listens_on_port_80_and_for_its_operator() -> None:
    """
    Port 443 is another server's, whatever the file that the proxy reads says.
    """
    config = renewing("listen.https = [':443']\nacme.challenges = ['tls-alpn-01', 'http-01']")
    assert (True, ("http-01",)) == (config.renew_only, config.acme.challenges)
    assert ListenConfig((), (Address("", 80),), default_name=HostName("a.b")) == config.listen
    assert config == renewing()


def test_a_webroot_takes_the_place_of_port_80() -> None:
    """
    Another server answers there.
    """
    config = renewing("deploy.webroot = 'ok-www'\nlisten.http = [':8080']")
    assert ((), (), BASE / "ok-www") == (config.listen.https, config.listen.http, config.deploy.webroot)
    assert ("http-01",) == config.acme.challenges


def test_addresses_that_are_not_bound_take_no_port() -> None:
    """
    The admin listener may have one that the proxy would need.
    """
    listen = renewing("listen = {https = [':9000'], admin = ':9000'}").listen
    assert ((), 9000) == (listen.https, listen.admin and listen.admin.port)


@pytest.mark.parametrize(
    ("text", "flags", "fault"),
    [
        ("", {"https": (":443",)}, "--https: does not go with --renew-only, which serves no HTTPS"),
        ("deploy.webroot = 'ok'", {"http": (":80",)}, "--http: does not go with deploy.webroot, by which another"),
        ("listen.https = ['x']", {}, "listen.https[0]: 'x' is not an address"),
        ("listen.http = []", {}, "listen.http: no address here and no deploy.webroot: http-01 could not be answered"),
        ("listen.http = ['x']", {}, "listen.http[0]: 'x' is not an address"),
        ("acme.challenges = ['tls-alpn-01']", {}, "acme.challenges: http-01 is the only one that --renew-only can"),
        ("acme.challenges = []", {}, "acme.challenges: must name at least one"),
        ("acme.challenges = ['dns-01']", {}, "acme.challenges[0]: 'dns-01' is none of"),
    ],
)
def test_what_a_renewal_daemon_can_not_do_is_one_fault(text: str, flags: dict[str, Any], fault: str) -> None:
    """
    What only a flag or the choice of challenges can mean is not left out in silence.
    """
    (found,) = renewing_faults(text, **flags)
    assert found.startswith(fault)


def test_the_internal_ca_asks_no_question() -> None:
    """
    So nothing need be there to answer.
    """
    assert () == renewing("acme.directory = 'internal'\nlisten.http = []").listen.http


def test_a_renewal_daemon_without_anything_to_renew_is_refused() -> None:
    """
    Own certificates are renewed by whoever brings them.
    """
    text = "domains = [{name = 'a.b', certificate = 'ok.pem', key = 'ok.key'}]\ndeploy.directory = 'deploy'"
    assert ["domains: none has its certificate ordered here: nothing to renew with --renew-only"] == faults(
        text, renew_only=True
    )


def test_ranges_are_checked_in_tables_of_the_wrong_kind_too() -> None:
    """
    ``[[limits]]`` for ``[limits]``, ``[domains]`` for ``[[domains]]``: all faults are told at once.
    """
    text = "[[limits]]\nconnections = 0\n[domains]\nname = 'a.example'\nhsts_seconds = -1\n"
    told = [fault.partition(": must be from")[0] for fault in faults(f"{text}[acme]\nagree_to_terms = true")]
    assert [
        "domains: expected an array, not a table",
        "limits: expected a table, not an array",
        "limits.connections",
        "domains[0].hsts_seconds",
    ] == told
