"""
A configuration that has every key, and a door to `load` as the tests of the configuration use it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sptls.config import Config
from sptls.config_load import Overrides, load

BASE = Path("/etc/sptls")
FULL = """
    domains = [
        "a.example",
        {name = "b.example", certificate = "ok.pem", key = "ok.key", redirect_http = true, upstream = {url = "http://b"}},
        {name = "h.example", hsts_seconds = 31536000, hsts_subdomains = true},
        {name = "p.example", passthrough = "192.0.2.9:443", passthrough_proxy_protocol = true}
    ]
    domains_file = "ok.txt"
    state_dir = "state"
    workers = "auto"
    listen.https = [":443", "[::1]:8443"]
    listen.http = [":80"]
    listen.admin = "127.0.0.1:9"
    listen.default_name = "a.example"
    listen.proxy_protocol = ["10.0.0.0/8"]
    listen.trusted_proxies = ["192.0.2.1", "2001:db8::/32"]
    tls = {policy = "modern"}
    handshake = {hold_seconds = 5}
    upstream = {url = "https://u.example", host = "upstream", trust = "ok.pem"}
    log = {access = "access", format = "json"}
    deploy = {directory = "deploy", command = ["ok-reload", "--now"], command_seconds = 8}
    notify = {command = ["ok-mail", "root"], webhook = "https://hook.example/token", command_seconds = 9}
    [acme]
    directory = "https://ca.example/dir"
    contact = ["ops@example.com"]
    agree_to_terms = true
    trust = "ok.pem"
    challenges = ["http-01"]
    key_type = "rsa-2048"
    profile = "shortlived"
    eab = {kid = "kid", hmac_key_file = "ok.key"}
    precheck = "require"
    resolver = "[::1]:5353"
    addresses = ["192.0.2.1", "2001:DB8::1"]
    limits = {orders = "300 per 3h", certificates_per_domain = "off", certificates_per_name = "5 per 7d"}
    [limits]
    head_bytes = 2048
    target_bytes = 1024
    field_bytes = 1500
    body_bytes = 1
    connections = 2
    connections_per_address = 9
    handshakes_per_address = 10
    hello_seconds = 3
    head_seconds = 4
    idle_seconds = 5
    upstream_connections = 11
    upstream_waiting = 12
    upstream_connect_seconds = 6
    upstream_head_seconds = 7
    passthrough_idle_seconds = 8
    """


class OnlyOk:
    """
    A disk on which only what has "ok" in its name is there; each file of names holds *text*.
    """

    def __init__(self, text: str = "c.example") -> None:
        self._text = text

    def why_unreadable(self, path: Path) -> str | None:
        """
        Tell why *path* can't be read, if it can't.
        """
        return None if "ok" in path.name else "No such file or directory"

    def text(self, path: Path) -> str:
        """
        Give the text, or say that there is none.
        """
        reason = self.why_unreadable(path)
        if reason is not None:
            raise ValueError(reason)
        return self._text

    def why_unwritable(self, directory: Path) -> str | None:
        """
        Tell why *directory* can't be written, if it can't.
        """
        return self.why_unreadable(directory)

    def program(self, word: str) -> str | None:
        """
        Find a program, on a PATH of one directory.
        """
        return str(Path("/usr/bin") / word) if "ok" in word else None


def loaded(text: str, *, foreground: bool = False, names: str = "c.example", **flags: Any) -> Config:
    """
    Load *text* as /etc/sptls/sptls.toml with *flags*; its domains file, if it has one, holds *names*.
    """
    return load(text, overrides=Overrides(**flags), base=BASE, foreground=foreground, files=OnlyOk(names))
