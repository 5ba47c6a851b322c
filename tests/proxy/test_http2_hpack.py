from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jh2.hpack.hpack import Decoder, Encoder

from sptls.proxy.http2_frames import Http2Error
from sptls.proxy.http2_hpack import MAX_FIELDS, FieldDecoder, FieldEncoder, coders, walk
from tests.proxy.http2_client import CALM, COMPRESSION_ERROR

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=140).map(str.encode)
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=300)), max_size=12)


def _code(block: bytes) -> int:
    with pytest.raises(Http2Error) as caught:
        FieldDecoder(100000).decode(block)
    return caught.value.code


@given(lists=st.lists(FIELDS, max_size=4), huffman=st.booleans())
def test_decodes_what_another_encoder_wrote(lists: list[list[tuple[bytes, bytes]]], huffman: bool) -> None:
    """
    Block after block, with one table for all of them.
    """
    encoder, decoder = Encoder(), FieldDecoder(100000)
    for fields in lists:
        assert fields == decoder.decode(encoder.encode(fields, huffman=huffman))


@given(lists=st.lists(FIELDS, max_size=4))
def test_another_decoder_reads_what_is_encoded(lists: list[list[tuple[bytes, bytes]]]) -> None:
    """
    Clients have other coders.
    """
    encoder, decoder = FieldEncoder(), Decoder()
    for fields in lists:
        assert fields == [tuple(field) for field in decoder.decode(encoder.encode(fields), raw=True)]


@given(block=st.binary(max_size=60))
@example(block=b"@")
@example(block=b"\x00\x01a")
@example(block=b"\xff\x80")
@example(block=b"\x3f")
@example(block=b"\x00\x01a\x7f\x80\x01")
def test_any_block_gives_fields_or_the_error(block: bytes) -> None:
    """
    Nothing else comes out of it, in particular no panic, which jh2's decoder has for blocks that end too early.
    """
    try:
        fields = FieldDecoder(100000).decode(block)
    except Http2Error:
        return
    assert fields == [tuple(field) for field in Decoder(100000).decode(block, raw=True)]


@given(fields=FIELDS, cut=st.integers(0, 5000), huffman=st.booleans())
def test_cut_block_is_no_block(fields: list[tuple[bytes, bytes]], cut: int, huffman: bool) -> None:
    """
    A block that was cut off holds fewer fields, or is refused.
    """
    block = Encoder().encode(fields, huffman=huffman)
    try:
        some = FieldDecoder(100000).decode(block[:cut])
    except Http2Error as error:
        assert COMPRESSION_ERROR == error.code  # noqa: PT017 - either is fine
    else:
        assert fields[: len(some)] == some


@pytest.mark.parametrize(
    "block",
    [
        b"@",  # nothing after the representation's first octet
        b"\x00\x05ab",  # a name that is longer than the block
        b"\x00\x01a\x05ab",  # a value that is
        b"\x00\x01a\x7f\xff\x01" + b"x" * 254,  # one octet too few
        b"\xff\xff\xff\xff\xff\xff\x01",  # an integer without end
        b"\x80",  # index 0
        b"\xbe",  # an entry that isn't there
        b"\x3f\xe1\xff\x03",  # a table of 65,536
        b"\x00\x01a\x82\xff\xff",  # no Huffman code
        b"\x00\x01a\x81\x18",  # padding of zeros
        b"\x00\x01a\x81\x19",  # padding of zeros and a one
        b"\x00\x81\x18\x01a",  # a name's
        b"\x82\x20",  # a table size behind a field
    ],
)
def test_broken_block_is_refused(block: bytes) -> None:
    """
    The connection ends: the table can't be trusted any more.
    """
    assert COMPRESSION_ERROR == _code(block)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x20\x82",
        b"\x3f\xe1\x1f\x82",  # a table of 4,096
        b"\x0f\x2f\x01a\x1f\x2f\x01b",  # a name by an index of two octets
        b"\x7f\x00\x01a\xff\x00",
        b"\x00\x01a\x7f\x80\x01" + b"x" * 255,
        b"\x00\x01a\x7f\x00" + b"x" * 127,
        b"\x10\x01a\x00",
        b"\x44\x01a",
    ],
)
def test_whole_block_is_walked_through(block: bytes) -> None:
    """
    Every representation there is, with integers of one octet and of more; nothing in them is in Huffman's code.
    """
    assert [] == walk(block)


def test_padding_of_ones_is_fine() -> None:
    """
    As many as there are to the end of the octet, and none where it ends there (RFC 7541 §5.2).
    """
    block = b"\x00\x81\x1f\x81\x1f\x04\x85" + Encoder().encode([(b":path", b"00000000")])[-5:]
    assert [(b"a", b"a"), (b":path", b"00000000")] == FieldDecoder(1000).decode(block)


@pytest.mark.parametrize("text", [b"0" * 2183, b"\n" * 2183, b"\n" * 2184 + b"0", b"0" * 20000 + b"\n"])
def test_padding_of_long_strings_is_looked_at(text: bytes) -> None:
    """
    Also where the octets of the longest code, of 30 bits, are very many.
    """
    block = Encoder().encode([(b"a", text)])
    assert [(b"a", text)] == FieldDecoder(100000).decode(block)
    assert COMPRESSION_ERROR == _code(block[:-1] + bytes((block[-1] ^ 1,)))


def test_bomb_is_defused() -> None:
    """
    4,000 bytes that are referred to 16,000 times are not decoded to the end.
    """
    name = Encoder().encode([(b"x-a", b"a" * 4000)], huffman=False)
    assert CALM == _code(name + b"\xbe" * 900)


def test_many_empty_fields_are_too_many() -> None:
    """
    The decoder's own limit counts bytes, and these have none.
    """
    assert CALM == _code(b"\x00\x00\x00" * (MAX_FIELDS + 1))
    assert MAX_FIELDS == len(FieldDecoder(100000).decode(b"\x00\x00\x00" * MAX_FIELDS))


def test_secrets_and_what_comes_once_are_not_indexed() -> None:
    """
    A cookie leaves no trace in either table (RFC 7541 §7.1.3); an ordinary field is a reference the second time.
    """
    encoder = FieldEncoder()
    fields = [(b"set-cookie", b"secret=1"), (b"x-robots-tag", b"noindex")]
    first, second = encoder.encode(fields), encoder.encode(fields)
    decoder = Decoder()
    decoder.decode(first)
    assert [False, True] == [field.indexable for field in decoder.decode(second)]
    assert len(first) - len(b"x-robots-tag") * 5 // 8 - 4 > len(second) > len(b"secret=1") * 5 // 8


def test_table_shrinks_as_the_client_wants_and_never_grows() -> None:
    """
    A client may have no memory for it; more than 4,096 bytes of it aren't wanted.
    """
    encoder, decoder = FieldEncoder(), Decoder()
    encoder.shrink(65536)
    decoder.decode(encoder.encode([(b"x-a", b"b")]))
    encoder.shrink(0)
    encoder.shrink(4096)
    decoder.max_allowed_table_size = 0
    assert [(b"x-a", b"b")] == decoder.decode(encoder.encode([(b"x-a", b"b")]), raw=True)
    assert 0 == decoder.header_table_size


def test_coders_are_pure_python_where_there_is_no_rust() -> None:
    """
    jh2 has wheels without its extension.
    """
    assert coders("jh2.not_there", "jh2.hpack").Decoder is Decoder
