"""
The ClientHello parser: real hellos, hellos in the shape of browsers, hellos in pieces, and anything else.
"""

from __future__ import annotations

import itertools
import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from sptls.tls.client_hello import (
    DECODE_ERROR,
    ILLEGAL_PARAMETER,
    MAX_HELLO_BYTES,
    RECORD_OVERFLOW,
    UNEXPECTED_MESSAGE,
    UNRECOGNIZED_NAME,
    ClientHello,
    NeedMore,
    NotTls,
    parse,
    plaintext_alert,
)

Extensions = tuple[tuple[int, bytes], ...]

NAME = b"click.example.com"
HTTP_NAMES = (b"h2", b"http/1.1")


def vector(size_bytes: int, content: bytes) -> bytes:
    """
    Give *content* behind its length in *size_bytes* bytes (RFC 8446 §3.4).
    """
    return len(content).to_bytes(size_bytes) + content


def server_name(name: bytes) -> tuple[int, bytes]:
    """
    Give a server_name extension.
    """
    return 0, vector(2, b"\x00" + vector(2, name))


def alpn(*names: bytes) -> tuple[int, bytes]:
    """
    Give an ALPN extension.
    """
    return 16, vector(2, b"".join(vector(1, name) for name in names))


@attrs.frozen
class Shape:
    """
    A ClientHello to be built; the defaults are the shortest usual one.
    """

    extensions: Extensions | None = (server_name(NAME), alpn(*HTTP_NAMES))
    session_id: bytes = bytes(32)
    suites: bytes = b"\x13\x01\x13\x02"
    methods: bytes = b"\x00"

    def body(self) -> bytes:
        """
        Give it without headers (RFC 8446 §4.1.2).
        """
        fields = vector(1, self.session_id) + vector(2, self.suites) + vector(1, self.methods)
        extensions = b"" if self.extensions is None else vector(2, extension_bytes(self.extensions))
        return b"\x03\x03" + bytes(32) + fields + extensions

    def message(self) -> bytes:
        """
        Give it as a handshake message.
        """
        return b"\x01" + vector(3, self.body())

    def record(self) -> bytes:
        """
        Give it in one record.
        """
        return record(self.message())


def extension_bytes(extensions: Extensions) -> bytes:
    """
    Give *extensions* as they stand in a hello, without their common length (RFC 8446 §4.2).
    """
    return b"".join(struct.pack(">H", kind) + vector(2, content) for kind, content in extensions)


def record(fragment: bytes) -> bytes:
    """
    Give *fragment* as a handshake record (RFC 8446 §5.1).
    """
    return b"\x16\x03\x01" + vector(2, fragment)


def records(message: bytes, *cuts: int) -> bytes:
    """
    Give *message* in records that end at *cuts*.
    """
    edges = [0, *sorted(cuts), len(message)]
    return b"".join(record(message[begin:end]) for begin, end in itertools.pairwise(edges))


def chrome(name: bytes = NAME) -> Shape:
    """
    Give a hello in the shape of Chrome 131: GREASE (RFC 8701), X25519MLKEM768 and X25519 shares, ECH GREASE.
    """
    shares = b"\x4a\x4a\x00\x01\x00" + b"\x11\xec" + vector(2, bytes(1216)) + b"\x00\x1d" + vector(2, bytes(32))
    ech = b"\x00\x00\x01\x00\x01\x2a" + vector(2, bytes(32)) + vector(2, bytes(208))
    return Shape(
        suites=bytes.fromhex("caca130113021303c02bc02fc02cc030cca9cca8c013c014009c009d002f0035"),
        extensions=(
            (0x2A2A, b""),
            (51, vector(2, shares)),
            (23, b""),
            (13, vector(2, bytes.fromhex("04030804040105030805050108060601"))),
            (65281, b"\x00"),
            (10, vector(2, bytes.fromhex("4a4a11ec001d00170018"))),
            (45, b"\x01\x01"),
            server_name(name),
            (5, b"\x01\x00\x00\x00\x00"),
            (43, vector(1, bytes.fromhex("dada03040303"))),
            (17613, vector(2, b"\x02h2")),
            (27, b"\x02\x00\x02"),
            (65037, ech),
            (11, b"\x01\x00"),
            (18, b""),
            (35, b""),
            alpn(*HTTP_NAMES),
            (0x3A3A, b"\x00"),
        ),
    )


