"""
HPACK (RFC 7541) on jh2's coders, which are Rust where its wheel has them.

Decides what a header block may cost. jh2's decoder keeps to a limit of bytes while it decodes, but counts no field that
is empty, and where a block ends too early it panics and prints a stack trace (5.0.15); so a block's shape is walked
through first. It also forgives table sizes and Huffman's padding where they may not be, which is looked at here. jh2's
`H2Connection` isn't used: see docs/decisions.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from zlib import adler32

from jh2.hpack.huffman_constants import REQUEST_CODES_LENGTH

from sptls.proxy.http2_frames import ErrorCode, Http2Error

if TYPE_CHECKING:
    from sptls.proxy.fields import Fields

# RFC 7541 §4.2: the size that both sides begin with. Ours stays; of a client's larger one nothing is gained here.
TABLE_BYTES: Final = 4096
# As many as `head.MAX_FIELDS` and a cookie in a hundred crumbs, several times over.
MAX_FIELDS: Final = 1000

# Never indexed (RFC 7541 §7.1.3): secrets, and what no other answer has again.
_NEVER_INDEXED: Final = frozenset({b"set-cookie", b"location"})
# An integer of more octets than these is over any length there is (RFC 7541 §5.1).
_MAX_INTEGER_OCTETS: Final = 4
# How many bits each octet has in Huffman's code (RFC 7541 appendix B), for `bytes.translate`.
_CODE_BITS: Final = bytes(REQUEST_CODES_LENGTH[:256])
# Up to so many octets, all of the longest code, `adler32` tells their sum.
_ADLER_OCTETS: Final = 65520 // max(_CODE_BITS)
# A string in that code: which field's, its name (0) or value (1), and its last octet.
_Coded = tuple[int, int, int]


def coders(*modules: str) -> Any:
    """
    Give the first of *modules* that is there: of jh2's two pairs of coders, which differ in nothing but speed.
    """
    *better, last = modules
    for module in better:
        try:
            return import_module(module)
        except ImportError:  # jh2's wheel for platforms that it has no Rust for
            continue
    return import_module(last)


_CODERS: Final = coders("jh2._hazmat", "jh2.hpack")


class FieldDecoder:
    """
    The decoder of one connection; a header list has at most *list_bytes*, names and values.
    """

    __slots__ = ("_decoder",)

    def __init__(self, list_bytes: int) -> None:
        self._decoder = _CODERS.Decoder(list_bytes)

    def decode(self, block: bytes) -> Fields:
        """
        Give the fields of *block*, in their order.

        Raises:
            Http2Error: the block is broken or too large; the decoder can't be used any more.
        """
        coded = walk(block)
        try:
            fields = [(field[0], field[1]) for field in self._decoder.decode(block, raw=True)]
        except _CODERS.OversizedHeaderListError:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "a header list is too large") from None
        except _CODERS.HPACKError:
            raise Http2Error(ErrorCode.COMPRESSION_ERROR, "a header block can't be decoded") from None
        for at, part, last_octet in coded:
            _check_padding(fields[at][part], last_octet)
        return fields


class FieldEncoder:
    """
    The encoder of one connection.
    """

    __slots__ = ("_encoder", "_table_bytes")

    def __init__(self) -> None:
        self._encoder, self._table_bytes = _CODERS.Encoder(), TABLE_BYTES

    def encode(self, fields: Fields) -> bytes:
        """
        Give the block of *fields*, whose names are in lower case.
        """
        block: bytes = self._encoder.encode([(name, value, name in _NEVER_INDEXED) for name, value in fields])
        return block

    def shrink(self, table_bytes: int) -> None:
        """
        Use no more than *table_bytes* of the client's memory from now on; a wish to use more is not followed.
        """
        if table_bytes < self._table_bytes:
            self._table_bytes = self._encoder.header_table_size = table_bytes


def walk(block: bytes) -> list[_Coded]:
    """
    See that *block* is made of whole representations, and not of too many (RFC 7541 §6); give its strings in Huffman's.

    Raises:
        Http2Error: it isn't.
    """
    at, end, fields, sizes = 0, len(block), 0, 0
    coded: list[_Coded] = []
    try:
        while at < end:
            first = block[at]
            if first >= 0x80:  # an indexed field
                at = at + 1 if first != 0xFF else _past_integer(block, at)
            elif 0x20 <= first < 0x40:  # a new table size
                sizes += 1
                at = at + 1 if first != 0x3F else _past_integer(block, at)
                if fields:
                    raise Http2Error(ErrorCode.COMPRESSION_ERROR, "a table size behind a field")  # RFC 7541 §4.2
                continue
            else:
                at = _past_literal(block, at, first, fields, coded)
            fields += 1
    except IndexError:
        at = end + 1
    if at > end:
        raise Http2Error(ErrorCode.COMPRESSION_ERROR, "a header block ends too early")
    if fields + sizes > MAX_FIELDS:
        raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "a header block has too many fields")
    return coded


def _past_literal(block: bytes, at: int, first: int, field: int, coded: list[_Coded]) -> int:
    """
    Give where the literal at *at* ends, whose name is indexed, or a string too; add what is coded to *coded*.
    """
    most = 0x3F if first >= 0x40 else 0x0F
    index = first & most
    if index == 0:
        start, at = at + 1, _past_string(block, at + 1)
        if block[start] & 0x80:
            coded.append((field, 0, block[at - 1]))
    elif index == most:
        at = _past_integer(block, at)
    else:
        at += 1
    start, at = at, _past_string(block, at)
    if block[start] & 0x80:
        coded.append((field, 1, block[at - 1]))
    return at


def _check_padding(text: bytes, last_octet: int) -> None:
    """
    Refuse padding that isn't the beginning of the end-of-string symbol, which is ones (RFC 7541 §5.2).
    """
    bits = text.translate(_CODE_BITS)
    # Adler-32's lower half is 1 and the sum of all octets modulo 65521 (RFC 1950 §8.2), at a tenth of `sum`'s price.
    coded_bits = (adler32(bits) & 0xFFFF) - 1 if len(bits) < _ADLER_OCTETS else sum(bits)
    ones = (1 << -coded_bits % 8) - 1
    if last_octet & ones != ones:
        raise Http2Error(ErrorCode.COMPRESSION_ERROR, "a string in a header block is padded with something else")


def _past_string(block: bytes, at: int) -> int:
    length = block[at] & 0x7F
    if length < 0x7F:
        return at + 1 + length
    past = _past_integer(block, at)
    for octet in range(past - at - 1):
        length += (block[at + 1 + octet] & 0x7F) << (7 * octet)
    return past + length


def _past_integer(block: bytes, at: int) -> int:
    """
    Give where the integer ends whose prefix at *at* is full.
    """
    for past in range(at + 1, at + 1 + _MAX_INTEGER_OCTETS):
        if block[past] < 0x80:
            return past + 1
    raise Http2Error(ErrorCode.COMPRESSION_ERROR, "a header block has an integer without end")
