"""What openssl decrypts and ffmpeg decodes: programs that know nothing of this project.

They get files, or the address of a film and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from pystream import playlist
from pystream.acl.store import Store
from pystream.acl.streams import StreamSettings, TenantSettings
from tests.databases import with_tables
from tests.oracles.hls import LADDER, MEDIA, planned
from tests.test_serve import BUSY, Node, node_in

CASES = ["plain.mp4", "ntsc.mp4", "audio_late.mp4", "nal_2.mp4", "aud_some.mp4", "fragmented.mp4"]


def package(out: Path, *arguments: str | Path) -> None:
    program = "import sys; from pystream.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "package", *map(str, arguments)]
    command += ["-o", str(out), "--segment-duration", "2"]
    subprocess.run(command, check=True, capture_output=True)


def framemd5(source: Path | str, stream: str) -> tuple[list[str], list[int]]:
    """Digests of the decoded frames and their times in microseconds; fails on any message."""
    command = [
        "ffmpeg",
        "-v",
        "warning",
        "-copyts",
        "-allowed_extensions",
        "ALL",
        "-i",
        str(source),
    ]
    if isinstance(source, Path) and source.suffix != ".m3u8":
        command = ["ffmpeg", "-v", "error", "-copyts", "-i", str(source)]
    command += ["-map", f"0:{stream}:0", "-fps_mode", "passthrough", "-enc_time_base", "1:1000000"]
    command += ["-f", "framemd5", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    rows = [line.split(",") for line in done.stdout.splitlines() if line[:1] != "#"]
    return [row[5].strip() for row in rows], [int(row[2]) for row in rows]


@pytest.mark.needs("ffmpeg")
@pytest.mark.slow
@pytest.mark.parametrize("format", ["ts", "fmp4"])
@pytest.mark.parametrize("name", CASES)
def test_ffmpeg_decodes_the_sources_pictures_without_a_message(
    name: str, format: str, tmp_path: Path
) -> None:
    package(
        tmp_path / "out", MEDIA / name, "--format", format, "--encrypt", "aes-128",
        "--rotate-every", "2",
    )  # fmt: skip
    theirs, times = framemd5(MEDIA / name, "v")
    ours, our_times = framemd5(tmp_path / "out" / "index.m3u8", "v")
    assert ours == theirs
    # Distances are kept to a tick of 90 kHz.
    for a, b in zip(times, our_times, strict=True):
        assert abs((b - our_times[0]) - (a - times[0])) <= 12


@pytest.mark.needs("ffmpeg")
@pytest.mark.slow
@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_ffmpeg_plays_a_clear_ladder(format: str, tmp_path: Path) -> None:
    package(tmp_path / "out", *(MEDIA / name for name in LADDER), "--format", format)
    assert (
        framemd5(tmp_path / "out" / "v1" / "index.m3u8", "v")[0]
        == framemd5(MEDIA / LADDER[1], "v")[0]
    )


SERVED: dict[str, dict[str, Any]] = {
    "clear": {},
    "sealed": {"encryption": "aes-128", "rotate_every": 2},
    "own": {"encryption": "aes-128-per-viewer"},
    "shared": {"encryption": "aes-128", "cache": "shared", "pace": None},
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with node_in(tmp_path_factory.mktemp("node")) as running:
        with Store.open(with_tables(str(running.folder / "pystream.db"))) as store:
            store.add_tenant("acme", TenantSettings(), who="test", now=0)
            for name, changes in SERVED.items():
                for format in ("ts", "fmp4"):
                    for last, files in (("", ("plain.mp4",)), ("-ladder", LADDER)):
                        sources = tuple(str(MEDIA / each) for each in files)
                        film = StreamSettings(
                            sources=sources, format=format, segment_duration_ms=1000, **changes
                        )
                        store.add_stream("acme", f"{name}-{format}{last}", film, who="test", now=0)
        running.settings(rest=BUSY)
        running.start()
        running.hear("READY=1")
        yield running
        assert running.stop() == 0


@pytest.mark.needs("ffmpeg", "ffprobe")
@pytest.mark.slow
@pytest.mark.parametrize("format", ["ts", "fmp4"])
@pytest.mark.parametrize("name", SERVED)
def test_an_address_is_all_that_players_need(node: Node, name: str, format: str) -> None:
    address = f"http://127.0.0.1:{node.port}/acme/{name}-{format}"
    probe = ["ffprobe", "-v", "warning", "-of", "json", "-show_entries"]
    probe += ["format=duration:stream=codec_name,width,height", f"{address}/master.m3u8"]
    done = subprocess.run(probe, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert {each["codec_name"] for each in found["streams"]} == {"h264", "aac"}
    assert float(found["format"]["duration"]) == pytest.approx(
        sum(planned("plain.mp4").renditions[0].durations_us) / 1e6, abs=0.1
    )
    theirs = framemd5(MEDIA / "plain.mp4", "v")[0]
    assert framemd5(f"{address}/master.m3u8", "v")[0] == theirs
    # The edit list has ffmpeg leave out some of the file's sound, which HLS has no word for.
    theirs = framemd5(MEDIA / "plain.mp4", "a")[0]
    assert 0 <= len(framemd5(f"{address}/master.m3u8", "a")[0]) - len(theirs) <= 2
    # Of a ladder, ffmpeg takes the best one.
    best = framemd5(f"{address}-ladder/master.m3u8", "v")[0]
    assert best == framemd5(MEDIA / LADDER[0], "v")[0]


@pytest.mark.needs("ffmpeg", "ffprobe")
@pytest.mark.slow
@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_pain_32_what_follows_a_change_is_decoded_by_itself(format: str, tmp_path: Path) -> None:
    package(tmp_path / "out", MEDIA / "two_sounds.mp4", "--format", format)
    parts = [{"width": "256", "height": "144"}, {"width": "192", "height": "108"}]
    sounds = [{"sample_rate": "48000", "channels": "2"}, {"sample_rate": "24000", "channels": "1"}]
    for rendition in planned("two_sounds.mp4", format=format).renditions:
        folder = tmp_path / "out" / rendition.name
        media = playlist.parse((folder / "index.m3u8").read_text())
        assert isinstance(media, playlist.MediaPlaylist)
        numbers = accumulate(entry.discontinuity for entry in media.segments)
        joined = [b"", b""]
        for number, entry in zip(numbers, media.segments, strict=True):
            if not joined[number] and entry.map:
                joined[number] = (folder / entry.map.uri).read_bytes()
            joined[number] += (folder / entry.uri).read_bytes()
        for number, content in enumerate(joined):
            path = tmp_path / f"{rendition.name}-{number}.{format}"
            path.write_bytes(content)
            wanted = {}
            if format == "ts" or rendition.kind == "video":
                wanted["h264"] = parts[number]
            if format == "ts" or rendition.kind == "audio":
                wanted["aac"] = sounds[number]
            assert streams(path) == wanted
            decode = ["ffmpeg", "-v", "warning", "-i", str(path), "-f", "null", "-"]
            done = subprocess.run(decode, capture_output=True, text=True, check=True)
            assert done.stderr == ""


def streams(path: Path) -> dict[str, dict[str, str]]:
    """What ffprobe sees: size, or rate and channels, of each codec."""
    command = ["ffprobe", "-v", "error", "-of", "default=nw=1", "-show_entries"]
    command += ["stream=codec_name,width,height,sample_rate,channels", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found: dict[str, dict[str, str]] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        if name == "codec_name":
            mine = found.setdefault(value, {})
        else:
            mine[name] = value
    return found


@pytest.mark.needs("openssl")
@pytest.mark.slow
@pytest.mark.parametrize("format", ["ts", "fmp4"])
def test_pain_41_openssl_decrypts_across_a_rotation(format: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    package(
        out, MEDIA / "plain.mp4", "--format", format, "--encrypt", "aes-128", "--rotate-every", "1"
    )
    for rendition in planned("plain.mp4", format=format).renditions:
        folder = out / rendition.name
        media = playlist.parse((folder / "index.m3u8").read_text())
        assert isinstance(media, playlist.MediaPlaylist)
        assert len(list(folder.glob("*.key"))) == len(media.segments) == len(rendition)
        for n, entry in enumerate(media.segments):
            assert entry.key is not None
            key = (folder / entry.key.uri).read_bytes()
            iv = entry.key.iv or n.to_bytes(16, "big")
            clear = subprocess.run(
                ["openssl", "enc", "-d", "-aes-128-cbc", "-K", key.hex(), "-iv", iv.hex(),
                 "-in", str(folder / entry.uri)],
                capture_output=True, check=True,
            )  # fmt: skip
            assert clear.stdout == bytes(rendition.segment(n))
