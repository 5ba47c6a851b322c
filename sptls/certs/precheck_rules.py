"""
What a look at a name's DNS means for an order: which answers let a CA validate it, and which can't. Pure.

Decides from the answers for A, AAAA and CAA; asks nobody (`reach_rules` judges who answers at the addresses). Serves
RFC 8659 (CAA: the closest set of records above the name, ``issue``, the critical flag) and RFC 8657 (``accounturi``,
``validationmethods``). Only what no CA can get past is fatal: a DNS server that fails or is silent here may well answer
the CA.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

import attrs

from sptls.certs.diagnosis import Diagnosis, Finding, Who
from sptls.errors import AcmeProblem, IssuanceFailed, Scope, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sptls.names import HostName

Outcome = Literal["found", "nxdomain", "failed", "silent"]

DNS_PORT: Final = 53
# What resolv.conf(5) means where it names no server, and how many it uses.
_LOCAL_SERVER: Final = "127.0.0.1"
_MOST_SERVERS: Final = 3
# CAA tags that we know (RFC 8659 §4, RFC 8657 adds parameters only); "issuewild" is of wildcards.
_KNOWN_TAGS: Final = frozenset({"issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"})
_CRITICAL: Final = 0x80
# CAs whose issuer domain (RFC 8659 §4.2) is not that of their directory's host.
_CA_DOMAINS: Final = {"letsencrypt.org": "letsencrypt.org"}
_MOST_SHOWN: Final = 4
_MOST_CHARACTERS: Final = 100


@attrs.frozen
class Caa:
    """
    A CAA record (RFC 8659 §4.1), its *tag* in lower case.
    """

    is_critical: bool
    tag: str
    value: str


@attrs.frozen
class Answer:
    """
    What the DNS answered to a question: addresses, CAA records, and the *aliases* (CNAME) that led to them.
    """

    outcome: Outcome = "found"
    addresses: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    caa: tuple[Caa, ...] = ()


@attrs.frozen
class Seen:
    """
    What was seen of a name in the DNS: the answers for A and AAAA, and those for `caa_names` where they were asked for.
    """

    ipv4: Answer
    ipv6: Answer
    caa: tuple[Answer, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """
        Give the addresses that the name leads to; the IPv6 ones first, as CAs try them.
        """
        return (*self.ipv6.addresses, *self.ipv4.addresses)

    @property
    def closest_caa(self) -> tuple[Caa, ...]:
        """
        Give the CAA records that count for the name (RFC 8659 §3).
        """
        return next((answer.caa for answer in self.caa if answer.caa), ())


@attrs.frozen
class Ours:
    """
    What the answers are compared with: the *addresses* that reach this proxy (none: not known), the CA's issuer domains
    (none: not known), the *account_url* there ("": none yet), and the challenge types that are answered.

    Where *addresses* are not known, *learnt* are those by which others of our names were validated. They are no proof:
    this proxy may have moved since.
    """

    addresses: frozenset[str] = frozenset()
    ca_domains: frozenset[str] = frozenset()
    account_url: str = ""
    challenges: tuple[str, ...] = ()
    learnt: frozenset[str] = frozenset()


def concerns_name(error: BaseException) -> bool:
    """
    Tell whether *error*, which ended an order, is about the name, so that a look at its DNS may explain it.
    """
    cause = error.cause if isinstance(error, IssuanceFailed) else error
    if isinstance(cause, AcmeProblem):
        return cause.scope is Scope.NAME and cause.type != "rateLimited"
    return isinstance(cause, ValidationFailed)


def name_servers(resolv_conf: str) -> tuple[tuple[str, int], ...]:
    """
    Give the servers that the text of a resolv.conf(5) names, as host and port; those it can't mean are left out.
    """
    servers = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                servers.append((str(ipaddress.ip_address(words[1])), DNS_PORT))
            except ValueError:  # a name, which nobody could look up
                continue
    return tuple(servers[:_MOST_SERVERS]) or ((_LOCAL_SERVER, DNS_PORT),)


def ca_domains(directory: str) -> frozenset[str]:
    """
    Give the issuer domains (RFC 8659 §4.2) of the CA at *directory*, as far as they are known.
    """
    host = urlsplit(directory).hostname or ""
    return frozenset(domain for suffix, domain in _CA_DOMAINS.items() if host == suffix or host.endswith(f".{suffix}"))


def caa_names(name: HostName) -> tuple[str, ...]:
    """
    Give the names whose CAA records count for *name*, the closest first (RFC 8659 §3).
    """
    labels = name.text.removeprefix("*.").split(".")
    return tuple(".".join(labels[index:]) for index in range(len(labels)))


def caa_of(rdata: bytes) -> Caa | None:
    """
    Give the record that *rdata* holds (RFC 8659 §4.1), or None where it is malformed.
    """
    if len(rdata) < 2 or not 0 < rdata[1] <= len(rdata) - 2:
        return None
    end = 2 + rdata[1]
    tag, value = rdata[2:end].decode("ascii", "replace"), rdata[end:].decode("ascii", "replace")
    return Caa(bool(rdata[0] & _CRITICAL), tag.lower(), value)


def judge(seen: Seen, ours: Ours) -> tuple[Finding, ...]:
    """
    Tell what is wrong with a name of which this was *seen*.
    """
    found = (_addresses(seen, ours), _caa(seen, ours))
    return tuple(finding for finding in found if finding is not None)


def _addresses(seen: Seen, ours: Ours) -> Finding | None:
    outcomes = {seen.ipv4.outcome, seen.ipv6.outcome}
    aliases = seen.ipv4.aliases or seen.ipv6.aliases
    via = f" (it is an alias of {_shown(aliases[-1])})" if aliases else ""
    if seen.addresses:
        return _elsewhere(seen.addresses, ours.addresses, via) or _perhaps_elsewhere(seen.addresses, ours, via)
    if "nxdomain" in outcomes:
        of = f"its CNAME's target {_shown(aliases[-1])}" if aliases else "the name"
        advice = "create the name's CNAME, or its A and AAAA records, so that it leads to this proxy"
        return _finding("dns-nxdomain", f"{of} does not exist in the DNS", advice, is_fatal=True)
    if "failed" in outcomes:
        advice = "have the zone's DNS servers, its delegation and its DNSSEC signatures looked at"
        return _finding("dns-servfail", "the look-up of the name fails from here too", advice)
    if "silent" in outcomes:
        advice = "have the zone's DNS servers looked at; if every name is told this, this host's (acme.resolver)"
        return _finding("dns-timeout", "the look-up of the name gets no answer from here", advice)
    advice = "create the name's A and AAAA records (or a CNAME), so that it leads to this proxy"
    return _finding("dns-no-address", f"the name has no address in the DNS{via}", advice, is_fatal=True)


def _elsewhere(addresses: Sequence[str], ours: frozenset[str], via: str) -> Finding | None:
    """
    Tell which of *addresses* are none of *ours*; a CA that is led to one of several may take another.
    """
    strange = [address for address in addresses if address not in ours] if ours else []
    if not strange:
        return None
    shown = ", ".join(strange[:_MOST_SHOWN])
    advice = f"point the name at this proxy: {', '.join(sorted(ours)[:_MOST_SHOWN])} (acme.addresses)"
    if len(strange) == len(addresses):
        return _finding("dns-elsewhere", f"the name leads to {shown}{via}, not to this proxy", advice, is_fatal=True)
    code = "dns-stale-ipv6" if all(":" in address for address in strange) else "dns-partly-elsewhere"
    cause = f"the name leads to this proxy and to {shown}{via}, which is none of its addresses"
    return _finding(code, cause, f"remove the records for {shown}; or {advice}")


def _perhaps_elsewhere(addresses: Sequence[str], ours: Ours, via: str) -> Finding | None:
    """
    Tell which of *addresses* none of our other names leads to, where nobody said which addresses are ours.
    """
    learnt = ours.learnt
    strange = [address for address in addresses if address not in learnt] if learnt and not ours.addresses else []
    if not strange:
        return None
    shown, known = ", ".join(strange[:_MOST_SHOWN]), ", ".join(sorted(learnt)[:_MOST_SHOWN])
    cause = f"the name leads to {shown}{via}, and names that were validated here lead to {known}"
    advice = f"if {shown} is not this proxy, point the name at {known}; acme.addresses tells sptls for certain"
    return _finding("dns-perhaps-elsewhere", cause, advice)


def _caa(seen: Seen, ours: Ours) -> Finding | None:
    closest = seen.closest_caa
    if any(record.is_critical and record.tag not in _KNOWN_TAGS for record in closest):
        return _forbids("has a critical property that no CA knows")
    permits = [record.value for record in closest if record.tag == "issue"]
    if not permits or any(_permits(value, ours) for value in permits):
        return None
    return _forbids(f"permits only {', '.join(_shown(value) for value in permits[:_MOST_SHOWN])}")


def _permits(value: str, ours: Ours) -> bool:
    """
    Tell whether the *value* of an ``issue`` property permits what we order; the CA that is not known may be any named.
    """
    domain, *rest = (part.strip() for part in value.split(";"))
    parameters = {name.strip(): text.strip() for name, _, text in (part.partition("=") for part in rest)}
    if not domain or (ours.ca_domains and domain.lower().rstrip(".") not in ours.ca_domains):
        return False
    methods = parameters.get("validationmethods")
    if methods is not None and not _any_of(ours.challenges, methods.split(",")):
        return False
    account = parameters.get("accounturi")
    return account is None or not ours.account_url or account == ours.account_url


def _shown(text: str) -> str:
    """
    Give *text*, in which whoever owns a zone may have written anything, as a piece of one line.
    """
    piece = "".join(character if character.isprintable() else " " for character in text[:_MOST_CHARACTERS])
    return piece + "..." * (len(text) > _MOST_CHARACTERS)


def _any_of(ours: Collection[str], theirs: Collection[str]) -> bool:
    return not ours or not set(ours).isdisjoint(theirs)


def _forbids(why: str) -> Finding:
    advice = (
        "let the CAA records of the name (or of the nearest domain above it that has some) allow this CA, our account"
    )
    cause = f"a CAA record in the DNS forbids this CA to issue for the name: it {why}"
    return _finding("caa-forbids", cause, f"{advice} and our challenge types", is_fatal=True)


def _finding(code: str, cause: str, advice: str, *, is_fatal: bool = False) -> Finding:
    return Finding(Diagnosis(code, Who.CUSTOMER, cause, advice), is_fatal)
