from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from txacme.interfaces import IResponder
from zope.interface.verify import verifyObject

from sptls.deploy import webroot
from sptls.deploy.webroot import WebrootResponder
from sptls.errors import AcmeProtocolError, DeployError, StartError
from tests.certs.stored import open_directory, outcome, read_only
from tests.deploy.doubles import Thread

NOBODY = 65534
NAME = "click.example.com"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
ANSWER = f"{TOKEN}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"


@attrs.frozen
class Challenge:
    """
    A challenge as the interface describes it.
    """

    token: str = TOKEN

    def encode(self, name: str) -> str:
        """
        Give the token.
        """
        return {"token": self.token}[name]


@attrs.frozen
class Response:
    """
    A response as the interface describes it.
    """

    key_authorization: str = ANSWER


def start(root: Path, token: str = TOKEN) -> None:
    """
    Answer a challenge from now on.
    """
    outcome(_awaited(WebrootResponder(root, Thread()).start_responding(NAME, Challenge(token), Response())))


def stop(root: Path, token: str = TOKEN) -> None:
    """
    Answer it no more.
    """
    outcome(_awaited(WebrootResponder(root, Thread()).stop_responding(NAME, Challenge(token), Response())))


async def _awaited(deferred: Deferred[Any]) -> Any:
    return await deferred


def files(root: Path) -> set[str]:
    """
    Give everything below *root* that is no directory.
    """
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def tokens(root: Path) -> Path:
    """
    Give the directory for tokens below *root*.
    """
    return root / ".well-known" / "acme-challenge"


def test_it_is_a_responder_of_txacme(tmp_path: Path) -> None:
    """
    Its challenge type is the one it answers.
    """
    responder = WebrootResponder(tmp_path, Thread())
    assert verifyObject(IResponder, responder)
    assert "http-01" == responder.challenge_type


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_an_answer_is_there_for_everybody_until_it_is_withdrawn(tmp_path: Path, mask: int) -> None:
    """
    Another server's user reads it whatever the umask; afterwards nothing is left. Withdrawing twice is fine.
    """
    before = os.umask(mask)
    try:
        start(tmp_path)
    finally:
        os.umask(before)
    path = tokens(tmp_path) / TOKEN
    assert (ANSWER, 0o644) == (path.read_text(), path.stat().st_mode & 0o777)
    assert [0o755, 0o755] == [path.parents[depth].stat().st_mode & 0o777 for depth in (0, 1)]
    for _ in range(2):
        stop(tmp_path)
    assert set() == files(tmp_path)


def test_withdrawing_what_never_was_is_fine(tmp_path: Path) -> None:
    """
    No directory is needed for it, and a file in the place of one does not matter.
    """
    stop(tmp_path)
    (tmp_path / ".well-known").touch()
    stop(tmp_path)


def test_several_answers_at_once(tmp_path: Path) -> None:
    """
    Withdrawing one leaves the others.
    """
    start(tmp_path, "one")
    start(tmp_path, "two")
    stop(tmp_path, "one")
    assert {".well-known/acme-challenge/two", ".well-known/acme-challenge/.sptls-two"} == files(tmp_path)


@given(st.text(max_size=30) | st.sampled_from(["", "../x", "a/b", "..", ".", "x\0", "x\n", "x" * 300, ".sptls-x"]))
def test_no_token_escapes(token: str) -> None:
    """
    Whatever a CA calls a token, it becomes one file in the one directory, or none.
    """
    with open_directory() as outer:
        root = outer / "root"
        root.mkdir()
        if re.fullmatch(r"[A-Za-z0-9_-]{1,200}", token):
            start(root, token)
            assert {token, f".sptls-{token}"} == {path.name for path in tokens(root).iterdir()}
        else:
            with pytest.raises(AcmeProtocolError, match=r"RFC 8555 §8\.1"):
                start(root, token)
            stop(root, token)
            assert [] == list(root.rglob("*"))
        assert [root] == list(outer.iterdir())


def test_a_file_that_cannot_be_written_is_said() -> None:
    """
    The error names the file, the reason, and what to do; it is no failed authorization, since the CA was not asked.
    """
    with open_directory() as root, read_only(root), pytest.raises(DeployError) as caught:
        start(root)
    assert "Permission denied; give the user that sptls runs as the right to write there" in str(caught.value)


def test_a_file_that_cannot_be_removed_is_said() -> None:
    """
    An answer that stays where it is does no harm, but the operator hears of it.
    """
    with open_directory() as root:
        start(root)
        with read_only(tokens(root)), pytest.raises(DeployError, match=TOKEN):
            stop(root)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """
    Our own tokens go, whole or half-written; those of other ACME clients stay, also one that took our token's place.
    """
    start(tmp_path, "ours")
    start(tmp_path, "replaced")
    start(tmp_path, "withdrawn")
    directory = tokens(tmp_path)
    (directory / "replaced").write_text("another's")
    (directory / "withdrawn").unlink()
    (directory / "certbots").write_text("certbots.thumbprint")
    (directory / ".ours.x7_half").touch()
    (directory / "..sptls-next.x7_half").touch()
    (directory / ".sptls-*").touch()
    (directory / ".htaccess").touch()
    with capturedLogs() as events:
        webroot.prepare(tmp_path, None, None)
        webroot.prepare(tmp_path, None, None)
    assert {"replaced", "certbots", ".sptls-*", ".htaccess"} == {path.name for path in directory.iterdir()}
    assert ["3 http-01 answers"] == [event["log_format"].format(**event)[:17] for event in events]


def test_a_symlink_is_not_ours(tmp_path: Path) -> None:
    """
    What leads elsewhere was not written here.
    """
    start(tmp_path)
    path = tokens(tmp_path) / TOKEN
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    webroot.prepare(tmp_path, None, None)
    assert {"elsewhere", f".well-known/acme-challenge/{TOKEN}"} == files(tmp_path)


def test_a_webroot_that_is_none_stops_the_start(tmp_path: Path) -> None:
    """
    A slip of the pen would make every renewal fail in two months' time.
    """
    with pytest.raises(StartError, match=r"deploy\.webroot: .*/no is no directory; name the one from which"):
        webroot.prepare(tmp_path / "no", None, None)
    (tmp_path / ".well-known").touch()
    with pytest.raises(StartError, match="Not a directory; move away what stands in the place of a directory"):
        webroot.prepare(tmp_path, None, None)


@pytest.fixture
def other_root() -> Iterator[Path]:
    """
    Give a directory that every user can reach.
    """
    with open_directory() as root:
        yield root


def test_a_webroot_that_cannot_be_written_stops_the_start(other_root: Path) -> None:
    """
    Also one where only the last directory is another user's.
    """
    webroot.prepare(other_root, None, None)
    with read_only(tokens(other_root)), pytest.raises(StartError, match=r"acme-challenge .* Permission denied"):
        webroot.prepare(other_root, None, None)
    tokens(other_root).rmdir()
    (other_root / ".well-known").rmdir()
    with read_only(other_root), pytest.raises(StartError, match="Permission denied; give the user that sptls runs"):
        webroot.prepare(other_root, None, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_new_directories_are_the_daemons_users(other_root: Path) -> None:
    """
    The user that the daemon runs as can write tokens into what root has made for it; what was there is not given away.
    """
    (other_root / ".well-known").mkdir()
    webroot.prepare(other_root, NOBODY, None)
    assert (0, NOBODY) == ((other_root / ".well-known").stat().st_uid, tokens(other_root).stat().st_uid)
