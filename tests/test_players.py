"""What openssl decrypts and ffmpeg decodes: programs that know nothing of this project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pystream import playlist
from tests.oracles.hls import LADDER, MEDIA, planned

CASES = ["plain.mp4", "ntsc.mp4", "audio_late.mp4", "nal_2.mp4", "aud_some.mp4", "fragmented.mp4"]


def package(out: Path, *arguments: str | Path) -> None:
    program = "import sys; from pystream.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "package", *map(str, arguments)]
    command += ["-o", str(out), "--segment-duration", "2"]
    subprocess.run(command, check=True, capture_output=True)


def framemd5(source: Path, stream: str) -> tuple[list[str], list[int]]:
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
    if source.suffix != ".m3u8":
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
