"""
Starts a real ACME CA for a test: Pebble, with its mock DNS (pebble-challtestsrv), on free private ports.

No reactor and no Twisted in here: two child processes, a folder for their files, a wait until the directory answers.
Every name resolves to 127.0.0.1. `config_text`, `pebble_argv` and `dns_argv` serve whoever starts them in another way.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import attrs
import trustme

from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# Pebble makes its roots at start: a tenth of a second, more on a loaded machine.
START_SECONDS = 20.0
STOP_SECONDS = 5.0
# Another process may take a port between our look and Pebble's bind.
START_TRIES = 3
HOST = "127.0.0.1"


@attrs.frozen
class Ports:
    """
    Where Pebble and its DNS listen.
    """

    acme: int
    management: int
    dns: int
    dns_management: int


@attrs.frozen
class Settings:
    """
    How this CA behaves; *http_port* and *tls_port* are where it connects to validate names.

    The defaults are a fast and friendly CA; *external_accounts* maps key identifiers to MAC keys in base64url.
    """

    http_port: int
    tls_port: int
    certificate_seconds: int = 3600
    nonce_reject_percent: int = 0
    authorization_reuse_percent: int = 0
    validation_sleep_seconds: int = 0
    chain_length: int = 1
    alternate_roots: int = 0
    external_accounts: Mapping[str, str] = attrs.field(factory=dict)
    blocked_names: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """
        Give the part of the settings that Pebble takes from the environment.
        """
        sleep = {"PEBBLE_VA_SLEEPTIME": str(self.validation_sleep_seconds)}
        return {
            "PEBBLE_WFE_NONCEREJECT": str(self.nonce_reject_percent),
            "PEBBLE_AUTHZREUSE": str(self.authorization_reuse_percent),
            "PEBBLE_CHAIN_LENGTH": str(self.chain_length),
            "PEBBLE_ALTERNATE_ROOTS": str(self.alternate_roots),
            **(sleep if self.validation_sleep_seconds else {"PEBBLE_VA_NOSLEEP": "1"}),
        }


@attrs.frozen
class Pebble:
    """
    A running CA: its directory, the root of its own HTTPS (PEM file *trust*), its and its DNS's management, its log.

    *process* is there to be stopped and killed.
    """

    directory_url: str
    trust: Path
    management_url: str
    dns_management_url: str
    resolver: str
    log: Path
    process: subprocess.Popen[bytes] = attrs.field(repr=False)

    def root(self, number: int = 0) -> bytes:
        """
        Give the root *number* that its certificates chain to, PEM; above 0 are the alternate ones.
        """
        return self._get(f"{self.management_url}/roots/{number}")

    def certificate_status(self, serial: str) -> dict[str, str]:
        """
        Give what the CA knows of the certificate with *serial*, hexadecimal.
        """
        status: dict[str, str] = json.loads(self._get(f"{self.management_url}/cert-status-by-serial/{serial}"))
        return status

    def set_dns(self, action: str, **body: object) -> None:
        """
        Change a DNS record: ``set_dns("add-a", host="a.test.", addresses=["127.0.0.2"])``.
        """
        _request(f"{self.dns_management_url}/{action}", json.dumps(body).encode())

    def _get(self, url: str) -> bytes:
        return _request(url, trust=self.trust)


def is_installed() -> bool:
    """
    Tell whether both programs are on PATH (Debian's package is "pebble").
    """
    return all(shutil.which(program) for program in ("pebble", "pebble-challtestsrv"))


def config_text(settings: Settings, ports: Ports, certificate: Path, key: Path) -> str:
    """
    Give Pebble's configuration file; *certificate* and *key* are PEM, for its own HTTPS.
    """
    return json.dumps(
        {
            "pebble": {
                "listenAddress": f"{HOST}:{ports.acme}",
                "managementListenAddress": f"{HOST}:{ports.management}",
                "certificate": str(certificate),
                "privateKey": str(key),
                "httpPort": settings.http_port,
                "tlsPort": settings.tls_port,
                "certificateValidityPeriod": settings.certificate_seconds,
                "externalAccountBindingRequired": bool(settings.external_accounts),
                "externalAccountMACKeys": dict(settings.external_accounts),
                "domainBlocklist": list(settings.blocked_names),
            }
        }
    )


def pebble_argv(config: Path, ports: Ports) -> list[str]:
    """
    Give the command that starts the CA.
    """
    return ["pebble", "-config", str(config), "-strict", "-dnsserver", f"{HOST}:{ports.dns}"]


def dns_argv(ports: Ports) -> list[str]:
    """
    Give the command that starts the mock DNS, and nothing but DNS.
    """
    off = ["-http01", "", "-https01", "", "-tlsalpn01", ""]
    listen = ["-dns01", f"{HOST}:{ports.dns}", "-management", f"{HOST}:{ports.dns_management}"]
    return ["pebble-challtestsrv", "-defaultIPv4", HOST, "-defaultIPv6", "", *off, *listen]


@contextmanager
def running(folder: Path, settings: Settings, ports: Ports | None = None) -> Iterator[Pebble]:
    """
    Run a CA while the block lasts; its files lie in *folder*.

    With the *ports* of an earlier run in the same folder it is the same CA to clients, but has forgotten everything.

    Raises:
        RuntimeError: it does not start; the message has its log.
    """
    with ExitStack() as stack:
        for last in (False,) * (START_TRIES - 1) + (True,):
            with ExitStack() as attempt:
                try:
                    pebble = _start(attempt, folder, settings, ports or Ports(*free_ports(4)))
                except RuntimeError:
                    if last:
                        raise
                    continue
                stack.push(attempt.pop_all())
                break
        yield pebble


def _start(stack: ExitStack, folder: Path, settings: Settings, ports: Ports) -> Pebble:
    authority, certificate, key, config = (folder / name for name in ("ca.pem", "cert.pem", "key.pem", "pebble.json"))
    if not key.exists():
        ca = trustme.CA()
        issued = ca.issue_cert(HOST, "localhost")
        ca.cert_pem.write_to_path(str(authority))
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
    config.write_text(config_text(settings, ports, certificate, key))
    log = folder / "pebble.log"
    _run(stack, dns_argv(ports), log, {})
    process = _run(stack, pebble_argv(config, ports), log, settings.environment())
    pebble = Pebble(
        directory_url=f"https://{HOST}:{ports.acme}/dir",
        trust=authority,
        management_url=f"https://{HOST}:{ports.management}",
        dns_management_url=f"http://{HOST}:{ports.dns_management}",
        resolver=f"{HOST}:{ports.dns}",
        log=log,
        process=process,
    )
    _wait_for(pebble, process)
    return pebble


def _run(stack: ExitStack, argv: list[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """
    Start a program that ends with *stack*, whatever happens.
    """
    output = stack.enter_context(log.open("ab"))
    process = subprocess.Popen(argv, stdout=output, stderr=output, env={**os.environ, **environment})
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)


def _wait_for(pebble: Pebble, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            _request(pebble.directory_url, trust=pebble.trust)
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"Pebble did not start:\n{pebble.log.read_text(errors='replace')[-4000:]}")


def _request(url: str, content: bytes | None = None, trust: Path | None = None) -> bytes:
    context = ssl.create_default_context(cafile=trust) if trust else None
    # The URLs are made above, from our own ports.
    with urllib.request.urlopen(url, content, timeout=5, context=context) as response:  # noqa: S310
        answer: bytes = response.read()
        return answer
