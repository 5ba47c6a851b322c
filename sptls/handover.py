"""
What a running process and the one that takes over from it tell each other, and how that is spelt.

The successor asks at the control socket (``POST /hand-over``) and is given one end of a channel of packets. On it:

1. successor: `Ready`, the channel works. The predecessor ends what keeps certificates, and goes on serving clients.
2. predecessor: `HandedOver`, once or more often, with that many descriptors of listening sockets in the packet; after
   those of the last packet comes the state lock's.
3. successor, once it listens at the sockets: `TookOver`.
4. predecessor: `GivesWay`, and it accepts no more, drains and ends.

`Refused` may come from the predecessor at any time instead. A channel that ends says that the other process has ended:
a predecessor that has not given way then goes on as before.
"""

from __future__ import annotations

import json
from typing import Any, Final

import attrs

# It is asked for and has to be the same on both sides: what changes here belongs to another one.
VERSION: Final = 1
# The kernel passes 253 at a time (unix(7), SCM_MAX_FD), the lock's among them.
MAX_SOCKETS: Final = 200
# A sentence, or the numbers of some thousand sockets.
MAX_MESSAGE_BYTES: Final = 65536


@attrs.frozen
class Ready:
    """
    The successor: go on.
    """


@attrs.frozen
class HandedOver:
    """
    The predecessor: here is a socket for each of *kept*, which tells whether a supervisor holds it too.
    """

    kept: tuple[bool, ...]
    is_last: bool

    @property
    def descriptors(self) -> int:
        """
        Give how many descriptors belong to it.
        """
        return len(self.kept) + self.is_last


@attrs.frozen
class TookOver:
    """
    The successor: I accept at those of the sockets whose numbers, counted from 0 over all packets, are in *taken*.
    """

    process: int
    taken: frozenset[int]


@attrs.frozen
class GivesWay:
    """
    The predecessor: I accept no more at those.
    """


@attrs.frozen
class Refused:
    """
    The predecessor: it comes to nothing, because of *reason*.
    """

    reason: str


Message = Ready | HandedOver | TookOver | GivesWay | Refused


def packed(message: Message) -> bytes:
    """
    Give *message* as it crosses the channel.
    """
    match message:
        case Ready():
            told: dict[str, Any] = {"word": "ready"}
        case HandedOver(kept=kept, is_last=is_last):
            told = {"word": "handed over", "kept": kept, "is_last": is_last}
        case TookOver(process=process, taken=taken):
            told = {"word": "took over", "process": process, "taken": sorted(taken)}
        case GivesWay():
            told = {"word": "gives way"}
        case _:
            told = {"word": "refused", "reason": message.reason}
    return json.dumps(told).encode()


def unpacked(packet: bytes) -> Message:
    """
    Give the message that *packet* is.

    Raises:
        ValueError: it is none.
    """
    try:
        told = json.loads(packet)
    except (ValueError, RecursionError):
        told = None
    match told:
        case {"word": "ready"}:
            return Ready()
        case {"word": "handed over", "kept": list(kept), "is_last": bool(is_last)} if _all_are(bool, kept):
            return HandedOver(tuple(kept), is_last)
        case {"word": "took over", "process": process, "taken": list(taken)} if _all_are(int, [process, *taken]):
            return TookOver(process, frozenset(taken))
        case {"word": "gives way"}:
            return GivesWay()
        case {"word": "refused", "reason": str(reason)}:
            return Refused(reason)
        case _:
            raise ValueError("a packet that is no message of a handover")


def _all_are(kind: type, values: list[object]) -> bool:
    return all(type(value) is kind for value in values)
