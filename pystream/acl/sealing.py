"""How what nobody may read in the database is written there: keys that wrap keys that seal values.

Theory. Four kinds of keys of 32 random bytes, each wrapped under the one before it:

    master key  ->  tenant key  ->  record key  ->  sealed values
                ->  root, pepper

The master key is outside of every database; the wrapped keys are in the key store, which is a
database of its own; the sealed values are in the main one. A **record** is whatever is erased by
itself: a viewer password with its label, say. Its key has a random reference as its name, and
nothing else of the main database has a copy of that key: without it, the record's values are noise
in every backup there is. That is what erasing means here.

Everything is AES-256 in GCM (NIST SP 800-38D) with a nonce of 12 random bytes and a whole tag. Random
nonces are good for 2^32 messages under one key (8.3 there); a record key seals a few, a tenant key
wraps one for each record. The bytes are

    version 0x01 | nonce, 12 | ciphertext, as long as what was sealed | tag, 16

and what is authenticated with them (the AAD) says where they stand: a label, then fields, each
behind its length in 16 bits, so that no two places are ever the same bytes. Bytes that were
changed, or that were moved to another place, open no more. The labels:

| label                      | fields                                   | sealed with |
| `pystream master wrap 1`   | what it is, then its own names           | master key  |
| `pystream record wrap 1`   | tenant id, reference                     | tenant key  |
| `pystream sealed value 1`  | tenant id, table, row, column            | record key  |

Numbers are 8 bytes, big-endian; text is UTF-8.

**Finding what cannot be read.** A password is found by its index: HMAC-SHA256 under a pepper, 32 random
bytes that are in no backup of the main database. Passwords that somebody made up can be guessed;
with the index alone, nobody can try whether a guess is right.

A sealed value is as long as what is in it and 29 bytes: its length is not hidden.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from Crypto.Cipher import AES

from pystream.acl.keys import load_master_keys
from pystream.errors import MasterKeyError, SealError

KEY_LENGTH: Final = 32
OVERHEAD: Final = 1 + 12 + 16

_VERSION = b"\x01"
# The nonce that GCM takes as it is (SP 800-38D 5.2.1.1); the library's own are 16 bytes.
_NONCE_LENGTH = 12
_TAG_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed value stands in the main database. `row` is what names the row there, a number or
    bytes; one or the other in all rows of a table."""

    tenant_id: int
    table: str
    row: int | bytes
    column: str

    def __str__(self) -> str:
        row = self.row.hex() if isinstance(self.row, bytes) else self.row
        return f"{self.table} {row} of tenant {self.tenant_id}, {self.column}"


def new_key() -> bytes:
    """32 random bytes."""
    return secrets.token_bytes(KEY_LENGTH)


def seal(record_key: bytes, place: Place, plaintext: bytes) -> bytes:
    """What is written at a place, 29 bytes longer than the text."""
    return encrypted(record_key, _aad_of(place), plaintext)


def unseal(record_key: bytes, place: Place, sealed: bytes) -> bytes:
    """The text that was sealed for this place. Raises `SealError` for anything else."""
    return decrypted(record_key, _aad_of(place), sealed, str(place))


def wrap_record_key(tenant_key: bytes, tenant_id: int, reference: bytes, key: bytes) -> bytes:
    """A record key as the key store has it, 61 bytes."""
    return encrypted(tenant_key, _record_aad(tenant_id, reference), key)


def unwrap_record_key(tenant_key: bytes, tenant_id: int, reference: bytes, wrapped: bytes) -> bytes:
    """Raises `SealError`."""
    what = f"the key {reference.hex()} of tenant {tenant_id}"
    return decrypted(tenant_key, _record_aad(tenant_id, reference), wrapped, what)


