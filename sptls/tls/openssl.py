"""
OpenSSL's calls on one connection, at the price of the call.

pyOpenSSL raises an exception where a call would have to wait, which is what half of all calls come to, asks for the
error after every call that succeeded, and makes a buffer for every read: together more than all else that sptls does
for a click. So the calls that every click takes go to the library that pyOpenSSL stands on (cryptography's `Binding`);
whatever is not ordinary, every failure above all, is pyOpenSSL's to tell.

For the reactor's thread only: all connections read into one buffer.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The plaintext of a record (RFC 8446 §5.1): a read of this size empties it.
RECORD_BYTES: Final = 16384


class Blocked(enum.Enum):
    """
    Why a call did nothing: the socket has to be readable or writable first, or, for a read, the peer said close_notify.
    """

    READ = "read"
    WRITE = "write"
    CLOSED = "closed"


# An enum's member costs a look-up of Python's own each time.
WANTS_READ: Final = Blocked.READ
WANTS_WRITE: Final = Blocked.WRITE
CLOSED: Final = Blocked.CLOSED

_lib, _ffi = Binding.lib, Binding.ffi
_do_handshake, _ssl_read, _ssl_write, _ssl_shutdown = (
    _lib.SSL_do_handshake,
    _lib.SSL_read,
    _lib.SSL_write,
    _lib.SSL_shutdown,
)
_get_error, _get0_alpn_selected, _from_buffer, _buffer = (
    _lib.SSL_get_error,
    _lib.SSL_get0_alpn_selected,
    _ffi.from_buffer,
    _ffi.buffer,
)
_BLOCKED: Final = {
    _lib.SSL_ERROR_WANT_READ: WANTS_READ,
    _lib.SSL_ERROR_WANT_WRITE: WANTS_WRITE,
}
# To any other call it is a failure: the peer left in the handshake, or is gone now that it is written to. Who took it
# for a reason to wait would be woken at once, and again, for as long as the peer likes.
_READ_BLOCKED: Final = {**_BLOCKED, _lib.SSL_ERROR_ZERO_RETURN: CLOSED}
# What OpenSSL writes its answers into; read before the next call.
_record = _ffi.new("char[]", RECORD_BYTES)
_received = _buffer(_record)
_name, _name_length = _ffi.new("unsigned char **"), _ffi.new("unsigned int *")


class TlsConnection(SSL.Connection):
    """
    pyOpenSSL's connection, with calls beside its own that tell instead of raising when they would have to wait.

    Each raises `SSL.Error` when the connection is over, after which none may be called.
    """

    def shake_hands(self) -> Blocked | None:
        """
        Go on with the handshake; None when it is complete.
        """
        result = _do_handshake(self._ssl)
        return None if result > 0 else self._blocked(result)

    def read_some(self) -> bytes | Blocked:
        """
        Give what is there, a record at most.
        """
        result = _ssl_read(self._ssl, _record, RECORD_BYTES)
        return _received[:result] if result > 0 else self._blocked(result, _READ_BLOCKED)

    def write_some(self, data: bytes) -> int | Blocked:
        """
        Send the beginning of *data*, not empty, and give its size; what blocked must be repeated, more may follow it.
        """
        result: int = _ssl_write(self._ssl, data, len(data))
        return result if result > 0 else self._blocked(result)

    def write_some_from(self, data: bytearray | memoryview) -> int | Blocked:
        """
        Do the same with *data* that may change.
        """
        with _from_buffer(data) as view:
            result: int = _ssl_write(self._ssl, view, len(data))
        return result if result > 0 else self._blocked(result)

    def say_close_notify(self) -> Blocked | None:
        """
        Send close_notify (RFC 8446 §6.1); None when it is sent.
        """
        result = _ssl_shutdown(self._ssl)
        return None if result >= 0 else self._blocked(result)

    def agreed_alpn(self) -> bytes:
        """
        Give the ALPN name that was agreed, b"" if none was.
        """
        _get0_alpn_selected(self._ssl, _name, _name_length)
        length = _name_length[0]
        return _buffer(_name[0], length)[:] if length else b""

    def _blocked(self, result: int, reasons: Mapping[int, Blocked] = _BLOCKED) -> Blocked:
        blocked = reasons.get(_get_error(self._ssl, result))
        if blocked is None:
            try:
                self._raise_ssl_error(self._ssl, result)
            finally:
                _lib.ERR_clear_error()  # of what is left there, OpenSSL before 4 would accuse the next connection
            raise SSL.Error([("", "", "OpenSSL failed and does not say why")])
        return blocked


class AcceptedConnection(TlsConnection):
    """
    The same for a server's side, on the socket *descriptor*, which must stay open for as long; at half the price.

    Of pyOpenSSL's own calls only those work on it that need no callback and no socket: it is not in pyOpenSSL's table,
    from which a callback learns what connection it is called for.
    """

    def __init__(self, context: SSL.Context, descriptor: int) -> None:
        ssl = _lib.SSL_new(context._context)  # noqa: SLF001 - as pyOpenSSL does, and no other way leads there
        if not ssl:
            raise MemoryError("OpenSSL has no memory for a connection")
        self._ssl = _ffi.gc(ssl, _lib.SSL_free)
        self._context, self._socket = context, None
        if _lib.SSL_set_fd(ssl, descriptor) != 1:
            raise MemoryError("OpenSSL has no memory for a socket")
        _lib.SSL_set_accept_state(ssl)


def prefer(context: SSL.Context, protocols: tuple[bytes, ...]) -> None:
    """
    Have *context*, a server's, take the first of *protocols* that a client offers, and go on without ALPN if none is.
    """
    _lib.SSL_CTX_set_alpn_select_cb(context._context, _selection(protocols), _ffi.NULL)  # noqa: SLF001


# Mozilla's recommendations for servers: X448, P-521 and finite fields cost much and give clients of mail nothing. In
# the order of preference; a slash parts those for which a client is asked once more (SSL_CTX_set1_groups_list(3)).
_GROUPS: Final = b"X25519MLKEM768 / X25519:P-256 / P-384"
_GROUPS_BEFORE_3_5: Final = b"X25519:P-256:P-384"


def limit_groups(context: SSL.Context) -> None:
    """
    Have *context* exchange keys in the groups alone that are strong and common, the post-quantum one where there is it.
    """
    if _lib.SSL_CTX_set1_curves_list(context._context, _GROUPS) != 1:  # noqa: SLF001
        _lib.SSL_CTX_set1_curves_list(context._context, _GROUPS_BEFORE_3_5)  # noqa: SLF001
        _lib.ERR_clear_error()  # or a connection takes it for its own


@lru_cache(maxsize=8)  # and kept: OpenSSL keeps none of it alive
def _selection(protocols: tuple[bytes, ...]) -> Any:
    """
    Give OpenSSL's callback (SSL_CTX_set_alpn_select_cb(3)), the same for all contexts.
    """
    chosen_by = _choice({name: _ffi.new("unsigned char[]", name) for name in protocols})

    def select(_ssl: object, out: Any, out_length: Any, offered: Any, offered_length: int, _: object) -> int:
        chosen = chosen_by(_buffer(offered, offered_length)[:])
        if chosen is None:
            return int(_lib.SSL_TLSEXT_ERR_NOACK)
        out[0], out_length[0] = chosen
        return int(_lib.SSL_TLSEXT_ERR_OK)

    kind = "int(SSL *, unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *)"
    return _ffi.callback(kind, select, error=_lib.SSL_TLSEXT_ERR_NOACK)


def _choice(pointers: dict[bytes, Any]) -> Callable[[bytes], tuple[Any, int] | None]:
    @lru_cache(maxsize=64)  # there are few lists among clients; who sends others pays for the look
    def chosen(offered: bytes) -> tuple[Any, int] | None:
        names, at = set(), 0
        while at < len(offered):  # OpenSSL has checked the lengths
            end = at + 1 + offered[at]
            names.add(offered[at + 1 : end])
            at = end
        for name, pointer in pointers.items():
            if name in names:
                return pointer, len(name)
        return None

    return chosen
