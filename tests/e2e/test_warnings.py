"""
Warnings: a daemon whose own certificate is about to expire tells a program and a webhook, once.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.daemon import Launcher, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import trustme

    from tests.e2e.daemon import Daemon

pytestmark = pytest.mark.e2e

NAME = "own.example"


@contextmanager
def webhook(got: list[Any]) -> Iterator[str]:
    """
    Give the URL of a webhook on loopback that puts what it is sent into *got*.
    """

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """
            Log nothing.
            """

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def wait_for_deliveries(daemon: Daemon, count: int) -> None:
    """
    Wait until the log, which daemons share, has *count* of them.
    """
    until(lambda: daemon.log.count("warnings delivered: 1") == count, "delivery")


def test_an_own_certificate_that_expires_is_warned_of_once(tmp_path: Path, authority: trustme.CA) -> None:
    """
    By the command and by the webhook. After a restart with a new certificate, all that is told is that all is well.
    """
    told, program, got = tmp_path / "told", tmp_path / "warn", list[Any]()
    program.write_text(f'#!/bin/sh\n(echo "$SPTLS_NAME $SPTLS_KIND $SPTLS_COUNT"; cat) >> {told}\n')
    program.chmod(0o755)
    launcher = Launcher(tmp_path)
    with webhook(got) as url:
        for count, days in enumerate((3, 300), 1):
            issued = authority.issue_cert(NAME, not_after=datetime.now(UTC) + timedelta(days=days))
            (tmp_path / "own.pem").write_bytes(issued.cert_chain_pems[0].bytes())
            issued.private_key_pem.write_to_path(str(tmp_path / "own.key"))
            launcher.write(
                domains=f'[[domains]]\nname = "{NAME}"\ncertificate = "own.pem"\nkey = "own.key"\n',
                acme='directory = "internal"',
                more=f'[notify]\ncommand = ["{program}"]\nwebhook = "{url}"\n',
            )
            with launcher.running() as daemon:
                wait_for_deliveries(daemon, 2 * count)
    lines = told.read_text().splitlines()
    assert [f"{NAME} expiring 1", f"{NAME} recovered 1"] == lines[::2]
    assert got == [json.loads(line) for line in lines[1::2]]
    assert [7, None] == [one["warnings"][0]["days"] for one in got]
    assert "/token" not in (tmp_path / "log").read_text()
