"""
Where a request goes, and which status refuses it.

Decides from a head, the configured sites and the open ACME challenges; never looks at a path but for a challenge's
(RFC 8555 §8.3). Redirects plain HTTP where a domain asks for it, to nowhere but the same target at the same host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from sptls.errors import InvalidHostName
from sptls.names import HostName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sptls.config import UpstreamConfig
    from sptls.names import NameTable
    from sptls.proxy.head import RequestHead

_CHALLENGE_PATH = b"/.well-known/acme-challenge/"
_DEFAULT_PORTS = (b"", b"80")


@attrs.frozen
class Site:
    """
    One tracking domain and the tracking service behind it; *redirect_http*: plain HTTP is sent to HTTPS.

    *hsts* is the Strict-Transport-Security of its answers over HTTPS; None: what the service says.
    """

    name: HostName
    upstream: UpstreamConfig
    redirect_http: bool = False
    hsts: bytes | None = None


@attrs.frozen
class Forward:
    """
    Pass the request on to *site*'s upstream.
    """

    site: Site


@attrs.frozen
class Answer:
    """
    Answer ourselves with *content*.
    """

    status: int
    content_type: bytes
    content: bytes


@attrs.frozen
class Redirect:
    """
    Send the client to *location*, with the same method and content (RFC 9110 §15.4.9).
    """

    status: int
    location: bytes


@attrs.frozen
class Refuse:
    """
    Answer with an error page; *reason* is a fixed sentence for the log, *site* the one that it is an answer of, if any.
    """

    status: int
    reason: str
    site: Site | None = None


def decide(
    head: RequestHead,
    sites: NameTable[Site],
    tokens: Mapping[str, str],
    covers: Callable[[bytes], bool] | None,
    has_certificate: Callable[[bytes], bool] = lambda _: False,
    https_port: int = 443,
    *,
    is_secure: bool = False,
) -> Forward | Answer | Redirect | Refuse:
    """
    Tell what to do with a request; *covers* asks the connection's certificate, and is None without TLS.

    *tokens* are the open challenges' key authorizations by token. *has_certificate* tells whether a host could be
    served over TLS right now, and *https_port* is where (see `_location`). *is_secure*: the client speaks TLS with a
    proxy before us, so there is nowhere to redirect it to.
    """
    if tokens and head.origin_target.startswith(_CHALLENGE_PATH):
        key_authorization = _key_authorization(head, tokens)
        if key_authorization is not None:
            return Answer(200, b"application/octet-stream", key_authorization)
    if head.host is None:
        return Refuse(421, "the request names no host")
    site = sites.get(head.host)
    if site is None:
        return Refuse(421, "the host isn't configured")
    if covers is not None and not covers(head.host):
        # Clients may reuse a connection for any name its certificate has, and no other (RFC 9110 §7.4).
        return Refuse(421, "the connection's certificate doesn't cover the host")
    if head.method == b"TRACE":
        # It would show a script the cookies and the address fields it must not see; nginx refuses it as well.
        return Refuse(405, "TRACE", site)
    if site.redirect_http and covers is None and not is_secure and has_certificate(head.host):
        location = _location(head, site, https_port)
        if location is not None:
            return Redirect(308, location)
    return Forward(site)


def _location(head: RequestHead, site: Site, https_port: int) -> bytes | None:
    """
    Give the request's target over HTTPS, byte for byte; None when no URL can say it, and where it must stay here.

    A client that came to port 80, as far as it knows, is sent to port 443, whatever is listened on: ports are mapped
    (containers, packet filters) both or none. *https_port* is for clients that name another port in their Host.
    """
    target = head.origin_target
    # A CA asks at port 80, and must not depend on what it finds at 443 (RFC 8555 §8.3).
    # What stands behind a "#" a client keeps to itself.
    if target.startswith(_CHALLENGE_PATH) or b"#" in target:
        return None
    name = site.name
    if name.is_wildcard:
        try:
            name = HostName.parse((head.host or b"").decode("ascii"))
        except InvalidHostName:  # a Host field may hold what no name does, such as "%2F"
            return None
    is_default = head.authority.partition(b":")[2] in _DEFAULT_PORTS or https_port == 443
    return b"https://%b%b%b" % (name.wire, b"" if is_default else b":%d" % https_port, target)


def _key_authorization(head: RequestHead, tokens: Mapping[str, str]) -> bytes | None:
    """
    Give the answer to a CA that validates, whatever the Host: the path's token is the secret that counts.

    Unknown tokens go the way of every other path: the tracking service may run an ACME client too.
    """
    if head.method not in {b"GET", b"HEAD"}:
        return None
    key_authorization = tokens.get(head.origin_target[len(_CHALLENGE_PATH) :].decode("latin-1"))
    return None if key_authorization is None else key_authorization.encode("ascii")
