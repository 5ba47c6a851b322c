"""
What a trusted proxy says of a request's client: X-Forwarded-For and X-Forwarded-Proto.

Decides which address in the field is the client's and whether the scheme counts. Who is trusted is the configuration's
to say; from anybody else neither field is ever read, only dropped (`headers`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sptls.addresses import ip_address

if TYPE_CHECKING:
    from sptls.addresses import Networks
    from sptls.proxy.fields import Fields

# No chain of proxies is as long; a client could name trusted ones by the thousand, and each takes 2 µs.
_MAX_HOPS: Final = 32
_SCHEMES: Final = frozenset({b"http", b"https"})


def believed(fields: Fields, proxies: Networks, peer: bytes, scheme: bytes) -> tuple[bytes, bytes]:
    """
    Give the client's address and scheme, as *fields* say; *peer*'s and *scheme* where they say nothing that is one.

    *peer* is one of the trusted *proxies*. The address is the right-most that is not itself of a trusted proxy: what
    stands before it, anybody can have written. Where all are, it is the first.
    """
    chain, schemes = [], []
    for name, value in fields:
        lower = name.lower()
        if lower == b"x-forwarded-for":
            chain.append(value)
        elif lower == b"x-forwarded-proto":
            schemes.append(value.lower())
    if len(schemes) == 1 and schemes[0] in _SCHEMES:
        scheme = schemes[0]
    return _client(b",".join(chain), proxies) or peer, scheme


def _client(chain: bytes, proxies: Networks) -> bytes | None:
    """
    Give the client's address at the end of *chain*; None where what is met on the way there is no address.
    """
    client = None
    for hop in reversed([hop for hop in chain.rsplit(b",", _MAX_HOPS) if hop.strip(b" \t")]):
        client = _address(hop.strip(b" \t"))
        if client is None or client not in proxies:
            break
    return None if client is None else client.encode("ascii")


def _address(hop: bytes) -> str | None:
    """
    Give the address that *hop* is, which some proxies write with its port: ``192.0.2.1:80`` or ``[2001:db8::1]:80``.
    """
    text = hop.decode("latin-1")
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        is_whole = bool(bracket) and ":" in host and (not port or (port[0] == ":" and _is_port(port[1:])))
    else:
        host, colon, port = text.partition(":") if text.count(":") == 1 else (text, "", "")
        is_whole = not colon or _is_port(port)
    return ip_address(host) if is_whole else None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit()
