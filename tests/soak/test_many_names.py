from __future__ import annotations

import random
import ssl
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.e2e.ca import certificate, certificates, running_ca, sans
from tests.e2e.daemon import Daemon, until
from tests.e2e.stored import make_due
from tests.soak.process import cpu_seconds, fill_store, resident_mb
from tests.soak.pythons import quickest_python

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The figures that the design promises.
FORTY_NAMES_SECONDS = 10.0
THIRTY_SLOW_NAMES_SECONDS = 15.0
FIRST_HANDSHAKE_SECONDS = 1.0
FIVE_THOUSAND_MB = 100.0
# Promised by the clock, of a machine that has nothing else to do and a Python that was built as distributions build
# theirs: so it is counted in CPU seconds. By the clock a busy machine may take so many.
HUNDRED_THOUSAND_CPU_SECONDS = 2.0
UNOPTIMISED_CPU_SECONDS = 3.0
HUNDRED_THOUSAND_SECONDS = 4.0
HUNDRED_THOUSAND_MB = 250.0
STORED = 10_000
# PEBBLE_VA_SLEEPTIME where it is not set.
PEBBLES_OWN_SLEEP_SECONDS = 5


def _first_handshake(daemon: Daemon, name: str, client: ssl.SSLContext) -> float:
    """
    Give the moment when the first handshake with a daemon that was just started is done; it listens before it serves.
    """

    def served() -> bool:
        assert daemon.process.poll() is None, daemon.log
        try:
            return sans(certificate(daemon.https, name, client)) == [name]
        except ConnectionError:
            return False

    until(served, "first handshake", 60)
    return time.monotonic()


