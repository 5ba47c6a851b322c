"""
Host names: the only place that normalises one.

Decides which text is a host name and what its one spelling is: A-labels (IDNA 2008 with UTS 46 mapping), lower
case, no trailing dot (RFC 5890, RFC 9110 §4.2.3, RFC 6066 §3). `HostName.parse` is the door for configuration;
`NameTable` answers for names as they come off the wire (a TLS server name, a Host field) without building one.
Address literals are not host names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs
import idna

from sptls.addresses import is_address
from sptls.errors import InvalidHostName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

T = TypeVar("T")

# RFC 1035 §2.3.4: 255 octets on the wire are 253 characters of text.
MAX_NAME_LENGTH = 253
# A spelling may hold characters that UTS 46 drops; one longer than this is a file pasted in the wrong place.
_MAX_SPELLING_LENGTH = 1000
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
# Names that are in their one spelling already, as nearly all are: a quarter of the time, for 100,000 names. The last
# label begins with a letter, so it is no number.
_SPELLED_OUT = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
# What C libraries take for the end of an IPv4 address (WHATWG URL, "ends in a number").
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# What a wildcard stands for. Underscores are in no host name, but in DNS, and clients connect to such names.
_WIRE_LABEL = re.compile(rb"[a-z0-9_-]{1,63}")


@attrs.frozen(order=True)
class HostName:
    """
    A host name in its one spelling; `text` may start with the label ``*`` (see `is_wildcard`).
    """

    text: str

    def __hash__(self) -> int:
        # The text keeps its own. What attrs makes takes twice as long: 0.1 s of a start with 100,000 names.
        return hash(self.text)

    @classmethod
    def parse(cls, text: str) -> HostName:
        """
        Give the host name that *text* spells: any case, one trailing dot, U-labels or A-labels.

        Raises:
            InvalidHostName: it is not one; the message says why.
        """
        if len(text) <= MAX_NAME_LENGTH and _SPELLED_OUT.match(text):
            return cls(text)
        if len(text) > _MAX_SPELLING_LENGTH:
            raise InvalidHostName(f"{text[:MAX_NAME_LENGTH]}...", f"longer than {MAX_NAME_LENGTH} characters")
        # UTS 46 takes the three other full stops for dots, the last one too.
        spelled = text.strip()
        spelled = spelled[:-1] if spelled.endswith((".", "\u3002", "\uff0e", "\uff61")) else spelled
        star, rest = ("*.", spelled[2:]) if spelled.startswith("*.") else ("", spelled)
        name = star + _to_ascii(rest, text)
        if len(name) > MAX_NAME_LENGTH:
            raise InvalidHostName(text, f"longer than {MAX_NAME_LENGTH} characters")
        return cls(name)

    @property
    def is_wildcard(self) -> bool:
        """
        Tell whether this stands for every name with one more label (RFC 6125 §6.4.3).
        """
        return self.text.startswith("*.")

    @property
    def wire(self) -> bytes:
        """
        Give the name as it stands in a TLS server name or a Host field.
        """
        return self.text.encode("ascii")

    def __str__(self) -> str:
        return self.text


def _to_ascii(text: str, original: str) -> str:
    """
    Give *text* in A-labels, lower case, or say of *original* why it is no host name.
    """
    if not text:
        raise InvalidHostName(original, "empty")
    if is_address(text.strip("[]")):
        raise InvalidHostName(original, "an IP address; a certificate here needs a host name")
    if text.isascii():
        name = text.lower()
    else:
        try:
            name = idna.encode(text, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise InvalidHostName(original, f"not a valid internationalised name ({error})") from None
    for label in name.split("."):
        if not _LABEL.match(label):
            raise InvalidHostName(original, f"the label {label!r} is not 1-63 of a-z, 0-9 and inner hyphens")
    if _NUMBER.fullmatch(name.rsplit(".", 1)[-1]):
        raise InvalidHostName(original, "its last label is a number, so it reads as an address")
    return name


def fold(name: bytes) -> bytes:
    """
    Give a name off the wire in the spelling that `HostName.wire` uses; total, no check that it is a host name.
    """
    name = name.lower()
    return name[:-1] if name.endswith(b".") else name


class NameTable(Generic[T]):
    """
    A read-only map from host names to values, asked with names off the wire.

    An exact name goes before a wildcard; a wildcard covers exactly one label (RFC 6125 §6.4.3), of letters, digits,
    hyphens and underscores: what names it reaches logs and the service.
    """

    __slots__ = ("_exact", "_wildcard")

    def __init__(self, entries: Iterable[tuple[HostName, T]] | Mapping[HostName, T] = ()) -> None:
        self._exact: dict[bytes, T] = {}
        self._wildcard: dict[bytes, T] = {}
        for name, value in entries.items() if hasattr(entries, "items") else entries:
            wire = name.wire
            if wire.startswith(b"*."):
                self._wildcard[wire[1:]] = value
            else:
                self._exact[wire] = value

    def get(self, name: bytes) -> T | None:
        """
        Give the value for *name* as it came off the wire (any case, one trailing dot), or None.
        """
        found = self._exact.get(name)  # as nearly all clients spell it
        if found is None:
            folded = fold(name)
            found = self._exact.get(folded)
            if found is None and self._wildcard:
                dot = folded.find(b".")
                if _WIRE_LABEL.fullmatch(folded, 0, max(dot, 0)):
                    return self._wildcard.get(folded[dot:])
        return found

    def own(self, name: HostName) -> T | None:
        """
        Give the value of exactly *name*, not of a wildcard that stands for it, or None.
        """
        return self._wildcard.get(name.wire[1:]) if name.is_wildcard else self._exact.get(name.wire)

    def __len__(self) -> int:
        return len(self._exact) + len(self._wildcard)

    def __iter__(self) -> Iterator[T]:
        yield from self._exact.values()
        yield from self._wildcard.values()
