"""
sptls and a real nginx before origins of the same kind, and where what these see may differ.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs

from tests.e2e.ca import domains
from tests.e2e.conftest import CLICK
from tests.e2e.daemon import Launcher, until
from tests.e2e.nginx import STOP_SECONDS, need_nginx
from tests.e2e.odd_requests import NEXT
from tests.e2e.recorder import Recorder, Request, recorder
from tests.ports import free_ports

_SECONDS: Final = 20.0

# The guide's configuration as it was corrected: Host and X-Forwarded-For; HTTP/1.1 to the upstream, as we speak it.
# `proxy_ignore_client_abort`: our clients half-close, so that nobody waits for what they won't send.
_NGINX = """\
{user}
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/temporary; proxy_temp_path {folder}/temporary;
    fastcgi_temp_path {folder}/temporary; uwsgi_temp_path {folder}/temporary; scgi_temp_path {folder}/temporary;
    upstream origin {{ server 127.0.0.1:{origin}; keepalive 16; }}
    server {{ listen 127.0.0.1:{port} default_server; server_name ""; return 421; }}
    server {{
        listen 127.0.0.1:{port};
        server_name {name};
        location / {{
            proxy_pass http://origin;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_ignore_client_abort on; proxy_next_upstream off;
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx_proxy(folder: Path, origin_port: int) -> Iterator[int]:
    """
    Run nginx before the origin at *origin_port* until the end of the block; give its port.
    """
    program = need_nginx()
    (port,) = free_ports(1)
    (folder / "temporary").mkdir(parents=True)
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, origin=origin_port, port=port, name=CLICK, user=user))
    command = [program, "-p", str(folder), "-c", str(configuration), "-e", str(folder / "error.log")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            until(lambda: _accepts(port), "nginx")
            yield port
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@attrs.frozen
class Seen:
    """
    What came of sending something: the statuses that the client got, the whole requests that the origin got.
    """

    statuses: tuple[int, ...]
    requests: tuple[Request, ...]


def send(port: int, message: bytes) -> bytes:
    """
    Send *message*, close our side, and give what comes back.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), _SECONDS) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(message)
        with contextlib.suppress(OSError):  # it was reset already; what came before that can still be read
            connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65536):
            received += piece
    return received


@attrs.frozen
class Side:
    """
    One of the two: where it listens, and the origin behind it.
    """

    port: int
    origin: Recorder

    def seen(self, message: bytes) -> Seen:
        """
        Send *message* and the next request behind it.
        """
        self.origin.drain()
        received = send(self.port, message + NEXT)
        statuses = re.findall(rb"HTTP/1\.1 (\d{3}) (?!Continue)", received)
        return Seen(tuple(int(status) for status in statuses), tuple(self.origin.drain()))


@contextlib.contextmanager
def both_sides(folder: Path) -> Iterator[tuple[Side, Side]]:
    """
    Run sptls and nginx, each with an origin of its own, until the end of the block.
    """
    (folder / "sptls").mkdir()
    launcher = Launcher(folder / "sptls")
    with contextlib.ExitStack() as running:
        our_origin, their_origin = (running.enter_context(recorder()) for _ in range(2))
        upstream = f'url = "http://127.0.0.1:{our_origin.port}"'
        launcher.write(domains=domains(CLICK), acme='directory = "internal"', upstream=upstream)
        port = running.enter_context(nginx_proxy(folder / "nginx", their_origin.port))
        daemon = running.enter_context(launcher.running())
        yield Side(daemon.http, our_origin), Side(port, their_origin)


@attrs.frozen
class Sent:
    """
    A request as somebody liberal would read it.
    """

    message: bytes

    @property
    def head(self) -> bytes:
        """
        Give everything before the first empty line, without those that come before it all.
        """
        return re.split(rb"\r?\n\r?\n", self.message.lstrip(b"\r\n"), maxsplit=1)[0]

    @property
    def first(self) -> bytes:
        """
        Give the request line.
        """
        return self.lines[0]

    @property
    def lines(self) -> list[bytes]:
        """
        Give the request line and the fields.
        """
        return re.split(rb"\r?\n", self.head)

    @property
    def behind(self) -> bytes:
        """
        Give what comes behind as much content as the head announces.
        """
        content = re.split(rb"\r?\n\r?\n", self.message.lstrip(b"\r\n"), maxsplit=1)[-1]
        length = re.search(rb"\ncontent-length: *(\d+)", self.head, re.IGNORECASE)
        return content[int(length[1]) :] if length else content

    @property
    def trailers(self) -> list[bytes]:
        """
        Give the lines between what may be the last chunk and an empty line; the next request's, if there is none.
        """
        lasts = re.findall(rb"\n0+[ \t]*(?:;[^\r\n]*)?((?:\r\n[^\r\n]+)+)", self.message + NEXT)
        return b"".join(lasts).split(b"\r\n")[1:]

    @property
    def connection_options(self) -> set[bytes]:
        """
        Give the options of all Connection fields, in lower case.
        """
        fields = (line.partition(b":")[2] for line in self.lines if line.lower().startswith(b"connection:"))
        return {option.strip() for option in b",".join(fields).lower().split(b",")}

    @property
    def hosts(self) -> list[bytes]:
        """
        Give whom it may be for: the Host fields' values and the target's authority.
        """
        named = re.match(rb"\S+ +\w+://([^/? \t]*)", self.first)
        fields = [line.partition(b":")[2].strip() for line in self.lines[1:] if line.lower().startswith(b"host")]
        return [*fields, *([named[1]] if named else [])]


@attrs.frozen
class Reason:
    """
    What may differ, *why*, and the *sign* of a request that this may be the reason for.
    """

    what: str
    why: str
    sign: Callable[[Sent], object]


def _match(pattern: bytes, text: bytes) -> object:
    return re.search(pattern, text, re.DOTALL | re.IGNORECASE)


_READERS: Final = "two readers may disagree about it, and no client that follows links sends it"
_FIELD: Final = rb"\A[!#$%&'*+\-.^_`|~0-9A-Za-z]+:"
_GOOD_HOST: Final = rb"\A[A-Za-z0-9\-._~%!$&'()*+,;=]+(?::\d{0,5})?\Z"

# nginx passes these on, we refuse them.
STRICTER: Final = (
    Reason("CR or LF alone", _READERS,
           lambda sent: _match(rb"(?<!\r)\n|\r(?!\n)", sent.message) or sent.behind[:1] == b"\n"),
    Reason("white space in a request line beside its two spaces", _READERS,
           lambda sent: _match(rb"^[ \t]|[ \t]{2}|\t|[ \t]$", sent.first)),
    Reason("a line that is no field", "nginx drops it; what it was meant for is anybody's guess",
           lambda sent: not all(_match(_FIELD, line) for line in sent.lines[1:])),
    Reason("a version that isn't a digit, a dot, a digit", "RFC 9112 §2.3",
           lambda sent: not _match(rb"HTTP/\d\.\d$", sent.first)),
    Reason("a host that isn't one", "user names, ports that are no number: RFC 9110 §7.2",
           lambda sent: not all(_match(_GOOD_HOST, host) for host in sent.hosts)),
    Reason("a scheme that isn't http's", "there is no such resource here",
           lambda sent: _match(rb"\A\S+ (?!https?:)\w+://", sent.first)),
    Reason("an expectation other than 100-continue", "RFC 9110 §10.1.1 has a status for it",
           lambda sent: any(_match(rb"\Aexpect:(?! *100-continue *\Z)", line) for line in sent.lines)),
    Reason("VT or FF in a value", _READERS, lambda sent: _match(rb"[\v\f]", sent.head)),
    Reason("a control character in a chunk extension", _READERS,
           lambda sent: _match(rb"\n[0-9a-f]+[ \t]*;[^\r\n]*[\x00-\x08\x0b-\x1f\x7f]", sent.message)),
    Reason("a length of more than 19 digits", "it is an attack on somebody's integers",
           lambda sent: _match(rb"\ncontent-length: *\d{20}", sent.head)),
    Reason("a chunk's size of more than 15 digits", "the same; zeros before it count, as nobody writes them",
           lambda sent: _match(rb"\n[0-9a-f]{16,}[ \t]*(?:;[^\r\n]*)?\r\n", sent.message[len(sent.head) :])),
    Reason("a trailer that is no field", "folded, without a colon or a name: nginx skips whatever comes; " + _READERS,
           lambda sent: any(not _match(_FIELD, line) for line in sent.trailers)),
    Reason("a method of more than 32 bytes", "the longest that is registered has 17",
           lambda sent: _match(rb"\A[A-Z_-]{33}", sent.first)),
    Reason("a target of more than 8,148 bytes", "with the longest method the line is one that nginx takes no more",
           lambda sent: _match(rb"\A\S+ \S{8149}", sent.first)),
    Reason("`close` beside `keep-alive`", "close goes first (RFC 9112 §9.3); nginx goes by the field that comes last",
           lambda sent: {b"close", b"keep-alive"} <= sent.connection_options),
    Reason("more than 100 fields", "nginx's own bound since 1.29 is 1,000; a click has 20",
           lambda sent: len(sent.lines) > 101),
)  # fmt: skip

# We pass these on, nginx refuses them. None of them says where a message ends or whom it is for.
MORE_LENIENT: Final = (
    Reason("the path's percent-encoding and dot segments",
           "a link's bytes are the service's business; nginx decodes the path to find its own `location`",
           lambda sent: _match(rb"\A\S+ [^ ?]*(?:%(?![0-9a-f]{2})|%00|/(?:\.|%2e){2}(?:[/?# ]|$))", sent.first)),
    Reason("a connection option with `close` in it", "nginx takes any text that has it for the option",
           lambda sent: any(_match(rb"\Aconnection:.*close", line) for line in sent.lines)),
    Reason("a head of over 16,384 bytes",
           "how many long fields nginx's four buffers hold depends on where one ends and the next begins",
           lambda sent: len(sent.head) > 16384),
)  # fmt: skip

# Neither passes the request on; what comes behind it is not concerned.
BEHIND_A_REFUSAL: Final = Reason(
    "the request behind one that gets 405 or 421",
    "we go on where the refused one has no content and close where it has; nginx does the opposite",
    lambda _: True,
)
SAME: Final = Reason("same", "", lambda _: True)

# Fields that only one of the two passes on, or that each writes anew: framing and Host, which are compared apart, ...
_WRITTEN_ANEW: Final = {b"host", b"connection", b"content-length", b"transfer-encoding"}
# ... what concerns one connection (RFC 9110 §7.6.1; nginx passes some of them on), ...
_HOP_BY_HOP: Final = {
    b"expect", b"http2-settings", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
    b"upgrade",
}  # fmt: skip
# ... and what would make a client look like another one (nginx passes all but the first on).
_CLAIMS: Final = {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"forwarded"}
# nginx drops fields with other letters in their names: ours to pass on, but for those that spell the ones above.
_NGINX_NAME: Final = re.compile(rb"[A-Za-z0-9-]+")


def as_compared(request: Request, sent: Sent) -> Request:
    """
    Give *request* with what the service must see of *sent* in any case, and nothing else.
    """
    dropped = _WRITTEN_ANEW | _HOP_BY_HOP | _CLAIMS | sent.connection_options
    kept = tuple(
        (name, value) for name, value in request.fields if name.lower() not in dropped and _NGINX_NAME.fullmatch(name)
    )
    # nginx writes `$host`: in lower case, without port and last dot. We leave it as it came.
    host = request.values(b"host")[0].lower().partition(b":")[0].removesuffix(b".")
    # nginx drops trailers; what of them goes on with us is not among the fields.
    return attrs.evolve(request, fields=((b"host", host), *kept), trailers=())


def difference(message: bytes, ours: Seen, theirs: Seen) -> Reason | None:
    """
    Give what explains that the two origins saw what they did of *message*; None where nothing may.
    """
    sent = Sent(message)
    here, there = ([as_compared(request, sent) for request in seen.requests] for seen in (ours, theirs))
    if here == there:
        return SAME
    if ours.statuses[:1] in {(405,), (421,)} and all(request.target == b"/q/next" for request in (*here, *there)):
        return BEHIND_A_REFUSAL
    if here[: len(there)] == there:
        reasons: tuple[Reason, ...] = MORE_LENIENT
    elif there[: len(here)] == here:
        reasons = STRICTER
    else:
        return None
    return next((reason for reason in reasons if reason.sign(sent)), None)