def firefox(name: bytes = NAME) -> Shape:
    """
    Give a hello in the shape of Firefox 135: three shares, delegated credentials, record size limit, padding.
    """
    shares = (
        b"\x11\xec" + vector(2, bytes(1216)) + b"\x00\x1d" + vector(2, bytes(32)) + b"\x00\x17" + vector(2, bytes(65))
    )
    return Shape(
        suites=bytes.fromhex("130113031302c02bc02fcca9cca8c02cc030c00ac009c013c014009c009d002f0035"),
        extensions=(
            server_name(name),
            (23, b""),
            (65281, b"\x00"),
            (10, vector(2, bytes.fromhex("11ec001d00170018001901000101"))),
            (11, b"\x01\x00"),
            (35, b""),
            alpn(*HTTP_NAMES),
            (5, b"\x01\x00\x00\x00\x00"),
            (34, vector(2, bytes.fromhex("0403050306030203"))),
            (18, b""),
            (51, vector(2, shares)),
            (43, vector(1, bytes.fromhex("03040303"))),
            (13, vector(2, bytes.fromhex("040305030603080408050806040105010601"))),
            (45, b"\x01\x01"),
            (28, b"\x40\x01"),
            (27, b"\x06\x00\x01\x00\x02\x00\x03"),
            (65037, b"\x00\x00\x01\x00\x03\x10" + vector(2, bytes(32)) + vector(2, bytes(239))),
            (21, bytes(180)),
        ),
    )


