"""Sealing: published vectors, a second implementation, and what opens nothing."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream.acl.sealing import (
    OVERHEAD,
    MasterKeys,
    Pepper,
    Peppers,
    Place,
    decrypted,
    encrypted,
    master_key_name,
    new_key,
    seal,
    unseal,
    unwrap_record_key,
    wrap_record_key,
)
from pystream.errors import MasterKeyError, SealError
from tests.oracles import gcm

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
PLACE = Place(7, "password", b"0123456789abcdef", "secret")
REFERENCE = bytes(range(16))

# McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B, test cases 13 to 16:
# key, nonce, AAD, plaintext, ciphertext, tag.
_LONG = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
_CIPHERED = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
)
_KEY_15 = "feffe9928665731c6d6a8f9467308308" * 2
_AAD_16 = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
VECTORS = [
    tuple(map(bytes.fromhex, vector))
    for vector in (
        ("00" * 32, "00" * 12, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
        (
            *("00" * 32, "00" * 12, "", "00" * 16),
            *("cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"),
        ),
        (
            *(_KEY_15, "cafebabefacedbaddecaf888", "", _LONG, _CIPHERED),
            "b094dac5d93471bdec1a502270e3cc6c",
        ),
        (
            *(_KEY_15, "cafebabefacedbaddecaf888", _AAD_16, _LONG[:120], _CIPHERED[:120]),
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    )
]


def aad(label: bytes, *fields: bytes) -> bytes:
    """As the module's own words have it."""
    return label + b"".join(len(field).to_bytes(2) + field for field in fields)


# What is written


@pytest.mark.parametrize("vector", VECTORS)
def test_published_vectors(vector: tuple[bytes, ...]) -> None:
    key, nonce, aad, plaintext, ciphertext, tag = vector
    assert decrypted(key, aad, b"\x01" + nonce + ciphertext + tag, "it") == plaintext
    assert gcm.encrypt(key, nonce, aad, plaintext) == (ciphertext, tag)


rows = st.one_of(st.integers(0, 2**64 - 1), st.binary(max_size=40))
places = st.builds(Place, st.integers(0, 2**63), st.text(max_size=9), rows, st.text(max_size=9))


@pytest.mark.slow
@given(st.binary(min_size=32, max_size=32), places, st.binary(max_size=70))
def test_a_sealed_value_is_gcm_over_where_it_stands(
    key: bytes, place: Place, plaintext: bytes
) -> None:
    sealed = seal(key, place, plaintext)
    assert sealed[:1] == b"\x01" and len(sealed) == len(plaintext) + OVERHEAD
    row = place.row if isinstance(place.row, bytes) else place.row.to_bytes(8)
    fields = (place.tenant_id.to_bytes(8), place.table.encode(), row, place.column.encode())
    found = gcm.encrypt(key, sealed[1:13], aad(b"pystream sealed value 1", *fields), plaintext)
    assert b"".join(found) == sealed[13:]
    assert unseal(key, place, sealed) == plaintext


def test_keys_are_wrapped_as_the_words_have_it() -> None:
    wrapped = wrap_record_key(KEY, 7, REFERENCE, OTHER)
    named = aad(b"pystream record wrap 1", (7).to_bytes(8), REFERENCE)
    assert b"".join(gcm.encrypt(KEY, wrapped[1:13], named, OTHER)) == wrapped[13:]
    assert unwrap_record_key(KEY, 7, REFERENCE, wrapped) == OTHER
    wrapped = MasterKeys([KEY]).wrap(OTHER, "tenant", 7, 2)
    named = aad(b"pystream master wrap 1", b"tenant", (7).to_bytes(8), (2).to_bytes(8))
    assert b"".join(gcm.encrypt(KEY, wrapped[1:13], named, OTHER)) == wrapped[13:]


def test_what_was_sealed_once_opens_for_ever() -> None:
    """Databases hold it: bytes of the first version."""
    sealed = "01000102030405060708090a0b0a6dac7ab79195ae1aee4f036ebfb187b13b24e5db2e"
    assert unseal(KEY, PLACE, bytes.fromhex(sealed)) == b"Mozart"


