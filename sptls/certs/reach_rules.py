"""
What it means that our own challenge answers came back, or did not, from the addresses that a name leads to. Pure.

A look publishes a `Probe` as if it were a challenge (RFC 8555 §8.3, RFC 8737) and asks for it as a CA would, at each
address. Only a server that answers, and with something else, proves anything: that nothing is reached from here may be
this network's doing (NAT that does not lead back, no IPv6) and not the CA's view. Decides from what came; asks nobody.
"""

from __future__ import annotations

import ipaddress
import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

import attrs

from sptls.certs.diagnosis import Diagnosis, Finding, Who

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from sptls.names import HostName

Verdict = Literal["ours", "wrong", "redirect", "unreached", "unasked"]

HTTP_01: Final = "http-01"
TLS_ALPN_01: Final = "tls-alpn-01"
# Where a CA comes for each (RFC 8555 §8.3, RFC 8737 §3), and nowhere else.
PORTS: Final = {HTTP_01: 80, TLS_ALPN_01: 443}
# What is asked of one name: more addresses of a family are a CDN's, and the first few tell as much.
MOST_ADDRESSES: Final = 4
# A key authorization has 87 characters; a server that is not ours may have any page there.
MOST_BYTES: Final = 16384
PROBE_BYTES: Final = 48
# How a probe's token begins: base64url as any (RFC 8555 §8.1), and told from a CA's in every process that answers.
_PREFIX: Final = "sptls-self-check-"

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})\b")
# The white space round the value is not its part: a pattern that leaves it out takes the square of a run of blanks,
# seconds for as much as a stranger may send.
_FIELD: Final = re.compile(rb"^([!-9;-~]+):([^\r\n]*)\r?$", re.MULTILINE)
_PRINTABLE: Final = re.compile(r"[^ -~]+")
_MOST_CHARACTERS: Final = 60
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
# RFC 8737 §3: an OCTET STRING of 32 bytes, DER.
_OCTET_STRING_HEADER: Final = b"\x04\x20"


