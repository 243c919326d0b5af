"""What people of a tenant sign in with, and what they hold then: all of it functions of values.

**Passwords** are hashed with Argon2id (RFC 9106) in its second recommended setting, 64 MiB and three
passes. That is slow on purpose, so it belongs into a thread, and few at a time. Somebody whom nobody
knows costs the same: `verify` takes None for a hash.

**Codes of an authenticator** are TOTP (RFC 6238): HMAC-SHA-1, 30 s, six digits, as all authenticators
have them. The step before and the one after the present one count as well, for clocks that differ; no
step counts twice, so a code that somebody has looked over a shoulder is worth nothing (5.2 there).

**Recovery codes** have 80 random bits. **Secrets of sessions** have 256; a cookie carries one, and the
store its SHA-256: nothing slower is needed where there is nothing to guess. The token that a form
carries against forgery by other sites (CSRF) is an HMAC under the session's secret.

**Tokens of the API** are `pst_`, 256 random bits in 43 digits of base 62, and six of a CRC-32 of these:
so that scanners of published code know one when they see it, and a slip is told from a wrong one.
"""

from __future__ import annotations

import hmac
import re
import secrets
import struct
import unicodedata
from base64 import b32decode, b32encode, urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from zlib import crc32

from pystream.acl.passwords import as_written
from pystream.errors import InvalidValue, Said

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LEAST_PASSWORD: Final = 12
MOST_PASSWORD: Final = 256
TOTP_SECRET_LENGTH: Final = 20
RECOVERY_CODES: Final = 10
SESSION_IDLE_S: Final = 1800
SESSION_LONGEST_S: Final = 12 * 3600
FIRST_PASSWORD_S: Final = 14 * 86_400
"""For so long a first password, which somebody else has seen, lets its owner in to change it."""

