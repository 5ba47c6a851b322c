"""
The ClientHello: what a client's first bytes say, before OpenSSL sees the connection.

Decides whether the bytes are a hello (its server name and ALPN names), the beginning of one (how many bytes it
takes to know more), or no hello (which alert, if any). Total: any bytes give one of the three, in linear time, and
what is no hello is known from its first wrong byte on. What the server name gets is not decided here, nor is
anything that OpenSSL checks again (versions, cipher suites, key shares).

RFC 8446 §4.1.2, §4.2, §5.1 (TLS 1.3), RFC 5246 §7.4.1.2 (TLS 1.2), RFC 6066 §3 (server_name), RFC 7301 (ALPN).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

import attrs

# Alerts (RFC 8446 §6; 120 from RFC 7301 §3.2).
UNEXPECTED_MESSAGE: Final = 10
RECORD_OVERFLOW: Final = 22
ILLEGAL_PARAMETER: Final = 47
DECODE_ERROR: Final = 50
INTERNAL_ERROR: Final = 80
UNRECOGNIZED_NAME: Final = 112
NO_APPLICATION_PROTOCOL: Final = 120

# On the wire, record headers included. Post-quantum hellos take 1.8 KiB, cut into one-byte records 11 KiB. What is
# peeked stays in the kernel's memory: without a cap, one client parked 16 MiB there.
MAX_HELLO_BYTES: Final = 16384
# RFC 6066 §3 sets no limit; a host name has at most 255 octets (RFC 1035 §2.3.4), and OpenSSL allows no more.
MAX_SERVER_NAME_BYTES: Final = 255

_MAX_FRAGMENT_BYTES: Final = 16384  # RFC 8446 §5.1
_RECORD_HEADER_BYTES: Final = 5
_HANDSHAKE_HEADER_BYTES: Final = 4
_MAX_SESSION_ID_BYTES: Final = 32
_EXTENSION_HEADER_BYTES: Final = 4
_SESSION_ID_OFFSET: Final = 34  # behind legacy_version and random
# With an empty session id, one cipher suite and one compression method.
_MIN_MESSAGE_BYTES: Final = _HANDSHAKE_HEADER_BYTES + _SESSION_ID_OFFSET + 1 + 4 + 2
_HANDSHAKE: Final = 22
_TLS_CONTENT_TYPES: Final = b"\x14\x15\x16\x17"  # RFC 8446 §5.1
_TLS_MAJOR: Final = 3
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_ALPN: Final = 16
_HOST_NAME: Final = 0

# content type, major and minor version, length | handshake type and length as one number
_first_nine = Struct(">BBxHI").unpack_from
_record_header = Struct(">BBxH").unpack_from
_extension_header = Struct(">HH").unpack_from
_uint16 = Struct(">H").unpack_from


@attrs.frozen
class ClientHello:
    """
    A whole hello: *server_name* as it was sent (None: none), and the *alpn* names in the client's order.
    """

    server_name: bytes | None
    alpn: tuple[bytes, ...]


@attrs.frozen
class NeedMore:
    """
    The beginning of a hello that takes at least *total_bytes*, counted from its first byte.
    """

    total_bytes: int


@attrs.frozen
class NotTls:
    """
    No hello, because of *reason*; *alert* is what TLS has for it, None where the peer does not speak TLS at all.
    """

    reason: str
    alert: int | None


class _Broken(Exception):  # noqa: N818 - not an error of ours: a value that leaves several frames at once
    """
    The hello's structure is wrong; never leaves this module.
    """

    def __init__(self, reason: str, alert: int | None = DECODE_ERROR) -> None:
        super().__init__(reason)
        self.answer = NotTls(reason, alert)


def parse(data: bytes) -> ClientHello | NeedMore | NotTls:
    """
    Tell what *data*, everything that the client has sent so far, is; bytes after the hello are left alone.
    """
    try:
        # Nearly every hello is one record: then the handshake header's length is the record's less its own four.
        if len(data) >= _RECORD_HEADER_BYTES + _HANDSHAKE_HEADER_BYTES:
            content_type, major, length, handshake = _first_nine(data)
            end = _RECORD_HEADER_BYTES + length
            if (
                content_type == _HANDSHAKE
                and major == _TLS_MAJOR
                and length >= _MIN_MESSAGE_BYTES
                and handshake == (_CLIENT_HELLO << 24) + length - _HANDSHAKE_HEADER_BYTES
                and end <= len(data)
                and end <= MAX_HELLO_BYTES
            ):
                return _client_hello(data, _RECORD_HEADER_BYTES + _HANDSHAKE_HEADER_BYTES, end)
        message = _reassemble(data[:MAX_HELLO_BYTES])
        if isinstance(message, NeedMore):
            return message
        return _client_hello(message, _HANDSHAKE_HEADER_BYTES, len(message))
    except _Broken as broken:
        return broken.answer


def plaintext_alert(alert: int) -> bytes:
    """
    Give the record that says *alert*, fatal, before any key is agreed (RFC 8446 §5.1, §6).
    """
    return b"\x15\x03\x03\x00\x02\x02" + bytes((alert,))


def _reassemble(data: bytes) -> bytes | NeedMore:
    """
    Give the handshake message out of its records (RFC 8446 §5.1), which may hold fragments as small as a byte.

    The bound in `NeedMore` counts the header of a record that must still come. So a client that sends one-byte
    records makes the bytes missing shrink by a sixth between two looks, not by one: about 50 looks, not thousands.
    """
    message = bytearray()
    at, size = 0, None
    while size is None or len(message) < size:
        length = _fragment_length(data, at)
        missing = (size or _HANDSHAKE_HEADER_BYTES) - len(message)
        if length is None:
            return _need(at + _RECORD_HEADER_BYTES + missing)
        begin, at = len(message), at + _RECORD_HEADER_BYTES + length
        message += data[at - length : at]
        if size is None:
            size = _message_size(message)
        missing = (size or _HANDSHAKE_HEADER_BYTES) - begin
        if size is not None and length > missing:
            raise _Broken("more in the record than the ClientHello", UNEXPECTED_MESSAGE)
        if at > len(data):
            return _need(at + (_RECORD_HEADER_BYTES + missing - length if missing > length else 0))
    return bytes(message)


def _need(total_bytes: int) -> NeedMore:
    if total_bytes > MAX_HELLO_BYTES:
        raise _Broken(f"a ClientHello of more than {MAX_HELLO_BYTES} bytes")
    return NeedMore(total_bytes)


def _fragment_length(data: bytes, at: int) -> int | None:
    """
    Give the length in the record header at *at*, or None while that is not all there.
    """
    if at + _RECORD_HEADER_BYTES > len(data):
        _check_record_header(data[at:], begins=at == 0)
        return None
    content_type, major, length = _record_header(data, at)
    if content_type != _HANDSHAKE or major != _TLS_MAJOR:
        _check_record_header(data[at : at + _RECORD_HEADER_BYTES], begins=at == 0)
    if not 0 < length <= _MAX_FRAGMENT_BYTES:
        # RFC 8446 §5.1: an empty handshake record MUST NOT be sent
        raise _Broken(f"a record of {length} bytes", RECORD_OVERFLOW if length else UNEXPECTED_MESSAGE)
    return int(length)


def _check_record_header(header: bytes, *, begins: bool) -> None:
    """
    Find what can't become a handshake record's *header*; *begins* when it is the first that the peer sent.
    """
    # Inside a hello, or with TLS's own content types and version, it is TLS gone wrong; else it is anything at all.
    speaks_tls = not begins or (header[:1] in _TLS_CONTENT_TYPES and header[1:2] == b"\x03")
    alert = UNEXPECTED_MESSAGE if speaks_tls else None
    if header and header[0] != _HANDSHAKE:
        raise _Broken("not a TLS handshake record", alert)
    if len(header) > 1 and header[1] != _TLS_MAJOR:
        raise _Broken("a record of no TLS version", alert)


def _message_size(message: bytearray) -> int | None:
    """
    Give the size of the handshake message with its header, or None while that is not all there.
    """
    if message and message[0] != _CLIENT_HELLO:
        raise _Broken("a handshake message that is no ClientHello", UNEXPECTED_MESSAGE)
    if len(message) < _HANDSHAKE_HEADER_BYTES:
        return None
    size = _HANDSHAKE_HEADER_BYTES + int.from_bytes(message[1:4])
    if size < _MIN_MESSAGE_BYTES:
        raise _Broken("shorter than any ClientHello")
    return size


def _client_hello(data: bytes, at: int, end: int) -> ClientHello:
    """
    Take the body of the hello, from *at* to *end*, apart (RFC 8446 §4.1.2).
    """
    session_id_bytes = data[at + _SESSION_ID_OFFSET]
    at += _SESSION_ID_OFFSET + 1 + session_id_bytes
    if session_id_bytes > _MAX_SESSION_ID_BYTES or at + 2 > end:
        raise _Broken("the session id has a wrong length")
    (suites_bytes,) = _uint16(data, at)
    at += 2 + suites_bytes
    if suites_bytes < 2 or suites_bytes % 2 or at + 1 > end:
        raise _Broken("the cipher suites have a wrong length")
    methods_bytes = data[at]
    at += 1 + methods_bytes
    if methods_bytes < 1 or at > end:
        raise _Broken("the compression methods have a wrong length")
    if at == end:
        return ClientHello(None, ())  # RFC 5246 §7.4.1.2: extensions may be absent
    if at + 2 > end or at + 2 + _uint16(data, at)[0] != end:
        raise _Broken("the extensions have a wrong length")
    return _extensions(data, at + 2, end)


def _extensions(data: bytes, at: int, end: int) -> ClientHello:
    """
    Go over the extensions from *at* to *end* (RFC 8446 §4.2) and read the two that matter here.
    """
    begins: dict[int, int] = {}
    count, last = 0, end - _EXTENSION_HEADER_BYTES
    while at <= last:
        kind, size = _extension_header(data, at)
        begins[kind] = at
        count += 1
        at += _EXTENSION_HEADER_BYTES + size
    # One look behind the loop finds a header cut short and a body too long: only the last can have either.
    if at != end:
        raise _Broken("an extension has a wrong length")
    if len(begins) != count:
        raise _Broken("an extension occurs twice", ILLEGAL_PARAMETER)
    server_name, alpn = begins.get(_SERVER_NAME), begins.get(_ALPN)
    return ClientHello(
        None if server_name is None else _host_name(_extension(data, server_name)),
        () if alpn is None else _protocol_names(_extension(data, alpn)),
    )


def _extension(data: bytes, at: int) -> bytes:
    _, size = _extension_header(data, at)
    return data[at + _EXTENSION_HEADER_BYTES : at + _EXTENSION_HEADER_BYTES + size]


def _host_name(extension: bytes) -> bytes:
    """
    Give the one entry of a server_name extension (RFC 6066 §3: one name a type, and one type exists).
    """
    name = extension[5:]
    if len(extension) < 5 or int.from_bytes(extension[:2]) != len(extension) - 2:
        raise _Broken("the server name list has a wrong length")
    if extension[2] != _HOST_NAME or int.from_bytes(extension[3:5]) != len(name):
        raise _Broken("the server name list is not one host name")
    if not 0 < len(name) <= MAX_SERVER_NAME_BYTES:
        raise _Broken("the server name is empty or too long")
    return name


def _protocol_names(extension: bytes) -> tuple[bytes, ...]:
    """
    Give the names of an ALPN extension (RFC 7301 §3.1): at least one, none empty.
    """
    end, at = len(extension), 2
    if end < 4 or int.from_bytes(extension[:2]) != end - 2:
        raise _Broken("the ALPN list has a wrong length")
    names = []
    while at < end:
        begin, at = at + 1, at + 1 + extension[at]
        if at == begin or at > end:
            raise _Broken("an ALPN name has a wrong length")
        names.append(extension[begin:at])
    return tuple(names)
