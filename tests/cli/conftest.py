"""
The command as an operator calls it, in this process, with a configuration and a state directory of the test's own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
import trustme

from sptls.certs.bundle import CertificateBundle
from sptls.certs.records import NO_HISTORY, History, StoredCertificate
from sptls.certs.store_file import StoreFile
from sptls.cli import options
from sptls.cli.main import run
from sptls.clock import wall_time
from sptls.names import HostName


@attrs.frozen
class Ran:
    """
    What a command wrote, and its exit status.
    """

    status: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Keep what lies on this machine out.
    """
    monkeypatch.delenv("SPTLS_CONFIG", raising=False)
    monkeypatch.setattr(options, "DEFAULT_CONFIG", tmp_path / "none.toml")


@pytest.fixture
def sptls(capfd: pytest.CaptureFixture[str]) -> Command:
    """
    Give a way to run the command with arguments.
    """

    def ran(*arguments: object) -> Ran:
        capfd.readouterr()
        status = run([str(argument) for argument in arguments])
        return Ran(status, *capfd.readouterr())

    return ran


@attrs.frozen
class Site:
    """
    A configuration file and a state directory, in which *authority*'s certificates can be put.
    """

    directory: Path
    authority: trustme.CA

    @property
    def config(self) -> Path:
        """
        Give the configuration file.
        """
        return self.directory / "sptls.toml"

    @property
    def state(self) -> Path:
        """
        Give the state directory.
        """
        return self.directory / "state"

    def write(self, *domains: str, more: str = "", acme: str = 'directory = "internal"') -> Path:
        """
        Write the configuration: *domains* are names or inline tables.
        """
        listed = ", ".join(domain if domain.startswith("{") else f'"{domain}"' for domain in domains)
        self.config.write_text(f'state_dir = "state"\ndomains = [{listed}]\n{more}\n[acme]\n{acme}\n')
        return self.config

    def bundle(self, name: str, left: timedelta = timedelta(days=89, minutes=1)) -> CertificateBundle:
        """
        Make a certificate for *name* that is valid for as long as is *left*.
        """
        issued = self.authority.issue_cert(
            name, not_before=datetime.now(UTC) - timedelta(days=1), not_after=datetime.now(UTC) + left
        )
        return CertificateBundle.from_pem(
            issued.private_key_pem.bytes(), b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        )

    def bring(self, name: str, left: timedelta = timedelta(days=89, minutes=1)) -> str:
        """
        Write an own certificate for *name*; give the inline table of the configuration.
        """
        bundle = self.bundle(name, left)
        (self.directory / f"{name}.pem").write_bytes(bundle.chain_pem())
        (self.directory / f"{name}.key").write_bytes(bundle.key_pem())
        return f'{{name = "{name}", certificate = "{name}.pem", key = "{name}.key"}}'

    def put(self, name: str, history: History = NO_HISTORY, *, directory: str = "internal") -> CertificateBundle:
        """
        Store a certificate for *name*.
        """
        bundle = self.bundle(name)
        stored = StoredCertificate(HostName(name), bundle, directory, wall_time() + timedelta(days=60, minutes=1))
        with self._store() as store:
            store.put_certificate(stored, history)
        return bundle

    def put_history(self, name: str, history: History) -> None:
        """
        Store what became of the attempts for *name*.
        """
        with self._store() as store:
            store.put_history(HostName(name), history)

    def _store(self) -> _Opened:
        self.state.mkdir(mode=0o700, exist_ok=True)
        return _Opened(StoreFile(self.state / "store.db", wall_time))


@attrs.frozen
class _Opened:
    store: StoreFile

    def __enter__(self) -> StoreFile:
        return self.store

    def __exit__(self, *_: object) -> None:
        self.store.close()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """
    Give the CA of all certificates.
    """
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture
def site(tmp_path: Path, authority: trustme.CA) -> Site:
    """
    Give a place for a configuration and a state directory.
    """
    (tmp_path / "state").mkdir(mode=0o700)
    return Site(tmp_path, authority)
