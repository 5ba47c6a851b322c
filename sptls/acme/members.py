"""
A JSON object of a CA's, asked member by member (RFC 8259); what isn't as RFC 8555 says is an error.

Decides what a readable member is: its type, an https URL of bearable length, a bounded array, text that can stand in
one line of a log. Which members a message has is `messages`' to say.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from sptls.errors import AcmeProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Known = TypeVar("Known", bound=str)

# Let's Encrypt allows 100 names in an order, and offers three challenges for each.
MAX_ITEMS = 100
# Nginx and Go accept 8 KiB of request line; no CA needs a tenth of this.
MAX_URL_LENGTH = 2048
_URL = re.compile(r"https://[!-~]+\Z")
# A problem's detail goes to logs and the status page.
MAX_DETAIL_LENGTH = 1000


class Members:
    """
    A JSON object of the CA's, asked member by member; a member that isn't as the RFC says is an error.

    Raises:
        AcmeProtocolError: (all methods) the member is missing or has the wrong type.
    """

    def __init__(self, operation: str, members: Mapping[str, object], place: str = "") -> None:
        self._operation, self._members, self._place = operation, members, place

    @classmethod
    def parse(cls, operation: str, content: bytes) -> Members:
        """
        Give the JSON object that *content* is.
        """
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            raise AcmeProtocolError(operation, "not JSON") from None
        return cls(operation, _as_object(operation, value, "the content"))

    def fault(self, name: str, reason: str) -> AcmeProtocolError:
        """
        Say what is wrong with the member *name*.
        """
        return AcmeProtocolError(self._operation, f"{self._place}{name} {reason}")

    def text(self, name: str) -> str:
        """
        Give a string.
        """
        value = self._members.get(name)
        if not isinstance(value, str):
            raise self.fault(name, "is missing" if value is None else "is not a string")
        return value

    def url(self, name: str) -> str:
        """
        Give a URL; https only (§6.1).
        """
        return self._check_url(name, self.text(name))

    def optional_url(self, name: str) -> str:
        """
        Give a URL, or "" where there is none.
        """
        return "" if self._members.get(name) is None else self.url(name)

    def urls(self, name: str) -> tuple[str, ...]:
        """
        Give an array of URLs.
        """
        return tuple(self._check_url(name, value) for value in self._array(name))

    def truth(self, name: str) -> bool:
        """
        Give a boolean; false where it is missing.
        """
        value = self._members.get(name)
        if not isinstance(value, bool | None):
            raise self.fault(name, "is not a boolean")
        return bool(value)

    def one_of(self, name: str, values: Sequence[Known]) -> Known:
        """
        Give a string that is one of *values*.
        """
        value = self.text(name)
        for known in values:
            if value == known:
                return known
        raise self.fault(name, f"is none of {', '.join(values)}")

    def nested(self, name: str) -> Members:
        """
        Give an object.
        """
        return self._inside(self._members.get(name), name)

    def optional_nested(self, name: str) -> Members | None:
        """
        Give an object, or None where there is none.
        """
        return None if self._members.get(name) is None else self.nested(name)

    def nested_array(self, name: str) -> tuple[Members, ...]:
        """
        Give an array of objects.
        """
        return tuple(self._inside(value, f"{name}[{index}]") for index, value in enumerate(self._array(name)))

    def lenient_text(self, name: str) -> str:
        """
        Give a string fit for one line of a log, "" where there is none; never an error.
        """
        value = self._members.get(name)
        return _one_line(value) if isinstance(value, str) else ""

    def lenient_url(self, name: str) -> str:
        """
        Give a URL, "" where there is none or it is none that may be used; never an error.
        """
        value = self._members.get(name)
        return value if isinstance(value, str) and is_url(value) else ""

    def lenient_texts(self, name: str) -> dict[str, str]:
        """
        Give the strings of an object by name, each fit for one line of a log, and no more than `MAX_ITEMS`.
        """
        value = self._members.get(name)
        texts = value.items() if isinstance(value, dict) else ()
        shown = [(_one_line(key), _one_line(text)) for key, text in texts if isinstance(text, str)]
        return dict(shown[:MAX_ITEMS])

    def moment(self, name: str) -> datetime:
        """
        Give a moment (RFC 3339), in UTC.
        """
        moment = _moment(self.text(name))
        if moment is None:
            raise self.fault(name, "is not a date and time with an offset")
        return moment

    def lenient_moment(self, name: str) -> datetime | None:
        """
        Give a moment, or None where there is none that can be read; never an error.
        """
        value = self._members.get(name)
        return _moment(value) if isinstance(value, str) else None

    def _inside(self, value: object, place: str) -> Members:
        place = f"{self._place}{place}"
        return Members(self._operation, _as_object(self._operation, value, place), f"{place}.")

    def _array(self, name: str) -> list[object]:
        value = self._members.get(name)
        if not isinstance(value, list):
            raise self.fault(name, "is missing" if value is None else "is not an array")
        if len(value) > MAX_ITEMS:
            raise self.fault(name, f"has more than {MAX_ITEMS} items")
        return value

    def _check_url(self, name: str, value: object) -> str:
        if not isinstance(value, str) or not is_url(value):
            raise self.fault(name, "is not an https URL")
        return value


def is_url(text: str) -> bool:
    """
    Tell whether *text* is a URL that a CA may give: absolute, https (§6.1), of bearable length.
    """
    return len(text) <= MAX_URL_LENGTH and _URL.match(text) is not None


def _as_object(operation: str, value: object, place: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise AcmeProtocolError(operation, f"{place} is not a JSON object")
    return value


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter for the last day of the year 9999 to the west of Greenwich
        return None


def _one_line(text: str) -> str:
    """
    Give *text* without anything that could break or forge a line of a log.
    """
    shown = text[:MAX_DETAIL_LENGTH]
    return "".join(character if character.isprintable() else " " for character in shown)
