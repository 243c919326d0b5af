"""The log: how events are spelt and hashed; RFC 9162's trees, beside published ones and its own recursion."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream._core import (
    Frontier,
    LeafHashes,
    canonical_events,
    check_consistency,
    check_inclusion,
    leaf_hashes,
)
from pystream.errors import MalformedEvidence, NotProven
from tests.oracles import merkle

# The two leaves and the root of the specification.
EVENTS = [
    b'{"key":"A","kind":"segment","m0":1773161982000,"m1":1773161988000,"primary":true,"rendition":"v1",'
    b'"session":"s1","stream":"Y","t":1773162000000}',
    b'{"hidden":false,"key":"A","kind":"beacon","playhead_ms":0,"rate":1,"session":"s1","sn":1,'
    b'"state":"playing","stream":"Y","t":1773162000000}',
]
SALTS = bytes(range(32))
LEAVES = [
    "1a3bb4d90c3a043fb586a3911d48c1411376fc815251ae58cde4b5254a9cba55",
    "7d42296589ea69ece53629bbaa44d10a236f4745924125b479a737b8e7987999",
]
ROOT = "97546a5d5496d3b1aa400e724f07ed821e068a40e31e7b8af156325889f11bb8"

# The trees that implementations of RFC 6962 and RFC 9162 are tested with: github.com/transparency-dev/merkle,
# proof/verify_test.go, whose leaves count from 1.
DATA = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
DATA.append("606162636465666768696a6b6c6d6e6f")
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
_00 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
_10_2021 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
_3031 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
_LAST_TWO = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
_LAST_FOUR = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
_TWO = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
_SEVENTH = "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f"
INCLUSIONS = {
    (0, 1): [],
    (0, 8): [_00, _10_2021, _LAST_FOUR],
    (5, 8): [_3031, _LAST_TWO, ROOTS[4]],
    (2, 3): [ROOTS[2]],
    (1, 5): [ROOTS[1], _10_2021, _3031],
}
CONSISTENCIES = {
    (1, 1): [],
    (1, 8): [_00, _10_2021, _LAST_FOUR],
    (6, 8): [_TWO, _LAST_TWO, ROOTS[4]],
    (2, 5): [_10_2021, _3031],
    (6, 7): [_TWO, _SEVENTH, ROOTS[4]],
}


def tree(leaves: list[bytes]) -> LeafHashes:
    made = LeafHashes()
    made.append(b"".join(leaves))
    return made


def hashes(proof: bytes) -> list[bytes]:
    return [proof[at : at + 32] for at in range(0, len(proof), 32)]


def random_leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % n).digest() for n in range(count)]


def test_the_leaves_and_the_root_of_the_specification() -> None:
    assert canonical_events(b"\n".join(EVENTS)) == EVENTS
    leaves = leaf_hashes(SALTS, EVENTS)
    assert [each.hex() for each in hashes(leaves)] == LEAVES
    frontier = Frontier()
    frontier.append(leaves)
    assert (frontier.root().hex(), tree(hashes(leaves)).root(2).hex()) == (ROOT, ROOT)


_texts = st.text(st.characters(codec="utf-8"))


@given(st.floats(0.25, 4) | st.integers(1, 4), _texts, st.integers(-(2**53) + 1, 2**53 - 1))
def test_an_event_is_spelt_in_one_way(rate: float, key: str, playhead: int) -> None:
    event = json.loads(EVENTS[1]) | {"rate": rate, "key": key, "playhead_ms": playhead}
    for ensure_ascii in (False, True):
        written = json.dumps(event | {"more": 1}, ensure_ascii=ensure_ascii, indent=None)
        (made,) = canonical_events(written.encode())
    assert json.loads(made) == event
    assert canonical_events(made) == [made]
    assert list(json.loads(made)) == sorted(event)
    # ECMAScript prints these as Python does, but for the fraction of whole numbers.
    assert f'"rate":{str(rate).removesuffix(".0")},' in made.decode()
    assert not any(byte < 0x20 for byte in made)


def test_what_is_no_event_is_no_leaf() -> None:
    with pytest.raises(MalformedEvidence, match="line 2: t is missing"):
        canonical_events(EVENTS[0] + b'\n{"kind":"clock","step_ms":1}')


@pytest.mark.parametrize("salts", [b"", SALTS[:31], SALTS[:16], SALTS + SALTS[:16]])
def test_each_event_has_a_salt(salts: bytes) -> None:
    with pytest.raises(ValueError, match="salt"):
        leaf_hashes(salts, EVENTS)


def test_published_roots() -> None:
    leaves = [merkle.leaf(bytes.fromhex(data)) for data in DATA]
    frontier, all_leaves = Frontier(), tree(leaves)
    for size, wanted in enumerate(ROOTS):
        assert (frontier.root().hex(), frontier.size) == (wanted, size)
        assert all_leaves.root(size).hex() == wanted
        frontier.append(b"".join(leaves[size : size + 1]))


@pytest.mark.parametrize(("place", "size"), INCLUSIONS)
def test_published_inclusions(place: int, size: int) -> None:
    leaves = [merkle.leaf(bytes.fromhex(data)) for data in DATA]
    proof = tree(leaves).inclusion(size, [place])
    assert [each.hex() for each in hashes(proof)] == INCLUSIONS[place, size]
    check_inclusion(size, bytes.fromhex(ROOTS[size]), [place], leaves[place], proof)


@pytest.mark.parametrize(("old", "new"), CONSISTENCIES)
def test_published_consistencies(old: int, new: int) -> None:
    leaves = [merkle.leaf(bytes.fromhex(data)) for data in DATA]
    proof = tree(leaves).consistency(old, new)
    assert [each.hex() for each in hashes(proof)] == CONSISTENCIES[old, new]
    check_consistency((old, bytes.fromhex(ROOTS[old])), (new, bytes.fromhex(ROOTS[new])), proof)


@given(st.integers(0, 70), st.data())
def test_as_the_recursion_of_the_rfc(size: int, data: Any) -> None:
    leaves = random_leaves(size)
    first = data.draw(st.integers(0, size))
    all_leaves, frontier = tree(leaves), Frontier()
    frontier.append(b"".join(leaves[:first]))
    frontier = Frontier.load(frontier.store())
    frontier.append(b"".join(leaves[first:]))
    assert (frontier.size, frontier.root()) == (size, merkle.root(leaves))
    assert all_leaves.root(first) == merkle.root(leaves[:first])
    consistency = all_leaves.consistency(first, size)
    assert hashes(consistency) == merkle.proof(first, leaves)
    old, new = (first, merkle.root(leaves[:first])), (size, merkle.root(leaves))
    check_consistency(old, new, consistency)
    if size:
        place = data.draw(st.integers(0, size - 1))
        inclusion = all_leaves.inclusion(size, [place])
        assert hashes(inclusion) == merkle.path(place, leaves)
        assert merkle.included(place, size, leaves[place], hashes(inclusion), new[1])


@given(st.integers(1, 70), st.data())
def test_what_several_inclusions_share(size: int, data: Any) -> None:
    leaves = random_leaves(size)
    places = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))
    root, chosen = merkle.root(leaves), [leaves[place] for place in places]
    proof = tree(leaves).inclusion(size, places)
    check_inclusion(size, root, places, b"".join(chosen), proof)
    alone = [each for place in places for each in merkle.path(place, leaves)]
    assert len(hashes(proof)) <= len(alone)
    assert set(hashes(proof)) <= set(alone)
    # Nothing of it can be another one, and nothing can be missing or too much.
    at = data.draw(st.integers(0, len(places) - 1))
    others = [*chosen[:at], os.urandom(32), *chosen[at + 1 :]]
    wrong: list[tuple[int, list[int], list[bytes], bytes]] = [
        (size, places, others, proof),
        (size, places, chosen, proof + root),
        (size, places[:at] + places[at + 1 :], chosen[:at] + chosen[at + 1 :], proof),
    ]
    if proof:
        flipped = data.draw(st.integers(0, len(proof) - 1))
        spoilt = proof[:flipped] + bytes([proof[flipped] ^ 1]) + proof[flipped + 1 :]
        wrong += [(size, places, chosen, spoilt), (size, places, chosen, proof[32:])]
    for n, there, of, by in wrong:
        with pytest.raises(NotProven):
            check_inclusion(n, root, there, b"".join(of), by)


@given(st.integers(1, 70), st.data())
def test_no_other_log_is_consistent(size: int, data: Any) -> None:
    leaves = random_leaves(size)
    first, at = data.draw(st.integers(1, size)), data.draw(st.integers(0, size - 1))
    old = (first, merkle.root(leaves[:first]))
    forged = [*leaves[:at], os.urandom(32), *leaves[at + 1 :]]
    other = tree(forged)
    new, proof = (size, other.root(size)), other.consistency(first, size)
    if at < first:
        with pytest.raises(NotProven, match=r"the (earlier|proof)"):
            check_consistency(old, new, proof)
    else:
        check_consistency(old, new, proof)
    for earlier, later, by in (
        (old, new, proof + bytes(32)),
        (new, old, proof) if first < size else (old, (size, bytes(32)), proof),
    ):
        with pytest.raises(NotProven):
            check_consistency(earlier, later, by)


def test_an_empty_log_is_the_beginning_of_any() -> None:
    empty = Frontier()
    assert (empty.size, empty.root().hex(), len(empty.store())) == (0, ROOTS[0], 8)
    check_consistency((0, empty.root()), (5, bytes(32)), b"")
    with pytest.raises(NotProven, match="beginning"):
        check_consistency((0, bytes(32)), (5, bytes(32)), b"")


def test_places_that_are_none() -> None:
    leaves = random_leaves(5)
    five, root = tree(leaves), merkle.root(leaves)
    for places in ([], [5], [1, 1], [2, 1], [0, 2**63]):
        with pytest.raises(ValueError, match="places"):
            five.inclusion(5, places)
        with pytest.raises(NotProven, match="places"):
            check_inclusion(5, root, places, bytes(32 * len(places)), b"")
    for size, old in ((6, 1), (4, 5)):
        with pytest.raises(ValueError, match="places"):
            five.consistency(old, size)
    with pytest.raises(ValueError, match="places"):
        five.root(6)
    with pytest.raises(ValueError, match="places"):
        five.inclusion(6, [0])
    # As deep as trees can be.
    with pytest.raises(NotProven, match="short"):
        check_inclusion(2**64 - 1, root, [2**64 - 2], bytes(32), bytes(32))
    with pytest.raises(NotProven, match="short"):
        check_consistency((2**63 + 1, root), (2**64 - 1, root), bytes(32))


def test_what_is_no_hash() -> None:
    for leaves in (bytes(31), bytes(33)):
        for log in (Frontier(), LeafHashes()):
            with pytest.raises(ValueError, match="32 bytes"):
                log.append(leaves)
    with pytest.raises(ValueError, match="32 bytes"):
        check_inclusion(1, bytes(31), [0], bytes(32), b"")
    with pytest.raises(ValueError, match="32 bytes"):
        check_consistency((1, bytes(32)), (2, bytes(33)), b"")
    with pytest.raises(ValueError, match="place"):
        check_inclusion(2, bytes(32), [0, 1], bytes(32), b"")


@given(st.binary(max_size=120))
def test_any_bytes_are_the_end_of_a_log_or_none(state: bytes) -> None:
    try:
        frontier = Frontier.load(state)
    except ValueError:
        return
    assert frontier.store() == state
    frontier.append(bytes(32 * 9))
    frontier.root()
