"""
The configuration: frozen values, every default and limit with its reason.

Decides nothing else: `config_file` knows the file's keys, and `config_load.load` is the only door from text to a
`Config`. What is in here is valid; nobody checks it again.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import attrs

from sptls.addresses import HIGHEST_PORT, Network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sptls.names import HostName

INTERNAL_DIRECTORY: Final = "internal"
DIRECTORIES: Final = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}

# Where the FHS puts what a daemon must not forget.
STATE_DIR: Final = Path("/var/lib/sptls")
DEFAULT_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}

KeyType = Literal["ec-p256", "ec-p384", "rsa-2048", "rsa-4096"]
ChallengeType = Literal["tls-alpn-01", "http-01"]
PrecheckMode = Literal["off", "advise", "require"]
TlsPolicy = Literal["intermediate", "modern", "compatible"]
LogFormat = Literal["combined", "json"]
Workers = int | Literal["auto"]

_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<v4>[^\[\]:]*)):(?P<port>[0-9]{1,5})")

# More than anyone writes by hand, and 500,000 names of 32 bytes in a domains file; not the wrong file, or /dev/zero.
FILE_BYTES: Final = 16 * 1024 * 1024

# More than any machine has CPUs for that is bought to pass clicks on; each takes 60 MB, served or not.
MAX_WORKERS: Final = 256


@attrs.frozen
class Address:
    """
    Where to listen: *host* is an IP address, or "" for every address, IPv4 and IPv6; *port* 0 is any free one.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """
        Give the address that *text* spells: ``:443``, ``192.0.2.1:443`` or ``[2001:db8::1]:443``.

        Raises:
            ValueError: it is none of these, or the port is over 65535.
        """
        match = _ADDRESS.fullmatch(text)
        try:
            if match and int(match["port"]) <= HIGHEST_PORT:
                host = str(ipaddress.IPv6Address(match["v6"]) if match["v6"] else match["v4"])
                return cls(host and str(ipaddress.ip_address(host)), int(match["port"]))
        except ValueError:  # ipaddress says less than the sentence below
            pass
        spelled = "':443', '192.0.2.1:443' or '[2001:db8::1]:443'"
        raise ValueError(f"{text!r} is not an address to listen on: write {spelled}; an IP address, not a name")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class ListenConfig:
    """
    The sockets; *default_name* answers clients that send no server name: the only domain, if there is one.

    Peers in *proxy_protocol* begin each connection with a PROXY header; those in *trusted_proxies* are believed their
    X-Forwarded-For and X-Forwarded-Proto.
    """

    https: tuple[Address, ...] = (Address("", 443),)
    http: tuple[Address, ...] = (Address("", 80),)
    admin: Address | None = Address("127.0.0.1", 9180)
    default_name: HostName | None = None
    proxy_protocol: tuple[Network, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()


@attrs.frozen
class TlsConfig:
    """
    Which TLS versions and cipher suites are offered (`tls.contexts` says which policy means what).
    """

    policy: TlsPolicy = "intermediate"


@attrs.frozen
class ExternalAccountBinding:
    """
    What a CA that wants an external account gave us (RFC 8555 §7.3.4): key identifier, and the file of the key.
    """

    kid: str
    hmac_key_file: Path


@attrs.frozen
class Rate:
    """
    So many (*count*) in *seconds*; UNLIMITED is the one with a count of 0.
    """

    count: int
    seconds: int


UNLIMITED: Final = Rate(0, 0)


@attrs.frozen
class CaLimits:
    """
    What the operator says that a CA allows; None: what is known of its directory, else as much as we like.
    """

    orders: Rate | None = None
    certificates_per_domain: Rate | None = None
    certificates_per_name: Rate | None = None


@attrs.frozen
class AcmeConfig:
    """
    A CA: *directory* is a URL, or "internal"; *trust* is a PEM file with extra roots for its HTTPS.

    *contact* holds e-mail addresses, without ``mailto:``; *challenges* only types whose socket is configured; *profile*
    is one of those that the CA's directory offers, "" for the CA's own choice. With *precheck* "advise" a name's DNS is
    looked at after it failed, with "require" before its order, by *resolver* (None: the system's) and against the IP
    *addresses* that reach this proxy (none: not compared).
    """

    directory: str = DIRECTORIES["letsencrypt"]
    contact: tuple[str, ...] = ()
    agree_to_terms: bool = False
    trust: Path | None = None
    challenges: tuple[ChallengeType, ...] = ("tls-alpn-01", "http-01")
    key_type: KeyType = "ec-p256"
    eab: ExternalAccountBinding | None = None
    profile: str = ""
    limits: CaLimits = CaLimits()
    precheck: PrecheckMode = "advise"
    resolver: Address | None = None
    addresses: tuple[str, ...] = ()


@attrs.frozen
class HandshakeConfig:
    """
    *hold_seconds* is the longest wait of a client for a certificate being issued.

    Ten seconds: a mail client gives up at 30 or more, and an order takes 2-8.
    """

    hold_seconds: float = 10.0


@attrs.frozen
class UpstreamConfig:
    """
    A tracking service: its origin (*scheme*, *host*, *port*), and which Host field it is sent.

    *host_field* is "preserve" (the client's own, so that the service knows the tracking domain), "upstream", or
    a literal. *trust* is a PEM file with extra roots for a private upstream.
    """

    scheme: Literal["https", "http"] = "https"
    host: str = "spgo.io"
    port: int = 443
    host_field: str = "preserve"
    trust: Path | None = None

    @property
    def url(self) -> str:
        """
        Give the origin as a URL, without a default port.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}")


@attrs.frozen
class LimitsConfig:
    """
    The bounds of what a client or an upstream may cost; times are seconds, sizes bytes, 0 = no limit for bodies.
    """

    # The service refuses links over 4,096 bytes; mail clients' cookies and agent strings fit four times over.
    head_bytes: int = 32768
    # Twice what the service accepts; with the longest method and the version it is a line of 8,190 bytes (below).
    target_bytes: int = 8148
    # One line; nginx (`large_client_header_buffers`) and Apache (LimitRequestFieldSize) refuse longer ones by default.
    field_bytes: int = 8190
    # Opens and clicks have no body; one-click unsubscribe posts one line. The service judges it, not we.
    body_bytes: int = 0
    # 10,000 at 23 KB each is 230 MB; file descriptors are raised to fit at start.
    connections: int = 10000
    # 0 = no limit, as with nginx, HAProxy and Caddy: the image proxies of the large mail providers and the gateways of
    # mobile networks have crowds behind one address, and behind Docker's or a balancer's all clients have the same.
    connections_per_address: int = 0
    handshakes_per_address: int = 0
    # A hello is one or two segments; ten seconds covers a lost segment on a slow mobile link twice.
    hello_seconds: float = 10.0
    # nginx's client_header_timeout is 60; a head of one segment needs none of it.
    head_seconds: float = 20.0
    idle_seconds: float = 60.0
    # To each upstream: 5,000 clicks a second at 0.1 s each, or 17 POSTs a second at the longest.
    upstream_connections: int = 512
    # Requests that wait for one of these; each is a client's connection of 23 KB.
    upstream_waiting: int = 2048
    # A connect that takes five seconds has lost its SYN twice.
    upstream_connect_seconds: float = 5.0
    # nginx's proxy_read_timeout is 60; clicks answer in 0.1, and people leave after 30.
    upstream_head_seconds: float = 30.0
    # nginx's proxy_timeout for streams: what is passed through may be anything, a WebSocket or a long poll too.
    passthrough_idle_seconds: float = 600.0


# The least and the most that `config_load` accepts. A value outside is a slip of the pen (milliseconds for seconds,
# a limit that refuses every request) rather than a wish; both ends are far from what anyone runs.
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    # Over a minute no client is left to be served.
    "handshake.hold_seconds": (0.1, 60),
    # Under 1 KiB a mail client's own fields do not fit; a head is held in memory until it is complete.
    "limits.head_bytes": (1024, 1024 * 1024),
    # 256 bytes do not hold a tracking link; the target is a part of the head.
    "limits.target_bytes": (256, 1024 * 1024),
    "limits.field_bytes": (256, 1024 * 1024),
    "limits.body_bytes": (0, 2**50),
    # Linux's own ceiling for the files of a process (fs.nr_open) is 1,048,576.
    "limits.connections": (1, 1_000_000),
    "limits.connections_per_address": (0, 1_000_000),
    # No machine makes more in a second.
    "limits.handshakes_per_address": (0, 100_000),
    "limits.hello_seconds": (0.1, 300),
    "limits.head_seconds": (0.1, 300),
    "limits.idle_seconds": (0.1, 3600),
    # Each takes a local port, of which there are 28,000 to one address (ip_local_port_range).
    "limits.upstream_connections": (1, 28_000),
    # 0: nobody waits, who finds no connection free is told at once.
    "limits.upstream_waiting": (0, 1_000_000),
    "limits.upstream_connect_seconds": (0.1, 300),
    "limits.upstream_head_seconds": (0.1, 3600),
    "limits.passthrough_idle_seconds": (0.1, 86400),
    # Under a second no shell has started; what runs for over an hour is no reload.
    "deploy.command_seconds": (1, 3600),
    "notify.command_seconds": (1, 3600),
}


@attrs.frozen
class LogConfig:
    """
    The access log: a file, "" for ``access.log`` in the state directory, "-" for standard output.
    """

    access: str = ""
    format: LogFormat = "combined"


@attrs.frozen
class DeployConfig:
    """
    Copies of the certificates for other servers: for each name that is ordered, a directory below *directory*.

    *command* is run after a certificate changed; its first word is the program's absolute path. *webroot* is where
    another server, which owns port 80, answers http-01 from: tokens are written there instead of being served.
    """

    directory: Path | None = None
    webroot: Path | None = None
    command: tuple[str, ...] = ()
    # `nginx -t && systemctl reload nginx` takes 0.1 s, copying to another machine a few; a minute is a hang.
    command_seconds: float = 60.0


@attrs.frozen
class NotifyConfig:
    """
    Who is warned of certificates that fail or expire: *command*, a program's absolute path and its arguments, and
    *webhook*, a URL, which may have a token in it; "" for none.
    """

    command: tuple[str, ...] = ()
    webhook: str = attrs.field(default="", repr=False)
    # Mail is handed over in a second; what asks a pager's service takes ten at the worst.
    command_seconds: float = 60.0


@attrs.frozen
class PassthroughConfig:
    """
    Another TLS server, to which a domain's connections go untouched; with *proxy_protocol*, behind a PROXY header.
    """

    host: str
    port: int
    proxy_protocol: bool = False

    def __str__(self) -> str:
        return str(Address(self.host, self.port))


@attrs.frozen
class HstsConfig:
    """
    For how many *seconds* browsers are to use HTTPS only for a domain (RFC 6797); 0 has them forget it.
    """

    seconds: int
    subdomains: bool = False

    @property
    def value(self) -> bytes:
        """
        Give the value of Strict-Transport-Security (RFC 6797 §6.1).
        """
        return b"max-age=%d%b" % (self.seconds, b"; includeSubDomains" if self.subdomains else b"")


@attrs.frozen
class DomainConfig:
    """
    One tracking domain; with *certificate* and *key* it brings its own, and nothing is ordered for it.

    *redirect_http* sends plain HTTP to HTTPS, but only while the name has a valid certificate. Not by default: links
    in mail already sent are http:// for ever, and a redirect costs each click a round trip. With *passthrough* all else
    is another server's: the certificate, and what is answered. Without *hsts* the tracking service has its say.
    """

    name: HostName
    upstream: UpstreamConfig = UpstreamConfig()
    certificate: Path | None = None
    key: Path | None = None
    redirect_http: bool = False
    passthrough: PassthroughConfig | None = None
    hsts: HstsConfig | None = None

    @property
    def is_ordered(self) -> bool:
        """
        Tell whether its certificate is obtained here.
        """
        return self.certificate is None and self.passthrough is None


@attrs.frozen
class Config:
    """
    Everything that `service.make` needs to know.

    *domains* are all of them, *domains_file*'s too, which is only where they came from. With *renew_only* there is no
    proxy: `listen.https` is empty, http-01 is the only challenge type, and `listen.http` is empty with a webroot.
    *workers* is the number of processes that serve clients, "auto" for one per CPU.
    """

    domains: tuple[DomainConfig, ...]
    state_dir: Path = STATE_DIR
    listen: ListenConfig = ListenConfig()
    tls: TlsConfig = TlsConfig()
    acme: AcmeConfig = AcmeConfig()
    handshake: HandshakeConfig = HandshakeConfig()
    limits: LimitsConfig = LimitsConfig()
    log: LogConfig = LogConfig()
    deploy: DeployConfig = DeployConfig()
    notify: NotifyConfig = NotifyConfig()
    domains_file: Path | None = None
    renew_only: bool = False
    more_cas: tuple[AcmeConfig, ...] = ()
    workers: Workers = 1

    @property
    def cas(self) -> tuple[AcmeConfig, ...]:
        """
        Give the CAs, in the order in which they are asked.
        """
        return (self.acme, *self.more_cas)

    @property
    def placed_cas(self) -> tuple[tuple[str, AcmeConfig], ...]:
        """
        Give the CAs, each with its place in the file.
        """
        if not self.more_cas:
            return (("acme", self.acme),)
        return tuple((f"acme[{index}]", acme) for index, acme in enumerate(self.cas))
