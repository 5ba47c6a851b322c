"""
Where a request goes, and which status refuses it.

Decides from a head, the configured sites and the open ACME challenges; never redirects, and never looks at a
path but for a challenge's (RFC 8555 §8.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sptls.config import UpstreamConfig
    from sptls.names import HostName, NameTable
    from sptls.proxy.head import RequestHead

_CHALLENGE_PATH = b"/.well-known/acme-challenge/"


@attrs.frozen
class Site:
    """
    One tracking domain and the tracking service behind it.
    """

    name: HostName
    upstream: UpstreamConfig


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
class Refuse:
    """
    Answer with an error page; *reason* is a fixed sentence for the log.
    """

    status: int
    reason: str


def decide(
    head: RequestHead,
    sites: NameTable[Site],
    tokens: Mapping[str, str],
    covers: Callable[[bytes], bool] | None,
) -> Forward | Answer | Refuse:
    """
    Tell what to do with a request; *covers* asks the connection's certificate, and is None without TLS.

    *tokens* are the open challenges' key authorizations by token.
    """
    if tokens and head.origin_target.startswith(_CHALLENGE_PATH):
        key_authorization = _key_authorization(head, tokens)
        if key_authorization is not None:
            return Answer(200, b"application/octet-stream", key_authorization)
    if head.method == b"TRACE":
        # It would show a script the cookies and the address fields it must not see; nginx refuses it as well.
        return Refuse(405, "TRACE")
    if head.host is None:
        return Refuse(421, "the request names no host")
    site = sites.get(head.host)
    if site is None:
        return Refuse(421, "the host isn't configured")
    if covers is not None and not covers(head.host):
        # Clients may reuse a connection for any name its certificate has, and no other (RFC 9110 §7.4).
        return Refuse(421, "the connection's certificate doesn't cover the host")
    return Forward(site)


def _key_authorization(head: RequestHead, tokens: Mapping[str, str]) -> bytes | None:
    """
    Give the answer to a CA that validates, whatever the Host: the path's token is the secret that counts.

    Unknown tokens go the way of every other path: the tracking service may run an ACME client too.
    """
    if head.method not in {b"GET", b"HEAD"}:
        return None
    key_authorization = tokens.get(head.origin_target[len(_CHALLENGE_PATH) :].decode("latin-1"))
    return None if key_authorization is None else key_authorization.encode("ascii")
