"""
What single values of a configuration spell: the service's origin, its Host field, the CA's directory, a contact.

Decides about one value on its own; how values fit each other is `config_load`'s. Each function raises ValueError with
a sentence for the operator, and never repeats what may be a password.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from sptls.addresses import HIGHEST_PORT
from sptls.config import DEFAULT_PORTS, DIRECTORIES, INTERNAL_DIRECTORY, UNLIMITED, Address, PassthroughConfig, Rate
from sptls.config_file import did_you_mean, shown
from sptls.names import HostName

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from sptls.addresses import Network

Scheme = Literal["https", "http"]

# urlsplit drops tabs and line ends in silence, so it is given visible ASCII only.
_VISIBLE: Final = re.compile(r"[!-~]+")
_HOST_WORDS: Final = ("preserve", "upstream")
_HOST_PORT: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]*:[^\[\]]*)\]|(?P<host>[^\[\]:]+)):(?P<port>[0-9]{1,5})")
_MAPPED_IPV4: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_HOST_FIELD: Final = re.compile(r"(?P<host>[^:]+)(?P<port>:[0-9]{1,5})?")
_DIRECTORY_WORDS: Final = (*DIRECTORIES, INTERNAL_DIRECTORY)
# The local parts that a mailto URL holds unescaped (RFC 6068 §2): nobody has to escape them later.
_RATE: Final = re.compile(r"(?P<count>[1-9][0-9]{0,6}) per (?P<number>[1-9][0-9]{0,5})?(?P<unit>[smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# No CA counts longer; what is stored of a limit and lies further off is taken for the fault of a clock.
_LONGEST_RATE_SECONDS: Final = 7 * 86400
_CONTACT: Final = re.compile(r"(?:mailto:)?(?P<local>[A-Za-z0-9.!$&'*+=_~-]+)@(?P<host>[^@\s]+)")


def origin(text: str) -> tuple[Scheme, str, int]:
    """
    Give scheme, host and port of the tracking service at *text*, such as ``https://spgo.io``.

    Raises:
        ValueError: it is not an http or https URL, or has more in it than an origin.
    """
    url = _url(text)
    if url.path not in {"", "/"} or "?" in text or "#" in text:
        raise ValueError("must end after the host and port: request targets are passed on unchanged, without a prefix")
    scheme: Scheme = "http" if url.scheme == "http" else "https"
    return scheme, _host(url.hostname or ""), url.port or DEFAULT_PORTS[scheme]


def host_field(text: str) -> str:
    """
    Give the Host field that *text* asks for: "preserve", "upstream", or a literal host with or without a port.

    Raises:
        ValueError: it is none of these, or so near to one of the words that it is a slip of the pen.
    """
    if text in _HOST_WORDS:
        return text
    match = _HOST_FIELD.fullmatch(text)
    near = "" if "." in text else did_you_mean(text.lower(), _HOST_WORDS)
    if match is None or near:
        raise ValueError(f"{shown(text)} is none of 'preserve', 'upstream', nor a host name{near}")
    return _host(match["host"]) + (match["port"] or "")


def directory(text: str) -> str:
    """
    Give the URL of the ACME directory that *text* names, or "internal".

    Raises:
        ValueError: it is neither a known word nor an https URL.
    """
    if text in _DIRECTORY_WORDS:
        return DIRECTORIES.get(text, text)
    if "://" not in text:
        known = ", ".join(repr(word) for word in _DIRECTORY_WORDS)
        near = did_you_mean(text, _DIRECTORY_WORDS)
        raise ValueError(f"{shown(text)} is none of {known}, nor an https URL{near}")
    if _url(text).scheme != "https":
        raise ValueError("must be an https URL: RFC 8555 §6.1 allows no other")
    return text


def webhook(text: str) -> str:
    """
    Give the URL of a webhook that *text* spells.

    Raises:
        ValueError: it is not an https URL, nor an http one of this machine.
    """
    url = _url(text)
    host = _host(url.hostname or "")
    if url.scheme != "https" and not _is_loopback(host):
        raise ValueError("must be an https URL: http is for 'localhost' and loopback addresses only")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def contact(text: str) -> str:
    """
    Give the e-mail address that *text* spells, with or without ``mailto:``.

    Raises:
        ValueError: it is not one that a CA accepts as a contact.
    """
    match = _CONTACT.fullmatch(text)
    if match is None:
        raise ValueError(f"{shown(text)} is not an e-mail address such as 'ops@example.com'")
    return f"{match['local']}@{_host(match['host'])}"


def rate(text: str) -> Rate:
    """
    Give the rate that *text* spells, such as "300 per 3h"; `UNLIMITED` for "off".

    Raises:
        ValueError: it is none, or about more than a week.
    """
    if text == "off":
        return UNLIMITED
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{shown(text)} is not a rate such as '300 per 3h' or '50 per 7d' (s, m, h, d), nor 'off'")
    seconds = int(match["number"] or 1) * _SECONDS[match["unit"]]
    if seconds > _LONGEST_RATE_SECONDS:
        raise ValueError(f"{shown(text)} is about more than 7 days; write what it comes to in a week")
    return Rate(int(match["count"]), seconds)


def name_server(text: str) -> Address:
    """
    Give where the DNS server that *text* names listens, such as ``127.0.0.1:53``.

    Raises:
        ValueError: it is not one IP address with a port.
    """
    server = Address.parse(text)
    if not server.host or not server.port:
        raise ValueError(f"{shown(text)} names no DNS server: write its IP address and port, such as '127.0.0.1:53'")
    return server


def ip_address(text: str) -> str:
    """
    Give the IP address that *text* spells, in its one spelling.

    Raises:
        ValueError: it is none.
    """
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{shown(text)} is not an IP address such as '192.0.2.1' or '2001:db8::1'") from None


def network(text: str) -> Network:
    """
    Give the IP network that *text* spells, such as ``10.0.0.0/8``; an address is a network of one.

    Raises:
        ValueError: it is none, or has bits set behind its prefix, which may be a slip of the pen.
    """
    try:
        # No zone ("%eth0"): which link it is says nothing of who is on it.
        meant = ipaddress.ip_network(text.replace("%", "no zone"), strict=False)
    except ValueError:
        raise ValueError(f"{shown(text)} is not an IP network such as '10.0.0.0/8' or '2001:db8::/32'") from None
    if int(meant.network_address) != int(ipaddress.ip_interface(text).ip):
        raise ValueError(f"{shown(text)} has bits set behind its prefix; did you mean '{meant}'?")
    if meant.version == 6 and meant.subnet_of(_MAPPED_IPV4):
        # Peers are told as IPv4 (`addresses`), so they would never be in it.
        host_bits = int(meant.network_address) - int(_MAPPED_IPV4.network_address)
        return ipaddress.IPv4Network((host_bits, meant.prefixlen - _MAPPED_IPV4.prefixlen))
    return meant


def passthrough(text: str) -> PassthroughConfig:
    """
    Give the TLS server that *text* names: ``host:port``, where the host is a name or an IP address.

    Raises:
        ValueError: it is none.
    """
    match = _HOST_PORT.fullmatch(text)
    port = int(match["port"]) if match else 0
    if match is None or not 0 < port <= HIGHEST_PORT:
        spelled = "'host:port', such as 'mail.example.com:443' or '[2001:db8::1]:443'"
        raise ValueError(f"{shown(text)} is not a server to pass connections to: write {spelled}")
    return PassthroughConfig(_host(match["v6"] or match["host"]), port)


def leads_to(server: PassthroughConfig, address: Address) -> bool:
    """
    Tell whether who connects to *server* is sure to meet who listens on *address* of this machine.
    """
    everywhere = address.host in {"", "0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    same = server.host == address.host or (everywhere and _is_loopback(server.host))
    return same and server.port == address.port


def _url(text: str) -> SplitResult:
    """
    Give the parts of the http or https URL *text*, with a host and without user information.
    """
    if not _VISIBLE.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a URL: it must be of visible ASCII characters, and not empty")
    try:
        url = urlsplit(text)
        is_complete = url.scheme in DEFAULT_PORTS and url.hostname and url.port != 0
    except ValueError:  # its text may repeat what stands before an "@"
        is_complete = False
    if not is_complete:
        raise ValueError("not a URL such as 'https://example.com' or 'https://example.com:8443'")
    if "@" in url.netloc:
        raise ValueError("must not hold a user name or password")
    return url


def _host(text: str) -> str:
    """
    Give the IP address or the host name that *text* is, in its one spelling.
    """
    if "%" not in text:  # a zone ("%eth0") is part of no certificate and no Host field (RFC 9110 §4.2)
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(text))
    name = HostName.parse(text)
    if name.is_wildcard:
        raise ValueError(f"{shown(text)} is a wildcard; name one host")
    return name.text
