"""The files that all measurements read, made once by ffmpeg and kept.

`python -m benchmarks.inputs [NAME...]` makes them ahead of time; otherwise each is made when it is
first asked for. They lie in `$PYSTREAM_BENCH_CACHE`, or else in `pystream-bench` in `$TMPDIR`
(`/tmp`), and may be deleted at any time; the names carry a hash of how a file was made.

Only a short base is encoded, and then repeated by stream copy: a packager does not look into the
pictures, and three hours of film are ready in seconds. Noise keeps the encoder from compressing
better than a camera's pictures would let it.

`small` takes the project's committed clips instead: for a run that only shows that all of it works.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Closed GOPs of 1.5 s: segments of 6 s are four of them, and at 8 Mbit/s one alone has 1.5 MB.
_BASE_SECONDS = 12
_RATE = 24
_GOP = 36


class MissingTool(Exception):
    """ffmpeg is needed to make a file, and is not there."""


def film(small: bool = False) -> Path:
    """10 minutes at 8 Mbit/s: 615 MB."""
    if small:
        return ROOT / "pystream/cli/sample.mp4"
    return _looped("film", 1280, 720, 7850, 128, minutes=10)


def long(small: bool = False) -> Path:
    """3 hours at 300 kbit/s: 1,800 segments of 6 s, and many more samples than bytes a sample."""
    if small:
        return ROOT / "pystream/cli/sample.mp4"
    return _looped("long", 480, 270, 236, 64, minutes=180)


def ten_hours(small: bool = False) -> Path:
    """10 hours at 300 kbit/s: the sample tables of a ten-hour film of any bit rate."""
    if small:
        return ROOT / "pystream/cli/sample.mp4"
    return _looped("ten-hours", 480, 270, 236, 64, minutes=600)


def half_day(small: bool = False) -> Path:
    """12 hours at 300 kbit/s: 7,200 segments of 6 s in one playlist."""
    if small:
        return ROOT / "pystream/cli/sample.mp4"
    return _looped("half-day", 480, 270, 236, 64, minutes=720)


def feature(small: bool = False) -> Path:
    """90 minutes at 4 Mbit/s: what one goes to the cinema for. 2.7 GB."""
    if small:
        return ROOT / "pystream/cli/sample.mp4"
    return _looped("feature", 1280, 720, 3890, 96, minutes=90)


def ladder(small: bool = False) -> list[Path]:
    """Four renditions of 2 minutes with common key frames, 9 Mbit/s together, and their sound."""
    if small:
        names = ("ladder_90.mp4", "ladder_180.mp4", "ladder_270.mp4", "ladder_audio.m4a")
        return [ROOT / "tests/media" / name for name in names]
    rungs = ((640, 360, 600), (960, 540, 1400), (1280, 720, 2600), (1920, 1080, 4400))
    return [_looped(f"ladder-{h}", w, h, kbps, 128, minutes=2) for w, h, kbps in rungs]


def clip(small: bool = False) -> Path:
    """10 seconds at 2 Mbit/s."""
    if small:
        return ROOT / "tests/media/plain.mp4"
    base = _base("clip", 1280, 720, 1900, 96)
    return _made("clip", ["-i", str(base), "-t", "10", *_COPY])


ALL: dict[str, Callable[[], Path | list[Path]]] = {
    "film": film,
    "long": long,
    "ten-hours": ten_hours,
    "half-day": half_day,
    "feature": feature,
    "ladder": ladder,
    "clip": clip,
}

_COPY = ["-map", "0", "-c", "copy", "-movflags", "+faststart"]


def cache() -> Path:
    """The folder in which the files are kept."""
    default = Path(tempfile.gettempdir()) / "pystream-bench"
    return Path(os.environ.get("PYSTREAM_BENCH_CACHE") or default)


def _looped(name: str, width: int, height: int, kbps: int, audio_kbps: int, minutes: int) -> Path:
    base = _base(name, width, height, kbps, audio_kbps)
    loops = minutes * 60 // _BASE_SECONDS - 1
    return _made(name, ["-stream_loop", str(loops), "-i", str(base), *_COPY])


def _base(name: str, width: int, height: int, kbps: int, audio_kbps: int) -> Path:
    source = f"testsrc2=s={width}x{height}:r={_RATE}:d={_BASE_SECONDS},noise=alls=12:allf=t"
    rate = f"{kbps}k"
    return _made(
        f"{name}-base",
        [
            *("-f", "lavfi", "-i", source),
            *("-f", "lavfi", "-i", f"sine=f=440:r=48000:d={_BASE_SECONDS}"),
            *("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"),
            *("-g", str(_GOP), "-keyint_min", str(_GOP), "-sc_threshold", "0"),
            # As many bits a second at every moment: segments of one length, as from a broadcaster.
            *("-b:v", rate, "-minrate", rate, "-maxrate", rate, "-bufsize", rate),
            *("-c:a", "aac", "-b:a", f"{audio_kbps}k"),
        ],
    )


def _made(name: str, arguments: list[str]) -> Path:
    """The file that ffmpeg makes of these arguments, from the cache where it was made before."""
    folder = cache()
    path = folder / f"{name}-{sha256(repr(arguments).encode()).hexdigest()[:8]}.mp4"
    if path.exists():
        return path
    if shutil.which("ffmpeg") is None:
        raise MissingTool(f"{name} has to be made, by an ffmpeg with libx264, and there is none")
    folder.mkdir(parents=True, exist_ok=True)
    # A run that is interrupted leaves nothing that looks finished; of two at a time, one makes it.
    partial = path.with_suffix(".partial")
    with partial.open("ab") as made:
        fcntl.flock(made, fcntl.LOCK_EX)
        if not path.exists():
            print(f"benchmarks: making {path}", file=sys.stderr)
            command = ["ffmpeg", "-v", "error", "-y", *arguments, "-f", "mp4", str(partial)]
            subprocess.run(command, check=True)
            partial.rename(path)
        else:
            # Somebody else's, whose name this one has taken again.
            partial.unlink(missing_ok=True)
    return path


if __name__ == "__main__":
    for asked in sys.argv[1:] or ALL:
        print(ALL[asked]())
