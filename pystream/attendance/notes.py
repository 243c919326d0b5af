"""Signed notes (c2sp.org/signed-note), and cosignatures of them (c2sp.org/tlog-cosignature): Ed25519 only.

A note is text, and behind a blank line a line for each signature. A key is known by a name and an id, which
is a hash of its name, its kind and itself; signatures by other keys are passed over, so anybody may add one.
A cosigner signs a line with the time, too: it has seen this text then.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256

from pystream.errors import InvalidValue, MalformedDocument, NotProven

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from Crypto.PublicKey.ECC import EccKey
    from Crypto.Signature.eddsa import EdDSASigScheme

_SIGNS, _COSIGNS = 1, 4
_PRIVATE = "PRIVATE+KEY+"
_DASH = "\N{EM DASH} "
# 16 signatures have to be accepted; nobody needs as many as this.
_MOST_SIGNATURES = 100
LONGEST = 1 << 16
# The end of the year 9999.
_LAST = 253_402_300_799
_NAME = re.compile(r"[^\s+]{1,255}")


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """What signatures are checked with. `InvalidValue` for what cannot be one."""

    name: str
    public: bytes
    cosigns: bool = False

    def __post_init__(self) -> None:
        if not (_NAME.fullmatch(self.name) and self.name.isprintable()):
            raise InvalidValue("a key's name has neither blanks nor a plus sign")
        try:
            _public_key(self.public)
        except ValueError:
            raise InvalidValue("this is no public key of Ed25519") from None

    @property
    def kind(self) -> int:
        """The signature type."""
        return _COSIGNS if self.cosigns else _SIGNS

    @property
    def id(self) -> bytes:
        """Four bytes, which together with the name stand in each signature."""
        return sha256(f"{self.name}\n".encode() + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        """The key as text, a `vkey`."""
        return f"{self.name}+{self.id.hex()}+{_base64(bytes([self.kind]) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """The key of a `vkey`. Raises `InvalidValue`."""
        name, kind, public = _parse(text)
        key = cls(name, public, kind == _COSIGNS)
        if str(key) != text:
            raise InvalidValue("the key's id is another one's")
        return key

    def check(self, message: bytes, signature: bytes) -> None:
        """Raises `NotProven` unless this key has signed the message."""
        try:
            _ed25519(_public_key(self.public)).verify(message, signature)
        except ValueError:
            raise NotProven(f"{self.name} has not signed this") from None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What signs."""

    name: str
    seed: bytes = field(repr=False)
    cosigns: bool = False

    @classmethod
    def generate(cls, name: str, *, cosigns: bool = False) -> SigningKey:
        """A new one."""
        return cls(name, os.urandom(32), cosigns)

    @property
    def verifier(self) -> VerifierKey:
        """What its signatures are checked with."""
        public = self._key().public_key().export_key(format="raw")
        return VerifierKey(self.name, public, self.cosigns)

    def text(self) -> str:
        """The key as text, to be kept secret: a `vkey` of the seed behind PRIVATE+KEY, as Go has it."""
        verifier = self.verifier
        secret = _base64(bytes([verifier.kind]) + self.seed)
        return f"{_PRIVATE}{self.name}+{verifier.id.hex()}+{secret}"

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """The key of such a text. Raises `InvalidValue`."""
        name, kind, seed = _parse(text.removeprefix(_PRIVATE))
        key = cls(name, seed, kind == _COSIGNS)
        if key.text() != text:
            raise InvalidValue("this is no key to sign with")
        return key

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return _ed25519(self._key()).sign(message)

    def _key(self) -> EccKey:
        from Crypto.PublicKey import ECC

        return ECC.construct(curve="Ed25519", seed=self.seed)


# Who signs nothing and checks nothing, as most commands, does not wait until its curves are loaded.


def _public_key(public: bytes) -> EccKey:
    from Crypto.Signature import eddsa

    return eddsa.import_public_key(public)


def _ed25519(key: EccKey) -> EdDSASigScheme:
    from Crypto.Signature import eddsa

    return eddsa.new(key, "rfc8032")


def _parse(text: str) -> tuple[str, int, bytes]:
    name, _, rest = text.partition("+")
    _, _, encoded = rest.partition("+")
    try:
        material = _bytes(encoded)
    except ValueError:
        material = b""
    if len(material) != 33 or material[0] not in (_SIGNS, _COSIGNS):
        raise InvalidValue("this is no key of Ed25519, as in NAME+0123abcd+AQ...")
    return name, material[0], material[1:]


