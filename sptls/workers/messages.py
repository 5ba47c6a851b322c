"""
What a worker process and its parent say to each other, as values, and as bytes of JSON.

The parent tells state, not events: each message about a name or a configuration holds all that there is to know, so one
that is told twice, or after another, does no harm. Only what has a *turn* is answered, by `Done` with the same.

Private keys of certificates are in here: they travel in a pipe that nobody else has, and are in no repr.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import cattrs
from cattrs.errors import CattrsError

from sptls.certs.bundle import CertificateBundle
from sptls.config import Config
from sptls.errors import MalformedMessage
from sptls.names import HostName
from sptls.ops.traffic import Traffic
from sptls.workers.config_text import config_as_json, config_from_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ChallengeKind = Literal["http-01", "tls-alpn-01"]


@attrs.frozen
class Roots:
    """
    What the *file* of roots held: certificates (DER).
    """

    file: str
    certificates: tuple[bytes, ...]


@attrs.frozen
class Answer:
    """
    What clients of *name* get: the certificate *bundle*; else, before *failing_until*, an alert; else a wait.
    """

    name: HostName
    bundle: CertificateBundle | None = None
    failing_until: datetime | None = None


@attrs.frozen
class Challenge:
    """
    An open challenge of a CA's for *name* (RFC 8555 §8); *token* is "" where its answer needs none (RFC 8737).
    """

    kind: ChallengeKind
    name: HostName
    token: str
    key_authorization: str


# What the parent says


@attrs.frozen
class Begin:
    """
    The first message: what to serve. Answers and challenges follow, then `Serve`.
    """

    config: Config
    roots: tuple[Roots, ...] = ()


@attrs.frozen
class Serve:
    """
    All has been told: accept clients.
    """


@attrs.frozen
class Change:
    """
    Go over to another configuration.
    """

    turn: int
    config: Config
    roots: tuple[Roots, ...] = ()


@attrs.frozen
class Answers:
    """
    What clients of some names get from now on.
    """

    answers: tuple[Answer, ...]


@attrs.frozen
class Open:
    """
    Answer a challenge from now on.
    """

    turn: int
    challenge: Challenge


@attrs.frozen
class Close:
    """
    Answer a challenge no more.
    """

    challenge: Challenge


@attrs.frozen
class ReopenLogs:
    """
    Go on in new log files.
    """


@attrs.frozen
class Drain:
    """
    Accept no more, finish what runs, and end.

    Who waits at the sockets in these positions, HTTPS's first, is left to another process that has them.
    """

    shared: tuple[int, ...] = ()


# What a worker says


@attrs.frozen
class Serving:
    """
    Clients are accepted.
    """


@attrs.frozen
class CannotServe:
    """
    It ends without having served, because of *reason*.
    """

    reason: str


@attrs.frozen
class Done:
    """
    What had this *turn* is done, or is not, because of *problem*.
    """

    turn: int
    problem: str = ""


@attrs.frozen
class Wanted:
    """
    Clients wait for the certificates of *names*.
    """

    names: tuple[HostName, ...]


@attrs.frozen
class Damaged:
    """
    The certificate *serial* of *name* can't be served, because of *reason*.
    """

    name: HostName
    serial: str
    reason: str


@attrs.frozen
class Said:
    """
    An event for the log, as a line of `logs.json_observer`.
    """

    line: str


@attrs.frozen
class Alive:
    """
    Nothing is new.
    """


@attrs.frozen
class Counted:
    """
    What was counted since the worker's start.
    """

    traffic: Traffic


@attrs.frozen
class Leaving:
    """
    It drains and ends, by its own decision (somebody sent it SIGTERM): a successor may begin.
    """


Message = (
    Begin | Serve | Change | Answers | Open | Close | ReopenLogs | Drain
    | Serving | CannotServe | Done | Wanted | Damaged | Said | Alive | Counted | Leaving
)  # fmt: skip
_KINDS: Final[Mapping[str, Any]] = {kind.__name__: kind for kind in Message.__args__}

attrs.resolve_types(CertificateBundle, {"datetime": datetime, "HostName": HostName, "tuple": tuple})
attrs.resolve_types(Traffic, {"Mapping": dict, "Any": Any, "tuple": tuple})


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_unstructure_hook(bytes, lambda value: b64encode(value).decode("ascii"))
    converter.register_structure_hook(bytes, lambda text, _: b64decode(text, validate=True))
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
    converter.register_unstructure_hook(HostName, lambda name: name.text)
    converter.register_structure_hook(HostName, lambda text, _: HostName(text))
    converter.register_unstructure_hook(Config, config_as_json)
    converter.register_structure_hook(Config, lambda plain, _: config_from_json(plain))
    return converter


_CONVERTER: Final = _converter()


def encode(message: Message) -> bytes:
    """
    Give *message* as bytes.
    """
    return json.dumps([type(message).__name__, _CONVERTER.unstructure(message)]).encode("ascii")


def decode(text: bytes) -> Message:
    """
    Give the message that *text* is.

    Raises:
        MalformedMessage: it is none; says nothing of what is in it, which may be a key.
    """
    try:
        name, fields = json.loads(text)
        message: Message = _CONVERTER.structure(fields, _KINDS[name])
    except (CattrsError, ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
        raise MalformedMessage(f"{len(text)} bytes that are no message ({type(error).__name__})") from None
    return message


def in_batches(answers: Sequence[Answer], size: int = 100) -> list[Answers]:
    """
    Give *answers* in messages of a bounded size.
    """
    return [Answers(tuple(answers[begin : begin + size])) for begin in range(0, len(answers), size)]