def openssl_hello(name: bytes | None, offered: tuple[bytes, ...], version: int) -> bytes:
    """
    Give what OpenSSL sends first.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(version)
    if offered:
        context.set_alpn_protos(list(offered))
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    if name is not None:
        connection.set_tlsext_host_name(name)
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)


WHOLE = ClientHello(NAME, HTTP_NAMES)
SHAPES = {
    "chrome": chrome().message(),
    "firefox": firefox().message(),
    "tls 1.2": openssl_hello(NAME, HTTP_NAMES, SSL.TLS1_2_VERSION)[5:],
    "tls 1.3": openssl_hello(NAME, HTTP_NAMES, SSL.TLS1_3_VERSION)[5:],
}
every_shape = pytest.mark.parametrize("message", SHAPES.values(), ids=SHAPES)


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("name", [NAME, b"Click.Example.COM", b"xn--bcher-kva.example", None])
@pytest.mark.parametrize("offered", [(), (b"http/1.1",), HTTP_NAMES, (b"acme-tls/1",)])
def test_openssl(version: int, name: bytes | None, offered: tuple[bytes, ...]) -> None:
    """
    What OpenSSL says of itself is read as it was said: the name raw, the ALPN names in order.
    """
    assert ClientHello(name, offered) == parse(openssl_hello(name, offered, version))


@every_shape
def test_every_prefix(message: bytes) -> None:
    """
    Every beginning of a hello needs more than is there, and never more than there is.
    """
    whole = record(message)
    for size in range(len(whole)):
        answer = parse(whole[:size])
        assert isinstance(answer, NeedMore)
        assert size < answer.total_bytes <= len(whole)


@every_shape
def test_two_records(message: bytes) -> None:
    """
    A hello may be cut into two records anywhere, in the handshake header too.
    """
    assert {WHOLE} == {parse(records(message, cut)) for cut in range(1, len(message))}


@every_shape
def test_one_byte_records(message: bytes) -> None:
    """
    Records of one byte each are still a hello.
    """
    assert parse(records(message, *range(1, len(message)))) == WHOLE


@given(st.sampled_from([*SHAPES.values()]), st.sets(st.integers(1, 1500), max_size=40), st.integers(0, 10000))
def test_prefixes_of_records(message: bytes, cuts: set[int], size: int) -> None:
    """
    However a hello is cut into records, a beginning of it needs more, and the whole is whole.
    """
    whole = records(message, *(cut for cut in cuts if cut < len(message)))
    answer = parse(whole[:size])
    if size >= len(whole):
        assert answer == WHOLE
    else:
        assert isinstance(answer, NeedMore)
        assert size < answer.total_bytes <= len(whole)


def test_few_looks() -> None:
    """
    A reader who waits for what was asked for looks a few dozen times at the worst, not once a record.
    """
    whole = records(SHAPES["tls 1.3"], *range(1, len(SHAPES["tls 1.3"])))
    looks, answer = 1, parse(b"")
    while isinstance(answer, NeedMore):
        looks, answer = looks + 1, parse(whole[: answer.total_bytes])
    assert answer == WHOLE
    assert looks < 60


@every_shape
def test_what_follows(message: bytes) -> None:
    """
    Bytes behind the hello (early data) are none of its business.
    """
    assert parse(record(message) + b"\x17\x03\x03\x00\x10early") == WHOLE


def test_no_extensions() -> None:
    """
    A hello without extensions, or with an empty list of them, has neither name nor protocols.
    """
    expected = ClientHello(None, ())
    assert expected == parse(Shape(extensions=None).record())
    assert expected == parse(Shape(extensions=()).record())


def test_longest_name() -> None:
    """
    A name of 255 bytes is taken as it is.
    """
    name = b"a" * 255
    assert ClientHello(name, ()) == parse(Shape(extensions=(server_name(name),)).record())


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: click.example.com\r\n\r\n",
        b"G",
        b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10",
        b"\x00",
        b"\x16\x05",
        b"\x16\x02\x00",
        b"\x15\x00",
        b"\xff" * 2000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    ],
    ids=["http", "G", "sslv2", "zero", "version 5", "version 2", "not an alert", "ff", "ssh", "proxy"],
)
def test_not_tls_at_all(data: bytes) -> None:
    """
    A peer that does not speak TLS is found out at its first wrong byte, and told nothing.
    """
    answer = parse(data)
    assert isinstance(answer, NotTls)
    assert answer.alert is None


@pytest.mark.parametrize(
    ("data", "alert"),
    [
        (b"\x17\x03\x03\x00\x05hello", UNEXPECTED_MESSAGE),
        (b"\x15\x03\x03\x00\x02\x02\x28", UNEXPECTED_MESSAGE),
        (b"\x16\x03\x01\x00\x00", UNEXPECTED_MESSAGE),
        (b"\x16\x03\x01\x40\x01", RECORD_OVERFLOW),
        (b"\x16\x03\x01\x00\x10\x02", UNEXPECTED_MESSAGE),
        (record(b"\x01\x00") + b"\x15\x03\x03", UNEXPECTED_MESSAGE),
        (record(b"\x01\x00") + b"\x16\x04", UNEXPECTED_MESSAGE),
        (record(b"\x01\x00") + record(b""), UNEXPECTED_MESSAGE),
        (record(Shape().message() + b"\x01"), UNEXPECTED_MESSAGE),
        (records(Shape().message() + b"\x01", 20), UNEXPECTED_MESSAGE),
        (record(b"\x01\x00\x00\x28" + bytes(40)), DECODE_ERROR),
        (record(b"\x01\x00\x00\x00"), DECODE_ERROR),
        (record(b"\x00\xff\xff") + b"\xff", UNEXPECTED_MESSAGE),
        (record(b"\x01\x00\x40\x00"), DECODE_ERROR),
        (record(b"\x01\xff\xff\xff"), DECODE_ERROR),
    ],
)
def test_tls_gone_wrong(data: bytes, alert: int) -> None:
    """
    A peer that speaks TLS, but not with a hello or not as RFC 8446 §5.1 has it, gets the alert for it.
    """
    answer = parse(data)
    assert isinstance(answer, NotTls)
    assert alert == answer.alert


def test_largest() -> None:
    """
    A hello may fill the cap, headers counted, and no more; the records that it comes in count too.
    """
    bare = Shape(extensions=((21, b""),))
    padding = MAX_HELLO_BYTES - len(bare.record())
    assert ClientHello(None, ()) == parse(Shape(extensions=((21, bytes(padding)),)).record())
    larger = Shape(extensions=((21, bytes(padding + 1)),))
    assert isinstance(parse(larger.record()), NotTls)
    assert isinstance(parse(records(larger.message(), 5)), NotTls)


def test_too_many_records() -> None:
    """
    Small records with their headers may not add up to more than the cap either.
    """
    message = Shape(extensions=((21, bytes(4000)),)).message()
    answer = parse(records(message, *range(1, len(message))))
    assert isinstance(answer, NotTls)
    assert answer.alert == DECODE_ERROR


def shortened(shape: Shape, by: int) -> bytes:
    """
    Give the hello without its last *by* bytes, as one whole record.
    """
    return record(b"\x01" + vector(3, shape.body()[:-by]))


LIST = vector(2, b"\x00" + vector(2, NAME))


@pytest.mark.parametrize(
    "data",
    [
        Shape(session_id=bytes(33)).record(),
        record(b"\x01" + vector(3, b"\x03\x03" + bytes(32) + b"\x20" + bytes(8))),
        record(b"\x01" + vector(3, b"\x03\x03" + bytes(32) + b"\x05" + bytes(6))),
        Shape(suites=b"").record(),
        Shape(suites=b"\x13\x01\x13").record(),
        record(b"\x01" + vector(3, b"\x03\x03" + bytes(33) + b"\x00\x04" + bytes(4))),
        Shape(methods=b"").record(),
        record(b"\x01" + vector(3, b"\x03\x03" + bytes(33) + b"\x00\x02\x13\x01\x02\x00")),
        record(b"\x01" + vector(3, Shape(extensions=None).body() + b"\x00")),
        record(b"\x01" + vector(3, Shape(extensions=None).body() + b"\x00\x01")),
        record(b"\x01" + vector(3, Shape().body() + b"\x00")),
        record(b"\x01" + vector(3, Shape(extensions=None).body() + vector(2, b"\x00\x15\x00"))),
        record(b"\x01" + vector(3, Shape(extensions=None).body() + vector(2, b"\x00\x15\x00\x01"))),
        shortened(Shape(), 1),
    ],
)
def test_broken_structure(data: bytes) -> None:
    """
    A length that does not fit what it is the length of is a decode_error.
    """
    answer = parse(data)
    assert isinstance(answer, NotTls)
    assert answer.alert == DECODE_ERROR


@pytest.mark.parametrize(
    "extension",
    [
        (0, b""),
        (0, b"\x00\x00"),
        (0, b"\x00\x03\x00\x00\x00"),
        (0, LIST + b"\x00"),
        (0, LIST[:-1]),
        (0, vector(2, b"\x01" + vector(2, NAME))),
        (0, vector(2, (b"\x00" + vector(2, NAME)) * 2)),
        (0, vector(2, b"\x00" + vector(2, NAME)[:-1])),
        server_name(b"a" * 256),
        (16, b""),
        (16, b"\x00\x00"),
        alpn(),
        alpn(b""),
        alpn(b"h2", b""),
        (16, vector(2, b"\x03h2")),
        (16, vector(2, b"\x02h2\x02")),
        (16, vector(2, b"\x02h2") + b"\x00"),
    ],
)
def test_broken_extension(extension: tuple[int, bytes]) -> None:
    """
    A server name list is exactly one host name, an ALPN list is one name or more, none of them empty.
    """
    answer = parse(Shape(extensions=(extension,)).record())
    assert isinstance(answer, NotTls)
    assert answer.alert == DECODE_ERROR


@pytest.mark.parametrize("twice", [server_name(NAME), alpn(b"h2"), (0x2A2A, b"")])
def test_extension_twice(twice: tuple[int, bytes]) -> None:
    """
    The same extension twice is an illegal_parameter (RFC 8446 §4.2), whichever it is.
    """
    answer = parse(Shape(extensions=(twice, (23, b""), twice)).record())
    assert isinstance(answer, NotTls)
    assert answer.alert == ILLEGAL_PARAMETER


ANSWERS = (ClientHello, NeedMore, NotTls)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """
    Any bytes are a hello, the beginning of one, or no hello; never an exception.
    """
    assert isinstance(parse(data), ANSWERS)


@given(st.binary(max_size=300))
def test_any_body(body: bytes) -> None:
    """
    Any bytes in well-formed headers give a hello or no hello: nothing more would change it.
    """
    assert isinstance(parse(record(b"\x01" + vector(3, body))), (ClientHello, NotTls))


@given(st.binary(max_size=200))
def test_any_extensions(content: bytes) -> None:
    """
    Any bytes as extensions give a hello or no hello.
    """
    body = Shape(extensions=None).body() + vector(2, content)
    assert isinstance(parse(record(b"\x01" + vector(3, body))), (ClientHello, NotTls))


@given(st.sampled_from([*SHAPES.values()]), st.data())
def test_mutations(message: bytes, data: st.DataObject) -> None:
    """
    A hello with bytes changed, removed and added gives one of the three answers, and asks for more than there is.
    """
    mutated = bytearray(record(message))
    for at in data.draw(st.lists(st.integers(0, len(mutated) - 1), min_size=1, max_size=6)):
        mutated[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    answer = parse(bytes(mutated))
    assert isinstance(answer, ANSWERS)
    if isinstance(answer, NeedMore):
        assert len(mutated) < answer.total_bytes <= MAX_HELLO_BYTES


def test_alert() -> None:
    """
    OpenSSL understands the alert as the fatal one that it is.
    """
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    connection.bio_write(plaintext_alert(UNRECOGNIZED_NAME))
    with pytest.raises(SSL.Error, match="unrecognized name"):
        connection.do_handshake()
