"""Keys: what is derived from the master key, and how that is kept."""

from __future__ import annotations

import os
import stat
from itertools import product
from pathlib import Path

import pytest
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import HKDF
from hypothesis import given
from hypothesis import strategies as st

from pystream.acl.grants import LONGEST_S, Grants
from pystream.acl.keys import (
    ENVIRONMENT_VARIABLE,
    GRANT_KEY_PERIOD_S,
    MOST_MASTER_KEYS,
    Keyring,
    add_master_key,
    create_master_key,
    load_master_keys,
    root_of,
)
from pystream.errors import GrantError, MasterKeyError

MASTER = bytes(range(32))
SALT = b"pystream master key 1"
NOW = 1_936_699_200


def hkdf(master: bytes, length: int, label: bytes, *fields: bytes) -> bytes:
    """Another implementation of RFC 5869, and `info` as the module's own words have it."""
    info = label + b"".join(len(field).to_bytes(2) + field for field in fields)
    key = HKDF(master, length, SALT, SHA256, context=info)
    assert isinstance(key, bytes)
    return key


@given(
    master=st.binary(min_size=32, max_size=32),
    stream=st.integers(1, 2**32 - 1),
    version=st.text(max_size=20),
    rendition=st.text(max_size=20),
    period=st.integers(0, 2**32),
    session=st.binary(min_size=8, max_size=8),
)
def test_keys_are_hkdf_with_sha256(
    master: bytes, stream: int, version: str, rendition: str, period: int, session: bytes
) -> None:
    ring = Keyring(root_of(master))
    fields = (stream.to_bytes(8), version.encode(), rendition.encode(), period.to_bytes(8))
    assert ring.content_key(stream, version, rendition, period) == hkdf(
        master, 16, b"pystream content key 1", *fields
    )
    assert ring.content_key(stream, version, rendition, period, session) == hkdf(
        master, 16, b"pystream viewer key 1", *fields, session
    )
    keys, current = ring.grant_keys(period)
    now = period // GRANT_KEY_PERIOD_S
    assert keys[current] == hkdf(master, 32, b"pystream grant key 1", now.to_bytes(8))
    assert ring.table_secret() == hkdf(master, 16, b"pystream table secret 1")
    assert ring.proof_key() == hkdf(master, 32, b"pystream proof key 1")
    tenant, *texts = fields[:3]
    assert ring.token_mark(stream, version, rendition) == hkdf(
        master, 16, b"pystream token mark 1", tenant, *texts
    )
    assert ring.answer_digest(tenant, session, texts[0]) == hkdf(
        master, 32, b"pystream kept answer 1", tenant, session, texts[0]
    )


def test_keys_never_change() -> None:
    """Players that hold a playlist come for its keys after an upgrade, too, and one from before there
    was a root."""
    ring = Keyring(root_of(MASTER))
    assert ring.content_key(1, "v", "v0", 0).hex() == "627880d90d38e35c73c4455ad17d21d9"
    assert ring.content_key(1, "v", "v0", 0, bytes(8)).hex() == "770a1bbef5e4f51aaedc561e52b3f0a8"


def test_each_purpose_has_a_key_of_its_own() -> None:
    ring, other = Keyring(MASTER), Keyring(bytes(32))
    # Fields that would be the same bytes if they were only put one after the other.
    asked = [
        *product((1, 2), ("", "a", "ab"), ("v0", "bv0", "v"), (0, 1), (None, bytes(8), b"s" * 8)),
    ]
    keys = [each.content_key(*words) for each in (ring, other) for words in asked]
    keys += [key for each in (ring, other) for key in each.grant_keys(NOW)[0].values()]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {16, 32}
    assert Keyring(MASTER).content_key(1, "a", "v0", 0) == ring.content_key(1, "a", "v0", 0)


