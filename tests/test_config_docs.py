"""
The example file and the reference hold every key and every default that the code has.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from sptls import config_file
from sptls.config_load import Overrides, load
from tests.full_config import OnlyOk

if TYPE_CHECKING:
    from sptls.config import Config

ROOT = Path(__file__).parents[1]


class Everything(OnlyOk):
    """
    A disk on which there is every file.
    """

    def why_unreadable(self, path: Path) -> str | None:
        """
        Say that nothing is wrong.
        """


def loaded(text: str, **flags: Any) -> Config:
    """
    Load *text* as /etc/sptls/sptls.toml with *flags*, where every file can be read.
    """
    return load(text, overrides=Overrides(**flags), base=Path("/etc/sptls"), foreground=False, files=Everything())


def keys(table: Any, prefix: str = "") -> set[str]:
    """
    Give every key of the file, as ``listen.https``; a domain's are ``domains[].name``, each CA's are ``acme.contact``.
    """
    attrs.resolve_types(table)
    found: set[str] = set()
    for field in attrs.fields(table):
        place = prefix + field.name
        found |= keys(field.type, place + ".") if attrs.has(field.type) else {place}
    return found


ALL_KEYS = (
    keys(config_file.File) - {"acme"}
    | keys(config_file.AcmeTable, "acme.")
    | keys(config_file.DomainTable, "domains[].")
)


def written(tree: Any, prefix: str = "") -> set[str]:
    """
    Give every key that stands in a TOML tree.
    """
    found: set[str] = set()
    for key, value in tree.items():
        found |= written(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return found


def example(*, tables: bool) -> str:
    """
    Give the example file; with *tables*, its commented domain table instead of the list.
    """
    text = (ROOT / "sptls.example.toml").read_text(encoding="utf-8")
    if not tables:
        return text
    text = re.sub(r"^domains = .*$", "", text, flags=re.MULTILINE)
    return re.sub(r"^#\| ", "", text, flags=re.MULTILINE)


def test_the_example_file_holds_every_default() -> None:
    """
    Loading it is the same as giving the three flags that have no default.
    """
    flags = loaded("", domains=("click.example.com",), contact=("ops@example.com",), agree_to_terms=True)
    assert flags == loaded(example(tables=False))


def test_the_example_file_holds_every_key() -> None:
    """
    Those of a domain's table are commented out, and are good when they are not.
    """
    tree = tomllib.loads(example(tables=True))
    found = written(tree) | written(tree["domains"][0], "domains[].")
    assert ALL_KEYS == found
    assert "https://eu.spgo.io" == loaded(example(tables=True)).domains[0].upstream.url


def test_the_reference_names_every_key_and_its_default() -> None:
    """
    Each key has a row in its table's section, with the default that the code has.
    """
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        if heading := re.match(r"### `\[+(\w+)\]+`", line):
            section = "domains[]." if heading[1] == "domains" else f"{heading[1]}."
        if row := re.match(r"\| `([\w.]+)` \| (\S.*?) \| ", line):
            found[section + row[1]] = row[2].strip("`")
    assert {key for key in ALL_KEYS if not key.startswith("domains[].upstream.")} | {"domains[].upstream"} == set(found)
    tree = tomllib.loads(example(tables=False))
    for key in written(tree) - {"domains", "acme.contact", "acme.agree_to_terms"}:
        value: Any = tree
        for step in key.split("."):
            value = value[step]
        assert value == tomllib.loads(f"value = {found[key]}")["value"]
