from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from bench.certificates import Certificates
from bench.load import negotiated
from bench.modes import MODES
from bench.peers import Setting, nginx_origin, nginx_tuned
from bench.report import BARS


def test_every_bar_has_its_mode() -> None:
    """
    What is asked for is what is measured.
    """
    assert {bar.mode for bar in BARS} == MODES.keys()
    assert all(bar.peer in mode.servers for bar in BARS if (mode := MODES[bar.mode]).servers is not None)


def test_modes_of_http_1(tmp_path: Path) -> None:
    """
    Clients make as many requests as they are asked for, and are content with a click's answer only.
    """
    files = Certificates.make(tmp_path)
    ca = str(files.ca)
    with ExitStack() as ending:
        (tmp_path / "origin").mkdir()
        origin = nginx_origin(tmp_path / "origin", files.certificate, files.key)
        ending.callback(origin.stop)
        (tmp_path / "nginx").mkdir()
        server = nginx_tuned(Setting(tmp_path / "nginx", files.certificate, files.key, origin.port, files.ca))
        ending.callback(server.stop)
        made = [MODES[mode].load("system", server.port, ca, 4, 2) for mode in ("cold", "keep")]
        assert ([4, 4], "TLS_AES_128_GCM_SHA256") == (made, negotiated("system", server.port, ca))
