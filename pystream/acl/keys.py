"""All secrets of a node out of one: the master key.

Theory. HKDF with SHA-256 (RFC 5869) makes a key for each purpose out of 32 random bytes. Extraction
is done once; a key of up to 32 bytes is then one block of its expansion, HMAC(PRK, info || 0x01).
Whoever learns one key learns nothing of another or of the master key, and nothing has to be stored:
the same question has the same answer in every worker, on every node that has the master key, and
after every restart.

`info` says what a key is for. It is a label, and then fields, each behind its length in 16 bits, so
that no two lists of fields are ever the same bytes. The labels:

| label                       | fields                                             | bytes |
| `pystream content key 1`    | stream id, version, rendition, period              | 16    |
| `pystream viewer key 1`     | stream id, version, rendition, period, session     | 16    |
| `pystream grant key 1`      | period of time                                     | 32    |
| `pystream ticket secret 1`  | none                                               | 32    |
| `pystream table secret 1`   | none                                               | 16    |

Numbers are 8 bytes, big-endian; text is UTF-8. The table is a promise: with any change in it,
players that hold a playlist get keys that do not fit, so a change is a new label.

The master key is written as 64 hexadecimal digits, in a file that only its owner may read, or in the
environment.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from pystream.acl.grants import LONGEST_S
from pystream.errors import MasterKeyError

ENVIRONMENT_VARIABLE: Final = "PYSTREAM_MASTER_KEY"
MASTER_KEY_LENGTH: Final = 32

# A grant key signs for as long as a grant may live, and is accepted for as long again.
GRANT_KEY_PERIOD_S: Final = LONGEST_S

_SALT = b"pystream master key 1"
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{64}")


class Keyring:
    """The keys that are derived from a master key."""

    __slots__ = ("_secret",)

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != MASTER_KEY_LENGTH:
            raise ValueError(f"a master key has {MASTER_KEY_LENGTH} bytes")
        # RFC 5869 2.2
        self._secret = hmac.digest(_SALT, master_key, "sha256")

    def content_key(
        self,
        stream_id: int,
        version: str,
        rendition: str,
        period: int,
        session: bytes | None = None,
    ) -> bytes:
        """The AES-128 key, 16 bytes, of a rendition's period; with a session, of one viewer's."""
        fields = [_number(stream_id), version.encode(), rendition.encode(), _number(period)]
        if session is None:
            return self._derive(b"pystream content key 1", *fields)[:16]
        return self._derive(b"pystream viewer key 1", *fields, session)[:16]

    def grant_keys(self, now: int) -> tuple[Mapping[int, bytes], int]:
        """The keys that grants are checked with, 32 bytes each by their numbers, and the number of
        the one that signs: what `Grants` is made with.

        They change by the clock, so all nodes agree. Those of the last and the next period are
        among them: one for grants that live on, one for grants of a node whose clock is ahead.
        """
        period = now // GRANT_KEY_PERIOD_S
        keys = {
            each % 16: self._derive(b"pystream grant key 1", _number(each))
            for each in (max(0, period - 1), period, period + 1)
        }
        return keys, period % 16

    def ticket_secret(self) -> bytes:
        """32 bytes, from which the keys of TLS session tickets are made."""
        return self._derive(b"pystream ticket secret 1")

    def table_secret(self) -> bytes:
        """16 bytes, with which all processes hash what they look up in shared tables."""
        return self._derive(b"pystream table secret 1")[:16]

    def _derive(self, label: bytes, *fields: bytes) -> bytes:
        info = label + b"".join(len(field).to_bytes(2) + field for field in fields)
        # RFC 5869 2.3, of which this is T(1).
        return hmac.digest(self._secret, info + b"\x01", "sha256")

    def __repr__(self) -> str:
        return "<pystream.acl.keys.Keyring>"


def load_master_key(path: str, environ: Mapping[str, str]) -> bytes:
    """The master key of the environment, or of a file where the environment has none.

    Raises `MasterKeyError` where it is none, or others may read it; `FileNotFoundError` where
    there is no such file: then the caller may make one (`create_master_key`).
    """
    text = environ.get(ENVIRONMENT_VARIABLE)
    if text:
        return _parsed(text, ENVIRONMENT_VARIABLE, "master key")
    return load_secret(path, "master key")


def load_secret(path: str, name: str) -> bytes:
    """The 32 bytes of a secret that is written as a master key is; `name` is for messages.

    Raises `MasterKeyError` where it is none, or others may read it; `FileNotFoundError`.
    """
    # O_NONBLOCK: a FIFO is refused, not waited for.
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise MasterKeyError(f"{path}: the {name} has to be in a regular file")
        mode = stat.S_IMODE(state.st_mode)
        if mode & 0o077:
            raise MasterKeyError(
                f"{path}: others than its owner may use the {name} (mode {mode:04o}): chmod 600"
            )
        # As much as a key and a line end, and a little to see that there is more.
        return _parsed(file.read(80).decode("ascii", "replace"), path, name)


def create_master_key(path: str) -> bytes:
    """Make a master key at random and write it into a new file with mode 0600.

    The file appears whole or not at all. Raises `FileExistsError` where there is one: nothing ever
    replaces a master key, since all that it protects would be lost.
    """
    key = secrets.token_bytes(MASTER_KEY_LENGTH)
    folder = os.path.dirname(path) or "."
    unfinished = os.path.join(folder, f".{os.path.basename(path)}.{secrets.token_hex(8)}")
    try:
        with open(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"{key.hex()}\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces anything.
        os.link(unfinished, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return key


def _parsed(text: str, where: str, name: str) -> bytes:
    digits = text.strip()
    # What it is instead is not repeated: it may be a key all the same.
    if not _HEXADECIMAL.fullmatch(digits):
        raise MasterKeyError(f"{where}: a {name} is written as 64 hexadecimal digits")
    return bytes.fromhex(digits)


def _number(value: int) -> bytes:
    return value.to_bytes(8)