@pytest.mark.slow
def test_no_nonce_comes_twice() -> None:
    count = 10_000
    nonces = {encrypted(KEY, b"", b"")[1:13] for _ in range(count)}
    assert len(nonces) == count
    # Nor is a part of it a counter, a clock or fixed.
    assert all(len(set(values)) == 256 for values in zip(*nonces, strict=True))


# What opens nothing


def refused(key: bytes, place: Place, sealed: bytes) -> str:
    with pytest.raises(SealError) as caught:
        unseal(key, place, sealed)
    # A traceback tells no more than the sentence.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


@pytest.mark.slow
def test_any_changed_bit_is_refused() -> None:
    sealed = seal(KEY, PLACE, b"Mozart")
    said = set()
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        said.add(refused(KEY, PLACE, bytes(changed)))
    for length in range(len(sealed)):
        said.add(refused(KEY, PLACE, sealed[:length]))
        said.add(refused(KEY, PLACE, sealed[len(sealed) - length :]))
    said.add(refused(KEY, PLACE, sealed + b"\0"))
    for bit in range(256):
        other = int.from_bytes(KEY) ^ 1 << bit
        said.add(refused(other.to_bytes(32), PLACE, sealed))
    # Whatever is wrong, the words are the same, and say which value it is.
    (words,) = said
    assert words.startswith(f"password {PLACE.row.hex()} of tenant 7, secret: ")  # type: ignore[union-attr]


@pytest.mark.slow
@given(st.binary(max_size=100))
def test_any_bytes_are_a_value_or_a_declared_error(data: bytes) -> None:
    refused(KEY, PLACE, data)


@pytest.mark.parametrize(
    "place",
    [
        Place(8, PLACE.table, PLACE.row, PLACE.column),
        Place(7, "passwords", PLACE.row, PLACE.column),
        Place(7, PLACE.table, b"0123456789abcdeg", PLACE.column),
        Place(7, PLACE.table, 1, PLACE.column),
        Place(7, PLACE.table, PLACE.row, "label"),
        # What would be the same bytes if they were only put one after the other.
        Place(7, "passwor", b"d0123456789abcdef", PLACE.column),
        Place(7, PLACE.table, b"0123456789abcdefs", "ecret"),
    ],
)
def test_a_value_opens_at_its_place_only(place: Place) -> None:
    refused(KEY, place, seal(KEY, PLACE, b"Mozart"))
    refused(KEY, PLACE, seal(KEY, place, b"Mozart"))


@pytest.mark.slow
@given(st.data())
def test_no_two_places_are_one(data: st.DataObject) -> None:
    one = data.draw(places)
    # Those of a table name their rows in one way.
    other = data.draw(places.filter(lambda each: type(each.row) is type(one.row)))
    sealed = seal(KEY, one, b"")
    if one == other:
        assert unseal(KEY, other, sealed) == b""
    else:
        refused(KEY, other, sealed)


def test_a_wrapped_key_opens_for_its_record_only() -> None:
    wrapped = wrap_record_key(KEY, 7, REFERENCE, OTHER)
    for key, tenant, reference in (
        (OTHER, 7, REFERENCE),
        (KEY, 8, REFERENCE),
        (KEY, 7, bytes(16)),
    ):
        with pytest.raises(SealError, match=f"key {reference.hex()} of tenant {tenant}: "):
            unwrap_record_key(key, tenant, reference, wrapped)
    # One kind of thing is no other one, though the same key sealed it.
    place = Place(7, "", REFERENCE, "")
    refused(KEY, place, wrapped)
    with pytest.raises(SealError):
        unwrap_record_key(KEY, 7, REFERENCE, seal(KEY, place, OTHER))


