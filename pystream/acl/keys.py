"""All secrets of a node out of two: the master key, and the root that it wraps.

Theory. HKDF with SHA-256 (RFC 5869) makes a key for each purpose out of 32 random bytes, the root,
which takes the place of the PRK (RFC 5869 3.3: what is uniformly random needs no extraction). A key
of up to 32 bytes is one block of the expansion, HMAC(root, info || 0x01). Whoever learns one key
learns nothing of another or of the root, and nothing else has to be stored: the same question has
the same answer in every worker, on every node that has the root, and after every restart.

The root stays for as long as the node does, for players hold what was derived from it. The master
key changes (it is rotated); so nothing is derived from it, and all it does is to wrap the root and
the other keys of the key store (`pystream.acl.sealing`). A node that is older than its key store has
derived everything from its master key: its root is the PRK of that (`root_of`).

`info` says what a key is for. It is a label, and then fields, each behind its length in 16 bits, so
that no two lists of fields are ever the same bytes. The labels:

| label                       | fields                                             | bytes |
| `pystream content key 1`    | stream id, version, rendition, period              | 16    |
| `pystream viewer key 1`     | stream id, version, rendition, period, session     | 16    |
| `pystream grant key 1`      | period of time                                     | 32    |
| `pystream table secret 1`   | none                                               | 16    |
| `pystream presence secret 1` | none                                              | 32    |
| `pystream proof key 1`      | none                                               | 32    |
| `pystream incident key 1`   | none                                               | 32    |
| `pystream token mark 1`     | tenant id, what for, the token                     | 16    |
| `pystream kept answer 1`    | tenant id, token id, the request's key             | 32    |

Numbers are 8 bytes, big-endian; text is UTF-8. The table is a promise: with any change in it,
players that hold a playlist get keys that do not fit, so a change is a new label.

A master key is written as 64 hexadecimal digits, in a file that only its owner may read, or in the
environment. There may be several, one a line, the newest first: that one wraps, and the others only
open what they have wrapped.
"""

from __future__ import annotations

import fcntl
import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from pystream.acl.grants import LONGEST_S
from pystream.errors import MasterKeyError

ENVIRONMENT_VARIABLE: Final = "PYSTREAM_MASTER_KEY"
MASTER_KEY_LENGTH: Final = 32
MOST_MASTER_KEYS: Final = 16
ROOT_LENGTH: Final = 32

# A grant key signs for as long as a grant may live, and is accepted for as long again.
GRANT_KEY_PERIOD_S: Final = LONGEST_S

_MASTER = "master key"
_SALT = b"pystream master key 1"
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{64}")


class Keyring:
    """The keys that are derived from a root."""

    __slots__ = ("_root",)

    def __init__(self, root: bytes) -> None:
        if len(root) != ROOT_LENGTH:
            raise ValueError(f"a root has {ROOT_LENGTH} bytes")
        self._root = root

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

    def table_secret(self) -> bytes:
        """16 bytes, with which all processes hash what they look up in shared tables."""
        return self._derive(b"pystream table secret 1")[:16]

    def presence_secret(self) -> bytes:
        """32 bytes, of which the moments of presence checks are made."""
        return self._derive(b"pystream presence secret 1")

    def proof_key(self) -> bytes:
        """32 bytes, with which proofs of deletion are signed."""
        return self._derive(b"pystream proof key 1")

    def incident_key(self) -> bytes:
        """32 bytes, the seed of the key (Ed25519) with which packages of incidents are signed."""
        return self._derive(b"pystream incident key 1")

    def token_mark(self, tenant_id: int, use: str, token: str) -> bytes:
        """16 bytes that stand for a token of a tenant's in one use, and say nothing of it."""
        fields = _number(tenant_id), use.encode(), token.encode()
        return self._derive(b"pystream token mark 1", *fields)[:16]

    def answer_digest(self, *fields: bytes) -> bytes:
        """32 bytes, by which an answer is found that is kept for a request."""
        return self._derive(b"pystream kept answer 1", *fields)

    def _derive(self, label: bytes, *fields: bytes) -> bytes:
        info = label + b"".join(len(field).to_bytes(2) + field for field in fields)
        # RFC 5869 2.3, of which this is T(1).
        return hmac.digest(self._root, info + b"\x01", "sha256")

    def __repr__(self) -> str:
        return "<pystream.acl.keys.Keyring>"


