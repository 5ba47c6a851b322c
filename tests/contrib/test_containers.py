from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sptls.config import STATE_DIR, ListenConfig
from sptls.config_load import Overrides
from sptls.config_source import ConfigSource
from sptls.demo import pebble, stack
from sptls.serving import DRAIN_SECONDS
from sptls.tap import Options

ROOT = Path(__file__).parents[2]
PRODUCTION, LOCAL = "docker-compose.yml", "docker-compose.override.yml"
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def services(name: str) -> dict[str, Any]:
    """
    Give the services of a compose file, its variables as they are without an .env.
    """
    text = VARIABLE.sub(lambda match: match[2] or "", (ROOT / name).read_text())
    read: dict[str, Any] = yaml.safe_load(text)["services"]
    return read


def instructions() -> list[tuple[str, str]]:
    """
    Give the Dockerfile's instructions.
    """
    text = (ROOT / "Dockerfile").read_text()
    joined = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", text))
    return [(word, rest) for line in joined.splitlines() if line for word, _, rest in [line.partition(" ")]]


def last(word: str) -> str:
    """
    Give what follows the last instruction of that word.
    """
    return [rest for instruction, rest in instructions() if instruction == word][-1]


def test_fits_the_compose_specification() -> None:
    """
    Both files are valid by the schema that Compose v2 goes by.
    """
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, PRODUCTION, LOCAL], cwd=ROOT, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose")
@pytest.mark.parametrize(
    ("environment", "expected"), [((), {"sptls", "tracking", "pebble", "dns"}), (("production.env",), {"sptls"})]
)
def test_docker_compose_takes_it(environment: tuple[str, ...], expected: set[str]) -> None:
    """
    docker-compose reads the files: all of the local stack by default, sptls alone with production's .env.
    """
    options = [word for name in environment for word in ("--env-file", f"docker/{name}")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SPTLS_", "COMPOSE_"))}
    command = ["docker-compose", *options, "config", "--services"]
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)
    assert (0, expected) == (done.returncode, set(done.stdout.split())), done.stderr


def test_has_no_version() -> None:
    """
    No file names a version of the format: docker-compose 1.29 needs none, and v2 warns of one.
    """
    assert not any("version" in yaml.safe_load((ROOT / name).read_text()) for name in (PRODUCTION, LOCAL))


def test_production_is_sptls_alone() -> None:
    """
    The file that production uses starts nothing but sptls, restarted whatever ends it, with more time to stop than it
    takes.
    """
    ((name, service),) = services(PRODUCTION).items()
    assert ("sptls", "unless-stopped", True) == (name, service["restart"], service["init"])
    assert int(service["stop_grace_period"].removesuffix("s")) >= 2 * DRAIN_SECONDS


def test_production_gets_by_with_no_rights() -> None:
    """
    The container has no capabilities and a root file system that it can't write, and can't gain any right.
    """
    (service,) = services(PRODUCTION).values()
    assert (["ALL"], True, ["no-new-privileges:true"]) == (
        service["cap_drop"],
        service["read_only"],
        service["security_opt"],
    )
    assert not {"cap_add", "privileged", "user"} & set(service)


def test_production_keeps_no_core() -> None:
    """
    Neither the compose file's container nor the one that the documents start leaves a core, in which its keys would be:
    Docker gives as much as its own daemon may have, which is unlimited with Debian's unit.
    """
    (service,) = services(PRODUCTION).values()
    assert 0 == service["ulimits"]["core"]
    commands = re.findall(r"(?m)^docker run -d (?:.*\\\n)*.*", (ROOT / "docs/operations.md").read_text())
    assert [True] == ["--ulimit core=0" in command for command in commands]


