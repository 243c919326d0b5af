"""Which key and which initialization vector each resource gets (RFC 8216 4.3.2.4, 5.2).

The rule that everything here serves: no pair of key and IV is used twice in a presentation (NIST
SP 800-38A 6.2). Keys are fresh for each rendition and period, so the media sequence number does as a
segment's IV, as the RFC has it where a playlist gives none; initialization sections, which have no
such number, count up from 2^127. Where the caller fixes the key or the first IV, several
renditions may share a key: then IVs count up over all resources of all renditions, and each is
written into the playlist.
"""

from __future__ import annotations

from os import urandom

from pystream import playlist

# `typing` would cost a command's start more than all of this; type checkers take the name as true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_INIT_IV = 1 << 127
_WRAP = 1 << 128


class Aes128:
    """AES-128 encryption of whole segments.

    `key`: 16 bytes for all renditions; without it each rendition and period gets a fresh one, and
    so does each presentation. A key of your own serves one presentation: with another one's
    segments, all pairs of key and IV would come again.
    `iv`: the IV of the first resource; each further one, over all renditions, adds 1.
    `rotate_every`: number of segments after which a fresh key begins; 0 keeps the first one.
    `key_uri`: what key files' names are appended to in playlists; empty keeps them relative.
    `key_for`: a function of (rendition name, period) that gives 16 bytes: the same bytes whenever
    it is asked, and other ones for each pair and each film. A server derives its keys so.
    `on_demand`: `key_for` is asked when a key is needed, and for none beforehand; that no two are
    the same is then the caller's word. A long film may have thousands.

    Raises `ValueError` for a wrong length, a fixed key or IV together with rotation, `on_demand`
    without `key_for`, or a `key_uri` that no playlist may have; `TypeError` where a key or an IV is
    no bytes, or `key_uri` no text.
    """

    def __init__(
        self,
        *,
        key: bytes | None = None,
        iv: bytes | None = None,
        rotate_every: int = 0,
        key_uri: str = "",
        key_for: Callable[[str, int], bytes] | None = None,
        on_demand: bool = False,
    ) -> None:
        for name, value in (("key", key), ("iv", iv)):
            if value is not None and (size := len(_bytes(name, value))) != 16:
                raise ValueError(f"{name} has {size} bytes; AES-128 wants 16")
        if rotate_every < 0:
            raise ValueError("rotate_every is negative")
        if rotate_every and (key is not None or iv is not None):
            raise ValueError("a fixed key or IV cannot be rotated")
        if key is not None and key_for is not None:
            raise ValueError("key and key_for exclude each other")
        if on_demand and key_for is None:
            raise ValueError("on_demand needs key_for, which gives the same keys again")
        check_key_uri(key_uri)
        self.on_demand = on_demand
        self.rotate_every = rotate_every
        self.key_uri = key_uri
        self._key = key if key is None else bytes(key)
        self._iv = iv if iv is None else bytes(iv)
        self._key_for = key_for

    def key(self, rendition: str, period: int) -> bytes:
        """A key for a period of a rendition, 16 bytes: a fresh one at each call, unless the caller
        fixes it."""
        if self._key is not None:
            return self._key
        key = (
            _bytes("key_for's key", self._key_for(rendition, period))
            if self._key_for
            else urandom(16)
        )
        if len(key) != 16:
            raise ValueError(f"key_for gave {len(key)} bytes; AES-128 wants 16")
        return key

    def check_distinct(self, keys: Iterable[list[bytes]]) -> None:
        """Raises `ValueError` where `key_for` gives two renditions or periods one key.

        `keys`: of each rendition, those of its periods.
        """
        if self._key_for is None:
            return
        every = [key for mine in keys for key in mine]
        if len({*every}) < len(every):
            raise ValueError(
                "key_for gives the same key for two renditions or periods: their segments would have"
                " the same pairs of key and IV"
            )

    def first_explicit_iv(self, resources: int, renditions: int) -> int | None:
        """The IV to count up from, or None where the media sequence number does.

        `resources` is how many there are without a number of their own (initialization sections).
        """
        if self._iv is not None:
            return int.from_bytes(self._iv)
        # One playlist without a map counts by itself: its media sequence numbers.
        return 0 if self._key is not None and (renditions > 1 or resources) else None


def check_key_uri(key_uri: str) -> None:
    """Raises `ValueError` for a base that does not give a URI when a key's name is put after it."""
    if not isinstance(key_uri, str):
        raise TypeError(f"key_uri is {type(key_uri).__name__}, not text")
    try:
        playlist.Key(f"{key_uri}v0-0.key")
    except ValueError as error:
        raise ValueError(f"key_uri: {error}") from None


def _bytes(what: str, value: object) -> bytes:
    # Not what bytes() takes: of a number n, it makes n zeros.
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{what} is {type(value).__name__}; AES-128 wants 16 bytes")
    return bytes(value)


def init_iv(index: int) -> bytes:
    """The IV of a rendition's initialization section `index` under a key of its own."""
    return (_INIT_IV + index).to_bytes(16)


def counted_iv(first: int, index: int) -> bytes:
    """The IV of the resource `index` places after the one with IV `first`."""
    return ((first + index) % _WRAP).to_bytes(16)


def sequence_iv(media_sequence: int) -> bytes:
    """The IV that a segment has where the playlist gives none (RFC 8216 5.2)."""
    return media_sequence.to_bytes(16)
