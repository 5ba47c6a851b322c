"""
Trailers across the proxy: which of the fields behind a message's content go on (RFC 9110 §6.5).

Some services and clients take trailers for fields of the head, against RFC 9110 §6.5.1. So nothing goes on that a head
would not carry either, and nothing that was decided by the head already: where the message ends, whom it is for, who
sent it, what is asked under which condition, how the content is to be read, how long it may be kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sptls.proxy.headers import NEVER_FORWARDED

if TYPE_CHECKING:
    from sptls.proxy.fields import Fields

# RFC 9110 §6.5.1's kinds, one a line: request modifiers, authentication, cookies, content format, response control.
_OF_THE_HEAD: Final = (
    b"cache-control expect host if-match if-modified-since if-none-match if-range if-unmodified-since max-forwards "
    b"pragma range http2-settings "
    b"authentication-info authorization proxy-authentication-info www-authenticate "
    b"cookie cookie2 set-cookie set-cookie2 strict-transport-security "
    b"content-encoding content-location content-range content-type "
    b"age date expires location retry-after vary warning"
).split()
# Services that take fields from CGI's variables can't tell "_" from "-".
_MARKS: Final = b"-_"
_NEVER: Final = frozenset(name.translate(None, _MARKS) for name in NEVER_FORWARDED.union(_OF_THE_HEAD))
_CLAIM: Final = b"xforwarded"


def passed_on(trailers: Fields, connection_options: tuple[bytes, ...]) -> Fields:
    """
    Give those of *trailers* that go on, either way; what the head's *connection_options* name stays on its connection.
    """
    return [(name, value) for name, value in trailers if _may_go_on(name.lower(), connection_options)]


def _may_go_on(name: bytes, connection_options: tuple[bytes, ...]) -> bool:
    plain = name.translate(None, _MARKS)
    return plain not in _NEVER and not plain.startswith(_CLAIM) and name not in connection_options
