"""
The file's shape: every type is checked strictly, every misfit is found at its place, and the rest is still read.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sptls import config_file
from sptls.config_file import DomainTable, File, ListenTable
from sptls.errors import ConfigError, Fault

KEYS = st.sampled_from(
    ["domains", "listen", "https", "acme", "eab", "kid", "limits", "head_bytes", "log", "format", "workers", "name"]
)
SCALARS = st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["auto", "combined"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=3)
)
TREES = st.dictionaries(KEYS | st.text(max_size=3), VALUES, max_size=5)


def toml(value: Any) -> str:
    """
    Write *value* as an inline TOML value.
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    if isinstance(value, float):
        return repr(value)
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def quoted(text: str) -> str:
    """
    Write *text* as a basic string, with every character by its number.
    """
    return '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'


def document(tree: dict[str, Any]) -> str:
    """
    Write *tree* as a TOML document.
    """
    return "".join(f"{quoted(key)} = {toml(value)}\n" for key, value in tree.items())


def faults(text: str) -> list[str]:
    """
    Read *text* and give what is wrong, as lines.
    """
    return [str(fault) for fault in config_file.read(text)[1]]


def test_an_empty_file_has_nothing_and_no_fault() -> None:
    """
    Every key may be left out.
    """
    assert (File(), ()) == config_file.read("")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("state_dir = 1", "state_dir: expected a string, not a whole number"),
        ("state_dir = 2026-01-01", "state_dir: expected a string, not a date or time"),
        ("workers = 'many'", "workers: expected a whole number or 'auto'"),
        ("workers = true", "workers: expected a whole number or 'auto'"),
        ("workers = [1]", "workers: expected a whole number or 'auto'"),
        ("domains = 'click.example.com'", "domains: expected an array, not a string"),
        ("domains = ['a.b', 1]", "domains[1]: expected a name, or a table with a name"),
        ("domains = ['a.b', {name = 1}]", "domains[1].name: expected a string, not a whole number"),
        ("[[domains]]\nupstream = 'x'", "domains[0].upstream: expected a table, not a string"),
        ("[domains]\n", "domains: expected an array, not a table"),
        ("listen = ':443'", "listen: expected a table, not a string"),
        ("[listen]\nhttps = ':443'", "listen.https: expected an array, not a string"),
        ("[listen]\nhttps = [':443', 443]", "listen.https[1]: expected a string, not a whole number"),
        ("[acme]\nagree_to_terms = 'true'", "acme.agree_to_terms: expected true or false, not a string"),
        ("[acme]\nagree_to_terms = 1", "acme.agree_to_terms: expected true or false, not a whole number"),
        ("[acme]\nkey_type = []", "acme.key_type: expected a string, not an array"),
        ("[acme]\neab = {kid = true}", "acme.eab.kid: expected a string, not true or false"),
        ("[limits]\nhead_bytes = '1'", "limits.head_bytes: expected a whole number, not a string"),
        ("[limits]\nhead_bytes = 1.0", "limits.head_bytes: expected a whole number, not a number with a point"),
        ("[limits]\nhead_bytes = true", "limits.head_bytes: expected a whole number, not true or false"),
        ("[limits]\nidle_seconds = true", "limits.idle_seconds: expected a number, not true or false"),
        ("[tls]\npolicy = 'modren'", "tls.policy: 'modren' is none of 'intermediate', 'modern', 'compatible'"),
        ("[log]\nformat = 'nginx'", "log.format: 'nginx' is none of 'combined', 'json'"),
        ("[deploy]\ncommand = 'x'", "deploy.command: expected an array, not a string"),
    ],
)
def test_a_wrong_type_is_a_fault_at_its_place(text: str, fault: str) -> None:
    """
    Nothing is converted: 1 is not "1", "true" is not true, a string is not an array.
    """
    (found,) = faults(text)
    assert found.startswith(fault)


@pytest.mark.parametrize(("text", "expected"), [("workers = 4", 4), ("workers = 'auto'", "auto"), ("", None)])
def test_workers_are_a_number_or_auto(text: str, expected: object) -> None:
    """
    Whether so many are possible is another question.
    """
    file, misfits = config_file.read(text)
    assert (expected, ()) == (file.workers, misfits)


