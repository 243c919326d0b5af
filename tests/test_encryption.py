"""AES-128 (RFC 8216 5.2, NIST SP 800-38A), decrypted by pycryptodome."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from Crypto.Cipher import AES
from Crypto.Util.Padding import unpad
from hypothesis import given
from hypothesis import strategies as st

import pystream
from pystream import _core, playlist
from tests.oracles.hls import CLIPS, LADDER, MEDIA, planned, segments

KEY = bytes(range(16))
# The IVs that count up from it begin again at 0.
IV = bytes.fromhex("fffffffffffffffffffffffffffffffd")


def decrypted(data: bytes, key: bytes, iv: bytes) -> bytes:
    assert len(data) % 16 == 0
    return unpad(AES.new(key, AES.MODE_CBC, iv).decrypt(data), 16)


def resources(
    presentation: pystream.Presentation, rendition: pystream.Rendition
) -> Iterator[tuple[str, bytes, bytes, bytes]]:
    """(URI, bytes, key, IV) of each resource, with key and IV as a player finds them in the text."""
    keys = dict(rendition.key_files())
    inits = iter(rendition.inits())
    media = playlist.parse(presentation.media_playlist(rendition).text())
    assert isinstance(media, playlist.MediaPlaylist)
    last = None
    for n, entry in enumerate(media.segments):
        if entry.map is not None and entry.map != last:
            last = entry.map
            # 4.3.2.4: where a key holds for EXT-X-MAP, its IV has to be given.
            assert entry.map.key is not None and entry.map.key.iv is not None
            yield entry.map.uri, next(inits), keys[entry.map.key.uri], entry.map.key.iv
        assert entry.key is not None
        # 5.2: without IV, the media sequence number in 16 bytes, big endian.
        iv = entry.key.iv or (media.media_sequence + n).to_bytes(16, "big")
        yield entry.uri, bytes(rendition.segment(n)), keys[entry.key.uri], iv
    assert next(inits, None) is None


MANNERS: list[Callable[[], pystream.Aes128]] = [
    pystream.Aes128,
    lambda: pystream.Aes128(key=KEY),
    lambda: pystream.Aes128(iv=IV),
    lambda: pystream.Aes128(key=KEY, iv=IV),
    lambda: pystream.Aes128(rotate_every=1),
    lambda: pystream.Aes128(rotate_every=3),
    lambda: pystream.Aes128(key_for=lambda name, period: f"{name:8}{period:8}".encode()),
]
NAMES = ["fresh", "key", "iv", "key-iv", "each", "three", "derived"]


@pytest.mark.parametrize("format", ["ts", "fmp4"])
@pytest.mark.parametrize("manner", MANNERS, ids=NAMES)
@pytest.mark.parametrize("names", [*[(name,) for name in CLIPS[::3]], LADDER, ("two_entries.mp4",)])
def test_pain_39_every_resource_decrypts_to_its_clear_twin(
    names: tuple[str, ...], manner: Callable[[], pystream.Aes128], format: str
) -> None:
    secret = planned(*names, format=format, encryption=manner())
    clear = planned(*names, format=format)
    pairs = set()
    count = 0
    for rendition, twin in zip(secret.renditions, clear.renditions, strict=True):
        plain = {twin.uri(n): segment for n, segment in enumerate(segments(twin))}
        plain |= {twin.init_uri(i): init for i, init in enumerate(twin.inits())}
        for uri, data, key, iv in resources(secret, rendition):
            assert decrypted(data, key, iv) == plain.pop(uri)
            pairs.add((key, iv))
            count += 1
        assert not plain
    # No pair of key and IV twice, over all renditions.
    assert len(pairs) == count


@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_pain_40_each_segment_is_padded_and_its_length_known(format: str) -> None:
    for secret, clear in zip(
        planned("plain.mp4", format=format, encryption=pystream.Aes128()).renditions,
        planned("plain.mp4", format=format).renditions,
        strict=True,
    ):
        for n in range(len(secret)):
            assert secret.length(n) == len(secret.segment(n))
            # A whole block is added where nothing is left to fill.
            assert secret.length(n) == clear.length(n) // 16 * 16 + 16


@pytest.mark.parametrize("format", ["ts", "fmp4"])
@pytest.mark.parametrize("every", [1, 2, 3, 100])
def test_pain_41_the_key_tag_stands_exactly_at_the_boundary(every: int, format: str) -> None:
    presentation = planned(
        "intra.mp4", format=format, seconds=0.2, encryption=pystream.Aes128(rotate_every=every)
    )
    for rendition in presentation.renditions:
        count = len(rendition)
        assert count >= 19
        periods = -(-count // every)
        assert [name for name, _ in rendition.key_files()] == [
            f"{rendition.name}-{period}.key" for period in range(periods)
        ]
        uri, found = None, {}
        place = 0
        for line in presentation.media_playlist(rendition).text().splitlines():
            if line.startswith("#EXT-X-KEY:"):
                uri = line.split('URI="')[1].split('"')[0]
                if "IV=" not in line:
                    found[place] = uri
            elif line and not line.startswith("#"):
                assert uri == f"{rendition.name}-{place // every}.key"
                place += 1
        # One tag a period: players fetch the key once for each tag.
        assert list(found) == list(range(0, count, every))


def test_pain_42_each_period_of_each_rendition_has_a_key_of_its_own() -> None:
    for manner in (pystream.Aes128(rotate_every=1), pystream.Aes128()):
        presentation = planned(*LADDER, format="fmp4", encryption=manner)
        files = [pair for r in presentation.renditions for pair in r.key_files()]
        assert len(dict(files)) == len(files)
        keys = [key for _, key in files]
        assert len(set(keys)) == len(keys)
        assert all(len(key) == 16 for key in keys)
    again = planned(*LADDER, format="fmp4", encryption=pystream.Aes128())
    assert not {key for r in again.renditions for _, key in r.key_files()} & set(keys)


@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_an_iv_counts_up_over_all_resources_in_the_order_of_the_playlists(format: str) -> None:
    presentation = planned(*LADDER, format=format, encryption=pystream.Aes128(key=KEY, iv=IV))
    found = []
    for rendition in presentation.renditions:
        text = presentation.media_playlist(rendition).text()
        assert text.count("IV=0x") == rendition.resources
        found += [(key, iv) for _, _, key, iv in resources(presentation, rendition)]
    first = int.from_bytes(IV, "big")
    wrapped = [(first + i) % (1 << 128) for i in range(len(found))]
    assert 0 in wrapped
    assert found == [(KEY, iv.to_bytes(16, "big")) for iv in wrapped]


def test_the_iv_of_a_single_playlist_with_a_key_is_the_media_sequence_number() -> None:
    presentation = planned("plain.mp4", encryption=pystream.Aes128(key=KEY))
    (rendition,) = presentation.renditions
    text = presentation.media_playlist(rendition).text()
    assert text.count("#EXT-X-KEY:") == 1
    assert "IV=" not in text
    ivs = [iv for _, _, _, iv in resources(presentation, rendition)]
    assert ivs == [n.to_bytes(16, "big") for n in range(len(rendition))]


def test_an_encrypted_init_section_comes_after_a_key_with_an_iv() -> None:
    presentation = planned("plain.mp4", format="fmp4", encryption=pystream.Aes128())
    for rendition in presentation.renditions:
        lines = presentation.media_playlist(rendition).text().splitlines()
        place = next(i for i, line in enumerate(lines) if line.startswith("#EXT-X-MAP:"))
        assert lines[place - 1].startswith("#EXT-X-KEY:METHOD=AES-128,URI=")
        assert ",IV=0x" in lines[place - 1]
        uris = {line.split('URI="')[1].split('"')[0] for line in lines if "EXT-X-KEY" in line}
        assert uris == {f"{rendition.name}-0.key"}


def test_what_key_for_gives_is_asked_by_rendition_and_period() -> None:
    asked = []

    def key_for(name: str, period: int) -> bytes:
        asked.append((name, period))
        return f"{name:>8}{period:>8}".encode()

    encryption = pystream.Aes128(key_for=key_for, rotate_every=2)
    presentation = planned("plain.mp4", format="fmp4", encryption=encryption)
    for rendition in presentation.renditions:
        for period, (_, key) in enumerate(rendition.key_files()):
            assert key == f"{rendition.name:>8}{period:>8}".encode()
    assert sorted(set(asked)) == [("a0", 0), ("a0", 1), ("v0", 0), ("v0", 1)]


def test_keys_on_demand_are_asked_for_when_they_are_needed() -> None:
    asked = []

    def key_for(name: str, period: int) -> bytes:
        asked.append((name, period))
        return f"{name:>8}{period:>8}".encode()

    whole = pystream.Aes128(key_for=key_for, rotate_every=2)
    twin = planned("plain.mp4", format="fmp4", encryption=whole)
    asked.clear()
    lazy = pystream.Aes128(key_for=key_for, rotate_every=2, on_demand=True)
    presentation = planned("plain.mp4", format="fmp4", encryption=lazy)
    for rendition, other in zip(presentation.renditions, twin.renditions, strict=True):
        text = presentation.media_playlist_text(rendition)
        assert text == twin.media_playlist(other).text()
        assert asked == []
        assert bytes(rendition.segment(2)) == bytes(other.segment(2))
        assert asked == [(rendition.name, 1)]
        assert rendition.inits() == other.inits()
        assert rendition.key_files() == other.key_files()
        assert rendition.periods == other.periods == len(other.key_files())
        with pytest.raises(IndexError, match=f"period {rendition.periods} of"):
            rendition.key(rendition.periods)
        asked.clear()
    assert planned("plain.mp4").renditions[0].periods == 0
    with pytest.raises(ValueError, match="on_demand needs key_for"):
        pystream.Aes128(on_demand=True)


def test_wrong_arguments_are_refused() -> None:
    for wrong in (b"", bytes(15), bytes(17), bytes(32)):
        for name in ("key", "iv"):
            with pytest.raises(ValueError, match=f"{name} has {len(wrong)} bytes"):
                pystream.Aes128(**{name: wrong})  # type: ignore[arg-type]
        encryption = pystream.Aes128(key_for=lambda name, period, key=wrong: key)  # type: ignore[misc]
        with pytest.raises(ValueError, match=f"{len(wrong)} bytes"):
            planned("plain.mp4", encryption=encryption).renditions[0].segment(0)
    with pytest.raises(ValueError, match="rotate"):
        pystream.Aes128(rotate_every=-1)
    for fixed in ({"key": KEY}, {"iv": IV}):
        with pytest.raises(ValueError, match="rotated"):
            pystream.Aes128(rotate_every=2, **fixed)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="exclude"):
        pystream.Aes128(key=KEY, key_for=lambda name, period: KEY)
    # bytes() would make sixteen zeros of the number, and a key of the list.
    wrongs: list[tuple[Any, str]] = [("x" * 16, "str"), (16, "int"), ([0] * 16, "list")]
    for wrong, kind in wrongs:
        for name in ("key", "iv"):
            with pytest.raises(TypeError, match=f"{name} is {kind}"):
                pystream.Aes128(**{name: wrong})
        told = pystream.Aes128(key_for=lambda name, period, key=wrong: key)  # type: ignore[misc]
        with pytest.raises(TypeError, match=f"is {kind}"):
            planned("plain.mp4", encryption=told)
    for good in (bytearray(KEY), memoryview(KEY)):
        assert pystream.Aes128(key=good).key("v0", 0) == KEY  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="key_uri is NoneType"):
        pystream.Aes128(key_uri=None)  # type: ignore[arg-type]


def test_key_for_may_not_give_one_key_twice() -> None:
    manners: list[tuple[Callable[[str, int], bytes], int]] = [
        (lambda name, period: KEY, 0),
        (lambda name, period: f"{name:16}".encode(), 1),
        (lambda name, period: f"{period:16}".encode(), 1),
    ]
    for key_for, every in manners:
        encryption = pystream.Aes128(key_for=key_for, rotate_every=every)
        with pytest.raises(ValueError, match="same key"):
            planned("plain.mp4", format="fmp4", encryption=encryption)


BAD_BASES = ['https://k/"', "https://k/a b/", "k\t", "k\n", "k\x00", "#k", " "]


@pytest.mark.parametrize("base", BAD_BASES)
def test_a_key_uri_that_no_playlist_may_have_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match=r"^key_uri: "):
        pystream.Aes128(key_uri=base)


# The cipher through Python


sixteen = st.binary(min_size=16, max_size=16)


@given(message=st.binary(max_size=2000), key=sixteen, iv=sixteen)
def test_one_message_is_what_pycryptodome_decrypts(message: bytes, key: bytes, iv: bytes) -> None:
    secret = _core.encrypt(message, (key, iv))
    assert len(secret) == len(message) // 16 * 16 + 16
    assert decrypted(secret, key, iv) == message


def test_lengths_around_blocks_and_none_at_all() -> None:
    for length in [*range(50), 65_535, 65_536, 65_537]:
        message = os.urandom(length)
        assert decrypted(_core.encrypt(message, (KEY, IV)), KEY, IV) == message


@pytest.mark.parametrize("secret", [(b"", IV), (KEY, b""), (KEY + b"x", IV), (KEY, IV[1:])])
def test_keys_and_ivs_of_other_lengths_are_refused(secret: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        _core.encrypt(b"x", secret)


@given(
    data=st.data(),
    format=st.sampled_from(["ts", "fmp4"]),
    target=st.sampled_from([0.1, 0.2, 0.5, 3]),
    salt=st.binary(min_size=8, max_size=8),
    lanes=st.integers(1, 33),
)
def test_lanes_of_any_number_and_length_side_by_side(
    data: st.DataObject, format: str, target: float, salt: bytes, lanes: int
) -> None:
    encryption = pystream.Aes128(
        rotate_every=1,
        key_for=lambda name, period: salt + name.encode() + period.to_bytes(6, "big"),
    )
    secret = planned("intra.mp4", format=format, seconds=target, encryption=encryption)
    clear = planned("intra.mp4", format=format, seconds=target).renditions[0]
    numbers = st.integers(0, len(clear) - 1)
    wanted = data.draw(st.lists(numbers, min_size=lanes, max_size=lanes))
    made = secret.renditions[0].segments(wanted)
    assert len(made) == lanes
    for segment, n in zip(made, wanted, strict=True):
        key, iv = salt + b"v0" + n.to_bytes(6, "big"), n.to_bytes(16, "big")
        assert decrypted(bytes(segment), key, iv) == bytes(clear.segment(n))


@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_segments_longer_than_a_window_are_chained_across_it(format: str) -> None:
    # A megabyte in one segment: many times the window that a lane takes at once.
    film = pystream.open(MEDIA.parents[1] / "pystream/cli/sample.mp4")
    encryption = pystream.Aes128(key=KEY)
    secret = pystream.plan([film], format=format, segment_duration=60, encryption=encryption)
    clear = pystream.plan([film], format=format, segment_duration=60)
    assert max(clear.renditions[0].lengths()) > 700_000
    for rendition, twin in zip(secret.renditions, clear.renditions, strict=True):
        found = list(resources(secret, rendition))
        assert decrypted(*found[-1][1:]) == bytes(twin.segment(0))
        buffer = bytearray(rendition.length(0))
        assert rendition.segment_into(0, buffer) == len(buffer)
        assert buffer == found[-1][1]


# The command


def package(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    program = "import sys; from pystream.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "package", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_key_files_are_for_their_owner_and_lie_beside_their_playlist(tmp_path: Path) -> None:
    out = tmp_path / "out"
    package(MEDIA / "plain.mp4", "-o", out, "--encrypt", "aes-128", "--rotate-every", "1")
    keys = sorted(out.rglob("*.key"))
    assert [str(path.relative_to(out)) for path in keys] == [f"v0/v0-{n}.key" for n in range(1)]
    for path in keys:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(path.read_bytes()) == 16


def test_with_a_key_uri_keys_go_to_the_key_folder_alone(tmp_path: Path) -> None:
    out, keys = tmp_path / "out", tmp_path / "keys"
    base = "https://keys.example.org/film/"
    arguments: list[str | Path] = ["--encrypt", "aes-128"]
    arguments += ["--key-uri", base, "--key-dir", keys]
    package(MEDIA / "plain.mp4", "-o", out, "--format", "fmp4", *arguments)
    assert not list(out.rglob("*.key"))
    assert sorted(path.name for path in keys.iterdir()) == ["a0-0.key", "v0-0.key"]
    for path in keys.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        name = path.name.split("-")[0]
        assert f'URI="{base}{path.name}"' in (out / name / "index.m3u8").read_text()
    package(
        MEDIA / "plain.mp4", "-o", tmp_path / "other", "--encrypt", "aes-128", "--key-uri", base,
        "--key-dir", tmp_path / "other" / "keys", code=1,
    )  # fmt: skip
    assert not (tmp_path / "other").exists()


def test_a_fixed_key_on_the_command_line_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    ways = {"line": ["--key", KEY.hex()], "file": ["--key-file", str(tmp_path / "key")]}
    for name, way in ways.items():
        out = tmp_path / name
        package(MEDIA / "plain.mp4", "-o", out, "--encrypt", "aes-128", *way, "--iv", IV.hex())
        assert (out / "v0" / "v0-0.key").read_bytes() == KEY
        clear = planned("plain.mp4", seconds=6).renditions[0]
        assert decrypted((out / "v0" / "0.ts").read_bytes(), KEY, IV) == bytes(clear.segment(0))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--key", KEY.hex()],
        ["--encrypt", "aes-128", "--key", "00"],
        ["--encrypt", "aes-128", "--key", KEY.hex(), "--rotate-every", "2"],
        ["--encrypt", "aes-128", "--iv", IV.hex(), "--rotate-every", "2"],
        ["--encrypt", "aes-128", "--key", KEY.hex(), "--key-file", "x"],
        ["--encrypt", "aes-128", "--rotate-every", "0"],
        ["--encrypt", "aes-128", "--key-uri", "https://keys.example.org/"],
        ["--encrypt", "rot13"],
        # Before anything is read: there is no such key file.
        *(
            ["--encrypt", "aes-128", "--key-file", "none", "--key-uri", base, "--key-dir", "keys"]
            for base in BAD_BASES
            if "\0" not in base
        ),
    ],
)
def test_a_wrong_command_line_is_told_and_nothing_written(
    arguments: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = package(MEDIA / "plain.mp4", "-o", out, *arguments, code=2)
    assert done.stderr.startswith(("pystream package: ", "usage: "))
    assert KEY.hex() not in done.stderr
    assert not out.exists()


def test_no_two_runs_share_a_key() -> None:
    keys = [
        key
        for _ in range(20)
        for _, key in planned("plain.mp4", encryption=pystream.Aes128()).renditions[0].key_files()
    ]
    assert all(a != b for a, b in itertools.combinations(keys, 2))


@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_each_plan_has_fresh_keys_and_a_fixed_key_gives_the_same_bytes(format: str) -> None:
    fresh = pystream.Aes128()
    keys = [
        key
        for _ in range(2)
        for rendition in planned("plain.mp4", format=format, encryption=fresh).renditions
        for _, key in rendition.key_files()
    ]
    assert len(set(keys)) == len(keys)
    fixed = pystream.Aes128(key=KEY)
    one, other = (planned("plain.mp4", format=format, encryption=fixed) for _ in range(2))
    for a, b in zip(one.renditions, other.renditions, strict=True):
        assert a.inits() == b.inits()
        assert [bytes(s) for s in a.segments(range(len(a)))] == [
            bytes(s) for s in b.segments(range(len(b)))
        ]