@attrs.frozen
class Probe:
    """
    A challenge of our own making: in both roles of what a responder is given, and as unguessable as a CA's.
    """

    token: str
    key_authorization: str = attrs.field(repr=False)

    @classmethod
    def of(cls, random: bytes) -> Probe:
        """
        Make one of `PROBE_BYTES` *random* bytes: half of them the token, the other half what only we can answer.
        """
        half, rest = (_base64url(half) for half in (random[: PROBE_BYTES // 2], random[PROBE_BYTES // 2 :]))
        token = f"{_PREFIX}{half}"
        return cls(token, f"{token}.{rest}")

    def encode(self, name: str) -> str:
        """
        Give the JSON value of the field *name*.
        """
        return {"token": self.token}[name]

    @property
    def acme_identifier(self) -> bytes:
        """
        Give what the extension acmeIdentifier of the certificate that answers has for its value (RFC 8737 §3).
        """
        return _OCTET_STRING_HEADER + sha256(self.key_authorization.encode("ascii")).digest()


def is_of_probe(key_authorization: str) -> bool:
    """
    Tell whether *key_authorization* is a probe's: it answers nobody but us, so a CA's challenge goes before it.
    """
    return key_authorization.startswith(_PREFIX)


@attrs.frozen
class Reached:
    """
    What *address* answered to the probe of a *challenge* type: the verdict, and what came in *words*.
    """

    address: str
    challenge: str
    verdict: Verdict
    words: str = ""

    @property
    def port(self) -> int:
        """
        Give the port that a CA comes to.
        """
        return PORTS[self.challenge]


def is_askable(address: str, configured: Collection[str] = ()) -> bool:
    """
    Tell whether a look may connect to *address*, which whoever owns a name's DNS has chosen.

    Never to this machine itself or its link, and to private networks (RFC 1918, RFC 4193, RFC 6598) only at those that
    are *configured* as this proxy's: what else is there, cloud services' metadata too, is not for a stranger to choose.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    if found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified:
        return False
    return found.is_global or address in configured


def chosen(addresses: Sequence[str], may_ask: Callable[[str], bool]) -> tuple[str, ...]:
    """
    Give those of *addresses* that are asked: a few of each family.
    """
    families = ([one for one in addresses if (":" in one) is is_ipv6] for is_ipv6 in (True, False))
    return tuple(one for family in families for one in family[:MOST_ADDRESSES] if may_ask(one))


def request(name: HostName, probe: Probe, user_agent: str) -> bytes:
    """
    Give what a CA would ask for (RFC 8555 §8.3), by a client that takes one answer.
    """
    lines = (
        f"GET /.well-known/acme-challenge/{probe.token} HTTP/1.1",
        f"Host: {name.text}",
        f"User-Agent: {user_agent}",
        "Accept: */*",
        "Connection: close",
        "\r\n",
    )
    return "\r\n".join(lines).encode("ascii")


def is_enough(received: bytes, probe: Probe) -> bool:
    """
    Tell whether what came so far is all that `http_answer` needs: our answer, a status of another's, or too much.
    """
    if len(received) >= MOST_BYTES or _is_ours(received, probe):
        return True
    status = _STATUS.match(received)
    return bool(_HEAD_END.search(received)) and (status is None or status[1] != b"200")


def http_answer(address: str, received: bytes, probe: Probe) -> Reached:
    """
    Judge what *address* answered to `request`: our key authorization, or what else.
    """
    if not received:
        return Reached(address, HTTP_01, "unreached", "the connection was closed without an answer")
    if _is_ours(received, probe):
        return Reached(address, HTTP_01, "ours")
    status = _STATUS.match(received)
    if status is None:
        return Reached(address, HTTP_01, "wrong", "an answer that is not HTTP")
    head = _HEAD_END.split(received, 1)[0]
    fields = {name.lower(): value.strip(b" \t").decode("latin-1") for name, value in _FIELD.findall(head)}
    server = _shown(fields.get(b"server", ""))
    by = f" ({server})" if server else ""
    location = fields.get(b"location", "")
    if int(status[1]) in _REDIRECTS and location:
        return Reached(address, HTTP_01, "redirect", f"a redirect to {_shown(_origin(location))}{by}")
    what = "other content" if status[1] == b"200" else f"status {status[1].decode('ascii')}"
    return Reached(address, HTTP_01, "wrong", f"{what}{by}")


def alpn_answer(address: str, identifier: bytes | None, subject: str, probe: Probe) -> Reached:
    """
    Judge the certificate that *address* showed for acme-tls/1: its acmeIdentifier (None: it has none), its *subject*.
    """
    if identifier == probe.acme_identifier:
        return Reached(address, TLS_ALPN_01, "ours")
    if identifier is not None:
        return Reached(address, TLS_ALPN_01, "wrong", "the answer to another challenge")
    shown = _shown(subject)
    return Reached(address, TLS_ALPN_01, "wrong", f"an ordinary certificate{f' ({shown})' if shown else ''}")


def came_back(reached: Iterable[Reached]) -> frozenset[str]:
    """
    Give the addresses at which this proxy answered.
    """
    return frozenset(one.address for one in reached if one.verdict == "ours")


def is_telling(reached: Iterable[Reached]) -> bool:
    """
    Tell whether somebody answered, so that nobody needs to guess from the addresses who is there.
    """
    return any(one.verdict in {"ours", "wrong", "redirect"} for one in reached)


def findings(reached: Sequence[Reached], configured: Collection[str] = ()) -> tuple[Finding, ...]:
    """
    Tell what is wrong, where addresses answered so; *configured* are those that are said to be this proxy's.

    Fatal where no challenge type can succeed: for each, another server answers at all addresses that a CA goes to
    first. Those are the IPv6 ones where there are any: an answer is an answer, and no reason to try IPv4.
    """
    kinds = dict.fromkeys(one.challenge for one in reached)
    is_fatal = bool(kinds) and all(_is_hopeless([one for one in reached if one.challenge == kind]) for kind in kinds)
    wrong = _by_address(reached, "wrong")
    found = [_of_another(one, answers, configured, is_fatal=is_fatal) for one, answers in wrong.items()]
    found += [_of_redirect(one, answers) for one, answers in _by_address(reached, "redirect").items()]
    unreached = [one for one in reached if one.verdict == "unreached"]
    return (*found, *([_of_unreached(unreached)] if unreached else ()))


def _is_hopeless(answers: Sequence[Reached]) -> bool:
    first = [one for one in answers if ":" in one.address] or answers
    return all(one.verdict == "wrong" for one in first)


def _by_address(reached: Iterable[Reached], verdict: Verdict) -> dict[str, list[Reached]]:
    found: dict[str, list[Reached]] = {}
    for one in reached:
        if one.verdict == verdict:
            found.setdefault(one.address, []).append(one)
    return found


def _of_another(address: str, answers: Sequence[Reached], configured: Collection[str], *, is_fatal: bool) -> Finding:
    told = " and ".join(f"{one.words} on port {one.port}" for one in answers)
    cause = f"{_record(address)} {address} answers as another server: {told}"
    if address in configured:
        advice = f"let what answers first at {address} pass /.well-known/acme-challenge/ and acme-tls/1 on to sptls"
        return Finding(Diagnosis("wrong-server-here", Who.HOST, cause, advice), is_fatal)
    code = "wrong-server-ipv6" if ":" in address else "wrong-server"
    advice = f"remove the name's {_record(address)} record {address}, or point it at this proxy"
    return Finding(Diagnosis(code, Who.CUSTOMER, cause, advice), is_fatal)


def _of_redirect(address: str, answers: Sequence[Reached]) -> Finding:
    cause = f"{_record(address)} {address} answers as another server on port 80: {answers[0].words}"
    advice = f"let what is at {address} pass /.well-known/acme-challenge/ on; or point the name at this proxy"
    return Finding(Diagnosis("wrong-redirect", Who.CUSTOMER, cause, advice), is_fatal=False)


def _of_unreached(answers: Sequence[Reached]) -> Finding:
    told = "; ".join(f"{one.address} port {one.port}: {one.words}" for one in answers[:MOST_ADDRESSES])
    advice = (
        "if those are this proxy's addresses, open ports 80 and 443 to the whole internet; it may be this network's "
        "doing (NAT that does not lead back, no IPv6), and different for the CA"
    )
    return Finding(Diagnosis("unreached", Who.HOST, f"from here, no answer came from {told}", advice), is_fatal=False)


def _record(address: str) -> str:
    return "AAAA" if ":" in address else "A"


def _is_ours(received: bytes, probe: Probe) -> bool:
    # Nobody else can have it: a page that repeats what it was asked for has the token only.
    return probe.key_authorization.encode("ascii") in received


def _origin(location: str) -> str:
    """
    Give as much of a redirect's target as tells who is there: a path may have anything in it.
    """
    try:
        parts = urlsplit(location)
    except ValueError:
        return "an address that is none"
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else "another path"


def _shown(text: str) -> str:
    return _PRINTABLE.sub(" ", text).strip()[:_MOST_CHARACTERS]


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