def write_key(path: str | os.PathLike[str], key: SigningKey | VerifierKey) -> None:
    """Into a new file, which of a key that signs nobody else may read. Raises `OSError`."""
    text, mode = (key.text(), 0o600) if isinstance(key, SigningKey) else (str(key), 0o644)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")


def read_signing_key(path: str | os.PathLike[str]) -> SigningKey:
    """The key of a file. Raises `InvalidValue` or `OSError`."""
    (text,) = _lines(path)[:1] or ("",)
    return SigningKey.parse(text)


def read_verifier_keys(path: str | os.PathLike[str]) -> tuple[VerifierKey, ...]:
    """The keys of a file, one a line; blank lines and those that begin with # are passed over. Raises
    `InvalidValue`, with the number of the line, or `OSError`."""
    keys = []
    for number, line in enumerate(_lines(path), 1):
        if line and not line.startswith("#"):
            try:
                keys.append(VerifierKey.parse(line))
            except InvalidValue as error:
                raise InvalidValue(f"line {number}: {error}") from None
    return tuple(keys)


def _lines(path: str | os.PathLike[str]) -> list[str]:
    with open(path, "rb") as file:
        text = file.read(LONGEST + 1)
    try:
        if len(text) > LONGEST:
            raise ValueError
        return [line.strip() for line in text.decode().split("\n")]
    except ValueError:
        raise InvalidValue("this is no file of keys") from None


@dataclass(frozen=True, slots=True)
class Signature:
    """A line below a note: whose it says it is, and 64 bytes; of a cosigner there is a time before them."""

    name: str
    id: bytes
    value: bytes

    @property
    def line(self) -> str:
        """As it stands below the note."""
        return f"{_DASH}{self.name} {_base64(self.id + self.value)}\n"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who has signed a note, and of a cosigner at which Unix second."""

    key: VerifierKey
    seconds: int | None


def sign(text: str, key: SigningKey, seconds: int = 0) -> str:
    """The line that goes below the note; a cosigner's says that it has seen it at that Unix second."""
    time = seconds.to_bytes(8) if key.cosigns else b""
    value = time + key.sign(_message(text, key.verifier, seconds))
    return Signature(key.name, key.verifier.id, value).line


def note(text: str, lines: Iterable[str]) -> str:
    """A note with these signatures. Further ones are added at its end."""
    return f"{text}\n{''.join(lines)}"


def _message(text: str, key: VerifierKey, seconds: int) -> bytes:
    return (f"cosignature/v1\ntime {seconds}\n{text}" if key.cosigns else text).encode()


def parse(note: str) -> tuple[str, list[Signature]]:
    """A note's text and signatures, none of them checked. Raises `MalformedDocument`."""
    # The last empty line is between them.
    text, blank, below = note.rpartition("\n\n")
    lines = below.split("\n")
    if (
        len(note) > LONGEST
        or any(ord(sign) < 0x20 and sign != "\n" for sign in note)
        or not (text and blank)
        or lines.pop() != ""
        or not 0 < len(lines) <= _MOST_SIGNATURES
    ):
        raise MalformedDocument("this is no signed note")
    signatures = []
    for line in lines:
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        try:
            value = _bytes(encoded)
        except ValueError:
            value = b""
        if not (line.startswith(_DASH) and _NAME.fullmatch(name) and len(value) > 4):
            raise MalformedDocument("a signature of the note is none")
        signatures.append(Signature(name, value[:4], value[4:]))
    return f"{text}\n", signatures


def check(note: str, keys: Sequence[VerifierKey]) -> tuple[str, list[Signer]]:
    """A note's text, and who of those with these keys has signed it.

    Raises `MalformedDocument`, and `NotProven` where a signature by one of the keys is none.
    """
    text, signatures = parse(note)
    signers = []
    for signature in signatures:
        for key in keys:
            if (key.name, key.id) == (signature.name, signature.id):
                time, value = b"", signature.value
                if key.cosigns:
                    time, value = value[:8], value[8:]
                seconds = int.from_bytes(time)
                if seconds > _LAST:
                    raise NotProven(f"{key.name} has cosigned it in a year that no calendar has")
                key.check(_message(text, key, seconds), value)
                signers.append(Signer(key, seconds if key.cosigns else None))
    return text, signers


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _bytes(text: str) -> bytes:
    """`ValueError` for any but the one spelling."""
    data = b64decode(text, validate=True)
    if _base64(data) != text:
        raise ValueError
    return data
