"""
Which domains there are and what each has: names, tables, flags, and one name a line in a file of their own.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.config import DomainConfig, HstsConfig, PassthroughConfig, UpstreamConfig
from sptls.errors import ConfigError
from sptls.names import HostName
from tests.full_config import BASE, loaded

AGREED = "[acme]\nagree_to_terms = true\n"
FROM_FILE = "domains_file = 'ok.txt'\n" + AGREED
LABELS = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


def faults(text: str, *, names: str = "c.example", domains: tuple[str, ...] = ()) -> list[str]:
    """
    Load what can't be used, and give its faults as lines.
    """
    with pytest.raises(ConfigError) as caught:
        loaded(text, names=names, domains=domains)
    return [str(fault) for fault in caught.value.faults]


def names_of(names: str) -> list[str]:
    """
    Give the names that a domains file with the text *names* has.
    """
    return [domain.name.text for domain in loaded(FROM_FILE, names=names).domains]


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
        ("", "domains: missing: name at least one tracking domain, here, in domains_file or with --domain"),
        ("domains = []", "domains: missing: name at least one tracking domain, here, in domains_file or with --domain"),
        ("domains = [{}]", "domains[0].name: missing"),
        ("domains = [1, 'a.b']", "domains[0]: expected a name, or a table with a name"),
        ("domains = ['']", "domains[0]: '' is not a host name: empty"),
        ("domains = ['192.0.2.1']", "domains[0]: '192.0.2.1' is not a host name: an IP address"),
        ("domains = [{name = 'a_b'}]", "domains[0].name: 'a_b' is not a host name"),
        ("domains = ['a.b', {name = 'A.b.'}]", "domains[1].name: a.b is at domains[0] already"),
        ("domains = [{name = 'bücher.a'}, 'xn--bcher-kva.a']", "domains[1]: xn--bcher-kva.a is at domains[0].name"),
        ("domains = ['*.a.b']", "domains[0]: *.a.b needs a certificate and key of its own"),
        ("domains = [{name = 'a.b', certificate = 'ok.pem'}]", "domains[0].key: missing: certificate is set"),
        ("domains = [{name = 'a.b', key = 'ok.pem'}]", "domains[0].certificate: missing: key is set"),
        ("domains = [{name = '*.b'}]", "domains[0].name: *.b needs a certificate and key of its own"),
        ("domains = [{name = '*.b', key = 'ok.pem'}]", "domains[0].certificate: missing: key is set"),
        (
            "domains = [{name = 'a.b', certificate = 'gone.pem', key = 'ok.key'}]",
            "domains[0].certificate: '/etc/sptls/gone.pem' can't be read: No such file or directory",
        ),
        ("domains = [{name = 'a.b', upstream = {url = 'x'}}]", "domains[0].upstream.url: not a URL"),
        ("domains = [{name = 'a.b', upstream = {trust = 'x'}}]", "domains[0].upstream.trust: '/etc/sptls/x' can't"),
        ("domains = [{name = 'a.b', passthrough = 'b.c'}]", "domains[0].passthrough: 'b.c' is not a server to pass"),
        (
            "domains = [{name = 'a.b', passthrough_proxy_protocol = true}]",
            "domains[0].passthrough_proxy_protocol: there is no passthrough that it could be for",
        ),
        (
            "domains = [{name = 'a.b', hsts_subdomains = true}]",
            "domains[0].hsts_subdomains: there are no hsts_seconds that it could be for",
        ),
        ("domains = [{name = 'a.b', hsts_seconds = -1}]", "domains[0].hsts_seconds: must be from 0 to 316224000"),
        ("domains = [{name = 'a.b', hsts_seconds = 316224001}]", "domains[0].hsts_seconds: must be from 0 to"),
    ],
)
def test_a_domain_that_can_not_be_served_is_one_fault(text: str, fault: str) -> None:
    """
    At its place, and nothing that only follows from it.
    """
    (found,) = faults(text + "\n" + AGREED)
    assert found.startswith(fault)


def test_a_domain_that_is_passed_through_has_nothing_else() -> None:
    """
    Each key that only a proxy could obey is a fault of its own; those that ask for nothing are none.
    """
    more = (
        "certificate = 'ok.pem', key = 'ok.key', redirect_http = true, upstream = {url = 'https://u.example'}, "
        "hsts_seconds = 0, hsts_subdomains = true"
    )
    found = faults(f"domains = [{{name = 'a.b', passthrough = '192.0.2.1:443', {more}}}]\n{AGREED}")
    keys = ("upstream", "certificate", "key", "redirect_http", "hsts_seconds", "hsts_subdomains")
    reason = "does not go with passthrough: connections go to the other server untouched"
    assert [f"domains[0].{key}: {reason}" for key in keys] == found
    nothing = "certificate = '', redirect_http = false, hsts_subdomains = false, passthrough_proxy_protocol = false"
    (domain,) = loaded(f"domains = [{{name = '*.a.b', passthrough = 'B.example:8443', {nothing}}}]").domains
    assert (PassthroughConfig("b.example", 8443), False) == (domain.passthrough, domain.is_ordered)


def test_a_faulty_key_does_not_make_another_one_faulty() -> None:
    """
    What it would have meant is unknown.
    """
    text = "domains = [{name = 'a.b', passthrough = 1, passthrough_proxy_protocol = true, hsts_seconds = ''"
    found = faults(text + ", hsts_subdomains = true}]\n" + AGREED)
    assert ["domains[0].passthrough", "domains[0].hsts_seconds"] == [fault.partition(":")[0] for fault in found]


def test_hsts_of_a_domain() -> None:
    """
    0 is not the same as nothing: browsers are to forget it (RFC 6797 §6.1.1).
    """
    tables = ("hsts_seconds = 0", "hsts_seconds = 60, hsts_subdomains = true", "")
    text = ", ".join(f"{{name = '{label}.b', {table}}}" for label, table in zip("abc", tables, strict=True))
    domains = loaded(f"domains = [{text.replace(', }', '}')}]\n{AGREED}").domains
    assert [HstsConfig(0), HstsConfig(60, subdomains=True), None] == [domain.hsts for domain in domains]


def test_a_wildcard_with_its_own_certificate_is_served() -> None:
    """
    And it is not the name for clients that send none.
    """
    config = loaded("domains = [{name = '*.a.b', certificate = 'ok.pem', key = 'ok.key'}]")
    assert (HostName("*.a.b"), None) == (config.domains[0].name, config.listen.default_name)


def test_a_name_in_the_file_and_in_a_flag_is_there_twice() -> None:
    """
    Both places are told.
    """
    text = "domains = ['a.example']\n" + AGREED
    assert ["--domain: a.example is at domains[0] already"] == faults(text, domains=("A.example",))
    assert ["--domain: b.example is at --domain already"] == faults(text, domains=("b.example", "b.example"))


# One name a line


def test_names_come_one_a_line() -> None:
    """
    With the common upstream; after those of the file and the flags.
    """
    text = "domains = ['a.example']\nupstream.url = 'http://u'\n" + FROM_FILE
    config = loaded(text, names="c.example\nd.example\n", domains=("b.example",))
    upstream = UpstreamConfig("http", "u", 80)
    expected = [DomainConfig(HostName(f"{label}.example"), upstream) for label in "abcd"]
    assert (expected, BASE / "ok.txt") == (list(config.domains), config.domains_file)


@pytest.mark.parametrize(
    "names",
    [
        "a.b\nc.d",
        "a.b\nc.d\n",
        "a.b\r\nc.d\r\n",
        "\n\n  a.b\t\n#c\n  # x.y\nC.D. # why\n\n",
        "#\na.b#x\n\fc.d\v\n",
    ],
)
def test_blank_lines_and_comments_are_no_names(names: str) -> None:
    """
    Nor are white space and line ends of another system a part of one.
    """
    assert ["a.b", "c.d"] == names_of(names)


def test_the_only_name_of_a_file_is_the_default_name() -> None:
    """
    As if it stood among the others.
    """
    assert HostName("c.example") == loaded(FROM_FILE).listen.default_name


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        ("a.b\n\nc_d\n", "domains_file:3: 'c_d' is not a host name"),
        ("a.b\nc d\n", "domains_file:2: 'c d' is not a host name"),
        ("a.b\n#\nA.b.\n", "domains_file:3: a.b is at domains_file:1 already"),
        ("a.b\nflag.example", "domains_file:2: flag.example is at --domain already"),
        ("a.b\nfile.example", "domains_file:2: file.example is at domains[0] already"),
        ("a.b\ntable.example", "domains_file:2: table.example is at domains[1].name already"),
        ("*.b", "domains_file:1: *.b needs a certificate and key of its own"),
        ("a.b,c.d", "domains_file:1: 'a.b,c.d' is not a host name"),
        ("a.b\x85c.d\nx", "domains_file:1: 'a.b\\x85c.d' is not a host name"),
    ],
)
def test_a_line_that_is_no_name_or_there_already_is_one_fault(names: str, fault: str) -> None:
    """
    Its place has the line's number, as an editor counts.
    """
    text = "domains = ['file.example', {name = 'table.example'}]\n" + FROM_FILE
    (found,) = faults(text, names=names, domains=("flag.example",))
    assert found.startswith(fault)


@pytest.mark.parametrize("names", ["", "# none yet\n"])
def test_a_file_without_a_name_leaves_nothing_to_serve(names: str) -> None:
    """
    Most likely it is being written at this moment.
    """
    assert ["domains: missing: name at least one tracking domain, here, in domains_file or with --domain"] == faults(
        FROM_FILE, names=names
    )


def test_an_unreadable_file_is_the_only_fault() -> None:
    """
    Which domains there would be is not known; but that they are to be ordered.
    """
    gone = "domains_file: '/etc/sptls/gone.txt' can't be read: No such file or directory"
    text = "domains_file = 'gone.txt'\nlisten.default_name = 'x.y'\n"
    assert [gone] == faults("domains_file = 'gone.txt'\n" + AGREED)
    assert [gone, "acme.agree_to_terms"] == [fault.partition(": must")[0] for fault in faults(text)]


def test_a_wrong_file_is_told_by_its_first_lines() -> None:
    """
    A fault on each of 100,000 lines helps nobody, and would hide those of other keys.
    """
    found = faults("acme.trust = 'gone'\n" + "domains_file = 'ok.txt'\n", names="a,b\n" * 100_000)
    assert ["domains_file:20", "domains_file", "acme.trust", "acme.agree_to_terms"] == [
        fault.partition(": ")[0] for fault in found[19:]
    ]
    assert found[20].startswith("domains_file: 20 faults up to here; the lines after that were not looked at")


def test_wildcards_in_the_file_of_names_count_as_faults() -> None:
    """
    A list of nothing else would be told line by line otherwise.
    """
    with pytest.raises(ConfigError) as caught:
        names_of("".join(f"*.d{number}.example\n" for number in range(1000)))
    assert 21 == len(caught.value.faults)


@given(st.lists(NAMES, unique=True, min_size=1), st.sampled_from(["\n", "\r\n", " # x\n", "\n\n#\n"]))
def test_every_list_of_names_is_read_back(names: list[str], end: str) -> None:
    """
    In order.
    """
    assert names == names_of("".join(name + end for name in names))


@given(st.text())
def test_any_text_is_a_list_of_names_or_has_faults(text: str) -> None:
    """
    Each on one line.
    """
    try:
        names, lines = names_of(text), []
    except ConfigError as error:
        names, lines = [], [str(fault) for fault in error.faults]
    assert bool(names) != bool(lines)
    assert len(names) == len(set(names))
    assert all(line.isprintable() for line in lines)
