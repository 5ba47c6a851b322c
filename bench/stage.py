"""
What every measurement beside peers needs: certificates, an origin, and servers that end with it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from bench.certificates import Certificates
from bench.peers import PEERS, Setting, nginx_origin
from bench.servers import Server


@attrs.frozen
class Stage:
    """
    A running *origin* and the *files* that all servers share; servers that are started here are stopped at *ending*.
    """

    root: Path
    files: Certificates
    origin: Server
    ending: ExitStack

    @classmethod
    @contextmanager
    def begun(cls) -> Iterator[Stage]:
        """
        Start the origin, in a directory that goes away at the end.
        """
        with ExitStack() as ending:
            root = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="sptls-bench-")))
            root.chmod(0o755)  # Apache's workers are not root
            files = Certificates.make(root)
            directory = root / "origin"
            directory.mkdir()
            origin = nginx_origin(directory, files.certificate, files.key)
            ending.callback(origin.stop)
            yield cls(root, files, origin, ending)

    def peer(self, name: str, python: Path) -> Server:
        """
        Start the server of this *name*, one of `peers.PEERS`.
        """
        return self.start(name, PEERS[name], python)

    def start(self, name: str, starting: Callable[[Setting], Server], python: Path) -> Server:
        """
        Start a server in a directory of its own, called *name*; sptls runs on *python*.
        """
        directory = self.root / name
        directory.mkdir()
        files = self.files
        setting = Setting(directory, files.certificate, files.key, self.origin.port, files.ca, python)
        server = starting(setting)
        self.ending.callback(server.stop)
        return server
