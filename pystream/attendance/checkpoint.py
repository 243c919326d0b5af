"""Checkpoints (c2sp.org/tlog-checkpoint): how long a log was, and what its root was then, signed.

A log is one epoch of one tenant's: its origin is the name of the key that signs it, and the epoch. Below size
and root stand, each in a line of its own: the epoch; whether the clock was synchronised, and by how much it
may have been wrong; and of an epoch that a restore has begun, the last size and root known of the one before.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error
from dataclasses import dataclass

from pystream.attendance import notes
from pystream.attendance.canonical import LARGEST
from pystream.errors import MalformedDocument, NotProven

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pystream.attendance.notes import Signer, SigningKey, VerifierKey

_COUNT = "(0|[1-9][0-9]{0,15})"
_HASH = "([A-Za-z0-9+/]{43}=)"
_TEXT = re.compile(
    rf"([^\s+]{{1,255}})/{_COUNT}\n{_COUNT}\n{_HASH}\nepoch {_COUNT}\n"
    rf"clock (synchronised|unsynchronised)\nclock-error-ms {_COUNT}\n(?:previous {_COUNT} {_HASH}\n)?"
)


@dataclass(frozen=True, slots=True)
class Clock:
    """How well a node knows what time it is."""

    is_synchronised: bool
    error_ms: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`name` is that of the log's key; `previous` a size and a root of the epoch before."""

    name: str
    epoch: int
    size: int
    root: bytes
    is_synchronised: bool
    clock_error_ms: int
    previous: tuple[int, bytes] | None = None

    @property
    def origin(self) -> str:
        """Which log it is of."""
        return f"{self.name}/{self.epoch}"

    def text(self) -> str:
        """What is signed."""
        clock = "synchronised" if self.is_synchronised else "unsynchronised"
        lines = [
            self.origin,
            str(self.size),
            _base64(self.root),
            f"epoch {self.epoch}",
            f"clock {clock}",
            f"clock-error-ms {self.clock_error_ms}",
        ]
        if self.previous is not None:
            size, root = self.previous
            lines.append(f"previous {size} {_base64(root)}")
        return "".join(f"{line}\n" for line in lines)

    def signed(self, key: SigningKey) -> str:
        """The note."""
        text = self.text()
        return notes.note(text, [notes.sign(text, key)])

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """What a note's text says. Raises `MalformedDocument`."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise MalformedDocument("this is no checkpoint of a log of attendance")
        name, _, size, root, epoch, clock, error, size_before, root_before = found.groups()
        try:
            previous = None
            if size_before is not None:
                previous = (_count(size_before), b64decode(root_before))
            checkpoint = cls(
                name,
                _count(epoch),
                _count(size),
                b64decode(root),
                clock == "synchronised",
                _count(error),
                previous,
            )
        except (Error, ValueError):
            checkpoint = None
        if checkpoint is None or checkpoint.text() != text:
            raise MalformedDocument("a line of the checkpoint is not as specified")
        return checkpoint


def cosigned(note: str, key: SigningKey, seconds: int) -> str:
    """The note with a cosigner's word that it has seen it at that Unix second. Raises `MalformedDocument`."""
    text, _ = notes.parse(note)
    return note + notes.sign(text, key, seconds)


def check(note: str, keys: Sequence[VerifierKey]) -> tuple[Checkpoint, list[Signer]]:
    """The checkpoint of a note, and who of those with these keys has cosigned it.

    Raises `MalformedDocument`, and `NotProven` unless the key of its log is among them and has signed it.
    """
    text, signers = notes.check(note, keys)
    checkpoint = Checkpoint.parse(text)
    logs = [each for each in signers if not each.key.cosigns]
    if not any(each.key.name == checkpoint.name for each in logs):
        raise NotProven("no trusted key of this log has signed its checkpoint")
    return checkpoint, [each for each in signers if each.key.cosigns]


def check_later(kept: Checkpoint, new: Checkpoint) -> None:
    """Raises `NotProven` where by what they say alone a checkpoint cannot be a later one of the log that one
    was kept of. That all of its leaves are the same is proven by an export."""
    if new.name != kept.name:
        raise NotProven("it is of another log than the one that was kept")
    then: tuple[int, bytes] | None = (new.size, new.root)
    if new.epoch != kept.epoch:
        # An epoch names the one before it, and of those before that nothing is told.
        then = new.previous if new.epoch == kept.epoch + 1 else None
        if new.epoch < kept.epoch or (new.epoch == kept.epoch + 1 and then is None):
            raise NotProven("its epoch does not go on with the one of the checkpoint that was kept")
    if then is None:
        return
    size, root = then
    if size < kept.size:
        raise NotProven(f"the log had {kept.size} leaves already, and {size} are told now")
    if size == kept.size and root != kept.root:
        raise NotProven(f"the log had another root when it had {size} leaves")


def _count(digits: str) -> int:
    number = int(digits)
    if number > LARGEST:
        raise ValueError
    return number


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