def test_short_keys_are_no_keys() -> None:
    """AES would take 16 bytes, too."""
    for key in (KEY[:16], KEY[:24], b"", KEY + b"\0"):
        with pytest.raises(ValueError, match="32 bytes"):
            seal(key, PLACE, b"")
        with pytest.raises(ValueError, match="32 bytes"):
            MasterKeys([key])
    with pytest.raises(ValueError, match="one master key or more"):
        MasterKeys([])


# Master keys


def test_the_newest_master_key_wraps_and_all_unwrap() -> None:
    old, both = MasterKeys([KEY]), MasterKeys([OTHER, KEY])
    assert both.newest == master_key_name(OTHER) and old.newest == master_key_name(KEY)
    assert both.names == (both.newest, old.newest)
    before = old.wrap(b"s" * 32, "root")
    assert both.unwrap(old.newest, before, "root") == b"s" * 32
    after = both.wrap(b"s" * 32, "root")
    assert MasterKeys([OTHER]).unwrap(both.newest, after, "root") == b"s" * 32
    with pytest.raises(MasterKeyError) as caught:
        old.unwrap(both.newest, after, "tenant", 7, 1)
    said = f"the key of tenant 7/1 was wrapped under the master key {both.newest}, and there are"
    assert str(caught.value).startswith(f"{said} {old.newest} only: ")


def test_a_wrapped_key_is_what_it_was_wrapped_as() -> None:
    masters = MasterKeys([KEY, OTHER])
    first, second = masters.names
    wrapped = masters.wrap(new_key(), "tenant", 7, 1)
    for name, what in (
        (first, ("tenant", 7, 2)),
        (first, ("tenant", 8, 1)),
        (first, ("pepper", 7, 1)),
        (first, ("tenant", 7)),
        (second, ("tenant", 7, 1)),
    ):
        with pytest.raises(SealError):
            masters.unwrap(name, wrapped, *what)


def test_master_keys_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pystream.key"
    path.write_text(f"{OTHER.hex()}\n{KEY.hex()}\n")
    path.chmod(0o600)
    assert MasterKeys.load(str(path), {}).names == MasterKeys([OTHER, KEY]).names
    assert MasterKeys.load("x", {"PYSTREAM_MASTER_KEY": KEY.hex()}).names == (master_key_name(KEY),)
    with pytest.raises(MasterKeyError, match=f"{tmp_path}/no: No such file"):
        MasterKeys.load(str(tmp_path / "no"), {})


def test_names_and_reprs_show_no_secret() -> None:
    masters = MasterKeys([KEY])
    assert re.fullmatch("[0-9a-f]{16}", masters.newest)
    for text in (repr(masters), repr(Pepper(5, KEY)), repr(Peppers.of(Pepper(5, KEY)))):
        assert KEY.hex() not in text and repr(KEY)[2:20] not in text
    assert hashlib.sha256(KEY).hexdigest()[:16] != masters.newest


# Look-up


def test_an_index_is_hmac_with_sha256() -> None:
    message = aad(b"pystream password index 1", (7).to_bytes(8), b"MOZART")
    assert Pepper(5, KEY).index(7, b"MOZART") == hmac.new(KEY, message, "sha256").digest()


def test_an_index_is_a_tenants_and_a_peppers() -> None:
    asked = [
        Pepper(1, key).index(tenant, canonical)
        for key in (KEY, OTHER)
        for tenant in (0, 1, 2**40)
        for canonical in (b"", b"A", b"AB", b"A" * 1000)
    ]
    assert len(set(asked)) == len(asked) and {len(index) for index in asked} == {32}
    assert Pepper(1, KEY).index(1, b"A") == Pepper(2, KEY).index(1, b"A")


def test_while_passwords_are_indexed_anew_both_are_looked_up() -> None:
    old, new = Pepper(5, KEY), Pepper(9, OTHER)
    peppers = Peppers.of(old, new)
    assert peppers.newest == new and peppers == Peppers.of(new, old)
    assert peppers.indexes(7, b"A") == ((9, new.index(7, b"A")), (5, old.index(7, b"A")))