def test_a_number_may_be_written_without_a_point() -> None:
    """
    Ten seconds are ten, not ten point nought.
    """
    file, misfits = config_file.read("[handshake]\nhold_seconds = 5\n[limits]\nidle_seconds = 1.5")
    assert (5, 1.5, ()) == (file.handshake.hold_seconds, file.limits.idle_seconds, misfits)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("domain = 1", "domain: unknown key; did you mean 'domains'?"),
        ("[listen]\nhtpps = 1", "listen.htpps: unknown key; did you mean 'https'?"),
        ("[log]\ncolour = 1", "log.colour: unknown key; known here: access, format"),
        ("[acme.eab]\nx = 1", "acme.eab.x: unknown key; known here: kid, hmac_key_file"),
        ("domains = ['a.b', {nam = 1}]", "domains[1].nam: unknown key; did you mean 'name'?"),
        (
            "[log]\ndomains = []",
            "log.domains: unknown key here; at the top of the file it is known: put it there, before the first [table]",
        ),
        ("'a.b' = 1", "'a.b': unknown key; known here: state_dir"),
        ('"a\\nb: fine" = 1', "'a\\nb: fine': unknown key; known here: state_dir"),
        ("k" * 100 + " = 1", repr("k" * 60) + "...: unknown key; known here: state_dir"),
    ],
)
def test_an_unknown_key_is_a_fault_with_a_hint(text: str, fault: str) -> None:
    """
    A slip of the pen is never ignored, and no key can forge a line.
    """
    (found,) = faults(text)
    assert found.startswith(fault)
    assert "\n" not in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[[limits]]\nconnections = "x"',
            ["limits: expected a table, not an array", "limits.connections: expected a whole number, not a string"],
        ),
        (
            "[[acme]]\n[[acme.eab]]\nkid = 5",
            ["acme[0].eab: expected a table, not an array", "acme[0].eab.kid: expected a string, not a whole number"],
        ),
        (
            "[domains]\nname = 5",
            ["domains: expected an array, not a table", "domains[0].name: expected a string, not a whole number"],
        ),
        ("[[limits]]\n[[limits]]\nconnections = 'x'", ["limits: expected a table, not an array"]),
        ("log.access = {a = 1}", ["log.access: expected a string, not a table"]),
        ("acme.contact = {a = 1}", ["acme.contact: expected an array, not a table"]),
    ],
)
def test_what_stands_in_wrong_brackets_is_looked_at_all_the_same(text: str, expected: list[str]) -> None:
    """
    All faults at once, where it is plain what was meant.
    """
    assert expected == faults(text)


def test_a_near_miss_of_a_choice_is_asked_back() -> None:
    """
    The nearest choice stands at the end.
    """
    (found,) = faults("[acme]\nchallenges = ['tls-alpn-01', 'http-1']")
    assert "acme.challenges[1]: 'http-1' is none of 'tls-alpn-01', 'http-01'; did you mean 'http-01'?" == found


def test_what_is_sound_is_read_beside_what_is_not() -> None:
    """
    A faulty key is as if not given, a faulty element is None, an unknown key is gone.
    """
    text = """
        domains = ['a.b', 1, {name = 'c.d', key = 2, kye = 3}]
        listen = {https = [':1', 2, ':3'], admin = 4, default_name = 'a.b'}
        """
    file, misfits = config_file.read(text)
    assert ["domains[1]", "domains[2].key", "domains[2].kye", "listen.https[1]", "listen.admin"] == [
        fault.place for fault in misfits
    ]
    assert ("a.b", None, DomainTable(name="c.d")) == file.domains
    assert ListenTable(https=(":1", None, ":3"), default_name="a.b") == file.listen


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a =", "end of document"),
        ("workers = 1\nstate_dir = /var", "line 2, column 13"),
        ("workers = 1\nworkers = 1\n", "line 2, column 12"),
        ("[[domains]]\n[domains]", "line 2, column 9"),
        ("a = " + "9" * 5000, ""),
        ("a = " + "[" * 100_000, ""),
    ],
)
def test_what_is_not_toml_is_one_fault_with_its_line(text: str, place: str) -> None:
    """
    Nothing can be said about the rest of the file then.
    """
    with pytest.raises(ConfigError) as caught:
        config_file.read(text, "f.toml")
    (fault,) = caught.value.faults
    assert ", ".join(filter(None, ("f.toml", place))) == fault.place
    assert fault.message.startswith("not ")
    assert "(at " not in fault.message


@given(TREES)
@example({"limits": {"idle_seconds": float("nan")}})
@example({"limits": {"idle_seconds": 10**400}})
@example({"": {"": []}})
def test_any_structure_is_read_or_has_faults_in_it(tree: dict[str, Any]) -> None:
    """
    What is left after the faults were taken out is the same as reading a file without them.
    """
    file, misfits = config_file.read(document(tree))
    assert isinstance(file, File)
    assert len(misfits) == len(set(misfits))
    assert all(fault.place and "\n" not in str(fault) for fault in misfits)
    if not misfits:
        assert set(tree) <= {"domains", "listen", "acme", "limits", "log", "workers"}


@given(st.text() | st.text("[]{}=\"'\n#,.a1", max_size=30))
def test_any_text_is_read_or_a_configuration_error(text: str) -> None:
    """
    No other exception comes out of a file, whatever is in it.
    """
    try:
        file, misfits = config_file.read(text)
    except ConfigError as error:
        file, misfits = File(), error.faults
    assert isinstance(file, File)
    assert all(isinstance(fault, Fault) and "\n" not in str(fault) for fault in misfits)


def test_a_long_value_is_cut_in_a_message() -> None:
    """
    A whole file pasted into a value does not flood the log.
    """
    assert "'a\\n'" == config_file.shown("a\n")
    assert repr("a" * 60) + "..." == config_file.shown("a" * 61)
