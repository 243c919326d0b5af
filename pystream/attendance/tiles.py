"""A log that is too long to be held: its root, and proofs of it, from the few hashes that they need.

Theory. As in c2sp.org/tlog-tiles, beside the leaves (level 0) there are the roots of all complete subtrees
of 256 leaves (level 1), of 65,536 (level 2), and so on: no more than 1/255 of the leaves. A tile is 256
hashes of a level that lie side by side, and their root is a hash of the next. A proof has roots over parts,
of which all but some at the log's right edge are complete and lie within a tile: so it reads two tiles or so
for each level, and a log that has grown by n leaves costs n hashes more, and not all of them again.
"""

from __future__ import annotations

from functools import lru_cache

from pystream._core import Frontier, consistency_parts, inclusion_parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    # Of a level, the hashes from one number to before another, one behind the other.
    Read: TypeAlias = Callable[[int, int, int], bytes]

HASH = 32
_BITS = 8
WIDTH = 1 << _BITS
_KEPT = 1024


def root(hashes: bytes) -> bytes:
    """Over hashes of one level."""
    frontier = Frontier()
    frontier.append(hashes)
    return frontier.root()


def tops(hashes: bytes) -> list[bytes]:
    """The roots of whole tiles, one behind the other, which are the next level's hashes."""
    size = WIDTH * HASH
    return [root(hashes[at : at + size]) for at in range(0, len(hashes), size)]


class Tiles:
    """A log of at least as many leaves as it is asked for. `read` is called for whole tiles, and for what
    there is of the last one of a level."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        self._tile = lru_cache(_KEPT)(self._read_tile)

    def root(self, size: int) -> bytes:
        """Of the first `size` leaves."""
        return self._over(0, size) if size else root(b"")

    def inclusion(self, size: int, places: Sequence[int]) -> bytes:
        """As `LeafHashes.inclusion`."""
        return self._all(inclusion_parts(size, places))

    def consistency(self, old: int, new: int) -> bytes:
        """As `LeafHashes.consistency`."""
        return self._all(consistency_parts(old, new))

    def _all(self, parts: Iterable[tuple[int, int]]) -> bytes:
        return b"".join(self._over(begin, end) for begin, end in parts)

    def _over(self, begin: int, end: int) -> bytes:
        size = end - begin
        half = 1 << (size.bit_length() - 1)
        if half < size:
            middle = begin + half
            return root(self._over(begin, middle) + self._over(middle, end))
        # Complete: up to 128 hashes of the highest level that has any of it, within one tile.
        shift = (half.bit_length() - 1) // _BITS * _BITS
        first, count = begin >> shift, size >> shift
        at = first % WIDTH * HASH
        hashes = self._tile(shift // _BITS, first // WIDTH)[at : at + count * HASH]
        return root(hashes)

    def _read_tile(self, level: int, number: int) -> bytes:
        first = number * WIDTH
        last = min(first + WIDTH, self._size >> (level * _BITS))
        return self._read(level, first, last)
