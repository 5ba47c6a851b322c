"""
What requests' and responses' heads share: fields, and what these say about length and persistence (RFC 9112 §5, 6, 9).

Internal to `head`: a broken head is a `HeadError` exception in here, and becomes a `Malformed` value there.
"""

from __future__ import annotations

from typing import Final

Fields = list[tuple[bytes, bytes]]
Seen = dict[bytes, list[bytes]]

LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = b"0123456789"
# RFC 9110 §5.6.2. Tables like these are deleted from a text; what is left over is what doesn't belong there.
TOKEN = LETTERS + DIGITS + b"!#$%&'*+-.^_`|~"
# Everything but line ends, and NUL, VT and FF, which other readers take for an end or for a space.
NO_END = bytes(byte for byte in range(0x100) if byte not in b"\r\n\0\v\f")
# What a request may say once only, beside Host and what frames it: of two, the service might go by either. nginx
# refuses a second one, equal or not (1.22's `ngx_http_process_unique_header_line`), and takes all others again and
# again.
ONCE: Final = frozenset(
    {
        b"authorization",
        b"content-range",
        b"expect",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
    }
)
# 19 digits hold every length there is (2**63 has 19); more are an attack on somebody's integers.
_MAX_LENGTH_DIGITS = 19


class HeadError(Exception):
    """
    The head is refused with *status*, because of *reason*, a fixed sentence.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status, self.reason = status, reason


def read_fields(head: bytes, lines: list[bytes], noted: frozenset[bytes]) -> tuple[Fields, Seen]:
    """
    Give the fields of *head*, cut into *lines*, and the values of those in *noted* by lower-case name.

    Controls in values stay, but for NUL, CR, LF, VT and FF (RFC 9110 §5.5 allows it; nginx and h11 do so): analytics
    scripts write them into cookies.
    """
    # What the table leaves over must be the line ends, all of them and nothing else.
    if head.translate(None, NO_END) != b"\r\n" * (len(lines) - 1):
        raise HeadError(400, "a bare CR or LF, or a forbidden control character")
    del lines[0]
    fields: Fields = []
    seen: Seen = {}
    names = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name:
            raise HeadError(400, "a field has no name or no colon")
        value = value.strip()
        fields.append((name, value))
        name = name.lower()
        names.append(name)
        if name in noted:
            if name in seen:
                check_repeatable(name)
                seen[name].append(value)
            else:
                seen[name] = [value]
    # Also where a line starts with a space (obs-fold, RFC 9112 §5.2) or has one before the colon (§5.1).
    if b"".join(names).translate(None, TOKEN):
        raise HeadError(400, "a field name isn't a token")
    return fields, seen


def check_repeatable(name: bytes) -> None:
    """
    Refuse a second field called *name* (in lower case) where there may be one.
    """
    if name in ONCE:
        raise HeadError(400, "a field that may be there once is there twice")


def read_content_length(lengths: list[bytes]) -> int:
    """
    Give the one Content-Length; two equal ones, or a list in one, are refused as well.
    """
    length = lengths[0]
    # bytes.isdigit knows ASCII digits only.
    if len(lengths) > 1 or not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
        raise HeadError(400, "Content-Length isn't one number")
    return int(length)


def read_persistence(version: bytes, connection: list[bytes] | None) -> tuple[bool, tuple[bytes, ...]]:
    """
    Give whether the connection stays (RFC 9112 §9.3), and the other connection options.
    """
    if connection is None or connection == [b"keep-alive"]:
        return version == b"1.1" or connection is not None, ()
    if connection == [b"close"]:
        return False, ()
    options = [option.strip() for option in b",".join(connection).lower().split(b",")]
    keep_alive = b"close" not in options and (version == b"1.1" or b"keep-alive" in options)
    return keep_alive, tuple(option for option in options if option not in {b"close", b"keep-alive", b""})