def test_forty_new_names_at_once(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    40 names that have no certificate when the daemon starts, a client for each at once: all are served within 10 s.
    """
    names = [f"n{number}.example" for number in range(40)]
    with running_ca(tmp_path / "ca") as ca:
        client = ca.client()
        with ca.launcher(tmp_path / "daemon", *names).running() as daemon:
            began = time.monotonic()
            served = certificates(daemon.https, names, client)
            seconds = time.monotonic() - began
        record_property("seconds", f"{seconds:.1f}")
        record_property("requests to the CA per name", f"{len(ca.requests) / len(names):.1f}")
        assert ([[name] for name in names], 40) == ([sans(one) for one in served], ca.orders)
    assert seconds < FORTY_NAMES_SECONDS


def test_thirty_new_names_at_a_ca_that_takes_its_time(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """
    30 new names at once, a client for each, and a CA that waits up to 4 s before each of its three looks at a challenge
    (Pebble's default): all are served within 15 s.
    """
    names = [f"slow{number}.example" for number in range(30)]
    with running_ca(tmp_path / "ca", validation_sleep_seconds=PEBBLES_OWN_SLEEP_SECONDS) as ca:
        client = ca.client()
        with ca.launcher(tmp_path / "daemon", *names).running() as daemon:
            began = time.monotonic()
            served = certificates(daemon.https, names, client)
            seconds = time.monotonic() - began
        record_property("seconds", f"{seconds:.1f}")
        assert ([[name] for name in names], 30) == ([sans(one) for one in served], ca.orders)
    assert seconds < THIRTY_SLOW_NAMES_SECONDS


def test_everything_is_down_at_restart(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    The CA, the DNS and the file with the names are gone when the daemon starts with 5,000 certificates, of which 500
    are due: every name is served.
    """
    names = [f"n{number}.down.example" for number in range(5000)]
    with running_ca(tmp_path / "ca") as ca:
        pass
    launcher = ca.launcher(tmp_path / "daemon")
    more = {"acme": ca.acme, "upstream": 'url = "https://tracking.invalid"'}
    launcher.write(domains='domains = []\ndomains_file = "names.txt"', **more)
    names_file = launcher.directory / "names.txt"
    names_file.write_text("\n".join(names))
    client = ssl.create_default_context(cadata=fill_store(launcher.state, names, ca.pebble.directory_url).decode())
    for name in names[::10]:
        make_due(launcher.state, name)
    with launcher.running():
        names_file.unlink()
    began = time.monotonic()
    daemon = launcher.spawn()
    try:
        seconds = _first_handshake(daemon, names[2500], client) - began
        assert "names.txt' can't be read: No such file or directory; the names that it had before" in daemon.log
        served = sum(sans(certificate(daemon.https, name, client)) == [name] for name in names)
        states = daemon.status()["states"]
    finally:
        daemon.stop()
    record_property("first handshake, seconds after exec", f"{seconds:.2f}")
    record_property("served", f"{served} of {len(names)}")
    record_property("states then", ", ".join(f"{state} {count}" for state, count in sorted(states.items())))
    assert len(names) == served


def test_five_thousand_stored_certificates(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    With 5,000 stored certificates the first handshake is done within a second of exec, by the quickest of 5 starts, in
    100 MB, and the CA hears nothing.
    """
    names = [f"n{number}.stored.example" for number in range(5000)]
    with running_ca(tmp_path / "ca") as ca:
        launcher = ca.launcher(tmp_path / "daemon", *names)
        root = fill_store(launcher.state, names, ca.pebble.directory_url)
        client = ssl.create_default_context(cadata=root.decode())
        first: list[float] = []
        asked = ca.log
        for _ in range(5):
            began = time.monotonic()
            daemon = launcher.spawn()
            try:
                first.append(_first_handshake(daemon, names[2500], client) - began)
                cpu = cpu_seconds(daemon.process.pid)
                for name in random.Random(1).sample(names, 100):  # noqa: S311
                    certificate(daemon.https, name, client)
                memory = resident_mb(daemon.process.pid)
                assert {"valid": 5000} == daemon.status()["states"]
            finally:
                daemon.stop()
        assert asked == ca.log
    record_property("first handshake, seconds after exec", ", ".join(f"{seconds:.2f}" for seconds in first))
    record_property("CPU seconds until then", f"{cpu:.2f}")
    record_property("resident MB", f"{memory:.0f}")
    assert min(first) < FIRST_HANDSHAKE_SECONDS
    assert memory < FIVE_THOUSAND_MB


def test_hundred_thousand_configured_names(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    100,000 configured names, 10,000 of them stored, and a CA that is down: the first handshake is done after 2 s of CPU
    time, by the median of 5 starts, in 250 MB; all that are stored are valid, and one is served while the status is
    asked for. A Python without profile-guided optimisation may take 3 s.
    """
    python = quickest_python(tmp_path)
    names = [f"n{number}.configured.example" for number in range(100_000)]
    with running_ca(tmp_path / "ca") as ca:
        pass
    launcher = ca.launcher(tmp_path / "daemon")
    launcher.write(domains='domains = []\ndomains_file = "names.txt"', acme=ca.acme)
    (launcher.directory / "names.txt").write_text("\n".join(names))
    root = fill_store(launcher.state, names[:STORED], ca.pebble.directory_url)
    client = ssl.create_default_context(cadata=root.decode())
    first: list[float] = []
    cpu: list[float] = []
    for _ in range(5):
        began = time.monotonic()
        daemon = launcher.spawn(before=(str(python.path),))
        try:
            first.append(_first_handshake(daemon, names[STORED // 2], client) - began)
            cpu.append(cpu_seconds(daemon.process.pid))
            with ThreadPoolExecutor(1) as operator:
                asked = operator.submit(daemon.domain, names[STORED])
                slowest = 0.0
                while not asked.done():
                    tried = time.monotonic()
                    certificate(daemon.https, names[0], client)
                    slowest = max(slowest, time.monotonic() - tried)
            states = daemon.status()["states"]
            memory = resident_mb(daemon.process.pid)
            stopping = time.monotonic()
        finally:
            daemon.stop()
    record_property("first handshake, seconds after exec", ", ".join(f"{seconds:.2f}" for seconds in first))
    record_property("CPU seconds until then", ", ".join(f"{seconds:.2f}" for seconds in cpu))
    record_property("Python with profile-guided optimisation", python.is_optimised)
    record_property("slowest handshake while /status is asked for, seconds", f"{slowest:.1f}")
    record_property("resident MB", f"{memory:.0f}")
    record_property("stop, seconds", f"{time.monotonic() - stopping:.1f}")
    assert (STORED, len(names)) == (states["valid"], sum(states.values()))
    most = HUNDRED_THOUSAND_CPU_SECONDS if python.is_optimised else UNOPTIMISED_CPU_SECONDS
    assert statistics.median(cpu) <= most
    assert min(first) < HUNDRED_THOUSAND_SECONDS
    assert memory < HUNDRED_THOUSAND_MB
