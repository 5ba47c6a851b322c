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
    domains = ["a.example", {name = "b.example", certificate = "ok.pem", key = "ok.key", upstream = {url = "http://b"}}]
    state_dir = "state"
    workers = 1
    listen = {https = [":443", "[::1]:8443"], http = [":80"], admin = "127.0.0.1:9", default_name = "a.example"}
    tls = {policy = "modern"}
    handshake = {hold_seconds = 5}
    upstream = {url = "https://u.example", host = "upstream", trust = "ok.pem"}
    log = {access = "access", format = "json"}
    deploy = {directory = "", command = []}
    [acme]
    directory = "https://ca.example/dir"
    contact = ["ops@example.com"]
    agree_to_terms = true
    trust = "ok.pem"
    challenges = ["http-01"]
    key_type = "rsa-2048"
    eab = {kid = "kid", hmac_key_file = "ok.key"}
    [limits]
    head_bytes = 2048
    target_bytes = 1024
    body_bytes = 1
    connections = 2
    hello_seconds = 3
    head_seconds = 4
    idle_seconds = 5
    upstream_connect_seconds = 6
    upstream_head_seconds = 7
    """


def only_ok(path: Path) -> str | None:
    """
    Stand for a directory in which only files with "ok" in their name can be read.
    """
    return None if "ok" in path.name else "No such file or directory"


def loaded(text: str, *, foreground: bool = False, **flags: Any) -> Config:
    """
    Load *text* as /etc/sptls/sptls.toml with *flags*.
    """
    return load(text, overrides=Overrides(**flags), base=BASE, foreground=foreground, readable=only_ok)