def root_of(master_key: bytes) -> bytes:
    """The root, 32 bytes, of a node that has derived its keys from its master key."""
    # RFC 5869 2.2
    return hmac.digest(_SALT, master_key, "sha256")


def load_master_keys(path: str, environ: Mapping[str, str]) -> tuple[bytes, ...]:
    """The master keys of the environment, or of a file where the environment has none; the newest
    comes first.

    Raises `MasterKeyError` where one of them is none, or others may read the file;
    `FileNotFoundError` where there is no such file: then the caller may make one
    (`create_master_key`).
    """
    text = environ.get(ENVIRONMENT_VARIABLE)
    if text:
        return _parsed(text, ENVIRONMENT_VARIABLE, _MASTER, MOST_MASTER_KEYS)
    return _read(path, _MASTER, MOST_MASTER_KEYS)[0]


def load_secret(path: str, name: str) -> bytes:
    """The 32 bytes of a secret that is written as a master key is; `name` is for messages.

    Raises `MasterKeyError` where it is none, or others may read it; `FileNotFoundError`.
    """
    return _read(path, name, 1)[0][0]


def create_master_key(path: str) -> bytes:
    """Make a master key at random and write it into a new file with mode 0600.

    The file appears whole or not at all. Raises `FileExistsError` where there is one: nothing ever
    takes a master key away, since all that it protects would be lost.
    """
    key = secrets.token_bytes(MASTER_KEY_LENGTH)
    # Unlike a rename, a link never replaces anything.
    _publish(path, (key,), None, os.link)
    return key


def add_master_key(path: str) -> bytes:
    """Make a master key at random and write it in front of those in a file, which stay.

    The file has the old keys or all of them at any moment, and its owner stays. Raises
    `MasterKeyError` and `OSError`.
    """
    # Whoever else adds one waits: of two who had read the same keys, one would lose the other's.
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        old, state = _read(path, _MASTER, MOST_MASTER_KEYS)
        if len(old) >= MOST_MASTER_KEYS:
            raise MasterKeyError(
                f"{path}: there are {len(old)} master keys already: take out the last lines, if no"
                " backup that is kept was made under them"
            )
        key = secrets.token_bytes(MASTER_KEY_LENGTH)
        _publish(path, (key, *old), state, os.rename)
    finally:
        os.close(folder)
    return key


def _read(path: str, name: str, most: int) -> tuple[tuple[bytes, ...], os.stat_result]:
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
        # As much as the keys and their line ends, and a little to see that there is more.
        text = file.read(most * 66 + 80).decode("ascii", "replace")
        return _parsed(text, path, name, most), state


def _publish(
    path: str,
    keys: tuple[bytes, ...],
    like: os.stat_result | None,
    move: Callable[[str, str], None],
) -> None:
    """Writes keys into a file beside `path`, and moves that there."""
    folder = os.path.dirname(path) or "."
    unfinished = os.path.join(folder, f".{os.path.basename(path)}.{secrets.token_hex(8)}")
    try:
        with open(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            if like is not None:
                # An administrator's command must not take the file away from the server's user.
                os.fchown(file.fileno(), like.st_uid, like.st_gid)
            file.writelines(f"{key.hex()}\n" for key in keys)
            file.flush()
            os.fsync(file.fileno())
        move(unfinished, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _parsed(text: str, where: str, name: str, most: int) -> tuple[bytes, ...]:
    words = text.split()
    # What it is instead is not repeated: it may be a key all the same.
    if not words or not all(map(_HEXADECIMAL.fullmatch, words)):
        raise MasterKeyError(f"{where}: a {name} is written as 64 hexadecimal digits")
    if len(words) > most:
        raise MasterKeyError(f"{where}: there is more than {most} of the {name}")
    return tuple(map(bytes.fromhex, words))


def _number(value: int) -> bytes:
    return value.to_bytes(8)