def test_grants_outlive_a_change_of_keys() -> None:
    """Whenever one was issued, it is good until its end, on nodes whose clocks differ."""
    ring = Keyring(MASTER)
    begin = NOW // GRANT_KEY_PERIOD_S * GRANT_KEY_PERIOD_S
    assert GRANT_KEY_PERIOD_S >= LONGEST_S
    for issued in (begin, begin + 1, begin + GRANT_KEY_PERIOD_S - 1):
        token = Grants(*ring.grant_keys(issued)).issue(7, bytes(16), issued, LONGEST_S)
        for later in (-20, 0, 1, LONGEST_S // 2, LONGEST_S - 1):
            grants = Grants(*ring.grant_keys(issued + later))
            assert grants.check(token, 7, issued + later).expires == issued + LONGEST_S
        with pytest.raises(GrantError):
            Grants(*ring.grant_keys(issued + LONGEST_S)).check(token, 7, issued + LONGEST_S)
    # A key serves for its period and its neighbours, and its number is then another one's.
    numbers = [ring.grant_keys(begin + n * GRANT_KEY_PERIOD_S)[1] for n in range(16)]
    assert sorted(numbers) == list(range(16))
    assert ring.grant_keys(0)[1] == 0


def test_a_keyring_shows_no_secret() -> None:
    assert MASTER.hex() not in repr(Keyring(MASTER))
    with pytest.raises(ValueError, match="32 bytes"):
        Keyring(MASTER[1:])


def test_a_root_is_the_prk_of_a_node_that_has_none_yet() -> None:
    """RFC 5869 2.2, by another implementation: what expands to the same keys."""
    assert len(root_of(MASTER)) == 32 and root_of(MASTER) != MASTER
    other = Keyring(root_of(bytes(32)))
    assert other.table_secret() == hkdf(bytes(32), 16, b"pystream table secret 1")


# Where the master key lies


def test_a_master_key_is_made_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "pystream.key"
    with pytest.raises(FileNotFoundError):
        load_master_keys(str(path), {})
    before = os.umask(0)
    try:
        key = create_master_key(str(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == f"{key.hex()}\n"
    assert load_master_keys(str(path), {}) == (key,)
    assert os.listdir(tmp_path) == ["pystream.key"]
    assert create_master_key(str(tmp_path / "other")) != key


def test_a_master_key_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pystream.key"
    key = create_master_key(str(path))
    with pytest.raises(FileExistsError):
        create_master_key(str(path))
    assert load_master_keys(str(path), {}) == (key,)
    assert os.listdir(tmp_path) == ["pystream.key"]


def test_the_environment_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "pystream.key"
    create_master_key(str(path))
    environ = {ENVIRONMENT_VARIABLE: MASTER.hex().upper()}
    assert load_master_keys(str(path), environ) == (MASTER,)
    assert load_master_keys("/nowhere", environ) == (MASTER,)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o777])
def test_a_master_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "pystream.key"
    create_master_key(str(path))
    path.chmod(mode)
    with pytest.raises(MasterKeyError, match=f"{path}: others .* {mode:04o}.: chmod 600"):
        load_master_keys(str(path), {})
    path.chmod(0o400)
    load_master_keys(str(path), {})


@pytest.mark.parametrize(
    "text",
    ["", MASTER.hex()[1:], MASTER.hex() + "0", MASTER.hex()[:-1] + "g", "٠" * 64, "x" * 10**6],
)
def test_what_is_no_master_key_is_not_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pystream.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(MasterKeyError) as caught:
        load_master_keys(str(path), {})
    assert str(caught.value) == f"{path}: a master key is written as 64 hexadecimal digits"
    if text:
        with pytest.raises(
            MasterKeyError, match=f"{ENVIRONMENT_VARIABLE}: a master key is written"
        ):
            load_master_keys(str(path), {ENVIRONMENT_VARIABLE: text})


def test_a_master_key_is_in_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises((MasterKeyError, IsADirectoryError)):
            load_master_keys(str(path), {})


# Several master keys


def test_a_new_master_key_stands_in_front(tmp_path: Path) -> None:
    path = tmp_path / "pystream.key"
    first = create_master_key(str(path))
    second = add_master_key(str(path))
    third = add_master_key(str(path))
    assert load_master_keys(str(path), {}) == (third, second, first)
    assert path.read_text() == "".join(f"{key.hex()}\n" for key in (third, second, first))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["pystream.key"]


def test_the_environment_may_hold_several(tmp_path: Path) -> None:
    for between in (" ", "\n", "\r\n", "\n\n"):
        text = f"{MASTER.hex()}{between}{bytes(32).hex()}\n"
        assert load_master_keys("/nowhere", {ENVIRONMENT_VARIABLE: text}) == (MASTER, bytes(32))


def test_one_wrong_line_is_all_wrong(tmp_path: Path) -> None:
    path = tmp_path / "pystream.key"
    path.write_text(f"{MASTER.hex()}\n{MASTER.hex()[1:]}\n")
    path.chmod(0o600)
    for read in (lambda: load_master_keys(str(path), {}), lambda: add_master_key(str(path))):
        with pytest.raises(MasterKeyError, match="is written as 64 hexadecimal digits"):
            read()
    assert path.read_text() == f"{MASTER.hex()}\n{MASTER.hex()[1:]}\n"


def test_there_are_not_any_number_of_master_keys(tmp_path: Path) -> None:
    path = tmp_path / "pystream.key"
    create_master_key(str(path))
    for _ in range(MOST_MASTER_KEYS - 1):
        add_master_key(str(path))
    keys = load_master_keys(str(path), {})
    assert len(set(keys)) == MOST_MASTER_KEYS
    with pytest.raises(MasterKeyError, match="take out the last lines"):
        add_master_key(str(path))
    assert load_master_keys(str(path), {}) == keys
    with open(path, "a") as file:
        file.write(f"{MASTER.hex()}\n")
    with pytest.raises(MasterKeyError, match="more than 16"):
        load_master_keys(str(path), {})


def test_a_key_is_added_to_what_is_there_only(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        add_master_key(str(tmp_path / "pystream.key"))
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_of_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "pystream.key"
    create_master_key(str(path))
    os.chown(path, 65534, 65534)
    add_master_key(str(path))
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