_STEP_S = 30
_SECRET_LENGTH = 32
_TOKEN = re.compile(r"pst_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


# Passwords


def password_form(text: str) -> str:
    """The form of a password that is hashed: NFC (RFC 8265 4.2.2), so that it does not matter how a
    keyboard writes an accent; of a first password, which is typed from paper as viewers' are, the one that
    was printed, whatever its case, hyphens and blanks. Raises `InvalidValue` for what can be none."""
    form = unicodedata.normalize("NFC", text)
    if not 0 < len(form) <= MOST_PASSWORD or not form.isprintable():
        text = f"a password has at most {MOST_PASSWORD} characters, and no line ends"
        raise InvalidValue(Said("own-password-long", text, most=MOST_PASSWORD))
    return as_written(form) or form


def check_new_password(text: str, *known: str) -> None:
    """Raises `InvalidValue` where a password is too easy to guess; `known` are words that everybody
    tries first, the person's name for one."""
    form = password_form(text)
    if len(form) < LEAST_PASSWORD:
        text = f"a password of at least {LEAST_PASSWORD} characters is wanted"
        raise InvalidValue(Said("own-password-short", text, least=LEAST_PASSWORD))
    folded = form.casefold()
    for word in sorted(filter(None, known), key=len, reverse=True):
        folded = folded.replace(word.casefold(), "")
    if len(set(folded)) < 5:
        text = "this password is too easy to guess: names and repetitions do not count"
        raise InvalidValue(Said("own-password-easy", text))


def hash_password(text: str) -> str:
    """64 MiB and some 50 ms. Raises `InvalidValue` as `password_form` does."""
    return _hasher().hash(password_form(text))


def verify(hash: str | None, text: str) -> bool:
    """Whether a password is that of the hash; of none, it takes as long to say no."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        form = password_form(text)
    except InvalidValue:
        hash, form = None, ""
    try:
        return _hasher().verify(_nobodys() if hash is None else hash, form) and hash is not None
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(hash: str) -> bool:
    """Whether a password was hashed with other parameters than one is now."""
    return _hasher().check_needs_rehash(hash)


@lru_cache(1)
def _hasher() -> PasswordHasher:
    # Loaded where it is needed: commands and workers do without it.
    from argon2 import PasswordHasher, profiles

    return PasswordHasher.from_parameters(profiles.RFC_9106_LOW_MEMORY)


@lru_cache(1)
def _nobodys() -> str:
    return _hasher().hash(secrets.token_hex(16))


# Codes of an authenticator


def new_totp_secret() -> bytes:
    return secrets.token_bytes(TOTP_SECRET_LENGTH)


def totp(secret: bytes, step: int) -> str:
    """The code of a step of 30 s, counted from 1970 (RFC 4226 5.3)."""
    mac = hmac.digest(secret, step.to_bytes(8), "sha1")
    (word,) = struct.unpack_from(">I", mac, mac[-1] & 15)
    return f"{(word & 0x7FFF_FFFF) % 1_000_000:06}"


def step_of(secret: bytes, code: str, now: int, after: int) -> int | None:
    """The step whose code that is, behind the step `after`, which was used last; None for a wrong one."""
    present = now // _STEP_S
    typed = "".join(code.split()).encode()
    found = None
    for step in (present - 1, present, present + 1):
        if hmac.compare_digest(totp(secret, step).encode(), typed) and step > after:
            found = step
    return found


def totp_uri(secret: bytes, tenant: str, name: str) -> str:
    """What an authenticator reads out of a QR code."""
    # Of the characters that names have, these alone mean something in an address.
    label = f"{tenant}:{name}".replace("@", "%40").replace("+", "%2B")
    return f"otpauth://totp/{label}?secret={b32encode(secret).decode()}&issuer={tenant}"


# Recovery codes


def new_recovery_codes() -> tuple[str, ...]:
    """As they are shown, once: 16 characters of base 32 in groups of four."""
    codes = (b32encode(secrets.token_bytes(10)).decode().lower() for _ in range(RECOVERY_CODES))
    return tuple("-".join(code[at : at + 4] for at in range(0, 16, 4)) for code in codes)


def recovery_digest(typed: str) -> bytes | None:
    """What the store finds a recovery code by, 32 bytes; None for what can be none."""
    plain = re.sub(r"[\s-]", "", typed).upper()
    try:
        return sha256(b32decode(plain)).digest() if len(plain) == 16 else None
    except ValueError:
        return None


# Sessions


def new_session() -> bytes:
    return secrets.token_bytes(_SECRET_LENGTH)


def as_text(secret: bytes) -> str:
    """A session's secret as a cookie has it, 43 characters."""
    return urlsafe_b64encode(secret).rstrip(b"=").decode()


def from_text(text: str) -> bytes | None:
    """The secret out of a cookie; None for what is none."""
    if len(text) != 43 or not text.isascii():
        return None
    try:
        secret = urlsafe_b64decode(f"{text}=")
    except ValueError:
        return None
    return secret if len(secret) == _SECRET_LENGTH else None


def digest(secret: bytes) -> bytes:
    """What the store finds a session by, 32 bytes."""
    return sha256(secret).digest()


def csrf(secret: bytes) -> str:
    """What the forms of a session carry, and no other site can know."""
    mac = hmac.digest(secret, b"pystream console csrf 1", "sha256")
    return urlsafe_b64encode(mac).rstrip(b"=").decode()


# Tokens of the API


def new_token() -> str:
    number = secrets.randbits(256)
    body = _in_base62(number, 43)
    return f"pst_{body}{_check(body)}"


def token_digest(text: str) -> bytes | None:
    """What the store finds a token by, 32 bytes; None for what is no token."""
    match = _TOKEN.fullmatch(text)
    if match is None or not hmac.compare_digest(_check(match[1]).encode(), match[2].encode()):
        return None
    return sha256(text.encode()).digest()


def _check(body: str) -> str:
    return _in_base62(crc32(body.encode()), 6)


def _in_base62(number: int, digits: int) -> str:
    found = ""
    for _ in range(digits):
        number, digit = divmod(number, 62)
        found = _BASE62[digit] + found
    return found