class MasterKeys:
    """Master keys, the newest first: that one wraps, all of them unwrap.

    With each wrapped key goes the name of the master key that wrapped it, 16 hexadecimal digits,
    from which nothing can be learned of the key.
    """

    __slots__ = ("_keys", "newest")

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_LENGTH for key in keys):
            raise ValueError(f"one master key or more is wanted, of {KEY_LENGTH} bytes each")
        self._keys = {master_key_name(key): key for key in keys}
        self.newest = master_key_name(keys[0])

    @classmethod
    def load(cls, path: str, environ: Mapping[str, str]) -> Self:
        """Those of the environment, or else of a file. Raises `MasterKeyError`."""
        try:
            return cls(load_master_keys(path, environ))
        except OSError as error:
            raise MasterKeyError(f"{path}: {error.strerror}") from error

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._keys)

    def wrap(self, key: bytes, *what: str | int) -> bytes:
        """Wraps under the newest one. `what` says what key this is, as in ("tenant", 7, 1)."""
        return encrypted(self._keys[self.newest], _aad(b"pystream master wrap 1", *what), key)

    def unwrap(self, name: str, wrapped: bytes, *what: str | int) -> bytes:
        """Raises `MasterKeyError` where the master key of that name is not among these, and
        `SealError`."""
        said = f"the key of {what[0]} {'/'.join(map(str, what[1:]))}".rstrip()
        if name not in self._keys:
            raise MasterKeyError(
                f"{said} was wrapped under the master key {name}, and there are"
                f" {', '.join(self._keys)} only: bring the old master key back, as a line behind"
                " the newest"
            )
        aad = _aad(b"pystream master wrap 1", *what)
        return decrypted(self._keys[name], aad, wrapped, said)

    def __repr__(self) -> str:
        return f"<pystream.acl.sealing.MasterKeys {', '.join(self._keys)}>"


def master_key_name(key: bytes) -> str:
    """16 hexadecimal digits."""
    return hmac.digest(key, b"pystream master key name 1", "sha256")[:8].hex()


@dataclass(frozen=True, slots=True)
class Pepper:
    """A secret that passwords are indexed with. Its generation stands with each index, so that it is
    known which indexes are to be made anew."""

    generation: int
    secret: bytes

    def index(self, tenant_id: int, canonical: bytes) -> bytes:
        """What a password of a tenant is found by, 32 bytes; `canonical` is its one form."""
        info = _aad(b"pystream password index 1", tenant_id, canonical)
        return hmac.digest(self.secret, info, "sha256")

    def __repr__(self) -> str:
        return f"<pystream.acl.sealing.Pepper {self.generation}>"


@dataclass(frozen=True, slots=True)
class Peppers:
    """The active peppers, the newest first: one, or two while passwords are indexed anew."""

    active: tuple[Pepper, ...]

    @classmethod
    def of(cls, *peppers: Pepper) -> Self:
        return cls(tuple(sorted(peppers, key=lambda each: -each.generation)))

    @property
    def newest(self) -> Pepper:
        return self.active[0]

    def indexes(self, tenant_id: int, canonical: bytes) -> tuple[tuple[int, bytes], ...]:
        """(generation, index) of each: a password is under one of these, or is not there."""
        return tuple((each.generation, each.index(tenant_id, canonical)) for each in self.active)


def encrypted(key: bytes, aad: bytes, plaintext: bytes) -> bytes:
    """Version, nonce, ciphertext and tag. The nonce is never given."""
    nonce = secrets.token_bytes(_NONCE_LENGTH)
    cipher = _cipher(key, nonce, aad)
    ciphertext, tag = cipher.encrypt_and_digest(plaintext)
    return b"".join((_VERSION, nonce, ciphertext, tag))


def decrypted(key: bytes, aad: bytes, sealed: bytes, what: str) -> bytes:
    """The text. Raises `SealError`, which names `what` and says nothing else: whether it was the key,
    the place or the bytes helps nobody but who makes them up."""
    if len(sealed) < OVERHEAD or sealed[:1] != _VERSION:
        raise SealError(what)
    nonce, ciphertext, tag = (
        sealed[1 : 1 + _NONCE_LENGTH],
        sealed[1 + _NONCE_LENGTH : -_TAG_LENGTH],
        sealed[-_TAG_LENGTH:],
    )
    try:
        text: bytes = _cipher(key, nonce, aad).decrypt_and_verify(ciphertext, tag)
    except ValueError:
        raise SealError(what) from None
    return text


def _cipher(key: bytes, nonce: bytes, aad: bytes) -> Any:
    if len(key) != KEY_LENGTH:
        # AES would take shorter ones.
        raise ValueError(f"a key has {KEY_LENGTH} bytes")
    return AES.new(key, AES.MODE_GCM, nonce=nonce, mac_len=_TAG_LENGTH).update(aad)


def _aad_of(place: Place) -> bytes:
    return _aad(b"pystream sealed value 1", place.tenant_id, place.table, place.row, place.column)


def _record_aad(tenant_id: int, reference: bytes) -> bytes:
    return _aad(b"pystream record wrap 1", tenant_id, reference)


def _aad(label: bytes, *fields: str | int | bytes) -> bytes:
    parts = [_bytes(field) for field in fields]
    return label + b"".join(len(part).to_bytes(2) + part for part in parts)


def _bytes(field: str | int | bytes) -> bytes:
    if isinstance(field, int):
        return field.to_bytes(8)
    return field.encode() if isinstance(field, str) else field
