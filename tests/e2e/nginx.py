"""
A real nginx that owns the ports and gets its certificates from a renewal daemon.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.e2e.daemon import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STOP_SECONDS = 10.0

# What an operator's deploy script does: a server for each name that has files now, then a reload.
_DEPLOY = """\
set -e
for name in $SPTLS_NAMES; do
    cat > {folder}/servers/$name.conf <<END
server {{
    listen 127.0.0.1:{https} ssl;
    server_name $name;
    ssl_certificate $SPTLS_DIRECTORY/$name/fullchain.pem;
    ssl_certificate_key $SPTLS_DIRECTORY/$name/privkey.pem;
    return 200 "by nginx\\n";
}}
END
done
{program} -t -q -p {folder} -c {folder}/nginx.conf
kill -HUP $(cat {folder}/nginx.pid)
"""

_CONFIGURATION = """\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/temporary;
    proxy_temp_path {folder}/temporary;
    fastcgi_temp_path {folder}/temporary;
    uwsgi_temp_path {folder}/temporary;
    scgi_temp_path {folder}/temporary;
    server {{
        listen 127.0.0.1:{http};
        location /.well-known/acme-challenge/ {{ root {folder}/webroot; }}
    }}
    include {folder}/servers/*.conf;
}}
"""


@attrs.frozen
class Nginx:
    """
    A running nginx: tokens are served from *webroot*, and *deploy* is the script that tells it of certificates.
    """

    webroot: Path
    deploy: Path


def need_nginx() -> str:
    """
    Give the program, or skip where there is none.
    """
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    return program


@contextlib.contextmanager
def nginx(folder: Path, *, http: int, https: int) -> Iterator[Nginx]:
    """
    Run an nginx on the port *http*, and on *https* once it has a certificate, until the end of the block.
    """
    program = need_nginx()
    for name in ("webroot", "servers", "temporary"):
        (folder / name).mkdir(parents=True)
    # Its workers must read below pytest's directories, which are the user's alone.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_CONFIGURATION.format(folder=folder, http=http, user=user))
    (folder / "deploy").write_text(_DEPLOY.format(folder=folder, https=https, program=program))
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            until((folder / "nginx.pid").exists, "nginx")
            yield Nginx(folder / "webroot", folder / "deploy")
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)