def test_the_local_stack_is_reached_from_this_machine_only() -> None:
    """
    Without an .env nothing is published but on loopback.
    """
    everything = {**services(LOCAL), "production": services(PRODUCTION)["sptls"]}
    published = [port for service in everything.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_variable_has_a_default_and_is_named() -> None:
    """
    A fresh checkout needs no .env, and each of production's variables is in the one to copy.
    """
    used = {name: VARIABLE.findall((ROOT / name).read_text()) for name in (PRODUCTION, LOCAL)}
    assert [] == [variable for name in used for variable, default in used[name] if not default]
    named = re.findall(r"(?m)^([A-Z_]+)=", (ROOT / "docker/production.env").read_text())
    assert {variable for variable, _ in used[PRODUCTION]} | {"COMPOSE_FILE"} == set(named)


def test_what_is_mounted_is_in_the_checkout() -> None:
    """
    Each path that a container sees of the checkout is there.
    """
    for service in (*services(PRODUCTION).values(), *services(LOCAL).values()):
        for source in (volume.split(":")[0] for volume in service.get("volumes", ())):
            assert not source.startswith(".") or (ROOT / source).exists(), source


def test_the_mock_dns_gives_the_address_of_sptls() -> None:
    """
    Every name resolves to the address that sptls has in the local stack.
    """
    local = services(LOCAL)
    address = local["sptls"]["networks"]["default"]["ipv4_address"]
    command = local["dns"]["command"]
    assert address == command[command.index("-defaultIPv4") + 1]


def test_the_local_configuration_is_one(tmp_path: Path) -> None:
    """
    The local stack's configuration loads, and agrees with Pebble's and with the tracking service's.
    """
    trust = tmp_path / "root.pem"
    trust.touch()
    path = tmp_path / "sptls.toml"
    path.write_text((ROOT / "docker/local/sptls.toml").read_text().replace("/demo/internal-ca.pem", str(trust)))
    config = ConfigSource(path, Overrides(), foreground=True).load()
    ca = json.loads((ROOT / "docker/pebble.json").read_text())["pebble"]
    assert f"https://{stack.PEBBLE_HOST}:{ca['listenAddress'].rpartition(':')[2]}/dir" == config.acme.directory
    (domain,) = config.domains
    assert (stack.TRACKING_HOST.text, stack.PORT) == (domain.upstream.host, domain.upstream.port)
    assert (f"/demo/{pebble.CERTIFICATE}", f"/demo/{pebble.KEY}") == (ca["certificate"], ca["privateKey"])
    assert (ca["tlsPort"], ca["httpPort"]) == (config.listen.https[0].port, config.listen.http[0].port)


def test_the_image_starts_twistd_without_a_pid_file() -> None:
    """
    The entry point is twistd in the foreground with no pid file, and the default command is understood by it.
    """
    assert ["twistd", "-n", "--pidfile=", "sptls"] == json.loads(last("ENTRYPOINT"))
    options = Options()
    options.parseOptions(json.loads(last("CMD")))
    assert "/etc/sptls/sptls.toml" == options["config"]


def test_the_image_serves_as_nobody_in_particular() -> None:
    """
    The user is a number that is not root's, the same one that the local stack's Pebble reads its key as.
    """
    assert re.fullmatch(r"([1-9]\d*):\1", last("USER"))
    assert {last("USER")} == {service["user"] for service in services(LOCAL).values() if "user" in service}


def test_the_health_check_asks_where_the_default_answers() -> None:
    """
    The check asks the admin listener's default address.
    """
    admin = ListenConfig().admin
    assert f"'http://{admin}/healthz'" in last("HEALTHCHECK")


def test_what_the_image_is_made_of_is_let_in() -> None:
    """
    Whatever is copied from the checkout is there, and not kept out by .dockerignore.
    """
    copied = [rest.split() for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    sources = {source for words in copied for source in words[:-1]}
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert sources == {line[1:] for line in ignore if line.startswith("!")}
    assert all((ROOT / source).exists() for source in sources)


def test_the_state_is_a_volume() -> None:
    """
    The directory of the state is the configuration's default, a volume, and mounted from one that is kept.
    """
    assert str(STATE_DIR) == last("VOLUME")
    assert f"state:{STATE_DIR}" in services(PRODUCTION)["sptls"]["volumes"]
