"""
An HTTP/2 request's decoded fields -> the same `RequestHead` that HTTP/1 has, or how they break the rules (RFC 9113 §8).

What is allowed in a method, a target, a host and a field is `head`'s and `fields`' to say: the tracking service sees
nothing by way of HTTP/2 that HTTP/1 would have refused, above all no line ends and no length but the real one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sptls.proxy.body import MAX_TRAILER_BYTES
from sptls.proxy.fields import NO_END, ONCE, TOKEN, HeadError, check_repeatable, read_content_length
from sptls.proxy.head import (
    MAX_FIELDS,
    TARGET,
    Malformed,
    RequestHead,
    check_method,
    expects_continue,
    host_of,
    too_large,
)

if TYPE_CHECKING:
    from sptls.config import LimitsConfig
    from sptls.proxy.fields import Fields, Seen

_VERSION: Final = b"2.0"
# RFC 9113 §8.3.1. `:protocol` (RFC 8441) is only for who was told that it may be sent.
_PSEUDO_FIELDS: Final = frozenset({b":method", b":scheme", b":authority", b":path"})
# As every client but CONNECT's sends them: all four, once each.
_PSEUDO_FIELD_COUNT: Final = len(_PSEUDO_FIELDS)
# What is one need not be looked through for what can't be in one.
_USUAL_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST"})
_CONNECTION_SPECIFIC: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_NOTED: Final = ONCE | {b"content-length", b"cookie", b"host", b"te"}
_LOOKED_AT: Final = _NOTED | _CONNECTION_SPECIFIC | {b""}
# Says where the message ends, and whom it is for: nothing is forgiven.
_EXACT: Final = frozenset({b"content-length", b"host"})
# A proxy before us may have been asked without TLS.
_SCHEMES: Final = frozenset({b"https", b"http"})
_LOWER_TOKEN: Final = bytes(byte for byte in TOKEN if not 0x41 <= byte <= 0x5A)
# What HTTP/1 has around a field: ": " and CRLF.
_AROUND_FIELD_BYTES: Final = 4
_IN_FIELD_BYTES: Final = 2
# RFC 9110 §5.6.3's white space. RFC 9113 §8.2.1 forbids it around a value; nginx forgives it, and so does HTTP/1.
WHITE: Final = b" \t"

_Texts = tuple[bytes, ...]


def request_head(fields: Fields, ends: bool, limits: LimitsConfig) -> RequestHead | Malformed:
    """
    Give the head that *fields* are; *ends*: no content follows.

    Malformed requests are stream errors that may be answered (RFC 9113 §8.1.1): the connection goes on.
    """
    pseudo: dict[bytes, bytes] = {}
    try:
        return _request(pseudo, _take_pseudo_fields(fields, pseudo), ends, limits)
    except HeadError as refused:
        line = _request_line(pseudo.get(b":method", b""), pseudo.get(b":path", b""))
        return Malformed(refused.status, refused.reason, line[:1024] if len(pseudo) > 1 else b"")


def are_trailers(fields: Fields) -> bool:
    """
    Tell whether *fields* may stand after the content (RFC 9113 §8.1, §8.2), and are no more than HTTP/1's may be.
    """
    if not fields:
        return True
    names, values = zip(*fields, strict=True)
    try:
        size = _check_fields(names, values)
    except HeadError:
        return False
    return (
        size <= MAX_TRAILER_BYTES
        and len(names) <= MAX_FIELDS
        and all(name and name not in _CONNECTION_SPECIFIC for name in names)
    )


def _take_pseudo_fields(fields: Fields, pseudo: dict[bytes, bytes]) -> Fields:
    """
    Put the pseudo-fields, which come first, into *pseudo*; give the others.
    """
    pseudo.update(fields[:_PSEUDO_FIELD_COUNT])
    if pseudo.keys() == _PSEUDO_FIELDS:
        return fields[_PSEUDO_FIELD_COUNT:]  # a fifth one is refused as a field that isn't one
    pseudo.clear()
    for at, (name, value) in enumerate(fields):
        if name[:1] != b":":
            return fields[at:]
        if name in pseudo or name not in _PSEUDO_FIELDS:
            raise HeadError(400, "a pseudo-field is there twice, or is none of a request's")
        pseudo[name] = value
    return []


def _request(pseudo: dict[bytes, bytes], fields: Fields, ends: bool, limits: LimitsConfig) -> RequestHead:
    method, target = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if method not in _USUAL_METHODS:
        _check_method(method)
    _check_target(target, limits)
    if pseudo.get(b":scheme", b"").lower() not in _SCHEMES:
        raise HeadError(400, "the scheme is none of a web server's")
    names, values = zip(*fields, strict=True) if fields else ((), ())
    size = len(method) + len(target) + _check_fields(names, values)
    if size > limits.head_bytes:
        raise too_large()
    seen: Seen = {}
    fields = _normal(fields, names, seen)
    if size > limits.field_bytes:
        _check_sizes(fields, limits.field_bytes - _IN_FIELD_BYTES)
    if len(fields) > MAX_FIELDS:
        raise HeadError(431, "the head has too many fields")
    authority = _authority(pseudo.get(b":authority"), seen.get(b"host"))
    content_length = _content_length(seen.get(b"content-length"), ends, limits)
    has_unknown_length = not ends and content_length is None
    return RequestHead(
        method,
        target,
        _VERSION,
        fields,
        host_of(authority),
        authority,
        target,
        content_length,
        has_unknown_length,
        True,
        b"expect" in seen
        and expects_continue(seen[b"expect"][0], _VERSION)
        and bool(has_unknown_length or (content_length and not ends)),
        size,
        _request_line(method, target),
    )


def _check_method(method: bytes) -> None:
    check_method(method)
    if method == b"CONNECT":
        raise HeadError(405, "CONNECT is for proxies of the client's choice")


def _check_target(target: bytes, limits: LimitsConfig) -> None:
    if len(target) > limits.target_bytes:
        raise HeadError(414, "the request target is too long")
    if target.translate(None, TARGET):
        raise HeadError(400, "the request target has a control character")
    if not target.startswith(b"/"):
        raise HeadError(400, "the request target isn't a path")  # nor is `*`, which nginx refuses too


def _check_fields(names: _Texts, values: _Texts) -> int:
    """
    Refuse what is no field (RFC 9113 §8.2), and give the size that all would have in HTTP/1.

    A pseudo-field behind another field is none: its colon isn't allowed.
    """
    all_names, all_values = b"".join(names), b"".join(values)
    if all_names.translate(None, _LOWER_TOKEN):
        raise HeadError(400, "a field name isn't a token in lower case")
    if all_values.translate(None, NO_END):
        raise HeadError(400, "a CR or LF, or a forbidden control character")
    return len(all_names) + len(all_values) + _AROUND_FIELD_BYTES * len(names)


def _check_sizes(fields: Fields, field_bytes: int) -> None:
    if any(len(name) + len(value) > field_bytes for name, value in fields):
        raise too_large()


def _normal(fields: Fields, names: _Texts, seen: Seen) -> Fields:
    """
    Give *fields* with the cookie's crumbs in one piece (RFC 9113 §8.2.3), and put those that are *_NOTED* into *seen*.
    """
    if _LOOKED_AT.isdisjoint(names):
        return [(name, value.strip(WHITE)) for name, value in fields]
    normal: Fields = []
    cookie_at = -1
    for name, value in fields:
        if not name or name in _CONNECTION_SPECIFIC:
            raise HeadError(400, "a field has no name, or is the connection's")
        given, value = value, value.strip(WHITE)  # noqa: PLW2901 - the same value without what isn't part of it
        if name in _NOTED:
            if value != given and name in _EXACT:
                raise HeadError(400, "white space round a length or a host")
            if name in seen:
                check_repeatable(name)
                seen[name].append(value)
                if name == b"cookie":
                    continue
            else:
                seen[name] = [value]
            if name == b"cookie":
                cookie_at = len(normal)
            elif name == b"te" and value.lower() != b"trailers":
                raise HeadError(400, "te has more than trailers")
        normal.append((name, value))
    if cookie_at >= 0:
        normal[cookie_at] = (b"cookie", b"; ".join(seen[b"cookie"]))
    return normal


def _authority(authority: bytes | None, hosts: list[bytes] | None) -> bytes:
    """
    Give what the client calls us: `:authority`, or Host; both must say the same (RFC 9113 §8.3.1).
    """
    if hosts is None:
        if authority is None:
            raise HeadError(400, "neither :authority nor a Host field")
        return authority
    if len(hosts) > 1 or (authority is not None and authority.lower() != hosts[0].lower()):
        raise HeadError(400, "more than one Host field, or another host than :authority's")
    return hosts[0] if authority is None else authority


def _content_length(lengths: list[bytes] | None, ends: bool, limits: LimitsConfig) -> int | None:
    if lengths is None:
        return None
    length = read_content_length(lengths)
    if 0 < limits.body_bytes < length:
        raise HeadError(413, "the content is too large")
    if ends and length:
        raise HeadError(400, "Content-Length without content")
    return length


def _request_line(method: bytes, target: bytes) -> bytes:
    """
    Give the line that the access log has, as nginx writes it.
    """
    return b"%b %b HTTP/2.0" % (method, target)
