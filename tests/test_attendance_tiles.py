"""A log's tiles: roots and proofs of them are those of the whole, and of the RFC's own recursion."""

from __future__ import annotations

from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream._core import LeafHashes, check_consistency, check_inclusion
from pystream.attendance.tiles import HASH, WIDTH, Tiles, tops
from tests.oracles import merkle

MOST = 3 * WIDTH * WIDTH + 5 * WIDTH + 77


@cache
def levels() -> list[bytes]:
    """Leaves, and complete subtrees above them."""
    found = [b"".join(sha256(b"%d" % n).digest() for n in range(MOST))]
    while len(below := found[-1]) >= WIDTH * HASH:
        whole = len(below) // (WIDTH * HASH) * WIDTH * HASH
        found.append(b"".join(tops(below[:whole])))
    return found


@cache
def whole() -> LeafHashes:
    made = LeafHashes()
    made.append(levels()[0])
    return made


class Reading:
    """Of a log as it was when it had `size` leaves."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.hashes = 0
        self.reads = 0

    def __call__(self, level: int, first: int, last: int) -> bytes:
        assert first % WIDTH == 0 and 0 < last - first <= WIDTH
        assert last <= self.size >> 8 * level
        self.reads += 1
        self.hashes += last - first
        return levels()[level][first * HASH : last * HASH]


SIZES = st.integers(0, 700) | st.integers(0, MOST) | st.sampled_from((WIDTH**2, MOST))


@given(SIZES, st.data())
def test_roots_and_proofs_are_those_of_the_whole(size: int, data: st.DataObject) -> None:
    reading = Reading(size)
    tiles = Tiles(reading, size)
    assert tiles.root(size) == whole().root(size)
    old = data.draw(st.integers(0, size))
    assert tiles.root(old) == whole().root(old)
    proof = tiles.consistency(old, size)
    assert proof == whole().consistency(old, size)
    check_consistency((old, tiles.root(old)), (size, tiles.root(size)), proof)
    if size:
        places = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=20)))
        proof = tiles.inclusion(size, places)
        assert proof == whole().inclusion(size, places)
        leaves = b"".join(levels()[0][n * HASH : (n + 1) * HASH] for n in places)
        check_inclusion(size, tiles.root(size), places, leaves, proof)


@given(st.integers(0, 3 * WIDTH))
def test_roots_are_those_of_the_recursion(size: int) -> None:
    leaves = [levels()[0][n * HASH : (n + 1) * HASH] for n in range(size)]
    assert Tiles(Reading(size), size).root(size) == merkle.root(leaves)


def test_a_proof_reads_a_few_tiles() -> None:
    for place in (0, 77_777, MOST - 1):
        reading = Reading(MOST)
        proof = Tiles(reading, MOST).inclusion(MOST, [place])
        assert reading.reads <= 6 and reading.hashes <= 6 * WIDTH
        assert len(proof) <= 18 * HASH


def test_places_that_are_none() -> None:
    tiles = Tiles(Reading(5), 5)
    for places in ([], [5], [2, 1], [1, 1]):
        with pytest.raises(ValueError, match="no places"):
            tiles.inclusion(5, places)
    with pytest.raises(ValueError, match="no places"):
        tiles.consistency(6, 5)
