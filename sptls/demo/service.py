"""
``twistd sptls --demo``: the real daemon, with a CA and a tracking service that are started beside it.

Decides the demo's configuration and what it says to the person who started it. The CA is Pebble where it is
installed, otherwise the internal one; every other part is the one that production runs.
"""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import attrs

from sptls import service
from sptls.certs.internal import CERTIFICATE_FILE
from sptls.clock import wall_time
from sptls.config import INTERNAL_DIRECTORY, AcmeConfig, Address, Config, DomainConfig, ListenConfig, UpstreamConfig
from sptls.demo.pebble import DemoPebble, available
from sptls.demo.tracking_service import DemoTrackingService
from sptls.errors import ConfigError, Fault
from sptls.files import make_private_directory, write_public
from sptls.names import HostName

if TYPE_CHECKING:
    from sptls.config_load import Overrides
    from sptls.startup import ProcessSettings

NAME = HostName("click.localhost")
HTTPS_PORT, HTTP_PORT = 8443, 8080
ROOT_FILE = "root.pem"


def make(reactor: Any, process: ProcessSettings, overrides: Overrides) -> service.Sptls:
    """
    Give the daemon of the demo; its state is in a directory of its own, removed at the end unless one was named.

    Raises:
        ConfigError: an option was given that the demo decides itself.
        StartError: a port is taken, or the state directory can't be used.
    """
    _refuse_others(overrides)
    kept = overrides.state_dir is not None
    state_dir = Path(overrides.state_dir or tempfile.mkdtemp(prefix="sptls-demo-"))
    world = DemoWorld(reactor, state_dir.absolute(), sys.stdout, kept=kept)
    try:
        return service.make(reactor, process, world.configuration(), world)
    except BaseException:
        world.remove()
        raise


def _refuse_others(overrides: Overrides) -> None:
    flags = {
        "--domain": overrides.domains,
        "--contact": overrides.contact,
        "--directory": overrides.directory,
        "--upstream": overrides.upstream,
        "--https": overrides.https,
        "--http": overrides.http,
        "--renew-only": overrides.renew_only,
    }
    given = tuple(Fault(flag, "does not go with --demo, which decides it") for flag, value in flags.items() if value)
    if given:
        raise ConfigError(given)


class DemoWorld:
    """
    What the demo has beside the daemon: a CA and a tracking service; *output* is where the person reads.
    """

    def __init__(self, reactor: Any, state_dir: Path, output: TextIO, *, kept: bool) -> None:
        self._state_dir, self._output, self._kept = state_dir, output, kept
        self._directory = state_dir / "demo"
        self._tracking = DemoTrackingService(reactor, self._directory, wall_time)
        self._pebble = (
            DemoPebble(reactor, self._directory, wall_time, https_port=HTTPS_PORT, http_port=HTTP_PORT)
            if available()
            else None
        )
        self._root = state_dir / CERTIFICATE_FILE

    def configuration(self) -> Config:
        """
        Give the configuration as far as it is known before anything is started.
        """
        hosts = ("127.0.0.1", "::1") if _has_ipv6() else ("127.0.0.1",)
        return Config(
            domains=(DomainConfig(NAME),),
            state_dir=self._state_dir,
            listen=ListenConfig(
                https=tuple(Address(host, HTTPS_PORT) for host in hosts),
                http=tuple(Address(host, HTTP_PORT) for host in hosts),
                default_name=NAME,
            ),
            # No DNS has the name: a look there would only say so.
            acme=AcmeConfig(directory=INTERNAL_DIRECTORY, agree_to_terms=True, precheck="off"),
        )

    async def start(self, config: Config) -> Config:
        """
        Start the tracking service and the CA; give *config* with where they are.

        Raises:
            StartError: one of them does not start.
        """
        make_private_directory(self._directory)
        service_address = self._tracking.start()
        upstream = UpstreamConfig(host=service_address.host, port=service_address.port, trust=service_address.trust)
        config = attrs.evolve(config, domains=(DomainConfig(NAME, upstream),))
        if self._pebble is None:
            return config
        ca = await self._pebble.start()
        self._root = self._directory / ROOT_FILE
        write_public(self._root, await self._pebble.root_pem())
        return attrs.evolve(config, acme=attrs.evolve(config.acme, directory=ca.directory_url, trust=ca.trust))

    def announce(self, config: Config) -> None:
        """
        Say what runs and what to try.
        """
        internal = config.acme.directory == INTERNAL_DIRECTORY
        ca = (
            "the internal one (install Debian's package pebble for a real ACME CA)"
            if internal
            else f"Pebble, Let's Encrypt's test CA, at {config.acme.directory}"
        )
        kept = "" if self._kept else " (removed at the end)"
        self._output.write(
            f"\nsptls demo: https://{NAME}:{HTTPS_PORT} and http://{NAME}:{HTTP_PORT}\n"
            f"  CA      {ca}\n"
            f"  state   {self._state_dir}{kept}\n"
            f"  status  http://{config.listen.admin}/status\n"
            f"  try     curl --cacert {self._root} -i https://{NAME}:{HTTPS_PORT}/f/a/b/c/d\n"
            f"          curl --cacert {self._root} -i https://{NAME}:{HTTPS_PORT}/q/open\n"
            f"          curl -i 'http://{NAME}:{HTTP_PORT}/f/a?target=https%3A%2F%2Fwww.example.com%2F'\n"
            f"  ask     {_command()} status --state-dir {self._state_dir}\n"
            "  end     Ctrl-C\n\n"
        )
        self._output.flush()

    async def stop(self) -> None:
        """
        End the CA and the tracking service, and remove what is not to be kept.
        """
        if self._pebble is not None:
            await self._pebble.stop()
        await self._tracking.stop()

    def remove(self) -> None:
        """
        Remove the state directory, unless it was named by the person.
        """
        if not self._kept:
            shutil.rmtree(self._state_dir, ignore_errors=True)


def _command() -> Path:
    """
    Give the `sptls` of this installation, which need not be on the PATH.
    """
    installed = Path(sys.executable).with_name("sptls")
    return installed if installed.exists() else Path(installed.name)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
