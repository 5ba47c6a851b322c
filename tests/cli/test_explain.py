"""
Tests for `sptls.cli.explain`, against the real calls on a real socket, and real stores.
"""

from __future__ import annotations

import json
from datetime import timedelta

import attrs

from sptls.certs.diagnose import diagnose
from sptls.certs.precheck_rules import Answer, Seen
from sptls.certs.reach_rules import HTTP_01, Reached, findings
from sptls.certs.records import History
from sptls.clock import wall_time
from sptls.errors import AcmeProblem, ValidationFailed
from sptls.precheck import Check
from tests.cli.conftest import Command, Site
from tests.cli.daemon import answering, saying
from tests.ops.web import FakeControls, failing, valid

NXDOMAIN = ValidationFailed("a.example", (("http-01", AcmeProblem(400, "dns", "DNS problem: NXDOMAIN looking up A")),))
ACME = 'directory = "https://ca.example/dir"\nagree_to_terms = true'


def test_failing_domain_is_explained(sptls: Command, site: Site) -> None:
    """
    What is wrong, who must act, what to do, the CA's own words, and what will be tried when.
    """
    domain = attrs.evolve(failing("a.example", str(NXDOMAIN)), diagnosis=diagnose(NXDOMAIN))
    with answering(site.state, FakeControls(domain)):
        ran = sptls("explain", "--config", site.write("a.example", acme=ACME), "a.example")
    assert (1, "") == (ran.status, ran.err)
    name, *lines = ran.out.splitlines()
    told = {line[2:18].strip(): line[20:] for line in lines}
    assert "a.example" == name
    assert "the name does not exist in the DNS" == told["cause"]
    assert "the customer (DNS)" == told["to act"]
    assert told["what to do"].startswith("create the name's CNAME")
    assert "NXDOMAIN looking up A" in told["in its own words"]
    assert told["next"].startswith("attempt ")
    assert "https://ca.example/dir by tls-alpn-01, then http-01" == told["will be asked"]


def test_what_the_daemon_sees_is_told(sptls: Command, site: Site) -> None:
    """
    Where the DNS leads, who answers there, what is wrong with that; in JSON as it came.
    """
    reached = (Reached("192.0.2.1", HTTP_01, "ours"), Reached("2001:db8::1", HTTP_01, "wrong", "status 404"))
    controls = FakeControls(failing("a.example"))
    seen = Seen(Answer(addresses=("192.0.2.1",)), Answer(addresses=("2001:db8::1",)))
    controls.check = Check(seen, reached, findings(reached))
    with answering(site.state, controls):
        told = sptls("explain", "--state-dir", site.state, "a.example").out
        as_json = json.loads(sptls("explain", "--json", "--state-dir", site.state, "a.example").out)
    for words in (
        "leads to 2001:db8::1, 192.0.2.1",
        "192.0.2.1 port 80: this proxy answers",
        "2001:db8::1 port 80: status 404",
        "AAAA 2001:db8::1 answers as another server",
    ):
        assert words in told
    assert "wrong-server-ipv6" == as_json["check"]["findings"][0]["code"]


def test_what_a_daemon_of_another_version_says_is_shown_as_far_as_it_is_understood(sptls: Command, site: Site) -> None:
    """
    Whose shape of a domain is another; never a traceback.
    """
    answers = {
        "/examine": {"check": {"addresses": {"v4": []}}},
        "/domains": {"domains": [{"name": "a.example", "state": "valid", "not_after": 1800000000}]},
    }
    with saying(site.state, answers):
        ran = sptls("explain", "--state-dir", site.state, "a.example")
    assert (1, True) == (ran.status, "state" in ran.out)
    assert ran.err.startswith("sptls: the daemon is of another version")


def test_valid_domain_is_fine(sptls: Command, site: Site) -> None:
    """
    Nobody must act, and the CA's reason for an early renewal is shown; without a configuration no CA is known.
    """
    domain = valid("a.example", explanation_url="https://ca.example/why")
    with answering(site.state, FakeControls(domain)):
        ran = sptls("explain", "--state-dir", site.state, "A.example")
    assert 0 == ran.status
    assert ("to act" in ran.out, "https://ca.example/why" in ran.out, "will be asked" in ran.out) == (
        False,
        True,
        False,
    )


def test_store_is_read_where_no_daemon_runs(sptls: Command, site: Site) -> None:
    """
    The diagnosis was stored, and the JSON has it.
    """
    until = wall_time() + timedelta(minutes=9)
    site.put_history("a.example", History(1, until, (), str(NXDOMAIN), diagnosis=diagnose(NXDOMAIN)))
    ran = sptls("explain", "--json", "--config", site.write("a.example"), "a.example")
    told = json.loads(ran.out)
    assert (1, True) == (ran.status, "this is what is stored" in ran.err)
    assert ("dns-nxdomain", "customer-dns") == (told["code"], told["who"])
    assert [{"directory": "internal", "challenges": []}] == told["cas"]


def test_own_certificate_is_the_operators(sptls: Command, site: Site) -> None:
    """
    No CA will be asked for it.
    """
    own = site.bring("own.example", timedelta(days=1))
    (site.directory / "own.example.pem").write_text("nothing")
    config = site.write(own)
    ran = sptls("explain", "--config", config, "own.example")
    assert 1 == ran.status
    assert "the operator of sptls" in ran.out
    assert [] == json.loads(sptls("explain", "--json", "--config", config, "own.example").out)["cas"]


def test_name_that_is_not_served_is_a_usage_error(sptls: Command, site: Site) -> None:
    """
    Nothing can be said of it.
    """
    ran = sptls("explain", "--config", site.write("a.example"), "x.example")
    assert (2, "", True) == (ran.status, ran.out, "x.example" in ran.err)
