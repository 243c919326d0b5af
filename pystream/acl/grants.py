"""The grant in a path: what a viewer's player carries from the playlist to the last segment.

Theory. A grant says which stream its bearer may fetch, for which session, and from when to when. It
is one path segment, since relative URIs inherit a path but no query, and casting devices bring
neither cookies nor headers. It is signed, so that no table has to be asked whether it was issued:

    payload (30 bytes, big-endian)                       tag (16 bytes)
    version and key | flags | expires | not before       HMAC-SHA256(grant key, label || payload)
    1                 1       4         4                cut to 128 bits (RFC 2104 5)
    | stream | session
      4        16

and both together are 62 characters of base64url without padding (RFC 4648 5). The first byte has
the version (2) in its upper half and the number of the key in the lower one. The 372 bits of 62
characters are four more than needed; only zeros are taken there, or each grant had 16 spellings.
The session's number is random: it says nothing of who it is, and nobody guesses another one.

Verifying costs some microseconds, so grants that were verified are remembered, as many as fit in
two halves: where one is full, the older is dropped. What was not verified is never remembered, so
made-up grants displace nothing. Times and stream are checked each time.
"""

from __future__ import annotations

import binascii
import hmac
import struct
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pystream.errors import GrantError

LENGTH: Final = 62
SESSION_LENGTH: Final = 16
# Flags.
ADMITTED: Final = 1
"""The session is in the node's table."""
PICTURES: Final = 2
"""It opens single pictures alone, in no session: for a tenant's own people, who are no viewers."""
TEST: Final = 4
"""Who has it examines the event: it takes a place, and is in no sum of viewers."""
DOWNLOAD: Final = 8
"""It opens the download alone, which no other grant does: a playlist's that is passed on gives nobody the
file."""
# No grant lives longer: its key is gone then.
LONGEST_S: Final = 7 * 86400
# How far the clocks of two nodes may differ when a grant begins.
SKEW_S: Final = 30

_VERSION = 2
_LABEL = b"pystream grant 2\0"
_PAYLOAD = struct.Struct(">BBIII16s")
_TAG_LENGTH = 16
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_REMEMBERED = 16_384


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant that was verified. `flags` is for whoever issues: what it is good for besides playing.
    Times are Unix seconds; `expires` is the first one at which it is over."""

    stream_id: int
    session: bytes
    not_before: int
    expires: int
    flags: int


class Grants:
    """Issues and checks grants.

    `keys`: 32 bytes each by their numbers, 0 to 15, all of which are accepted; `current` is the
    number of the one that signs. `remembered`: how many verified grants are kept at most.
    """

    def __init__(
        self, keys: Mapping[int, bytes], current: int, *, remembered: int = _REMEMBERED
    ) -> None:
        if current not in keys:
            raise ValueError(f"there is no grant key {current}")
        for number, key in keys.items():
            if not 0 <= number <= 15 or len(key) != 32:
                raise ValueError("a grant key has 32 bytes, and a number from 0 to 15")
        self._keys = dict(keys)
        self._current = current
        self._half = max(1, remembered // 2)
        self._young: dict[str, Grant] = {}
        self._old: dict[str, Grant] = {}

    def issue(
        self, stream_id: int, session: bytes, now: int, lifetime: int, *, flags: int = 0
    ) -> str:
        """A grant for a stream, from now on and for so many seconds, a week at most. `session` is 16
        random bytes."""
        if len(session) != SESSION_LENGTH or not 0 < lifetime <= LONGEST_S:
            raise ValueError(
                f"a session has 16 bytes, and a lifetime from 1 to {LONGEST_S} seconds"
            )
        try:
            payload = _PAYLOAD.pack(
                _VERSION << 4 | self._current, flags, now + lifetime, now, stream_id, session
            )
        except struct.error:
            raise ValueError("stream, times and flags do not fit in a grant") from None
        tag = _tag(self._keys[self._current], payload)
        return urlsafe_b64encode(payload + tag).rstrip(b"=").decode()

    def check(self, token: str, stream_id: int, now: int) -> Grant:
        """The grant, if it opens the stream now. Raises `GrantError`."""
        grant = self._young.get(token)
        if grant is None:
            grant = self._verified(token)
        if grant.stream_id != stream_id:
            raise GrantError("stream")
        if now >= grant.expires:
            raise GrantError("expired")
        if now < grant.not_before - SKEW_S:
            raise GrantError("early")
        return grant

    def renewed(self, grant: Grant, now: int, window: int, ends: int) -> str | None:
        """What a live stream's playlist names its next segments under, where that is to be a new grant;
        None where the old one still does.

        A file's playlist is fetched once, so its grant has the session's hard end. That of a live stream
        is fetched again and again: its grants hold for `window` seconds, and from the middle of that on
        each playlist has a new one, of the same session. The old one is good until its own end: what was
        named under it is still being fetched. None holds beyond `ends`, the session's hard end. Whether
        the session is open is for whoever asks to look up. Raises `GrantError` for one that is over.
        """
        if now >= grant.expires:
            raise GrantError("expired")
        lifetime = min(window, ends - now)
        if grant.expires >= ends or grant.expires - now > window // 2 or lifetime <= 0:
            return None
        return self.issue(grant.stream_id, grant.session, now, lifetime, flags=grant.flags)

    def session_of(self, token: str) -> bytes:
        """The session of a grant that was issued here, whatever its stream and its times. Raises
        `GrantError`."""
        return self._verify(token).session

    def _verified(self, token: str) -> Grant:
        grant = self._old.get(token)
        if grant is None:
            grant = self._verify(token)
        if len(self._young) >= self._half:
            self._old = self._young
            self._young = {}
        self._young[token] = grant
        return grant

    def _verify(self, token: str) -> Grant:
        data = _decoded(token)
        payload, tag = data[: _PAYLOAD.size], data[_PAYLOAD.size :]
        head, flags, expires, not_before, stream_id, session = _PAYLOAD.unpack(payload)
        if head >> 4 != _VERSION:
            raise GrantError("malformed")
        key = self._keys.get(head & 15)
        # A key that is gone has signed nothing that is still valid.
        if key is None or not hmac.compare_digest(tag, _tag(key, payload)):
            raise GrantError("forged")
        return Grant(stream_id, session, not_before, expires, flags)


def _tag(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, _LABEL + payload, "sha256")[:_TAG_LENGTH]


def _decoded(token: str) -> bytes:
    if len(token) != LENGTH:
        raise GrantError("malformed")
    try:
        text = token.encode("ascii")
        data = binascii.a2b_base64(text.translate(_FROM_URL) + b"==", strict_mode=True)
    except ValueError:
        raise GrantError("malformed") from None
    # One grant, one spelling: neither `+` and `/` nor bits beyond the last byte.
    if urlsafe_b64encode(data)[:LENGTH] != text:
        raise GrantError("malformed")
    return data
