"""`pystream attendance cosign`: on the tenant's machine, without a server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pystream.attendance import checkpoint as checkpoints
from pystream.attendance.checkpoint import Checkpoint, check_later
from pystream.attendance.notes import SigningKey, VerifierKey, read_signing_key, write_key
from pystream.errors import NotProven
from tests.proofs import KEY
from tests.test_cli import run

KEPT = Checkpoint(KEY.name, 2, 10, b"a" * 32, True, 5, (7, b"z" * 32))
LATER = [
    KEPT,
    replace(KEPT, size=11, root=b"b" * 32),
    replace(KEPT, epoch=3, size=1, root=b"c" * 32, previous=(10, b"a" * 32)),
    replace(KEPT, epoch=3, size=0, root=b"c" * 32, previous=(12, b"d" * 32)),
    replace(KEPT, epoch=4, size=1, root=b"c" * 32, previous=(3, b"d" * 32)),
]
EARLIER = {
    "another log": replace(KEPT, name="other"),
    "had 10 leaves already, and 9": replace(KEPT, size=9),
    "another root when it had 10": replace(KEPT, root=b"b" * 32),
    "its epoch does not go on": replace(KEPT, epoch=1, size=99),
    "its epoch does": replace(KEPT, epoch=3, previous=None),
    "had 10 leaves already, and 8": replace(KEPT, epoch=3, size=99, previous=(8, b"a" * 32)),
    "another root when it": replace(KEPT, epoch=3, previous=(10, b"b" * 32)),
}


def test_what_may_come_later() -> None:
    for each in LATER:
        check_later(KEPT, each)


@pytest.mark.parametrize("said", EARLIER)
def test_what_cannot_come_later(said: str) -> None:
    with pytest.raises(NotProven, match=said):
        check_later(KEPT, EARLIER[said])


class Desk:
    """What somebody has on the own machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_key(folder / "acme.pub", KEY.verifier)
        self.key = folder / "office.key"

    def note(self, of: Checkpoint, key: SigningKey = KEY) -> str:
        path = self.folder / f"note-{of.epoch}-{of.size}.txt"
        path.write_text(of.signed(key))
        return str(path)

    def cosign(self, *words: str, code: int = 0, keys: str = "acme.pub") -> str:
        known = ("--key", str(self.key), "--public-key", str(self.folder / keys))
        done = run("attendance", "cosign", *words, *known)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    done = run("attendance", "cosign", "--key", str(made.key), "--new-key", "acme.example/office")
    assert done.returncode == 0, done.stderr
    vkey = VerifierKey.parse(done.stdout.strip())
    assert vkey.cosigns and vkey == read_signing_key(made.key).verifier
    assert (tmp_path / "office.key.pub").read_text() == done.stdout
    assert made.key.stat().st_mode & 0o777 == 0o600
    return made


def test_what_the_log_has_signed_is_cosigned(desk: Desk) -> None:
    office = read_signing_key(desk.key).verifier
    first = desk.folder / "cosigned.txt"
    first.write_text(desk.cosign(desk.note(KEPT)))
    found, (cosigner,) = checkpoints.check(first.read_text(), [KEY.verifier, office])
    assert found == KEPT and cosigner.key == office and cosigner.seconds is not None
    later = desk.cosign(desk.note(LATER[1]), "--kept", str(first))
    assert checkpoints.check(later, [KEY.verifier])[0] == LATER[1]


def test_nothing_else_is(desk: Desk) -> None:
    kept = desk.note(KEPT)
    said = desk.cosign(desk.note(replace(KEPT, size=9)), "--kept", kept, code=1)
    assert "not cosigned: the log had 10 leaves already" in said
    stranger = SigningKey.generate(KEY.name)
    assert "not cosigned" in desk.cosign(desk.note(KEPT, stranger), code=1)
    (desk.folder / "text.txt").write_text("hello")
    assert "not cosigned" in desk.cosign(str(desk.folder / "text.txt"), code=1)
    assert "No such file" in desk.cosign(str(desk.folder / "none"), code=2)
    # Neither with a key that is none of a cosigner.
    note, desk.key = desk.note(KEPT), desk.folder / "log.key"
    write_key(desk.key, KEY)
    assert "no key of a cosigner" in desk.cosign(note, code=2)


@pytest.mark.parametrize(
    "words", [("--key", "k"), ("x", "--key", "k"), ("x", "--key", "k", "--new-key", "a")]
)
def test_command_lines_that_are_wrong(words: tuple[str, ...], tmp_path: Path) -> None:
    done = run("attendance", "cosign", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and not list(tmp_path.iterdir())


def test_a_key_that_is_there_stays(desk: Desk) -> None:
    before = desk.key.read_text()
    done = run("attendance", "cosign", "--key", str(desk.key), "--new-key", "a")
    assert done.returncode == 2 and desk.key.read_text() == before
